"""Suites with real jobs."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import torch

from checkpoints.catalogue import BUNDLED, catalogue
from checkpoints.load import load
from checkpoints.locate import FALLBACK, locate
from checkpoints.options import CheckpointOptions
from convert.runners.local import processes_for
from convert.schema import RunnerOptions, SuiteOptions
from convert.suite import expand
from reports.champions import promote
from reports.options import TrackingOptions
from reports.suite import SuiteResult, SuiteRow, junit, markdown, read_suite
from runtime.bundle.store import BundleError
from tests.conftest import ROOT

GOOD = "{format: onnx, precision: fp32}"
REJECTED = "{format: onnx, precision: fp32, upsampler: native, gates.limits.fp32.snr_db: 500}"
BROKEN = "{format: onnx, precision: fp32, checkpoint.config: no/such.json, checkpoint.source: no/such/folder}"


def command(tmp_path, jobs, *overrides):
    return [
        sys.executable, "-m", "convert", "suite.name=own", f"suite.jobs=[{', '.join(jobs)}]", "measure.bench_seconds=0",
        f"output={tmp_path}/b", f"tracking.uri=sqlite:///{tmp_path}/mlflow.db", *overrides,
    ]  # fmt: skip


def environment(tmp_path):
    return {**os.environ, "PYTHONPATH": str(ROOT), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}


def run(tmp_path, jobs, *overrides):
    line = command(tmp_path, jobs, *overrides)
    return subprocess.run(line, capture_output=True, text=True, cwd=tmp_path, env=environment(tmp_path), check=False)


def last_result(tmp_path):
    (*_, newest) = sorted((tmp_path / "b" / "suites").glob("own-*/suite.json"))
    return read_suite(newest)


def test_a_matrix_is_every_combination_once_and_leaves_out_what_cannot_be():
    suite = SuiteOptions(
        "x",
        [
            {"model": "hifigan", "precision": ["fp16", "fp32"], "format": ["mlprogram", "onnx"], "upsampler": "metal"},
            {"model": "hifigan", "precision": ["fp16", "fp32"]},
            {"precision": "fp16", "model": "hifigan"},
            {"model": "hifigan", "precision": "fp16"},
        ],
    )
    jobs, left_out = expand(suite)
    assert jobs == [
        ("model=hifigan", "precision=fp16"),
        ("model=hifigan", "precision=fp32"),
        ("precision=fp16", "model=hifigan"),
    ]
    assert len(left_out) == 4 and all("upsampler=metal" in reason for reason in left_out)
    assert processes_for(RunnerOptions(memory_gb=10_000)) == 1


@pytest.mark.parametrize("name", ["smoke", "nightly"])
def test_the_suites_that_ship_name_what_exists(name):
    import yaml

    from convert.overrides import check

    suite = yaml.safe_load((ROOT / "conf" / "suite" / f"{name}.yaml").read_text())
    jobs, _ = expand(SuiteOptions(suite["name"], suite["jobs"]))
    assert len(jobs) > 5
    for overrides in jobs:
        check(overrides)


def slightly_other_weights(source, folder):
    """A checkpoint of the same name, whose bundle is another program of the same series."""
    original = BUNDLED / FALLBACK["hifigan"] if source == "bundled" else Path(source)
    copied = shutil.copytree(original, folder / original.name)
    config = json.loads((copied / "config.json").read_text())
    config["audio"] |= catalogue()[FALLBACK["hifigan"]].audio
    (copied / "config.json").write_text(json.dumps(config))
    weights = dict(load(locate(CheckpointOptions(source=str(copied)), "hifigan", "", print)).weights)
    weights["conv_post.bias"] += 1e-4
    for file in (*copied.glob("*.pth"), *copied.glob("*.safetensors")):
        file.unlink()
    torch.save({"model": weights}, copied / "model_file.pth")
    return copied


@pytest.mark.proof
def test_a_suite_ends_with_a_verdict_per_job_and_goes_on_where_it_ended(tmp_path, sources):
    jobs = [GOOD, REJECTED]
    first = run(tmp_path, jobs, *sources)
    assert first.returncode == 1, first.stderr
    result = last_result(tmp_path)
    assert [row.verdict for row in result.rows] == ["passed", "rejected"]
    assert not any(row.is_reused for row in result.rows[:1])
    assert "snr_db" in result.rows[1].reason
    promote(result.rows[0].bundle, "the first", TrackingOptions(uri=f"sqlite:///{tmp_path}/mlflow.db"))
    second = run(tmp_path, [GOOD], *sources)
    assert second.returncode == 0, second.stderr
    (row,) = last_result(tmp_path).rows
    assert row.verdict == "passed" and row.is_reused
    assert row.champion == "this one"
    summary = (tmp_path / "summary.md").read_text()
    assert "1 rejected, 1 passed." in summary and "1 passed." in summary
    assert sorted(os.listdir(tmp_path)) == ["b", "mlartifacts", "mlflow.db", "summary.md"]

    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
    assert {run.data.tags["suite"] for run in runs} == {"own"}
    assert [row.champion for row in result.rows] == ["none yet", ""], "what was rejected is compared with nothing"
    kinds = sorted(run.data.tags["kind"] for run in runs)
    assert kinds == ["convert"] * 2 + ["measure"] * 2 + ["suite"] * 2, "what was unchanged is not logged again"
    other = slightly_other_weights(sources[0].removeprefix("checkpoint.source="), tmp_path / "other")
    third = run(tmp_path, [GOOD], f"checkpoint.source={other}", *sources[1:], "suite.compare.minutes=0")
    (row,) = last_result(tmp_path).rows
    assert (row.champion, row.comparison.champion) == ("version 1", "1"), third.stderr
    assert third.returncode == {"passed": 0, "regressed": 1}[row.verdict]
    assert ("unknown", "not compared: minutes is 0") in [(one.verdict, one.text) for one in row.comparison.findings]


def test_a_job_that_fails_fails_alone(tmp_path, convert_job, sources):
    """The other one finds its bundle unchanged."""
    untimed = ("measure.bench_seconds=0", "measure.bench_min_chunks=50")  # as `command` has them
    bundle = convert_job("format=onnx", "precision=fp32", *untimed).bundle
    for folder in (bundle.path, bundle.measured):
        shutil.copytree(folder, tmp_path / "b" / folder.name)
    here = sources[0].replace("=", ": ")
    failed = subprocess.run(
        command(tmp_path, [BROKEN, f"{{format: onnx, precision: fp32, {here}}}"], "tracking=off", *sources[1:]),
        capture_output=True, text=True, cwd=tmp_path, env=environment(tmp_path), check=False,
    )  # fmt: skip
    assert failed.returncode == 2, "as of the job alone: its checkpoint is not there"
    rows = last_result(tmp_path).rows
    assert [row.verdict for row in rows] == ["failed", "passed"]
    assert "no/such" in rows[0].reason and "no/such" in failed.stderr.replace("\n", "")
    assert rows[1].is_reused and rows[1].bundle == str(tmp_path / "b" / bundle.path.name)


def test_a_job_that_is_not_finished_in_time_hangs(tmp_path, sources):
    hung = run(tmp_path, [GOOD], *sources, "suite.limit_minutes=0.01", "tracking=off")
    assert hung.returncode == 3
    (row,) = last_result(tmp_path).rows
    assert row.verdict == "hung" and row.reason == "not finished in 0.01 minutes"


def test_an_interrupt_ends_every_job_and_says_what_stays(tmp_path, sources):
    process = subprocess.Popen(
        [*command(tmp_path, [GOOD], "tracking=off", *sources, "runner.processes=1")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment(tmp_path),
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list((tmp_path / "b").glob(".*.partial-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on from here" in said.replace("\n", " ")
    assert not list((tmp_path / "b").glob(".*.partial-*"))
    assert [row.verdict for row in last_result(tmp_path).rows] == ["waiting"]


ROWS = (
    SuiteRow("a", ("x=1",), "passed", 1.0, "/b", is_reused=True),
    SuiteRow("b | c", ("x=2",), "rejected", 2.0, "/c", "snr <db> & more"),
    SuiteRow("d", ("x=3",), "hung", 3.0, None, "not finished"),
    SuiteRow("e", ("x=4",), "waiting", 0.0),
)


def test_the_summary_puts_what_went_wrong_first():
    lines = markdown(SuiteResult("s", "now", ROWS)).splitlines()
    assert lines[2] == "1 hung, 1 rejected, 1 waiting, 1 passed."
    assert lines[-3] == "| a | passed, unchanged |  |  |  |  | 1.0 |  |"


def test_junit_has_a_case_per_job():
    suite = ElementTree.fromstring(junit(SuiteResult("s", "now", ROWS)).partition("\n")[2])
    assert {key: suite.attrib[key] for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "4", "failures": "1", "errors": "1", "skipped": "1",
    }  # fmt: skip
    assert [[child.tag for child in case] for case in suite] == [[], ["failure"], ["error"], ["skipped"]]
    assert suite[1][0].attrib["message"] == "snr <db> & more"


def test_a_damaged_result_is_a_sentence(tmp_path):
    (tmp_path / "suite.json").write_text(json.dumps({"suite": 1}))
    with pytest.raises(BundleError, match="no suite that this voxport reads"):
        read_suite(tmp_path / "suite.json")
