"""Honest checkpoints of every kind, damaged as disks, downloads and people damage them. Drawn by seed."""

import collections
import functools
import io
import json
import random
from pathlib import Path

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save


class Config:
    """As Coqui's trainer keeps one beside the weights."""

    def __init__(self) -> None:
        self.rate, self.names = 0.1, ["a", "b"]


@functools.cache
def honest() -> dict[str, bytes]:
    """File name -> content; the names say the kind."""
    torch.manual_seed(0)
    tensors = {"conv.weight_g": torch.ones(4, 1, 1), "conv.weight_v": torch.randn(4, 3, 5), "bias": torch.randn(4)}
    saved = {
        "model": collections.OrderedDict(tensors),
        "config": Config(),
        "loss": collections.defaultdict(float, {"loss": np.float64(0.25)}),
        "optimizer": {"state": {0: {"step": torch.tensor(3.0), "m": torch.randn(4)}}},
        "mean": np.arange(5, dtype=np.float32),
        "step": 7,
    }
    made = {}
    for name, options in (("zip.pth", {}), ("legacy.pth", {"_use_new_zipfile_serialization": False})):
        buffer = io.BytesIO()
        torch.save(saved, buffer, **options)
        made[name] = buffer.getvalue()
    made["c.safetensors"] = save(tensors)
    buffer = io.BytesIO()
    np.save(buffer, {"mel_mean": np.arange(8.0), "mel_std": np.ones(8)}, allow_pickle=True)
    made["object.npy"] = buffer.getvalue()
    buffer = io.BytesIO()
    np.save(buffer, np.arange(24.0).reshape(4, 6))
    made["plain.npy"] = buffer.getvalue()
    for name in ("config.json", "speakers.json"):
        made[name] = json.dumps({"audio": {"sample_rate": 22050}, "a": {"name": "b", "embedding": [0.5, 1.0]}}).encode()
    conv = helper.make_node("Conv", ["x", "w", "b"], ["y"], "/dec/conv/Conv", dilations=[2])
    weights = [
        numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in (("w", (2, 1, 3)), ("b", 2))
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")]
    made["c.onnx"] = helper.make_model(
        helper.make_graph([conv], "g", values[:1], values[1:], weights)
    ).SerializeToString()
    return made


def write_damaged(seed: int, folder: Path) -> Path:
    """The file of a seed: bits turned, bytes put in or taken out, cut off, blocks repeated or of zeros."""
    draw = random.Random(seed)
    name = sorted(honest())[seed % len(honest())]
    content = bytearray(honest()[name])
    for _ in range(draw.randint(1, 5)):
        place = int(len(content) * draw.random() ** draw.choice((1, 3)))  # headers are at the beginning, and at the end
        place = len(content) - 1 - place if draw.random() < 0.3 else min(place, len(content) - 1)
        length = draw.choice((1, 1, 2, 4, 8, 64, 512))
        change = draw.randrange(6)
        if change == 0:
            content[place] ^= 1 << draw.randrange(8)
        elif change == 1:
            content[place : place + length] = draw.randbytes(length)
        elif change == 2:
            del content[place : place + length]
        elif change == 3:
            content[place:place] = content[place : place + length]
        elif change == 4:
            content[place : place + length] = draw.choice((b"\0", b"\xff", b"\x7f")) * length
        elif len(content) > 16 and draw.random() < 0.5:
            del content[place:]
        content = content or bytearray(b"\0")
    path = folder / name
    path.write_bytes(content)
    return path
