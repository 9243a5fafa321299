"""Are the verdicts on latency right? On recorded noise, and with real processes.

    python -m benchmarks.verdicts                      # recorded noise alone: seconds
    python -m benchmarks.verdicts BUNDLE [MINUTES]     # and fresh processes: a 25 % slower engine, 10 unchanged repeats

Recorded noise: consecutive pairs of benchmarks/recorded/pairs.json from a random one on, the candidate made slower by a
share. Real processes: the bundle against itself, ten times, each with at most so many minutes; and against itself with
an engine that idles a quarter of each call's time after it.
"""

from __future__ import annotations

import collections
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.noise import TIMING
from reports.options import CompareOptions
from reports.regression import RatioTest, is_settled, ratio_test
from reports.verdict import paired_tests
from runtime.bundle.store import Bundle, open_bundle
from runtime.measuring.bench.paired import in_fresh_process, medians

RECORDED = Path(__file__).parent / "recorded" / "pairs.json"
SLOW = "benchmarks.verdicts"
REPEATS, MOST_PAIRS, SLOWER = 10, 100, 0.25


def main(bundle: Path | None, minutes: float) -> None:
    noise = recorded_noise()
    print(f"{len(noise)} recorded pairs, standard deviation {100 * noise.std(ddof=1):.1f} %\n")
    print("| candidate slower by | slower | unchanged | noisy | faster | pairs, median |\n|---|---|---|---|---|---|")
    for slower in (0.0, 0.03, 0.05, 0.10, 0.25):
        decisions = [decided(np.roll(noise, -start)[:MOST_PAIRS] + math.log1p(slower)) for start in range(len(noise))]
        counts = collections.Counter(one.verdict for one in decisions)
        shares = " | ".join(
            f"{100 * counts[v] / len(decisions):.0f} %" for v in ("slower", "unchanged", "noisy", "faster")
        )
        print(f"| {100 * slower:.0f} % | {shares} | {np.median([one.pairs for one in decisions]):.0f} |")
    if bundle is not None:
        real_processes(open_bundle(bundle), CompareOptions(minutes=minutes))


def recorded_noise() -> np.ndarray:
    """ln(candidate / champion) of unchanged pairs, in the order in which they were timed."""
    pairs = json.loads(RECORDED.read_text())["pairs"]
    return np.array([math.log(pair["candidate"]["chunk"] / pair["champion"]["chunk"]) for pair in pairs])


def decided(noise: np.ndarray) -> RatioTest:
    """Decides as reports.verdict does: takes pairs until it is settled, or there are no more."""
    ratios = [float(ratio) for ratio in noise]
    for count in range(5, len(ratios)):
        if is_settled(ratios[:count]):
            return ratio_test(ratios[:count])
    return ratio_test(ratios)


def real_processes(bundle: Bundle, options: CompareOptions) -> None:
    timer = in_fresh_process(TIMING)
    slow = in_fresh_process(TIMING, module=SLOW)
    print()
    for name, candidate, repeats in (("25 % slower", slow, 1), ("unchanged", timer, REPEATS)):
        for _ in range(repeats):
            began = time.monotonic()
            (test,) = paired_tests(bundle, bundle, options, timer, candidate).values()
            print(f"{name}: {test}, {time.monotonic() - began:.0f} s", flush=True)


def slow_medians(path: Path, asked: dict[str, Any]) -> dict[str, float]:
    """Times the onnx engine with each call a quarter longer, in a process of its own."""
    from runtime.engines.onnx import OnnxEngine
    from runtime.measuring.options import MeasureOptions

    run = OnnxEngine.run

    def slower(self: OnnxEngine, *args: object, **kwargs: object) -> object:
        started = time.perf_counter()
        result = run(self, *args, **kwargs)  # type: ignore[arg-type]
        ends = time.perf_counter() + SLOWER * (time.perf_counter() - started)
        while time.perf_counter() < ends:
            pass
        return result

    OnnxEngine.run = slower  # type: ignore[assignment, method-assign]
    return medians(path, MeasureOptions(**asked))


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if len(arguments) == 2 and arguments[1].startswith("{"):
        print(json.dumps(slow_medians(Path(arguments[0]), json.loads(arguments[1]))))
    else:
        main(Path(arguments[0]) if arguments else None, float(arguments[1]) if len(arguments) > 1 else 5.0)
