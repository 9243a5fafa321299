"""Breaks every op on purpose, one change at a time: a case of the fixed sample must fail.

Beside a wrong result for every op function, operators, comparisons, constants and branches are changed one by one.
Each change runs in a process of its own, under a time limit. What survives is listed: a change without an effect, or
one that the sample does not see.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks.conformance import plugin
from benchmarks.conformance.mutants import Mutant, mutants
from benchmarks.conformance.results import Case, Results
from benchmarks.conformance.sample import sample
from benchmarks.conformance.suites import environment, run_named, targets
from runtime.machine.cache import cache_folder
from runtime.machine.tether import die_with
from runtime.mil.ops import OPS

_SECONDS = 120  # a change that runs longer hangs: that is noticed too


@dataclass(frozen=True)
class _Verdict:
    mutant: Mutant
    caught: bool
    cases: int


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every op function that gives a wrong result is caught."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conformance.mutation", description=__doc__)
    parser.add_argument("--op", action="append", default=[], choices=sorted(OPS), metavar="OP", help="[all of them]")
    parser.add_argument("--broken-only", action="store_true", help="only the wrong results")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes [one per core]")
    parser.add_argument("--results", type=Path, help="folder of the outcomes [in the cache]")
    options = parser.parse_args(arguments)
    results = Results((options.results or cache_folder() / "conformance") / "mil.jsonl", "mil")
    cases = [case for case in run_named(sample(), results, options.jobs) if case.outcome == "passed"]
    chosen = [m for m in mutants(tuple(options.op)) if m.broken or not options.broken_only]
    loop = _Loop(chosen, cases, options.jobs)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "done").touch()
        names = tuple(case.name for case in cases)
        orders = plugin.Orders("mil", f"{folder}/outcomes", f"{folder}/drawn", f"{folder}/done", only=names)
        os.environ.update(environment(orders))
        os.chdir(folder)  # away from this project's pytest configuration
        quiet = ["-q", "-W", "ignore", "-p", "no:cacheprovider", "-p", "no:xdist"]
        code = pytest.main([*quiet, "--pyargs", *targets(names)], plugins=[plugin, loop])
    if len(loop.verdicts) != len(chosen):
        print(f"error: pytest ended with {code}", file=sys.stderr)
        return 2
    return _show(loop.verdicts)


def _show(verdicts: Sequence[_Verdict]) -> int:
    survivors = [verdict for verdict in verdicts if not verdict.caught]
    for verdict in survivors:
        mutant = verdict.mutant
        print(f"survived {verdict.cases} cases: {mutant.file}, {mutant.function}: {mutant.change}")
    broken = [verdict for verdict in verdicts if verdict.mutant.broken]
    caught = sum(verdict.caught for verdict in broken)
    print(f"wrong results: {caught} of {len(broken)} functions caught")
    print(f"all changes: {len(verdicts) - len(survivors)} of {len(verdicts)} caught")
    return 0 if caught == len(broken) else 1


class _Loop:
    """Takes the place of pytest's loop over the cases that it collected: runs them once for each mutant."""

    def __init__(self, chosen: Sequence[Mutant], cases: Iterable[Case], jobs: int) -> None:
        self.chosen, self.jobs = chosen, jobs
        self.cases = sorted(cases, key=lambda case: case.seconds)
        self.verdicts: list[_Verdict] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: Any) -> bool:
        items = {plugin.case_name(item): item for item in session.items}
        running: dict[int, tuple[Mutant, int, float]] = {}
        waiting = list(self.chosen)
        while waiting or running:
            while waiting and len(running) < self.jobs:
                mutant = waiting.pop(0)
                names = [case.name for case in self.cases if set(case.ops) & set(mutant.ops)]
                child = _start(mutant, [items[name] for name in names if name in items])
                running[child] = (mutant, len(names), time.monotonic())
            time.sleep(0.02)
            for child, (mutant, count, started) in list(running.items()):
                if time.monotonic() - started > _SECONDS:
                    os.kill(child, signal.SIGKILL)
                done, status = os.waitpid(child, os.WNOHANG)
                if done:
                    del running[child]
                    self.verdicts.append(_Verdict(mutant, status != 0, count))
                    _progress(len(self.verdicts), len(self.chosen))
        return True


def _start(mutant: Mutant, items: Sequence[Any]) -> int:
    """A child process that ends with 0 where every case passes in spite of the mutant."""
    parent = os.getpid()
    child = os.fork()
    if child:
        return child
    die_with(parent)
    status = 1
    try:
        with tempfile.TemporaryDirectory() as folder:
            tempfile.tempdir = folder
            OPS.update(mutant.ops)
            status = int(any(_fails(item) for item in items))
            tempfile.tempdir = None
    finally:
        os._exit(status)


def _fails(item: Any) -> bool:
    from _pytest.runner import runtestprotocol

    return any(report.failed for report in runtestprotocol(item, log=False, nextitem=None))


def _progress(done: int, total: int) -> None:
    if done % 20 == 0 or done == total:
        print(f"{done} of {total}", file=sys.__stderr__, flush=True)


if __name__ == "__main__":
    sys.exit(main())
