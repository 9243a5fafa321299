import dataclasses
import json
import shutil
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

import reports.store
from reports import sync, tracked, tracking
from reports.__main__ import main as reports_main
from reports.options import TrackingOptions
from reports.store import StoreAway, TrackingError
from runtime.bundle.store import Bundle, file_hashes
from tests.convert.test_config import composed


@pytest.fixture
def copy(fp16, tmp_path) -> Bundle:
    """A bundle with what was measured of it, in a folder of its own."""
    for path in (fp16.bundle.path, fp16.bundle.measured):
        shutil.copytree(path, tmp_path / "bundles" / path.name)
    return Bundle(tmp_path / "bundles" / fp16.bundle.path.name, fp16.bundle.manifest)


@pytest.fixture
def store(store_uri) -> TrackingOptions:
    return TrackingOptions(uri=store_uri, experiment="test")


def runs(options):
    import mlflow

    mlflow.set_tracking_uri(options.uri)
    found = mlflow.search_runs(experiment_names=[options.experiment], output_format="list")
    return {f"{run.data.tags['kind']} {run.data.params.get('engine', '')}".strip(): run for run in found}


def test_a_job_becomes_one_convert_run_and_one_flat_run_per_engine(copy, store, fp16):
    assert len(tracking.track(copy.path, store)) == 3
    found = runs(store)
    assert set(found) == {"convert", "measure mil", "measure onnx"}
    assert all("mlflow.parentRunId" not in run.data.tags for run in found.values())
    mil = next(m for m in fp16.measurements if m.engine == "mil")
    metrics = found["measure mil"].data.metrics
    assert metrics["snr_db"] == pytest.approx(mil.worst.agreement.snr_db)
    assert {"log_mel_l1", "stoi", "worst_window_db", "head_db", "tail_db", "size_mb"} <= set(metrics)
    assert "rtf" not in metrics
    assert {"rtf", "latency_p50_ms", "latency_p95_ms", "latency_p99_ms"} <= set(found["measure onnx"].data.metrics)
    assert found["convert"].data.params["precision"] == "fp16"
    assert found["convert"].data.tags["verdict"] == "passed"
    assert found["convert"].data.tags["checkpoint_sha256"] == fp16.bundle.manifest.checkpoint.sha256
    assert found["convert"].data.metrics["convert_s"] > 0


def test_artifacts_hold_manifest_config_report_plots_and_audio(copy, store, fp16):
    import mlflow

    tracking.track(copy.path, store)
    client = mlflow.MlflowClient(store.uri)
    found = runs(store)
    names = {item.path for item in client.list_artifacts(found["convert"].info.run_id)}
    assert {"manifest.json", "config.yaml", "report.html", "plots", "job.json"} <= names
    audio = [item.path for item in client.list_artifacts(found["measure onnx"].info.run_id, "audio")]
    assert sorted(audio) == [f"audio/{case.clip}.wav" for case in fp16.bundle.goldens(fp16.bundle.main)]


def test_the_bundle_is_a_registered_model_that_downloads_as_it_was(copy, store, width, tmp_path):
    import mlflow

    tracking.track(copy.path, store)
    mlflow.set_tracking_uri(store.uri)
    name = {"small": "small_hifigan", "full": "kathleen_hifigan"}[width]
    series = f"{name}-mlprogram-fp16-polyphase-offline"
    folder = mlflow.artifacts.download_artifacts(f"models:/{series}/1", dst_path=str(tmp_path / "down"))
    assert file_hashes(Path(folder)) == copy.manifest.files


def test_a_rejected_bundle_is_logged_and_not_registered(copy, store):
    import mlflow

    record = json.loads((copy.measured / "job.json").read_text())
    record["gates"][0]["passed"] = False
    (copy.measured / "job.json").write_text(json.dumps(record))
    tracking.track(copy.path, store)
    assert runs(store)["convert"].data.tags["verdict"] == "rejected"
    assert mlflow.MlflowClient(store.uri).search_registered_models() == []


def test_what_no_gate_looked_at_is_not_judged_and_not_registered(copy, store):
    import mlflow

    record = json.loads((copy.measured / "job.json").read_text())
    record["gates"] = []
    (copy.measured / "job.json").write_text(json.dumps(record))
    tracking.track(copy.path, store)
    tags = runs(store)["convert"].data.tags
    assert (tags["verdict"], tags["series"]) == ("not judged", copy.manifest.series)
    assert mlflow.MlflowClient(store.uri).search_registered_models() == []


def test_nothing_is_logged_twice(copy, store, fp16):
    assert not tracked.is_tracked(copy, list(fp16.measurements), store)
    tracking.track(copy.path, store)
    assert tracked.is_tracked(copy, list(fp16.measurements), store)
    assert tracking.track(copy.path, store) == {}
    assert len(runs(store)) == 3
    elsewhere = dataclasses.replace(store, experiment="other")
    assert not tracked.is_tracked(copy, list(fp16.measurements), elsewhere)


def test_an_unreachable_server_loses_nothing_and_sync_sends_it(copy, store, capsys, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    dead = TrackingOptions(uri="http://127.0.0.1:9", experiment="test")
    with pytest.raises(TrackingError, match=r"MLflow at http://127\.0\.0\.1:9"):
        tracking.track(copy.path, dead)
    tracked.mark_untracked(copy.measured, dead, "unreachable")
    assert reports_main(["sync", str(copy.path.parent)]) == 3
    assert "127.0.0.1:9" in capsys.readouterr().err
    assert reports_main(["sync", str(copy.path.parent), "--uri", store.uri]) == 0, "to another that is there"
    assert "3 runs sent" in capsys.readouterr().out
    assert not (copy.measured / tracked.UNTRACKED).exists()
    assert len(runs(store)) == 3
    assert reports_main(["sync", str(copy.path.parent)]) == 0
    assert capsys.readouterr().out == ""


def test_the_job_goes_on_without_its_server_and_says_so(fp16, sources, in_a_row, tmp_path, capfd, monkeypatch):
    from convert.job import run_job

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for path in (fp16.bundle.path, fp16.bundle.measured):
        shutil.copytree(path, tmp_path / path.name)
    options = ["measure.bench_seconds=0.05", "measure.bench_min_chunks=5", "tracking.uri=http://127.0.0.1:9"]
    outcome = run_job(composed(*sources, f"output={tmp_path}", *options))
    assert outcome.passed
    assert (outcome.bundle.measured / tracked.UNTRACKED).is_file()
    assert "python -m reports sync" in " ".join(capfd.readouterr().err.split())


@pytest.mark.proof
def test_a_real_server_takes_it_over_http(copy, mlflow_server):
    options = TrackingOptions(uri=mlflow_server, experiment="fleet")
    assert len(tracking.track(copy.path, options)) == 3
    assert set(runs(options)) == {"convert", "measure mil", "measure onnx"}


def test_who_never_answers_or_has_no_address_is_given_up_within_seconds(monkeypatch):
    monkeypatch.setattr(reports.store, "_REACH_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for uri in (f"http://127.0.0.1:{silent.getsockname()[1]}", "http://nobody.invalid:5000"):
            began = time.perf_counter()
            with pytest.raises(StoreAway, match=f"MLflow at {uri}: it does not answer"):
                tracking.prepare(TrackingOptions(uri=uri))
            assert time.perf_counter() - began < 20, "MLflow's own client asks three times, for 20 seconds each"


def test_a_server_that_answers_with_errors_is_a_sentence(copy):
    class Broken(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(500)

        do_POST = do_GET

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Broken)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        options = TrackingOptions(uri=f"http://127.0.0.1:{server.server_address[1]}", experiment="x")
        with pytest.raises(TrackingError):
            tracking.track(copy.path, options)
    finally:
        server.shutdown()


def test_checkpoints_can_be_told_apart_in_mlflows_plots():
    """Its parallel coordinates show the first ten characters of a parameter's values, and merge equal ones."""
    from checkpoints.catalogue import catalogue

    shown = [name[:10] for name in catalogue()]
    assert len(shown) == len(set(shown))


def test_sync_gives_a_store_up_that_is_away(tmp_path, monkeypatch):
    asked = []

    def away(path, options):
        asked.append(path.name)
        raise StoreAway(f"MLflow at {options.uri}: it does not answer")

    monkeypatch.setattr(sync, "track", away)
    for name in ("a", "b", "c"):
        folder = tmp_path / f"{name}.measured"
        folder.mkdir()
        tracked.mark_untracked(folder, TrackingOptions(uri="http://nobody.invalid:1"), "unreachable")
    results = list(sync.sync(tmp_path))
    assert asked == ["a"] and [path.name for path, _ in results] == ["a", "b", "c"]
    assert {str(problem) for _, problem in results} == {"MLflow at http://nobody.invalid:1: it does not answer"}
