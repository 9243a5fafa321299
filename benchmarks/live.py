"""What a live conversion to a built-in voice takes of a processor, by part, and what the forms of convolutions save.

    python -m benchmarks.live BUNDLE [--threads N]

The whole chain at 48 kHz in blocks of 256 samples on the clips that ship, in ONNX Runtime: seconds of the calling
thread's processor per second of audio, which others on the machine hardly change. Of a bundle of ML programs also each
artefact's call as it is lowered and with its convolutions left as they were (runtime/mil/convolutions.py), in turns in
one process.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import onnxruntime

from runtime.bundle.store import Bundle, open_bundle
from runtime.engines import Execution
from runtime.mil.export import export
from runtime.mil.lower import lowered
from runtime.mil.package import open_package
from runtime.playing.conversions import ConversionChain, open_conversion, open_main
from runtime.playing.stages import NOBODY
from runtime.playing.stream import Stream
from runtime.rounding.cases import function_of
from runtime.speech.clips import clip_paths
from runtime.speech.mel import Mel
from runtime.speech.recordings import read_audio
from runtime.speech.resampling import PromptStream
from runtime.speech.spectrum import Pitch

RATE, BLOCK, ROUNDS, CALLS = 48000, 256, 20, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--threads", type=int, help="of the engine [its own choice]")
    options = parser.parse_args()
    bundle = open_bundle(options.bundle)
    for name, share in chain_shares(bundle, options.threads).items():
        print(f"{name:28} {share:.3f} CPU s per s of audio")
    if bundle.manifest.options.format == "mlprogram":
        for component in bundle.manifest.components:
            as_they_were, rewritten = call_ms(bundle.artefact(component), function_of(component))
            print(f"{component.name:28} {as_they_were:.2f} ms a call, {rewritten:.2f} with rewritten convolutions: "
                  f"{rewritten / as_they_were:.2f}")  # fmt: skip


def chain_shares(bundle: Bundle, threads: int | None) -> dict[str, float]:
    """CPU seconds of the calling thread per second of audio: of all, and of its parts."""
    execution, spent = Execution("onnx", threads), dict[str, float]()
    frontend = open_conversion(bundle, NOBODY, RATE, "live", execution)
    chain = ConversionChain(frontend, open_main(bundle, execution))
    samples = np.concatenate([read_audio(path, RATE) for path in clip_paths()])

    def play() -> None:
        chain.reset()
        for at in range(0, len(samples), BLOCK):
            chain.push(samples[at : at + BLOCK])

    watched = [
        (ConversionChain, "push", "all"), (Stream, "push", "components"), (Pitch, "of_padded", "pitch"),
        (Mel, "of_padded", "mel"), (PromptStream, "resample_chunk", "resampling"),
    ]  # fmt: skip
    originals: list[Callable[..., Any]] = [getattr(kind, name) for kind, name, _ in watched]
    play()
    try:
        for (kind, name, part), original in zip(watched, originals):
            setattr(kind, name, _timed(original, part, spent))
        play()
    finally:
        for (kind, name, _), original in zip(watched, originals):
            setattr(kind, name, original)
    return {part: value * RATE / len(samples) for part, value in spent.items()}


def _timed(call: Callable[..., Any], part: str, spent: dict[str, float]) -> Callable[..., Any]:
    @functools.wraps(call)
    def timed(*arguments: Any, **named: Any) -> Any:
        started = time.thread_time()
        try:
            return call(*arguments, **named)
        finally:
            spent[part] = spent.get(part, 0.0) + time.thread_time() - started

    return timed


def call_ms(package: Path, function: str | None) -> tuple[float, float]:
    """Milliseconds of a processor that a call of a lowered ML program takes, with its convolutions as they were and
    rewritten: medians of rounds."""
    with tempfile.TemporaryDirectory() as folder, patch("runtime.mil.export.rewrite_convolutions", lambda model: 0):
        export(open_package(package, function), as_they_were := Path(folder, "plain.onnx"))
        sessions = [_session(as_they_were.read_bytes())]
    sessions.append(_session(lowered(package, function)[0].read_bytes()))
    random = np.random.default_rng(0)
    feeds = {
        node.name: np.full(node.shape, 1000, np.int32)
        if "int32" in node.type
        else random.standard_normal(node.shape).astype(np.float32) / 10
        for node in sessions[0].get_inputs()
    }
    times: list[list[float]] = [[], []]
    for _ in range(ROUNDS):
        for session, row in zip(sessions, times):
            session.run(None, feeds)
            started = time.thread_time()
            for _ in range(CALLS):
                session.run(None, feeds)
            row.append(1e3 * (time.thread_time() - started) / CALLS)
    plain, rewritten = map(statistics.median, times)
    return plain, rewritten


def _session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    main()
