"""Latency per chunk and real-time factor, measured chunk by chunk on real features. No outlier is dropped."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass

import numpy as np

from runtime.engines import Engine
from runtime.spec import TimeAxis
from runtime.stream import StreamError, default_chunk, overlap_pieces


@dataclass(frozen=True)
class Latency:
    """Milliseconds per chunk from a saturated loop. rtf = elapsed / audio duration: lower is better, < 1 keeps up.

    `deadline_ms` is the chunk's own duration; a miss is a chunk that took longer. First call and warm-up are not
    in the percentiles. `samples_ms` holds every timed chunk in order.
    """

    mode: str
    chunk_frames: int
    window_frames: int
    chunks: int
    threads: int | None
    first_call_ms: float
    warm_up_chunks: int
    warm_up_max_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    deadline_ms: float
    deadline_misses: int
    rtf: float
    samples_ms: tuple[float, ...]


def bench(
    engine: Engine,
    time_axis: TimeAxis,
    frames: np.ndarray,
    chunk: int | None = None,
    mode: str = "overlap",
    seconds: float = 2.0,
    min_chunks: int = 50,
    warm_up: int = 10,
    threads: int | None = None,
) -> Latency:
    """Streams `frames` round and round until `seconds` and `min_chunks` are both reached.

    frames: an utterance in the shape of the engine's input. `mode=offline` times whole calls of the default
    length. Raises StreamError for a chunk or utterance that the artefact cannot stream.
    """
    (window,) = (spec for spec in engine.inputs if spec.name == time_axis.input)
    if mode == "offline":
        size = min(window.default_shape[time_axis.input_axis], frames.shape[time_axis.input_axis])
        spans = [(0, size)]
        chunk = size
    elif mode == "overlap":
        chunk = chunk or default_chunk(window, time_axis)
        pieces = overlap_pieces(frames.shape[time_axis.input_axis], window, time_axis, chunk)
        whole = [piece for piece in pieces if piece.keep_to - piece.keep_from == chunk]
        if not whole:
            raise StreamError(f"the utterance is shorter than one chunk of {chunk} frames: bench a longer one")
        spans = [(piece.start, piece.stop) for piece in whole]
    else:
        raise StreamError(f"bench has no mode {mode!r}; its modes are: offline, overlap")
    calls = [{time_axis.input: np.take(frames, range(*span), axis=time_axis.input_axis)} for span in spans]

    def timed(inputs: dict[str, np.ndarray]) -> float:
        started = time.perf_counter()
        engine.run(inputs)
        return (time.perf_counter() - started) * 1e3

    first = timed(calls[0])
    warm = [timed(inputs) for inputs in itertools.islice(itertools.cycle(calls), warm_up)]
    samples: list[float] = []
    began = time.perf_counter()
    for inputs in itertools.cycle(calls):
        samples.append(timed(inputs))
        if len(samples) >= min_chunks and time.perf_counter() - began >= seconds:
            break
    audio_ms = chunk * time_axis.samples_per_frame / time_axis.sample_rate * 1e3
    p50, p90, p95, p99, p999 = np.percentile(samples, [50, 90, 95, 99, 99.9])
    return Latency(
        mode=mode,
        chunk_frames=chunk,
        window_frames=max(stop - start for start, stop in spans),
        chunks=len(samples),
        threads=threads,
        first_call_ms=first,
        warm_up_chunks=len(warm),
        warm_up_max_ms=max(warm, default=0.0),
        p50_ms=float(p50),
        p90_ms=float(p90),
        p95_ms=float(p95),
        p99_ms=float(p99),
        p999_ms=float(p999),
        max_ms=max(samples),
        deadline_ms=audio_ms,
        deadline_misses=sum(sample > audio_ms for sample in samples),
        rtf=sum(samples) / (audio_ms * len(samples)),
        samples_ms=tuple(samples),
    )
