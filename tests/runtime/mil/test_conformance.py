"""A fixed sample of coremltools' own tests; `make conformance` runs more."""

import pytest

from runtime.mil.conformance import Case, known_reason, report, run, summary


@pytest.mark.parametrize("suite", ["ops", "stateful", "torch"])
def test_a_case_of_every_class_of_coremltools_own_suite_passes(suite):
    cases = run(suite, per_class=1, seed=1, jobs=2)
    unexplained = [
        f"{case.name}: {case.reason}" for case in cases if case.outcome == "failed" and not known_reason(case)
    ]
    assert unexplained == []
    result = summary(cases)
    assert result["pass_rate"] > 0.95
    assert result["cases"] >= {"ops": 150, "stateful": 1, "torch": 100}[suite]


def test_the_summary_counts_cases_and_means_over_classes():
    cases = [
        Case("ops", "a.py::A::test", "a.py::A::test[1]", "passed", ""),
        Case("ops", "a.py::A::test", "a.py::A::test[2]", "failed", "wrong"),
        Case("ops", "a.py::B::test", "a.py::B::test[1]", "passed", ""),
        Case("ops", "a.py::B::test", "a.py::B::test[2]", "skipped", ""),
    ]
    result = summary(cases)
    assert (result["cases"], result["passed"], result["skipped_upstream"]) == (3, 2, 1)
    assert result["class_mean"] == pytest.approx(0.75)
    assert result["worst_class"] == pytest.approx(0.5)
    assert "- `a.py::A::test[2]`: wrong" in report(cases, "--suite ops")
