"""Comparisons with a champion: real bundles made worse on purpose, clocks that are told."""

import itertools
import json
import math
import shutil

import pytest

from reports import verdict
from reports.options import CompareOptions
from reports.verdict import compare
from runtime.__main__ import main as runtime_main
from runtime.rounding.difference import first_divergence
from tests.reports.worsened import measured, worsened

OPTIONS = CompareOptions(minutes=0)


def findings(comparison, subject):
    return {finding.verdict: finding.text for finding in comparison.findings if finding.subject == subject}


def untimed(fp16):
    return [one for one in fp16.measurements if one.engine == "mil"]


def test_the_same_program_converted_again_needs_no_comparison(fp16, tmp_path):
    again = worsened(fp16.bundle, tmp_path, "again", flip=None)
    found = compare(fp16.bundle, "3", again, untimed(fp16), OPTIONS)
    assert found.verdict == "passed" and found.headline == ""
    assert findings(found, "quality") == {"same": "the same program, weights and inputs"}
    assert findings(found, "latency") == {"same": "the same program: not timed"}
    assert found.champion == "3"


def test_a_worse_weight_is_a_regression_that_names_cause_amount_and_op(fp16, tmp_path):
    versions = fp16.bundle.manifest.versions | {"coremltools": "9.1"}
    worse = worsened(fp16.bundle, tmp_path, "worse", versions=versions)
    found = compare(fp16.bundle, "1", worse, measured(worse, fp16.bundle), OPTIONS)
    assert found.verdict == "regressed"
    assert found.headline.startswith("coremltools 9.0 -> 9.1 made generator ")
    assert "dB worse" in found.headline and "in mil" in found.headline
    assert "is the first that differs" in found.first_divergence
    assert findings(found, "size").keys() == {"same"} and findings(found, "ops").keys() == {"same"}
    difference = first_divergence(fp16.bundle, worse)
    assert difference.op == "conv" and 1 < difference.position < difference.ops and not difference.structure


@pytest.fixture(scope="module")
def lowered(fp32, fp16):
    """Half precision beside a champion in single."""
    return compare(fp32.bundle, "1", fp16.bundle, untimed(fp16), OPTIONS)


def test_a_lower_precision_is_a_regression_and_smaller(lowered, fp32, fp16):
    assert lowered.verdict == "regressed"
    assert "better" in findings(lowered, "size")
    assert "cast" in findings(lowered, "ops")["changed"]
    assert lowered.headline.startswith("precision fp32 -> fp16, ")
    assert first_divergence(fp32.bundle, fp16.bundle).structure


@pytest.mark.proof
def test_what_became_better_is_no_regression(fp16, fp32):
    found = compare(fp16.bundle, "1", fp32.bundle, untimed(fp32), OPTIONS)
    assert "better" in findings(found, "quality") and "worse" not in findings(found, "quality")
    assert found.verdict == "regressed", "it is twice as large"
    assert found.headline.endswith("(+93.05 %)") or "the artefact larger" in found.headline


@pytest.fixture
def equal_quality(monkeypatch):
    """What other tests find out, for those that only compare latency: it takes a measurement of the champion."""
    monkeypatch.setattr(verdict, "_quality", lambda *_: [verdict.Finding("quality", "same", "not looked at")])


def timer_of(factors):
    """A clock: the champion takes 1000 µs, the candidate as much times what comes next."""
    steps = itertools.cycle(factors)

    def timer(options):
        return lambda path: {"chunk": 1000.0 * (next(steps) if path.name == "candidate" else 1.0)}

    return timer


@pytest.mark.parametrize(
    ("factors", "expected", "what"),
    [
        ([1.24, 1.25, 1.26], "regressed", "worse"),
        ([0.79, 0.8, 0.81], "passed", "better"),
        ([0.999, 1.001], "passed", "same"),
        ([0.5, 1.9, 1.1], "noisy", "noisy"),
    ],
)
def test_latency_has_a_verdict_of_its_own(fp16, tmp_path, equal_quality, factors, expected, what):
    candidate = worsened(fp16.bundle, tmp_path, "candidate", flip=1)
    timed = [one for one in fp16.measurements if one.engine == "onnx"]
    options = CompareOptions(minutes=0.0005)
    found = compare(fp16.bundle, "1", candidate, timed, options, timer=timer_of(factors))
    assert found.verdict == expected
    assert findings(found, "latency").keys() == {what}
    test = found.latency["onnx chunk"]
    assert math.isclose(test.ratio, math.prod(factors) ** (1 / len(factors)), rel_tol=0.2) or what == "noisy"


def test_a_device_has_its_own_champion_of_latency(fp16, tmp_path, equal_quality):
    candidate = worsened(fp16.bundle, tmp_path, "candidate", flip=1)
    slow = worsened(fp16.bundle, tmp_path, "slow", flip=None)
    asked = []

    def timer(options):
        return lambda path: asked.append(path.name) or {"chunk": 1000.0}

    timed = [one for one in fp16.measurements if one.engine == "onnx"]
    compare(fp16.bundle, "1", candidate, timed, CompareOptions(minutes=0.0005), latency_champion=slow, timer=timer)
    assert set(asked) == {"slow", "candidate"}


def test_an_op_that_leaves_the_neural_engine_is_worse(fp16, tmp_path, monkeypatch):
    import dataclasses

    from runtime.measuring.mac_check import Placement

    candidate = worsened(fp16.bundle, tmp_path, "candidate", flip=None)
    plans = {fp16.bundle.path.name: {"ne": 200, "cpu": 3}, "candidate": {"ne": 198, "cpu": 5}}
    monkeypatch.setattr(verdict, "placement", lambda path, *_: Placement(plans[path.parent.name], {}, ()))
    coreml = [dataclasses.replace(untimed(fp16)[0], engine="coreml", compute_unit="cpu_and_ne")]
    found = compare(fp16.bundle, "1", candidate, coreml, OPTIONS)
    assert found.verdict == "regressed"
    assert findings(found, "placement")["worse"].endswith("3 on cpu, 200 on ne -> 5 on cpu, 198 on ne")


def test_paired_processes_are_fresh_and_take_turns(fp16):
    from runtime.errors import EngineError
    from runtime.measuring.bench.paired import in_fresh_process, time_pairs
    from runtime.measuring.options import MeasureOptions

    order = []

    def timer(who):
        return lambda path: order.append(who) or {"chunk": 1.0}

    time_pairs(fp16.bundle.path, fp16.bundle.path, timer("a"), timer("b"), lambda pairs: len(pairs) == 3)
    assert "".join(order) == "abbaab"
    quick = MeasureOptions(engines=["onnx"], bench_seconds=0.05, bench_min_chunks=3)
    assert in_fresh_process(quick)(fp16.bundle.path)["chunk"] > 100
    with pytest.raises(EngineError, match="made to be right, not fast"):
        in_fresh_process(MeasureOptions(engines=["mil"]))(fp16.bundle.path)


def test_diff_says_what_differs(fp16, fp32, tmp_path, capsys):
    from runtime.__main__ import main

    assert main(["diff", str(fp32.bundle.path), str(fp16.bundle.path), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["programs"] == "not the same" and "cast" in said["first divergence"]
    copy = shutil.copytree(fp16.bundle.path, tmp_path / "copy")
    assert main(["diff", str(fp16.bundle.path), str(copy), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["programs"] == "the same, weights too"


def test_a_bundle_can_be_measured_again_and_again(fp16, tmp_path):
    from runtime.__main__ import main
    from runtime.measuring.measure import read_measurement

    command = ["measure", str(fp16.bundle.path), "--engine", "onnx", "--no-timing", "--repeat", "2"]
    assert main([*command, "--out", str(tmp_path)]) == 0
    first, second = (read_measurement(path) for path in sorted(tmp_path.glob("*.json")))
    assert first.clips == second.clips and first.latency is None


def test_what_was_asked_for_otherwise_is_named_before_tools_are_blamed(lowered, fp32, fp16, capsys):
    assert lowered.headline.startswith("precision fp32 -> fp16, ")
    assert "precision fp32 -> fp16" in findings(lowered, "settings")["changed"]
    assert runtime_main(["diff", str(fp32.bundle.path), str(fp16.bundle.path)]) == 0
    assert "precision fp32 -> fp16" in capsys.readouterr().out


def test_equal_settings_are_no_finding(fp16, tmp_path):
    again = worsened(fp16.bundle, tmp_path, "again", flip=None)
    assert findings(compare(fp16.bundle, "3", again, untimed(fp16), OPTIONS), "settings") == {}
