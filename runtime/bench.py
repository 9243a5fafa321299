"""Latency per chunk and real-time factor, measured chunk by chunk on real features. No outlier is dropped."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from runtime.engines import Engine
from runtime.errors import StreamError
from runtime.overlap import default_chunk, overlap_pieces
from runtime.spec import TimeAxis
from runtime.stream import Stream, StreamingArtefact
from runtime.synthesis import mode_of


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
    opened: Engine | StreamingArtefact,
    time_axis: TimeAxis,
    frames: np.ndarray,
    chunk: int | None = None,
    mode: str | None = None,
    seconds: float = 2.0,
    min_chunks: int = 50,
    warm_up: int = 10,
    threads: int | None = None,
) -> Latency:
    """Streams `frames` round and round until `seconds` and `min_chunks` are both reached.

    frames: an utterance in the shape of the component's input. `mode=offline` times whole calls of the default
    length. Raises StreamError for a mode, chunk or utterance that the artefact cannot stream.
    """
    mode = mode_of(opened, mode)
    if isinstance(opened, StreamingArtefact):
        if chunk not in (None, opened.form.chunk):
            raise StreamError(f"the artefact takes chunks of {opened.form.chunk} frames, not of {chunk}")
        chunk, window_frames = opened.form.chunk, len(opened.form.inputs[0])
        warm_up = max(warm_up, 2 + opened.form.horizon // chunk)  # the ends are behind it then
        calls = _pushes(opened, time_axis, frames)
    else:
        chunk, window_frames, calls = _pieces(opened, time_axis, frames, chunk, mode)

    def timed() -> float:
        call = next(calls)
        started = time.perf_counter()
        call()
        return (time.perf_counter() - started) * 1e3

    first = timed()
    warm = [timed() for _ in range(warm_up)]
    samples: list[float] = []
    began = time.perf_counter()
    while len(samples) < min_chunks or time.perf_counter() - began < seconds:
        samples.append(timed())
    audio_ms = chunk * time_axis.samples_per_frame / time_axis.sample_rate * 1e3
    p50, p90, p95, p99, p999 = np.percentile(samples, [50, 90, 95, 99, 99.9])
    return Latency(
        mode=mode,
        chunk_frames=chunk,
        window_frames=window_frames,
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


def _pushes(artefact: StreamingArtefact, time_axis: TimeAxis, frames: np.ndarray) -> Iterator[Callable[[], object]]:
    """One utterance without end: each call pushes the frames of one chunk."""
    form, axis, total = artefact.form, time_axis.input_axis, frames.shape[time_axis.input_axis]
    stream = Stream(artefact)
    position = form.ahead - form.chunk
    stream.push({time_axis.input: np.take(frames, np.arange(position) % total, axis)})
    while True:
        part = np.take(frames, np.arange(position, position + form.chunk) % total, axis)
        yield functools.partial(stream.push, {time_axis.input: part})
        position += form.chunk


def _pieces(
    engine: Engine, time_axis: TimeAxis, frames: np.ndarray, chunk: int | None, mode: str
) -> tuple[int, int, Iterator[Callable[[], object]]]:
    """(chunk, frames of the longest call, the calls round and round) of an offline artefact."""
    (window,) = (spec for spec in engine.inputs if spec.name == time_axis.input)
    if mode == "offline":
        chunk = min(window.default_shape[time_axis.input_axis], frames.shape[time_axis.input_axis])
        spans = [(0, chunk)]
    else:
        chunk = chunk or default_chunk(window, time_axis)
        pieces = overlap_pieces(frames.shape[time_axis.input_axis], window, time_axis, chunk)
        whole = [piece for piece in pieces if piece.keep_to - piece.keep_from == chunk]
        if not whole:
            raise StreamError(f"the utterance is shorter than one chunk of {chunk} frames: bench a longer one")
        spans = [(piece.start, piece.stop) for piece in whole]
    inputs = [{time_axis.input: np.take(frames, range(*span), axis=time_axis.input_axis)} for span in spans]
    calls = itertools.cycle([functools.partial(engine.run, given) for given in inputs])
    return chunk, max(stop - start for start, stop in spans), calls
