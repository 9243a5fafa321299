"""The onnx engine on ML programs against torch's own ONNX export of the same module, both in ONNX Runtime.

    python -m benchmarks.lowering [ROUNDS]

Randomly initialised at the architectures that speech models use: time depends on shapes alone. Rounds are interleaved
in one process; the ratio is of medians. First load: reading the package, lowering it, opening the session; then again
from the cache.
"""

from __future__ import annotations

import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from converters.upstream.coqui import import_coqui
from runtime.engines.onnx import OnnxEngine
from runtime.machine.coreml_tools import coremltools

SECONDS_A_ROUND = 1.0


class SpeakerEncoder(nn.Module):
    """Three LSTM layers of 256 over 160 frames of 40 mels, as GE2E (Wan et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.linear = nn.LSTM(40, 256, 3, batch_first=True), nn.Linear(256, 256)

    def forward(self, mel: Tensor) -> Tensor:
        last = self.lstm(mel)[1][0][-1]
        return nn.functional.normalize(torch.relu(self.linear(last)), dim=-1)


def hifigan(channels: int) -> nn.Module:
    """V1 has 512 initial channels (13.9 M parameters), V2 128 (Kong et al. 2020)."""
    generator = import_coqui("TTS.vocoder.models.hifigan_generator").HifiganGenerator(
        80, 1, "1", [[1, 3, 5]] * 3, [3, 7, 11], [16, 16, 4, 4], channels, [8, 8, 2, 2], inference_padding=0
    )
    generator.remove_weight_norm()
    return generator


class AttentionBlock(nn.Module):
    """Two heads of width 96 and a feed-forward network, pre-normalised."""

    def __init__(self, width: int = 192) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (2, 96)).transpose(1, 2) for part in self.qkv(self.norms[0](x)).chunk(3, -1))
        weights = torch.softmax(q @ k.transpose(-1, -2) / 96**0.5, -1)
        x = x + self.out((weights @ v).transpose(1, 2).flatten(2))
        return x + self.feed(self.norms[1](x))


def transformer() -> nn.Module:
    """Six blocks of width 192 over 100 phonemes, the size of VITS's text encoder."""
    return nn.Sequential(*(AttentionBlock() for _ in range(6)))


def convolutions() -> nn.Module:
    """2-D convolutions with batch norm over a mel image, as residual speaker encoders have them."""
    widths = [1, 32, 64, 128, 256]
    blocks = [
        nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.ReLU(), nn.Conv2d(b, b, 3, 1, 1), nn.ReLU())
        for a, b in itertools.pairwise(widths)
    ]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 512))


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "HiFi-GAN V1, 64 frames": (lambda: hifigan(512), (1, 80, 64)),
    "HiFi-GAN V2, 64 frames": (lambda: hifigan(128), (1, 80, 64)),
    "LSTM speaker encoder": (SpeakerEncoder, (3, 160, 40)),
    "transformer encoder": (transformer, (1, 100, 192)),
    "2-D convolutions": (convolutions, (1, 1, 64, 200)),
}


def main(rounds: int = 5) -> None:
    print(f"onnxruntime {onnxruntime.__version__}, {os.cpu_count()} cores; medians over {rounds} interleaved rounds")
    print(f"{'':<24}{'lowered':>10}{'torch':>10}{'ratio':>7}{'first load':>12}{'cached':>9}{'largest difference':>20}")
    for name, (make, shape) in MODELS.items():
        torch.manual_seed(0)
        with tempfile.TemporaryDirectory() as folder:
            os.environ["VOXPORT_CACHE"] = folder
            print(f"{name:<24}" + compare(make().eval(), shape, Path(folder), rounds), flush=True)


def compare(module: nn.Module, shape: tuple[int, ...], folder: Path, rounds: int) -> str:
    package, exported = folder / "model.mlpackage", folder / "own.onnx"
    example = torch.randn(shape)
    with torch.inference_mode():
        traced = torch.jit.trace(module, example)
        torch.onnx.export(module, (example,), str(exported), dynamo=True, verbose=False, input_names=["x"])
    ct = coremltools()
    ct.convert(
        traced,
        inputs=[ct.TensorType("x", shape=shape)],
        compute_precision=ct.precision.FLOAT32,
        minimum_deployment_target=ct.target.macOS14,
    ).save(str(package))
    seconds = [_seconds(lambda: OnnxEngine(package)) for _ in range(2)]
    engine, session = OnnxEngine(package), onnxruntime.InferenceSession(str(exported))
    feeds = {"x": example.numpy()}
    calls = {"lowered": lambda: engine.run(feeds), "own": lambda: session.run(None, feeds)}
    difference = np.abs(next(iter(calls["lowered"]().values())) - calls["own"]()[0]).max()
    times: dict[str, list[float]] = {"lowered": [], "own": []}
    for _ in range(rounds):
        for key, call in calls.items():
            until = time.perf_counter() + SECONDS_A_ROUND
            while time.perf_counter() < until:
                times[key].append(_seconds(call))
    ours, theirs = (statistics.median(times[key]) * 1e3 for key in ("lowered", "own"))
    return (
        f"{ours:>7.2f} ms{theirs:>7.2f} ms{ours / theirs:>7.2f}{seconds[0]:>10.2f} s{seconds[1]:>7.2f} s"
        f"{difference:>20.1e}"
    )


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
