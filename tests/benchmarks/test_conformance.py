"""A fixed sample of coremltools' own tests; `make conformance` runs all of them."""

import subprocess
import sys
from dataclasses import replace

import pytest

from benchmarks.conformance import results as outcomes
from benchmarks.conformance.__main__ import main
from benchmarks.conformance.known import known_reason
from benchmarks.conformance.mutants import mutants
from benchmarks.conformance.report import report
from benchmarks.conformance.results import Case, Results, append, fingerprint, summary
from benchmarks.conformance.sample import choose, fewest, quick_sample, sample
from benchmarks.conformance.suites import run, run_named, suite_of
from runtime.mil.ops import OPS

CASES = [
    Case("converters.mil.mil.ops.tests.a::A::test[1]", "passed", ops=("add", "mul"), seconds=0.1),
    Case("converters.mil.mil.ops.tests.a::A::test[2]", "failed", "wrong", ops=("add",)),
    Case("converters.mil.mil.ops.tests.a::B::test[1]", "passed", seconds=0.1),
    Case("converters.mil.mil.ops.tests.a::B::test[2]", "skipped"),
    Case("converters.mil.mil.ops.tests.a::B::test[3]", "foreign"),
]


@pytest.mark.parametrize(
    "names", [quick_sample(), pytest.param(sample(), marks=pytest.mark.proof)], ids=["quick", "all"]
)
def test_the_fixed_sample_of_coremltools_own_suite_passes_and_uses_every_op(kept, names):
    """Outcomes are kept between runs, each while the sources that it went through stay as they are."""
    folder = kept.parent.parent / "conformance"
    folder.mkdir(exist_ok=True)
    jobs = 2 if len(names) > len(quick_sample()) else 0  # each would collect them all
    cases = run_named(names, Results(folder / "mil.jsonl", "mil"), jobs)
    assert [case.name for case in cases] == names
    assert [f"{case.name}: {case.reason}" for case in cases if case.outcome != "passed"] == []
    assert {op for case in cases for op in case.ops} >= set(OPS)


@pytest.mark.proof
def test_a_sample_of_coremltools_own_tests_of_layers_passes(tmp_path):
    """Drawn with a seed whose cases are short."""
    cases = run("layers", Results(tmp_path / "neuralnetwork.jsonl", "neuralnetwork"), per_class=4, seed=2, jobs=2)
    assert [f"{case.name}: {case.reason}" for case in cases if case.outcome == "failed"] == []
    assert len({layer for case in cases for layer in case.ops}) > 20


def test_cases_are_counted_and_averaged_over_classes():
    s = summary(CASES)
    assert (s.cases, s.passed, s.executed, s.left_out, s.groups) == (3, 2, 2, 2, 2)
    assert (s.group_mean, s.worst_group) == (pytest.approx(0.75), pytest.approx(0.5))
    assert s.rate == pytest.approx(2 / 3)


def test_the_report_names_rates_and_failures():
    text = report({"mil": ("5 cases", CASES)})
    assert "| ops | 3 | 2 | 2 | 66.67% | 75.00% | 50% |" in text
    assert "- wrong (1)\n  - `converters.mil.mil.ops.tests.a::A::test[2]`" in text
    assert "| converters.mil.mil.ops.tests.a::A | 1 | 2 |" in text
    assert "| add | 1 | 2 |" in text


def test_known_failures_have_their_reason():
    assert known_reason(Case("TestX::test[1]", "failed", "RuntimeError: running_mean and running_var must either both"))
    assert known_reason(CASES[1]) is None


def test_an_outcome_holds_while_its_sources_do(tmp_path, monkeypatch):
    path = tmp_path / "mil.jsonl"
    add, conv = (Case(name, "passed", ops=(name,), sources=fingerprint("mil", [name])) for name in ("add", "conv"))
    for case in (replace(add, outcome="failed"), add, conv):
        append(path, case)
    with path.open("a") as file:
        file.write('{"name": "cut o')  # an interrupt
    results = Results(path, "mil")
    assert results.fresh() == {"add", "conv"}
    assert results.cases["add"].outcome == "passed", "the newest outcome counts"
    real = outcomes.file_hash
    monkeypatch.setattr(outcomes, "file_hash", lambda file: real(file) + ("new" if file.name == "conv.py" else ""))
    assert results.fresh() == {"add"}
    monkeypatch.setattr(outcomes, "file_hash", lambda file: real(file) + ("new" if file.name == "graph.py" else ""))
    assert results.fresh() == set()


@pytest.mark.proof
def test_a_run_takes_up_what_is_known_and_runs_the_rest(tmp_path, capsys):
    results = Results(tmp_path / "mil.jsonl", "mil")
    name = next(name for name in sample() if suite_of(Case(name, "")) == "ops")
    (first,) = run_named([name], results, jobs=0)
    (second,) = run_named([name], results, jobs=0)
    assert first == second
    assert len(results.path.read_text().splitlines()) == 1
    with pytest.raises(RuntimeError, match="pytest ended with"):
        run_named(["converters.mil.mil.ops.tests.absent::Absent::test"], results, jobs=0)


def test_the_sample_prefers_quick_cases_and_covers_ops_and_classes():
    slow = Case("m::Slow::test", "passed", ops=("add", "mul"), seconds=30)
    other = Case("m::C::test", "passed", seconds=0.2)
    assert choose([*CASES, slow, other], 1) == sorted([CASES[0], CASES[2], other, slow], key=lambda case: case.name)
    assert slow not in choose([*CASES, replace(slow, name="converters.mil.mil.ops.tests.a::A::slow"), other], 1)


def test_the_quick_sample_is_the_fewest_that_use_every_op():
    slow, both = (
        Case(f"m::C::{name}", "passed", ops=("add", "mul"), seconds=2 - index) for index, name in enumerate("ab")
    )
    other = Case("m::C::c", "passed", ops=("conv",), seconds=5)
    assert fewest([slow, both, other, Case("m::C::d", "failed", ops=("gelu",))]) == [both, other]


@pytest.mark.proof
def test_every_op_function_is_broken_on_purpose():
    broken = {op for mutant in mutants() if mutant.broken for op in mutant.ops}
    assert broken == set(OPS)
    changes = [mutant.change for mutant in mutants(("gelu",))]
    assert changes[0] == "a wrong result"
    assert len(changes) > 1


@pytest.mark.proof
def test_a_broken_op_fails_a_case(tmp_path):
    """The mutation script, on one op and the cases of it."""
    code = (
        "from benchmarks.conformance import mutation\n"
        f"mutation.sample = lambda: {[name for name in sample() if 'leaky_relu' in name.lower()][:2]}\n"
        f"raise SystemExit(mutation.main(['--op', 'leaky_relu', '--results', {str(tmp_path)!r}]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "wrong results: 1 of 1 functions caught" in done.stdout


def test_a_wrong_option_is_a_sentence(capsys):
    with pytest.raises(SystemExit) as error:
        main(["--engine", "coreml"])
    assert error.value.code == 2
    assert "invalid choice: 'coreml'" in capsys.readouterr().err
