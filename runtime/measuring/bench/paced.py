"""Latency as a listener has it: chunks come on an absolute schedule, whether the one before is done or not.

A loop that calls back to back sees one slow call where a stall delays many (coordinated omission). Here latency counts
from the moment at which a chunk was due, so that what waits behind a stall is late too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

PERCENTILES = {"p50_ms": 50, "p90_ms": 90, "p95_ms": 95, "p99_ms": 99, "p999_ms": 99.9}


@dataclass(frozen=True)
class Paced:
    """Milliseconds from the moment a chunk was due until its output was there; none is left out but the warm-up.

    A miss is output that was not there when the next chunk was due. `safe_prefill_ms`: the least output to keep ready
    so that no sample would have come too late, which is the largest latency. `jitter_ms`: standard deviation of the
    time between two outputs. `drift_ms_per_min`: slope of latency over the run. `samples_ms`: every chunk in order.
    """

    period_ms: float
    chunks: int
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    misses: int
    miss_percent: float
    worst_overrun_ms: float
    longest_run_of_misses: int
    safe_prefill_ms: float
    jitter_ms: float
    drift_ms_per_min: float
    samples_ms: tuple[float, ...]


@dataclass(frozen=True)
class Stall:
    """One pause of `injected_ms` in the middle of a paced run, and what was left of it.

    `recovered_after_ms`: from the pause's end until a chunk was no later than the latest one before it; None where none
    was. `residual_ms`: median latency of the run's last quarter less the median before the pause.
    """

    injected_ms: float
    worst_ms: float
    recovered_after_ms: float | None
    residual_ms: float


def paced_latencies(
    calls: Iterator[Callable[[], object]],
    period: float,
    chunks: int,
    warm_up: int = 0,
    stall: tuple[int, float] | None = None,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> np.ndarray:
    """(chunks,) milliseconds. `period`: seconds between two chunks; `stall`: (before which chunk, for how long)."""
    latencies = np.zeros(warm_up + chunks)
    start = clock() + period
    for index in range(warm_up + chunks):
        due = start + index * period
        call = next(calls)
        early = due - clock()
        if early > 0:
            sleep(early)
        if stall is not None and index == warm_up + stall[0]:
            sleep(stall[1])
        call()
        latencies[index] = clock() - due
    return latencies[warm_up:] * 1e3


def summarised(latencies: np.ndarray, period: float) -> Paced:
    """latencies: (N,) milliseconds of chunks that were due every `period` seconds."""
    period_ms = period * 1e3
    missed = latencies > period_ms
    minutes = np.arange(len(latencies)) * period / 60
    ends = latencies + np.arange(len(latencies)) * period_ms
    return Paced(
        period_ms=period_ms,
        chunks=len(latencies),
        **{name: float(np.percentile(latencies, share)) for name, share in PERCENTILES.items()},
        max_ms=float(latencies.max()),
        misses=int(missed.sum()),
        miss_percent=float(100 * missed.mean()),
        worst_overrun_ms=max(float(latencies.max()) - period_ms, 0.0),
        longest_run_of_misses=_longest_run(missed),
        safe_prefill_ms=float(latencies.max()),
        jitter_ms=float(np.diff(ends).std()) if len(ends) > 1 else 0.0,
        drift_ms_per_min=float(np.polyfit(minutes, latencies, 1)[0]) if len(latencies) > 1 else 0.0,
        samples_ms=tuple(map(float, latencies)),
    )


def recovery(latencies: np.ndarray, period: float, at: int, pause: float) -> Stall:
    """Measures what a stall of `pause` seconds before chunk `at` left behind; arguments as of `summarised`."""
    before, after = latencies[:at], latencies[at:]
    in_time = np.flatnonzero(after <= before.max())
    waited = None
    if len(in_time):
        waited = max(in_time[0] * period * 1e3 + after[in_time[0]] - pause * 1e3, 0.0)
    residual = np.median(latencies[-max(len(latencies) // 4, 1) :]) - np.median(before)
    return Stall(pause * 1e3, float(after.max()), None if waited is None else float(waited), float(residual))


def _longest_run(flags: np.ndarray) -> int:
    edges = np.diff(np.concatenate([[0], flags.astype(np.int8), [0]]))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return int((ends - starts).max()) if len(starts) else 0
