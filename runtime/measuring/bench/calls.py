"""What of a bundle is timed, with which real inputs: chunks of what makes audio, calls of what makes none."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from runtime.bundle.store import ComponentRecord, GoldenCase
from runtime.errors import StreamError
from runtime.measuring.bench.closed import Latency, closed_loop
from runtime.measuring.options import MeasureOptions
from runtime.playing.player import Player
from runtime.playing.sizes import Batched, Padded

_FEWEST_CALLS = 21  # the first is apart
_KNOWN = 0.02  # of the median; what latencies are compared by (docs/nightly.md)


@dataclass(frozen=True)
class CallTiming:
    """Calls with so many rows, or positions, at once."""

    component: str
    rows: int
    calls: int
    first_call_ms: float
    p50_ms: float
    p95_ms: float


def chunk_latency(player: Player, cases: Sequence[GoldenCase], options: MeasureOptions) -> Latency:
    """Times the chunks of what makes audio, on the longest of its golden cases."""
    time_axis = player.time
    longest = max(cases, key=lambda case: case.inputs[time_axis.input].shape[time_axis.input_axis])
    frames, constants = longest.along(time_axis)
    return closed_loop(
        player,
        frames,
        seconds=options.bench_seconds,
        min_chunks=options.bench_min_chunks,
        threads=options.threads,
        constants=constants,
        median_within=_KNOWN,
    )


def time_sizes(
    opened: Batched | Padded, component: ComponentRecord, cases: Sequence[GoldenCase], seconds: float
) -> list[CallTiming]:
    """Times a component alone in each of its sizes, `seconds` altogether."""
    longest = max((case.inputs for case in cases), key=lambda inputs: len(next(iter(inputs.values()))))
    sizes = sorted(component.sizes) or [1]
    return [_timed_calls(opened, component.name, _resized(longest, size), size, seconds / len(sizes)) for size in sizes]


def time_part(opened: Batched | Padded, component: str, cases: Sequence[GoldenCase], seconds: float) -> CallTiming:
    """Times a voice's component on its largest golden case."""
    longest = max(cases, key=lambda case: sum(array.size for array in case.inputs.values())).inputs
    length = max(max(array.shape) for array in longest.values())
    return _timed_calls(opened, component, longest, length, seconds)


def time_chunks(player: Player, component: str, cases: Sequence[GoldenCase], seconds: float) -> list[CallTiming]:
    """Times the chunks of what makes frames of frames, on its longest golden case; none where that is too short."""
    axis = player.time.input_axis
    longest = max(cases, key=lambda case: case.inputs[player.time.input].shape[axis])
    try:
        feed = player.feed(*longest.along(player.time))
    except StreamError:
        return []
    for _ in range(feed.settles_in):
        next(feed)()
    return [_timed(lambda: next(feed)(), component, feed.chunk, seconds)]


def _resized(inputs: Mapping[str, np.ndarray], rows: int) -> dict[str, np.ndarray]:
    """The first rows, repeated where there are fewer."""
    return {name: np.resize(array, (rows, *array.shape[1:])) for name, array in inputs.items()}


def _timed_calls(
    opened: Batched | Padded, component: str, part: Mapping[str, np.ndarray], rows: int, seconds: float
) -> CallTiming:
    """Calls one after another with the same inputs."""
    return _timed(lambda: opened.run(part), component, rows, seconds)


def _timed(call: Callable[[], object], component: str, rows: int, seconds: float) -> CallTiming:
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < _FEWEST_CALLS or time.perf_counter() - began < seconds:
        started = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - started))
    steady = np.array(times[1:])
    return CallTiming(
        component, rows, len(steady), times[0], *(float(np.percentile(steady, share)) for share in (50, 95))
    )
