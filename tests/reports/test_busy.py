"""A bundle that was timed beside other work: it is marked, its latency is not judged, and it is no champion."""

import dataclasses
import shutil

import pytest

from convert.report import _beside
from reports import nights, tracking, verdict
from reports.champions import champion_of, promote
from reports.html import write_report
from reports.options import CompareOptions, TrackingOptions
from reports.record import read_job
from reports.store import TrackingError, prepared
from reports.suite import SuiteResult, SuiteRow, facts_of, write_suite
from reports.verdict import compare
from runtime.bundle.store import Bundle
from runtime.measuring.bench import load
from runtime.measuring.bench.load import BUSY_SHARE, OtherLoad
from runtime.measuring.measure import write_measurement
from tests.reports.worsened import worsened

BESIDE = OtherLoad(0.5, 2.5)


@pytest.fixture
def busy(fp16, tmp_path, monkeypatch) -> Bundle:
    """A copy whose timed measurements say that another process had half of the processors."""
    monkeypatch.setattr(load, "BUSY_SHARE", BUSY_SHARE)
    for path in (fp16.bundle.path, fp16.bundle.measured):
        shutil.copytree(path, tmp_path / "bundles" / path.name)
    bundle = Bundle(tmp_path / "bundles" / fp16.bundle.path.name, fp16.bundle.manifest)
    _set_load(bundle, BESIDE)
    return bundle


def _set_load(bundle, beside):
    _, record, measurements = read_job(bundle.path)
    for name, one in zip(record.measurements, measurements, strict=True):
        write_measurement(bundle.measured / name, dataclasses.replace(one, beside=beside if one.is_timed else None))


def test_a_busy_timing_is_no_champion_s_by_folder_or_run_until_it_is_measured_at_rest(busy, store_uri):
    store = TrackingOptions(uri=store_uri)
    runs = tracking.track(busy.path, store)
    for target in (str(busy.path), *runs.values()):
        for device in (None, "Apple M3 Max"):
            with pytest.raises(TrackingError, match="timed beside other work"):
                promote(target, "because", store, device)
    assert champion_of(busy.manifest, store) is None
    _set_load(busy, OtherLoad(0.01, 0.1))
    assert promote(str(busy.path), "at rest", store)[0].version == "1"


def test_mlflow_and_the_night_say_that_it_was_busy(busy, store_uri, tmp_path):
    store = TrackingOptions(uri=store_uri)
    tracking.track(busy.path, store)
    with prepared(store) as (client, experiment):
        runs = client.search_runs([experiment], "tags.kind = 'measure' and tags.busy = 'true'")
    assert [run.data.params["engine"] for run in runs] == ["onnx"]
    assert runs[0].data.metrics["others_share"] == 0.5
    assert "BUSY: other processes used 50 %" in runs[0].data.tags["mlflow.note.content"]
    row = SuiteRow("the job", (), "passed", 1.0, facts=facts_of(busy.path, store))
    result = SuiteResult("own", "2026-11-01T02:17:00+00:00", (row,))
    folder = tmp_path / "suites" / "own"
    write_suite(result, folder)
    page = nights.write_night(result, folder, [], store, None).read_text()
    assert "times of onnx say little: BUSY: other processes used 50 %" in page
    assert "timed beside other work: onnx" in (folder / "summary.md").read_text()


def test_report_and_table_mark_it(busy):
    page = write_report(busy.path).read_text()
    assert "While onnx was timed: BUSY: other processes used 50 % of the processors, load 2.5 before." in page
    _, _, measurements = read_job(busy.path)
    (cell,) = _beside(measurements).values()
    assert {one.engine: cell(one) for one in measurements} == {"mil": "–", "onnx": "50 %, BUSY"}


def test_its_latency_is_not_judged_and_that_is_no_pass(busy, fp16, tmp_path, monkeypatch):
    monkeypatch.setattr(verdict, "_quality", lambda *_: [verdict.Finding("quality", "same", "not looked at")])
    candidate = worsened(fp16.bundle, tmp_path, "candidate", flip=1)
    _, _, measurements = read_job(busy.path)
    found = compare(
        fp16.bundle, "1", candidate, measurements, CompareOptions(minutes=1), timer=lambda _: pytest.fail("timed")
    )
    (latency,) = [one for one in found.findings if one.subject == "latency"]
    assert latency.verdict == "noisy" and "compared in quality only" in latency.text
    assert found.verdict == "noisy" and not found.latency
