"""Nights in MLflow, their page, their trends; runs compared in a terminal."""

import dataclasses
import re
import shutil

import pytest

from reports import nights, tracking, ui
from reports.__main__ import main
from reports.options import TrackingOptions
from reports.regression import ChangePoint, ratio_test
from reports.store import prepared
from reports.suite import FILE, SuiteResult, SuiteRow, facts_of, markdown, read_suite, write_suite
from reports.tracked import UNTRACKED, mark_untracked
from reports.verdict import Comparison, Finding
from runtime.bundle.store import Bundle


@pytest.fixture
def store(store_uri) -> TrackingOptions:
    return TrackingOptions(uri=store_uri)


@pytest.fixture
def facts(fp16, store, tmp_path):
    """Of a bundle that is in MLflow."""
    for path in (fp16.bundle.path, fp16.bundle.measured):
        shutil.copytree(path, tmp_path / "bundles" / path.name)
    bundle = Bundle(tmp_path / "bundles" / fp16.bundle.path.name, fp16.bundle.manifest)
    tracking.track(bundle.path, store)
    return facts_of(bundle.path, store)


def night(facts, day, snr_db, **row):
    metrics = facts.metrics | {"mil/snr_db": snr_db}
    row = {"verdict": "passed", "facts": dataclasses.replace(facts, metrics=metrics), **row}
    return SuiteResult(
        "own", f"2026-11-{day:02d}T02:17:00+00:00", (SuiteRow("fp16 job", ("precision=fp16",), seconds=1.0, **row),)
    )


def write(result, tmp_path):
    folder = tmp_path / "suites" / f"own-{result.started[:10]}"
    write_suite(result, folder)
    return folder


def test_a_night_is_one_run_with_every_figure_and_once_however_often(facts, store, tmp_path):
    folder = write(night(facts, 1, 46.3), tmp_path)
    assert set(nights.track_night(folder, store)) == {"own"}
    assert nights.track_night(folder, store) == {}
    with prepared(store) as (client, experiment):
        assert client.search_runs([experiment], "tags.kind = 'suite'") == []
        own = client.get_experiment_by_name(f"{store.experiment}-nights").experiment_id
        (run,) = client.search_runs([own])
        names = {item.path for item in client.list_artifacts(run.info.run_id)}
    metrics = run.data.metrics
    series = facts.series
    assert metrics[f"{series}/mil/snr_db"] == 46.3
    assert f"{series}/size_mb" in metrics and metrics["jobs_passed"] == 1
    device = facts.devices["onnx"]
    assert any(name.startswith(f"{series}/onnx/") and name.endswith("/rtf") for name in metrics), device
    assert names == {FILE, nights.PAGE, "summary.md", "junit.xml"}
    assert run.info.run_name == "own 2026-11-01T02:17 passed"
    assert "1 passed." in run.data.tags["mlflow.note.content"]


def test_trends_come_from_the_nights_before_and_mark_where_they_stepped(facts, store, tmp_path):
    for day in range(1, 9):
        nights.track_night(write(night(facts, day, 46.3 if day < 6 else 43.1), tmp_path), store)
    page = (tmp_path / "suites" / "own-2026-11-08" / nights.PAGE).read_text()
    assert "Trends over 8 nights" in page
    assert "2026-11-06: 46.3 → 43.1" in page
    assert page.count('<svg class="trend"') >= 6
    server = dataclasses.replace(store, uri="https://m.example")
    nights.write_night(night(facts, 9, 43.1), tmp_path, [], server, "7")
    page = (tmp_path / nights.PAGE).read_text()
    for what in ("convert", "mil", "onnx"):
        address = f"https://m.example/#/experiments/7/runs/{facts.runs[what]}?workflowType=machine_learning"
        assert f'{address}">{what}</a>' in page
    with prepared(dataclasses.replace(store, experiment=f"{store.experiment}-nights")) as (client, experiment):
        assert [one.started[8:10] for one in nights.nights_of(client, experiment, "own", 3)] == ["06", "07", "08"]
        assert nights.nights_of(client, experiment, "another") == []


def test_the_page_says_first_what_went_wrong(facts, store, tmp_path):
    comparison = Comparison(
        "4", "b", "cpu", "coremltools 9.0 -> 9.1 made generator 1.3 dB worse (46.3 -> 45.0 dB in mil)",
        (Finding("quality", "worse", "generator 1.3 dB worse"), Finding("size", "same", "2 bytes")),
        first_divergence="generator: op 7 of 9 <conv>",
    )  # fmt: skip
    result = night(facts, 1, 45.0, verdict="regressed", comparison=comparison, champion="version 4")
    result = dataclasses.replace(result, drift={"numpy": "2.3.5 -> 2.4.0"})
    folder = write(result, tmp_path)
    nights.track_night(folder, store)
    page = (folder / nights.PAGE).read_text()
    assert '<span class="verdict">Failed</span>' in page
    assert "numpy 2.3.5 -&gt; 2.4.0" in page and "op 7 of 9 &lt;conv&gt;" in page
    assert page.index("made generator 1.3 dB worse") < page.index("Trends over")
    assert result.code == 1
    summary = (folder / "summary.md").read_text()
    assert "- **fp16 job**: coremltools 9.0 -> 9.1 made generator 1.3 dB worse" in summary
    junit = (folder / "junit.xml").read_text()
    assert 'failures="1"' in junit and "quality: generator 1.3 dB worse" in junit
    assert read_suite(folder / FILE) == result


def test_a_night_without_its_server_is_drawn_and_sent_later(facts, store, tmp_path, capsys):
    folder = write(night(facts, 1, 46.3), tmp_path)
    nights.write_night(read_suite(folder / FILE), folder, [], store, None)
    assert "MLflow could not be reached" in (folder / nights.PAGE).read_text()
    mark_untracked(folder, store, "away")
    assert main(["sync", str(tmp_path / "suites")]) == 0
    assert "1 runs sent" in capsys.readouterr().out
    assert not (folder / UNTRACKED).exists()
    assert "MLflow could not be reached" not in (folder / nights.PAGE).read_text()


def test_too_noisy_is_never_a_pass(facts):
    noisy = night(facts, 1, 46.0, verdict="noisy")
    assert (noisy.code, noisy.verdict) == (1, "noisy")
    assert night(facts, 1, 46.0, verdict="regressed").code == 1
    assert night(facts, 1, 46.0).code == 0
    assert SuiteResult("s", "now", ()).code == 0


def test_an_uploaded_page_leads_to_what_was_uploaded_with_it(facts, store, tmp_path):
    bundle = tmp_path / "bundles" / facts.bundle
    folder = write(night(facts, 1, 46.3, bundle=str(bundle), log=str(tmp_path / "gone" / "logs" / "000.txt")), tmp_path)
    (folder / "logs").mkdir()
    (folder / "logs" / "000.txt").write_text("what it said")
    nights.track_night(folder, store)
    uploaded = shutil.move(folder, tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "bundles")
    page = (uploaded / nights.PAGE).read_text()
    links = re.findall(r'href="([^"]*)"', page)
    assert "127.0.0.1" not in page and len(links) == 2
    assert all((uploaded / link).is_file() for link in links)


def test_the_summary_has_figures(facts):
    findings = (Finding("quality", "same", "as before"), Finding("size", "same", "2 bytes"))
    comparison = Comparison("4", "b", "cpu", "", findings, {"onnx": ratio_test([0.001, -0.001, 0.0, 0.002, 0.001])})
    result = night(facts, 1, 46.3, comparison=comparison, champion="version 4")
    (row,) = [line for line in markdown(result).splitlines() if line.startswith("| fp16 job")]
    worst = min(46.3, facts.metrics["onnx/snr_db"])
    assert f"SNR {worst:.1f} dB, log-mel L1 " in row and f" | {facts.size_mb:.2f} | " in row
    assert f"onnx: RTF {facts.timed['onnx/rtf']:.3g}, p95 " in row
    assert "| version 4: quality same, size same, onnx unchanged: +0.1 %" in row


def test_what_was_only_measured_says_so_everywhere_and_fails_nothing(facts, store, tmp_path):
    measured = night(facts, 1, 46.0, verdict="not judged")
    assert (measured.code, measured.verdict) == (0, "not judged")
    both = dataclasses.replace(measured, rows=(*measured.rows, *night(facts, 1, 46.0).rows))
    assert (both.code, both.verdict) == (0, "passed")
    folder = write(measured, tmp_path)
    nights.write_night(measured, folder, [], store, None)
    assert " not judged</td>" in (folder / nights.PAGE).read_text()
    assert "1 not judged." in (folder / "summary.md").read_text()
    assert 'skipped="1"' in (folder / "junit.xml").read_text()


def test_a_sparkline_marks_its_steps_and_survives_what_is_not_finite():
    line = nights.sparkline([1.0, 1.0, float("inf"), 2.0], [ChangePoint(2, 1.0, 2.0)])
    assert line.count("<line ") == 1 and "inf" not in line and "nan" not in line
    assert nights.sparkline([1.0], []) == ""


def test_runs_are_compared_by_the_beginnings_of_their_ids(facts, store, capsys):
    short = [facts.runs["mil"][:10], facts.runs["onnx"]]
    assert main(["compare", *short, "--uri", store.uri]) == 0
    said = capsys.readouterr().out
    assert "snr_db" in said and "engine" in said and "precision" not in said, "what is the same is left out"
    assert "http://127.0.0.1:5000/#/compare-runs?runs=" in said and facts.runs["onnx"] in said
    assert main(["compare", "zzz", short[0], "--uri", store.uri]) == 2
    assert "no run begins with 'zzz'" in capsys.readouterr().err
    assert ui.compare_address("https://m.example/", "7", ["a", "b"]) == (
        "https://m.example/#/compare-runs?runs=%5B%22a%22%2C%22b%22%5D&experiments=%5B%227%22%5D&workflowType=machine_learning"
    )
