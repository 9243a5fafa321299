import dataclasses
import shutil

import pytest

from reports import tracking
from reports.__main__ import main
from reports.champions import champion_of, promote
from reports.options import TrackingOptions
from reports.promotion import promote_night
from reports.store import TrackingError
from reports.suite import SuiteResult, SuiteRow, facts_of, write_suite
from runtime.bundle.store import Bundle


@pytest.fixture
def store(store_uri) -> TrackingOptions:
    return TrackingOptions(uri=store_uri)


@pytest.fixture
def logged(fp16, store, tmp_path) -> Bundle:
    for path in (fp16.bundle.path, fp16.bundle.measured):
        shutil.copytree(path, tmp_path / "bundles" / path.name)
    bundle = Bundle(tmp_path / "bundles" / fp16.bundle.path.name, fp16.bundle.manifest)
    tracking.track(bundle.path, store, {"suite": "nightly"})
    return bundle


def test_a_bundle_becomes_champion_by_its_folder_or_one_of_its_runs(logged, store, capsys):
    assert champion_of(logged.manifest, store) is None
    command = ["promote", str(logged.path), "--reason", "sounds right", "--uri", store.uri]
    assert main(command) == 0
    assert "version 1 is champion, the first" in capsys.readouterr().out
    champion = champion_of(logged.manifest, store)
    assert (champion.version, champion.bundle_key, champion.reason) == ("1", logged.manifest.key, "sounds right")

    import mlflow

    mlflow.set_tracking_uri(store.uri)
    (run,) = mlflow.search_runs(
        filter_string="tags.kind = 'convert'", search_all_experiments=True, output_format="list"
    )
    assert run.data.tags["suite"] == "nightly"
    again, before = promote(run.info.run_id, "still does", store)
    assert (again.version, again.reason, before.version) == ("1", "still does", "1")


def test_what_cannot_be_champion_is_a_sentence(logged, fp32, store, capsys):
    with pytest.raises(TrackingError, match="needs a reason"):
        promote(str(logged.path), " ", store)
    with pytest.raises(TrackingError, match=r"is no version of .*-fp32-"):
        promote(str(fp32.bundle.path), "because", store)
    assert main(["promote", "no-such-run", "--reason", "because", "--uri", store.uri]) == 2
    assert "no-such-run" in capsys.readouterr().err


def night(folder, *rows):
    write_suite(SuiteResult("own", "2026-11-01T02:17:00+00:00", rows), folder)
    return folder


def test_the_first_champions_of_a_night_are_its_passed_bundles_of_series_without_one(
    logged, fp32, store, tmp_path, capsys
):
    facts = facts_of(logged.path, store)
    rows = (
        SuiteRow("worse", (), "regressed", 1.0, str(logged.path), facts=facts),
        SuiteRow("good", (), "passed", 1.0, str(logged.path)),  # of a night that was delivered later
        SuiteRow("twin", (), "passed", 1.0, str(logged.path), facts=facts),
        SuiteRow("crashed", (), "failed", 1.0),
    )
    folder = night(tmp_path / "own-1", *rows)
    command = ["promote", "--suite", str(folder), "--first", "--uri", store.uri]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "1 of 4 jobs gave a champion" in shown and "no: regressed" in shown and "no: failed" in shown
    assert (
        champion_of(logged.manifest, store).reason
        == "the first of its series, in suite own of 2026-11-01T02:17:00+00:00"
    )
    again = promote_night(folder / "suite.json", "", store, only_first=True)
    assert [(one.version, one.why_not) for one in again[1:3]] == [("", "version 1 is")] * 2

    unsent = night(tmp_path / "own-2", *rows, SuiteRow("unsent", (), "passed", 1.0, str(fp32.bundle.path)))
    assert main([*command[:2], str(unsent), "--first", "--uri", store.uri]) == 1
    assert "reports sync" in capsys.readouterr().out


def test_what_was_timed_beside_other_work_is_no_night_s_champion(logged, store, tmp_path, capsys):
    facts = dataclasses.replace(facts_of(logged.path, store), busy={"onnx": "BUSY"})
    folder = night(tmp_path / "own", SuiteRow("busy", (), "passed", 1.0, str(logged.path), facts=facts))
    assert main(["promote", "--suite", str(folder), "--first", "--uri", store.uri]) == 0
    assert "timed beside other work" in " ".join(capsys.readouterr().out.split())
    assert champion_of(logged.manifest, store) is None


def test_a_whole_night_needs_a_reason(logged, store, tmp_path, capsys):
    rows = [SuiteRow(name, (), "passed", 1.0, str(logged.path)) for name in ("good", "twin")]
    folder = night(tmp_path / "own", *rows)
    command = ["promote", "--suite", str(folder), "--uri", store.uri]
    assert main(command) == 2
    assert "need a reason" in capsys.readouterr().err
    assert champion_of(logged.manifest, store) is None
    assert main([*command, "--reason", "heard them all"]) == 0
    assert "no: good of this night is" in capsys.readouterr().out
    assert champion_of(logged.manifest, store).reason == "heard them all"
    assert main(["promote", str(logged.path), "--first", "--reason", "x", "--uri", store.uri]) == 2
