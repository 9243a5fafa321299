"""Throughput: calls back to back, chunk by chunk on real features. No outlier is dropped."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from runtime.playing.player import Feed, Player

_FEWEST = 20  # chunks of which a median is said to be known
_WARM_UP_MS = 500.0  # long chunks are warm after fewer of them
_PATIENCE = 4.0  # times the seconds that were asked for, until a median that stays unknown is given up


@dataclass(frozen=True)
class Latency:
    """Milliseconds per chunk from a saturated loop. rtf = elapsed / audio duration: lower is better, < 1 keeps up.

    `deadline_ms` is the chunk's own duration; a miss is a chunk that took longer. First call and warm-up are not
    in the percentiles, of which those beyond what so many chunks can tell (p99 of 50) are the slowest of them.
    `samples_ms` holds every timed chunk in order.
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


def closed_loop(
    player: Player,
    frames: np.ndarray,
    seconds: float = 2.0,
    min_chunks: int = 50,
    warm_up: int = 10,
    threads: int | None = None,
    constants: Mapping[str, np.ndarray] | None = None,
    median_within: float = 0.0,
) -> Latency:
    """Streams `frames` round and round until `seconds` and `min_chunks` are both reached. With `median_within` 20
    chunks do, once their median is known to that share of itself or they have taken four times the seconds.

    warm_up: chunks before that, fewer where they take half a second.

    frames: an utterance in the shape of the component's input. `mode=offline` times whole calls of the default
    length. Raises as `Player.feed`.
    """
    return timed_calls(player.feed(frames, constants), seconds, min_chunks, warm_up, threads, median_within)


def timed_calls(
    calls: Feed,
    seconds: float = 2.0,
    min_chunks: int = 50,
    warm_up: int = 10,
    threads: int | None = None,
    median_within: float = 0.0,
) -> Latency:
    """Times calls back to back; as `closed_loop`."""

    def timed() -> float:
        call = next(calls)
        started = time.perf_counter()
        call()
        return (time.perf_counter() - started) * 1e3

    first = timed()
    warm: list[float] = []
    while len(warm) < calls.settles_in or (len(warm) < warm_up and sum(warm) < _WARM_UP_MS):
        warm.append(timed())
    samples: list[float] = []
    began = time.perf_counter()

    def are_enough() -> bool:
        taken, count = time.perf_counter() - began, len(samples)
        if taken < seconds or count >= min_chunks or not median_within:
            return taken >= seconds and count >= min_chunks
        return is_median_known(samples, median_within) or (count >= _FEWEST and taken >= _PATIENCE * seconds)

    while not are_enough():
        samples.append(timed())
    audio_ms = calls.seconds * 1e3
    p50, p90, p95, p99, p999 = np.percentile(samples, [50, 90, 95, 99, 99.9])
    return Latency(
        mode=calls.mode,
        chunk_frames=calls.chunk,
        window_frames=calls.window,
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


def is_median_known(samples: Sequence[float], within: float) -> bool:
    """Returns whether the 95 % interval of the median lies within that share of it on both sides, whatever the samples'
    distribution: between the order statistics (n -+ 1.96 sqrt(n)) / 2."""
    count = len(samples)
    if count < _FEWEST or not within:
        return False
    ordered, low = sorted(samples), int((count - 1.96 * math.sqrt(count)) / 2)
    median = float(np.median(ordered))
    return ordered[low] >= median * (1 - within) and ordered[-1 - low] <= median * (1 + within)
