"""A whole bench of a real bundle, short."""

import json
from pathlib import Path

import pytest

from reports.__main__ import main as reports
from runtime.__main__ import main
from runtime.bundle.store import BundleError
from runtime.measuring.bench.bundle import BenchOptions, bench_bundle, read_bench

SHORT = ["--seconds", "0.2", "--min-chunks", "5", "--paced-seconds", "0.8", "--threads", "1"]


@pytest.fixture(scope="module")
def benched(stateful, tmp_path_factory):
    path = tmp_path_factory.mktemp("bench") / "out.json"
    assert main(["bench", str(stateful.bundle.path), *SHORT, "--out", str(path)]) == 0
    return path


def test_a_bench_holds_every_part_and_travels_as_json(benched):
    report = read_bench(benched)
    (one,) = report.processes
    assert one.correctness.problem is None
    assert one.closed.chunks >= 5
    assert one.paced.chunks == round(0.8 / (8 * 256 / 22050))
    assert one.stall.injected_ms == 500
    assert one.stall.worst_ms > 500
    assert one.under_load.p50_ms > 0
    assert one.silence.not_finite == 0
    assert 0 < one.silence.silence_ms < 20 * one.silence.speech_ms
    assert one.resources.chunks == 500
    assert one.resources.blocks_grown < 500, "less than one object a chunk"
    assert one.budget.verdict == "not reachable by structure"
    steady, edge = report.work["steady"], report.work["edge"]
    assert steady.operations < edge.operations, "it has no masks"
    assert steady.multiply_adds == edge.multiply_adds > 0
    assert {target.name: target.verdict for target in report.targets} == {
        "RTF": "not judged: this is no M3 Max",
        "p99 per chunk ms": "not judged: this is no M3 Max",
        "round trip ms": "not reachable by structure",
    }


def test_reports_plots_it_and_logs_one_run(benched, store_uri, capsys):
    import mlflow

    assert reports(["bench", str(benched), "--uri", store_uri]) == 0
    page, run = capsys.readouterr().out.splitlines()
    assert Path(page).read_text().startswith("<!doctype html>")
    assert Path(page).with_suffix(".png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    client = mlflow.MlflowClient(store_uri)
    logged = client.get_run(run.removeprefix("MLflow run "))
    assert logged.data.tags["kind"] == "bench"
    assert logged.data.params["mode"] == "stateful"
    assert logged.data.metrics["operations"] == read_bench(benched).work["steady"].operations
    assert logged.data.metrics["closed_rtf"] == read_bench(benched).processes[0].closed.rtf
    assert {item.path for item in client.list_artifacts(logged.info.run_id)} == {"out.json", "out.png", "out.html"}


def test_processes_are_fresh_ones_and_their_spread_is_told(stateful):
    options = BenchOptions(
        seconds=0, min_chunks=3, paced_seconds=0, growth_chunks=0, stress=False, processes=2, threads=1
    )
    report = bench_bundle(stateful.bundle.path, options)
    assert len(report.processes) == 2
    assert report.processes[0].load_s != report.processes[1].load_s
    rtf = report.spread["closed_rtf"]
    assert rtf.least <= rtf.median <= rtf.most


def test_an_offline_bundle_is_benched_in_overlap_and_offline(fp32, capsys):
    for mode in ("overlap", "offline"):
        assert main(["bench", str(fp32.bundle.path), "--quick", "--mode", mode, "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["processes"][0]["closed"]["mode"] == mode
        assert report["processes"][0]["correctness"]["snr_db"] > 90


def test_what_is_no_bench_is_a_sentence(tmp_path, capsys):
    (tmp_path / "other.json").write_text('{"schema_version": 1}')
    with pytest.raises(BundleError, match="is no bench"):
        read_bench(tmp_path / "other.json")
    assert reports(["bench", str(tmp_path / "absent.json")]) == 2
    assert "absent.json" in capsys.readouterr().err
