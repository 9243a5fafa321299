"""Runs coremltools' own tests with a voxport engine. Outcomes are kept: a second run takes up where one stopped."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.conformance.known import known_reason
from benchmarks.conformance.report import report
from benchmarks.conformance.results import Case, Results, summary
from benchmarks.conformance.suites import SUITES, run, suite_of, suites_of
from runtime.machine.cache import cache_folder
from runtime.machine.files import write_text


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every case passed that upstream does not skip and known.py does not explain."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conformance", description=__doc__)
    parser.add_argument("--suite", action="append", choices=sorted(SUITES), help="[all of them]")
    parser.add_argument("--engine", action="append", choices=["mil", "onnx", "neuralnetwork"], help="[mil]")
    parser.add_argument("--per-class", type=int, default=0, help="cases of each test class; 0 is all [0]")
    parser.add_argument("--seed", type=int, default=1, help="of the draw [1]")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes [one per core]")
    parser.add_argument("--results", type=Path, help="folder of the outcomes [in the cache]")
    parser.add_argument("--report", type=Path, help="write a Markdown report there, of every outcome in the folder")
    options = parser.parse_args(arguments)
    folder = options.results or cache_folder() / "conformance"
    unexplained: list[Case] = []
    for engine in options.engine or ["mil"]:
        results = Results(folder / f"{engine}.jsonl", engine)
        for suite in options.suite or suites_of(engine):
            try:
                cases = _run_with_progress(engine, suite, results, options)
            except RuntimeError as error:
                print(f"error: {engine}, suite {suite}: {error}", file=sys.stderr)
                return 2
            except KeyboardInterrupt:
                print(f"interrupted; {len(results.cases)} outcomes are kept in {results.path}", file=sys.stderr)
                return 130
            s = summary(cases)
            print(
                f"{engine} {suite}: {s.passed} of {s.cases} passed ({s.rate:.2%}; mean over {s.groups} classes "
                f"{s.group_mean:.2%}, worst {s.worst_group:.0%}), {s.executed} executed, "
                f"{s.left_out} left out by upstream",
                flush=True,
            )
            failures = [case for case in cases if case.outcome == "failed"]
            unexplained += [case for case in failures if known_reason(case) is None]
            for case in failures:
                print(f"  {case.name}: {known_reason(case) or case.reason}")
    if options.report:
        write_text(options.report, report(_kept(folder)))
    return 1 if unexplained else 0


def _run_with_progress(engine: str, suite: str, results: Results, options: argparse.Namespace) -> list[Case]:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"{engine} {suite}", total=None)
        return run(
            suite,
            results,
            options.per_class,
            options.seed,
            jobs=options.jobs,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )


def _kept(folder: Path) -> dict[str, tuple[str, list[Case]]]:
    """Engine -> (in words, the outcomes in the folder that still hold)."""
    kept = {}
    for engine in ("mil", "onnx", "neuralnetwork"):
        results = Results(folder / f"{engine}.jsonl", engine)
        fresh = results.fresh()
        cases = [case for case in results.cases.values() if case.name in fresh and suite_of(case)]
        if cases:
            kept[engine] = (f"{len(cases)} cases", sorted(cases, key=lambda case: case.name))
    return kept


if __name__ == "__main__":
    sys.exit(main())
