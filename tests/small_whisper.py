"""A Whisper of few channels in the format of CTranslate2, drawn: what is tested is the way through the job."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

NUMBERS = {np.dtype(name): number for number, name in enumerate(("float32", "int8", "int16", "int32", "float16"))}


def write_ctranslate2(path: Path, arrays: Mapping[str, np.ndarray], aliases: Mapping[str, str] | None = None) -> None:
    """Writes a file as ctranslate2/specs/model_spec.py does, version 6."""

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    parts = [struct.pack("<I", 6), text("WhisperSpec"), struct.pack("<II", 3, len(arrays))]
    for name, array in arrays.items():
        shape = struct.pack("<B", array.ndim) + struct.pack(f"<{array.ndim}I", *array.shape)
        parts += [text(name), shape, struct.pack("<BI", NUMBERS[array.dtype], array.nbytes), array.tobytes()]
    parts.append(struct.pack("<I", len(aliases or {})))
    parts += [text(alias) + text(name) for alias, name in (aliases or {}).items()]
    path.write_bytes(b"".join(parts))


def small_whisper(channels: int = 64, layers: int = 3) -> dict[str, np.ndarray]:
    """Weights of an encoder by CTranslate2's names, float16 as faster-whisper's."""
    random = np.random.default_rng(0)

    def drawn(*shape: int) -> np.ndarray:
        return (random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]) or 1)).astype(np.float16)

    arrays = {
        "encoder/conv1/weight": drawn(channels, 80, 3), "encoder/conv1/bias": drawn(channels),
        "encoder/conv2/weight": drawn(channels, channels, 3), "encoder/conv2/bias": drawn(channels),
        "encoder/num_heads": np.array(channels // 64, np.int16),
        "encoder/position_encodings/encodings": drawn(1500, channels),
    }  # fmt: skip
    sizes = {"self_attention/linear_0": (3 * channels, channels), "self_attention/linear_1": (channels, channels),
             "ffn/linear_0": (4 * channels, channels), "ffn/linear_1": (channels, 4 * channels)}  # fmt: skip
    for layer in range(layers):
        for name, size in sizes.items():
            arrays |= {
                f"encoder/layer_{layer}/{name}/weight": drawn(*size),
                f"encoder/layer_{layer}/{name}/bias": drawn(size[0]),
            }
        for norm in ("self_attention", "ffn"):
            gain = (1 + drawn(channels) / 10).astype(np.float16)
            arrays |= {
                f"encoder/layer_{layer}/{norm}/layer_norm/gamma": gain,
                f"encoder/layer_{layer}/{norm}/layer_norm/beta": drawn(channels) / np.float16(10),
            }
    return arrays


def write_small_whisper(folder: Path) -> None:
    """`model.bin` and a config, as faster-whisper's folders have them."""
    folder.mkdir(parents=True)
    write_ctranslate2(folder / "model.bin", small_whisper())
    (folder / "config.json").write_text(json.dumps({"suppress_ids": []}))
