"""A bundle judged against its champion in a real MLflow store."""

import json
import shutil

import pytest

from reports import tracking
from reports.__main__ import main
from reports.champions import FOLDER, champion_of, fetch, promote
from reports.judge import judge
from reports.options import CompareOptions, TrackingOptions
from runtime.bundle.store import Bundle, file_hashes
from tests.reports.worsened import measured, worsened

OPTIONS = CompareOptions(minutes=0)


@pytest.fixture
def store(store_uri) -> TrackingOptions:
    return TrackingOptions(uri=store_uri)


@pytest.fixture
def accepted(fp16, store, tmp_path) -> Bundle:
    """The champion, as MLflow has it; here it is gone."""
    for path in (fp16.bundle.path, fp16.bundle.measured):
        shutil.copytree(path, tmp_path / "elsewhere" / path.name)
    bundle = Bundle(tmp_path / "elsewhere" / fp16.bundle.path.name, fp16.bundle.manifest)
    tracking.track(bundle.path, store)
    return bundle


def test_the_first_of_a_series_has_no_champion_and_then_is_its_own(accepted, store):
    assert judge(accepted.path, store, OPTIONS).champion == "none yet"
    promote(str(accepted.path), "the first", store)
    found = judge(accepted.path, store, OPTIONS)
    assert (found.champion, found.verdict, found.comparison) == ("this one", "passed", None)


@pytest.mark.proof
def test_a_worse_bundle_is_compared_with_the_champion_that_mlflow_gives_back(accepted, fp16, store, tmp_path, capsys):
    promote(str(accepted.path), "the first", store)
    output = tmp_path / "bundles"
    output.mkdir()
    worse = worsened(fp16.bundle, output, "worse")
    measured(worse, fp16.bundle)
    shutil.rmtree(accepted.path)
    found = judge(worse.path, store, OPTIONS)
    assert found.verdict == "regressed" and found.champion == "version 1"
    kept = output / FOLDER / fp16.bundle.path.name
    assert file_hashes(kept) == fp16.bundle.manifest.files
    again = judge(worse.path, store, OPTIONS, progress=lambda _: pytest.fail("compared again"))
    assert again == found
    capsys.readouterr()
    assert main(["judge", str(worse.path), "--uri", store.uri, "--minutes", "0"]) == 1
    said = capsys.readouterr().out
    assert said.startswith("regressed; champion of its series: version 1")
    assert "is the first that differs" in said


def test_a_champion_that_came_damaged_is_refused(accepted, store, tmp_path):
    from runtime.bundle.store import BundleError

    promote(str(accepted.path), "the first", store)
    champion = champion_of(accepted.manifest, store)
    (blob,) = (tmp_path / "mlartifacts").rglob("weight.bin")
    blob.write_bytes(blob.read_bytes()[:-1])
    with pytest.raises(BundleError, match="is not what was converted"):
        fetch(champion, store, tmp_path / "bundles")
    assert list((tmp_path / "bundles" / FOLDER).iterdir()) == []


def test_a_device_may_accept_another_version_for_its_speed(accepted, store, capsys):
    command = ["promote", str(accepted.path), "--uri", store.uri, "--reason", "fast enough", "--device", "Apple M3 Max"]
    assert main(command) == 0
    assert "is champion of latency on Apple M3 Max, the first" in capsys.readouterr().out
    assert champion_of(accepted.manifest, store) is None
    found = champion_of(accepted.manifest, store, "Apple M3 Max")
    assert (found.version, found.reason) == ("1", "fast enough")


def test_a_bundle_converted_elsewhere_is_fetched_measured_gated_and_logged_here(accepted, store, tmp_path, capsys):
    import mlflow

    mlflow.set_tracking_uri(store.uri)
    runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
    (run,) = (one.info.run_id for one in runs if one.data.tags["kind"] == "convert")
    shutil.rmtree(accepted.path)
    command = ["judge", run, "--measure", "--json", "--uri", store.uri, "--output", str(tmp_path / "here")]
    assert main([*command, "--tag", "suite=own"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["judgement"]["champion"] == "none yet" and said["gates_missed"] == []
    assert said["facts"]["metrics"]["mil/snr_db"] > 40
    after = mlflow.search_runs(search_all_experiments=True, output_format="list")
    fresh = [one for one in after if one.info.run_id not in {old.info.run_id for old in runs}]
    assert [one.data.tags["kind"] for one in fresh] == ["measure", "measure"]
    assert {one.data.tags["suite"] for one in fresh} == {"own"}
    assert main(command) == 0, "what was measured here is not measured again"
    assert len(mlflow.search_runs(search_all_experiments=True, output_format="list")) == len(after)
