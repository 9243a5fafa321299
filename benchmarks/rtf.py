"""Real-time factor per chunk: voxport's artefact in the onnx engine against plain ONNX Runtime on the same window.

    python -m benchmarks.rtf [ROUNDS]

For each chunk C the artefact has C + 26 frames (the receptive field on both sides). Plain: torch.onnx.export of the
original generator, one InferenceSession, `session.run`. Rounds are interleaved in one process; the ratio is of medians.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime

from checkpoints.load import load
from checkpoints.locate import locate
from checkpoints.options import CheckpointOptions
from converters.component import format_
from converters.families import hifigan
from converters.options import FormatOptions, PrecisionOptions, Shape
from ops.upsample import rewrite_upsampling
from runtime.engines import Execution, open_engine

CALLS = 40


def median_ms(call: object, rounds: list[float]) -> float:
    assert callable(call)
    for _ in range(CALLS):
        started = time.perf_counter()
        call()
        rounds.append((time.perf_counter() - started) * 1e3)
    return statistics.median(rounds)


def main(rounds: int = 5) -> None:
    checkpoint = load(locate(CheckpointOptions(source="bundled"), "hifigan", "", print))
    module = hifigan.load(checkpoint)
    print(f"{onnxruntime.__version__=} on {os.cpu_count()} cores, chunk of hop 256 at 22.05 kHz")
    for chunk in (4, 8, 16):
        (component,) = hifigan.components(module, checkpoint, Shape(chunk + 26))
        with tempfile.TemporaryDirectory() as folder:
            rewritten = dataclasses.replace(component, module=rewrite_upsampling(component.module, "polyphase"))
            artefact = (
                format_("mlprogram").convert(rewritten, PrecisionOptions("fp16"), FormatOptions(), Path(folder)).path
            )
            engine = open_engine(artefact, Execution("onnx"))
            plain_path = (
                format_("onnx").convert(component, PrecisionOptions("fp32"), FormatOptions("onnx"), Path(folder)).path
            )
            plain = onnxruntime.InferenceSession(str(plain_path))
            mel = np.random.default_rng(0).normal(-4, 2, (1, 80, chunk + 26)).astype(np.float32)
            timings: dict[str, list[float]] = {"voxport": [], "plain": []}
            engine.run({"mel": mel})
            plain.run(None, {"mel": mel})
            for _ in range(rounds):
                median_ms(lambda: engine.run({"mel": mel}), timings["voxport"])  # noqa: B023
                median_ms(lambda: plain.run(None, {"mel": mel}), timings["plain"])  # noqa: B023
        audio_ms = chunk * 256 / 22050 * 1e3
        ours, theirs = (statistics.median(timings[name]) for name in ("voxport", "plain"))
        print(
            f"chunk {chunk:>2} ({audio_ms:5.1f} ms): voxport {ours:5.2f} ms, RTF {ours / audio_ms:.3f}; "
            f"plain {theirs:5.2f} ms, RTF {theirs / audio_ms:.3f}; ratio {ours / theirs:.2f}"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
