"""The fixed samples: every op several times and every test class once (`make proof`, the mutants), and of these the
fewest that use every op (`make test`). Chosen from a whole run.

python -m benchmarks.conformance.sample         # chooses anew, from the outcomes that a whole run kept
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.conformance.results import Case, Results
from benchmarks.conformance.suites import run_named
from runtime.machine.cache import cache_folder

_FILE = Path(__file__).with_suffix(".txt")
_QUICK_FILE = _FILE.with_name("quick.txt")
_START_SECONDS = 0.3  # of any case


def sample() -> list[str]:
    """Names of the cases."""
    return _FILE.read_text().splitlines()


def quick_sample() -> list[str]:
    """Names of the fewest and quickest cases in which every op occurs."""
    return _QUICK_FILE.read_text().splitlines()


def fewest(cases: Iterable[Case]) -> list[Case]:
    """Quick cases that pass, and together use every op that any of them uses: the next is always the one that adds most
    ops per second."""
    left = {case.name: case for case in cases if case.outcome == "passed"}
    missing = {op for case in left.values() for op in case.ops}
    chosen = []
    while missing:
        best = max(left.values(), key=lambda case: len(missing & set(case.ops)) / (_START_SECONDS + case.seconds))
        chosen.append(left.pop(best.name))
        missing -= set(best.ops)
    return sorted(chosen, key=lambda case: case.name)


def choose(cases: Iterable[Case], per_op: int) -> list[Case]:
    """Few quick cases that pass: each op in `per_op` of them, from different test functions first; each class once."""
    passing = [case for case in cases if case.outcome == "passed"]
    passing.sort(key=lambda case: (round(case.seconds, 1), case.name))
    chosen: dict[str, Case] = {}
    uses: Counter[str] = Counter()
    functions: set[tuple[str, str]] = set()
    for distinct in (True, False):  # first one case of an op from each test function, then any
        for case in sorted(passing, key=lambda case: len(case.ops)) if not distinct else passing:
            uncovered = [op for op in case.ops if uses[op] < per_op]
            new = [op for op in uncovered if (op, case.function) not in functions]
            if case.name not in chosen and (new if distinct else uncovered):
                chosen[case.name] = case
                uses.update(case.ops)
                functions.update((op, case.function) for op in case.ops)
    groups = {case.group for case in chosen.values()}
    for case in passing:
        if case.group not in groups:
            groups.add(case.group)
            chosen[case.name] = case
    return sorted(chosen.values(), key=lambda case: case.name)


def _names(cases: Iterable[Case]) -> list[str]:
    return [case.name for case in cases]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conformance.sample", description=__doc__)
    parser.add_argument("--per-op", type=int, default=6, help="cases of each op at least [6]")
    parser.add_argument("--results", type=Path, help="folder of the outcomes [in the cache]")
    options = parser.parse_args(arguments)
    path = (options.results or cache_folder() / "conformance") / "mil.jsonl"
    results = Results(path, "mil")
    chosen = choose(results.cases.values(), options.per_op)
    if not chosen:
        print(f"error: {path} holds no outcomes: run `python -m benchmarks.conformance` first", file=sys.stderr)
        return 2
    left_out: set[str] = set()
    while missing := {*_names(chosen)} - {*_names(run_named(_names(chosen), results))}:
        # Of a class that two modules hold only one has cases: upstream's parameters may be iterators.
        left_out |= missing
        chosen = choose((case for name, case in results.cases.items() if name not in left_out), options.per_op)
    for file, cases in ((_FILE, chosen), (_QUICK_FILE, fewest(chosen))):
        file.write_text("".join(f"{name}\n" for name in _names(cases)))
    ops = {op for case in chosen for op in case.ops}
    print(f"{len(chosen)} cases, {len(ops)} ops, {sum(case.seconds for case in chosen):.0f} s of one core")
    return 0


if __name__ == "__main__":
    sys.exit(main())
