"""docs/conformance.md: pass rates per suite, module, class and op, and every failure with its reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from benchmarks.conformance.known import known_reason
from benchmarks.conformance.results import Case, Summary, pass_counts, summary
from benchmarks.conformance.suites import SUITES, suite_of

_INTRODUCTION = """# Conformance

coremltools' own test-suite, from its wheel, executed by voxport's engines on Linux. Made by
`python -m benchmarks.conformance`: do not edit. Left out are cases that upstream skips or expects to fail, and those
that predict with another model type or read the files that Core ML's compiler makes. *Executed* are the cases that
predict; the others only convert. Engine `neuralnetwork` runs the cases of its target
(`PYMIL_TEST_TARGETS=neuralnetwork`) and the suite `layers`, coremltools' tests of the layers themselves.
"""


def report(runs: Mapping[str, tuple[str, Sequence[Case]]]) -> str:
    """`runs`: engine -> (which cases were drawn, in words; the cases)."""
    parts = [_INTRODUCTION]
    for engine, (drawn, cases) in runs.items():
        parts += [f"## Engine `{engine}`: {drawn}", "", *_suites(cases), ""]
    for engine, (_, cases) in runs.items():
        failures = [case for case in cases if case.outcome == "failed"]
        parts += [f"## Failures of `{engine}` ({len(failures)})", "", *_failures(failures), ""]
    engine, (_, cases) = next(iter(runs.items()))
    incomplete = {
        key: value for key, value in pass_counts((case.group, case) for case in cases).items() if value[0] < value[1]
    }
    parts += [f"## Classes of `{engine}` below 100 %", "", *_rates("class", incomplete), ""]
    parts += [f"## Modules (`{engine}`)", "", *_rates("module", pass_counts((c.module, c) for c in cases)), ""]
    by_op = pass_counts((op, case) for case in cases for op in case.ops)
    parts += [f"## Ops (`{engine}`): cases whose programs use the op", "", *_rates("op", by_op)]
    return "\n".join(parts) + "\n"


def _suites(cases: Sequence[Case]) -> Iterable[str]:
    yield "| suite | cases | executed | passed | rate | mean over classes | worst class |"
    yield "|---|---|---|---|---|---|---|"
    for suite in SUITES:
        suite_cases = [case for case in cases if suite_of(case) == suite]
        if suite_cases:
            yield _suite_row(suite, summary(suite_cases))
    yield _suite_row("**all**", summary(cases))


def _suite_row(name: str, s: Summary) -> str:
    return (
        f"| {name} | {s.cases} | {s.executed} | {s.passed} | {s.rate:.2%} | {s.group_mean:.2%} | {s.worst_group:.0%} |"
    )


def _failures(failures: Sequence[Case]) -> Iterable[str]:
    """Grouped by reason: the reason, then the names."""
    by_reason: dict[str, list[str]] = {}
    for case in failures:
        by_reason.setdefault(known_reason(case) or case.reason or "no reason given", []).append(case.name)
    for reason, names in sorted(by_reason.items()):
        yield f"- {reason} ({len(names)})"
        yield from (f"  - `{name}`" for name in sorted(names))


def _rates(title: str, counts: Mapping[str, tuple[int, int]]) -> Iterable[str]:
    yield f"| {title} | passed | cases |"
    yield "|---|---|---|"
    for key, (passed, total) in counts.items():
        yield f"| {key} | {passed} | {total} |"
