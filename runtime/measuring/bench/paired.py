"""Two bundles timed against each other: pairs of fresh processes one after another, on one machine.

A process's speed depends on where its memory lies and on what else the machine does in those seconds: within a process
the scatter is small and says nothing of the next process. So a pair is two fresh processes close in time, who goes
first takes turns (champion, candidate; candidate, champion; …), and what counts is the ratio of the two medians.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.bundle.store import open_bundle
from runtime.engines import ENGINES
from runtime.errors import EngineError
from runtime.machine.child import output_of
from runtime.measuring.bench.calls import chunk_latency, time_part, time_sizes
from runtime.measuring.options import MeasureOptions
from runtime.playing.player import open_player
from runtime.playing.sizes import open_sized
from runtime.playing.speak import Voice

LIMIT_SECONDS = 300.0  # for one process: a first load may compile for minutes
Timer = Callable[[Path], dict[str, float]]


@dataclass(frozen=True)
class Pair:
    """Median microseconds per call by what was called: `chunk` of what makes audio, else a component and its size."""

    champion_first: bool
    champion: dict[str, float]
    candidate: dict[str, float]


def time_pairs(
    champion: Path,
    candidate: Path,
    time_champion: Timer,
    time_candidate: Timer,
    is_enough: Callable[[Sequence[Pair]], bool],
) -> list[Pair]:
    """Pairs until `is_enough` of them. Raises what the timers raise."""
    pairs: list[Pair] = []
    while not is_enough(pairs):
        champion_first = len(pairs) % 2 == 0
        if champion_first:
            theirs = time_champion(champion)
            ours = time_candidate(candidate)
        else:
            ours = time_candidate(candidate)
            theirs = time_champion(champion)
        pairs.append(Pair(champion_first, theirs, ours))
    return pairs


def in_fresh_process(
    options: MeasureOptions, limit: float = LIMIT_SECONDS, module: str = "runtime.measuring.bench.paired"
) -> Timer:
    """A timer of `medians` in a process of its own. It raises EngineError where that fails or takes too long."""

    def timed(path: Path) -> dict[str, float]:
        command = [sys.executable, "-m", module, str(path), json.dumps(dataclasses.asdict(options))]
        output = output_of(command, f"timing {path.name}", limit)
        return {str(unit): float(value) for unit, value in json.loads(output).items()}

    return timed


def medians(path: Path, options: MeasureOptions) -> dict[str, float]:
    """Median microseconds per call of everything in a bundle that is timed; `options.engines` names one engine.

    Raises EngineError for an engine that is made to be right and not fast, and what opening the bundle raises.
    """
    (engine,) = options.engines
    if not ENGINES[engine].is_timed:
        raise EngineError(f"engine {engine} is not timed: it is made to be right, not fast")
    bundle, execution = open_bundle(path), options.execution(engine)
    main = bundle.main
    if bundle.manifest.voice is not None:
        voice = Voice(bundle, execution, chunk=options.chunk)
        share = options.bench_seconds / (1 + len(voice.parts))
        calls = [
            time_part(part, name, bundle.goldens(bundle.component(name)), share) for name, part in voice.parts.items()
        ]
        chunk = chunk_latency(voice.last, bundle.goldens(main), dataclasses.replace(options, bench_seconds=share))
        return {call.component: 1e3 * call.p50_ms for call in calls} | {"chunk": 1e3 * chunk.p50_ms}
    if main.sound is not None and main.time is not None:
        player = open_player(bundle, execution, chunk=options.chunk)
        return {"chunk": 1e3 * chunk_latency(player, bundle.goldens(main), options).p50_ms}
    sized = open_sized(bundle, execution, main.name)
    timings = time_sizes(sized, main, bundle.goldens(main), options.bench_seconds)
    return {f"{call.component} {call.rows}": 1e3 * call.p50_ms for call in timings}


if __name__ == "__main__":
    print(json.dumps(medians(Path(sys.argv[1]), MeasureOptions(**json.loads(sys.argv[2])))))
