"""What streaming costs over the bare network: ratios of time in ONNX Runtime, and of multiply-adds.

    python -m benchmarks.streaming [V1|V2] [CHUNK ...] [--threads N]

For each chunk of C frames, float32, one session each, away from the utterance's ends:

- bare: the offline network on C frames alone (wrong at its edges; the least there is to compute),
- stateful and window: through the player, `Stream.push` of C frames,
- overlap: the offline network on C + 26 frames, which is how it is done without a rewrite.

Rounds are interleaved in one process, the ratio is of medians. V2 is the bundled vocoder; V1 has random weights at its
published architecture, for time alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from checkpoints.load import load
from checkpoints.locate import locate
from checkpoints.options import CheckpointOptions
from converters.component import Component, format_
from converters.families import hifigan
from converters.options import FormatOptions, PrecisionOptions, Shape, StreamOptions
from converters.streaming import streaming_component
from converters.upstream.coqui import import_coqui
from ops.upsample import rewrite_upsampling
from runtime.engines import Engine, Execution, open_engine
from runtime.playing.player import Streaming
from runtime.playing.stream import StreamingArtefact

ROUNDS, SECONDS = 5, 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version", nargs="?", default="V2", choices=["V1", "V2"])
    parser.add_argument("chunks", nargs="*", type=int, default=[4, 8, 16])
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    vocoder = component(options.version)
    print(f"HiFi-GAN {options.version}, onnxruntime {onnxruntime.__version__}, {options.threads} threads of "
          f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.2f}")  # fmt: skip
    print("chunk | bare ms | stateful | window (multiply-adds) | overlap (multiply-adds) | RTF stateful, window")
    for chunk in options.chunks:
        row(vocoder, chunk, options.threads)


def row(vocoder: Component, chunk: int, threads: int) -> None:
    assert vocoder.time is not None
    mel = np.random.default_rng(0).normal(-4, 2, (1, 80, 200)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        calls: dict[str, Iterator[Callable[[], object]]] = {}
        costs: dict[str, dict[int, float]] = {}
        for mode in ("stateful", "window"):
            streaming = streaming_component(vocoder, StreamOptions(mode, chunk), "polyphase", True)
            costs = streaming.form.costs
            engine = converted(streaming.functions["steady"], Path(folder, mode), threads)
            edge = converted(streaming.functions["edge"], Path(folder, mode + "-edge"), threads)
            calls[mode] = iter(Streaming(StreamingArtefact(streaming.form, edge, engine), vocoder.time).feed(mel))
        for name, frames in (("bare", chunk), ("overlap", chunk + vocoder.time.left + vocoder.time.right)):
            offline = converted(sized(vocoder, frames), Path(folder, name), threads)
            inputs = {"mel": np.ascontiguousarray(mel[..., :frames])}
            calls[name] = repeated(offline, inputs)
        medians = interleaved(calls)
    bare = medians["bare"]
    ratios = {name: value / bare for name, value in medians.items()}
    adds = {mode: costs[mode][chunk] / costs["stateful"][chunk] for mode in ("window", "overlap")}
    audio_ms = chunk * vocoder.time.frame_seconds * 1e3
    print(f"{chunk:5} | {bare:7.2f} | {ratios['stateful']:8.2f} | {ratios['window']:6.2f} ({adds['window']:.2f}) | "
          f"{ratios['overlap']:6.2f} ({adds['overlap']:.2f}) | "
          f"{medians['stateful'] / audio_ms:.3f}, {medians['window'] / audio_ms:.3f}")  # fmt: skip


def component(version: str) -> Component:
    """The generator without weight norm, as the converter gets it."""
    checkpoint = load(locate(CheckpointOptions(source="bundled"), "hifigan", "", print))
    (bundled,) = hifigan.components(hifigan.load(checkpoint), checkpoint, Shape())
    if version == "V2":
        return bundled
    torch.manual_seed(0)
    generator = import_coqui("TTS.vocoder.models.hifigan_generator").HifiganGenerator(
        80, 1, "1", [[1, 3, 5]] * 3, [3, 7, 11], [16, 16, 4, 4], 512, [8, 8, 2, 2]
    )
    generator.remove_weight_norm()
    return dataclasses.replace(bundled, module=Mel(generator.eval()).eval())


class Mel(torch.nn.Module):
    def __init__(self, generator: torch.nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        return self.generator(mel)


def sized(vocoder: Component, frames: int) -> Component:
    """The offline component for so many frames."""
    inputs = tuple(dataclasses.replace(spec, shape=(*spec.default_shape[:-1], frames)) for spec in vocoder.inputs)
    module = rewrite_upsampling(vocoder.module, "polyphase")
    example = {spec.name: torch.randn(spec.default_shape) for spec in inputs}
    return dataclasses.replace(vocoder, module=module, inputs=inputs, example=lambda: example)


def converted(part: Component, folder: Path, threads: int) -> Engine:
    folder.mkdir()
    artefact = format_("onnx").convert(part, PrecisionOptions("fp32"), FormatOptions("onnx"), folder).path
    return open_engine(artefact, Execution("onnx", threads))


def repeated(engine: Engine, inputs: dict[str, np.ndarray]) -> Iterator[Callable[[], object]]:
    while True:
        yield lambda: engine.run(inputs)


def interleaved(calls: dict[str, Iterator[Callable[[], object]]]) -> dict[str, float]:
    """Name -> median ms of a call."""
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for turns in calls.values():
        for _ in range(10):
            next(turns)()
    for _ in range(ROUNDS):
        for name, turns in calls.items():
            began = time.perf_counter()
            while time.perf_counter() - began < SECONDS / ROUNDS:
                call = next(turns)
                started = time.perf_counter()
                call()
                samples[name].append((time.perf_counter() - started) * 1e3)
    return {name: statistics.median(values) for name, values in samples.items()}


if __name__ == "__main__":
    main()
