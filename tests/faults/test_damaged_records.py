"""The files that the reports floor leaves beside a bundle, damaged: a sentence, or as if the file were not there."""

import collections

import pytest

from reports.__main__ import main as reports_main
from reports.options import TrackingOptions
from reports.record import FILE as RECORD
from reports.record import read_record
from reports.tracked import TRACKED, UNTRACKED, is_tracked, mark_untracked, stores_of
from reports.tracking import track
from tests.faults.test_delivery import stored, whole
from tests.reports.test_store import copies
from tests.reports.test_suite_files import DAMAGED, damaged


@pytest.fixture(scope="module")
def bundle(fp16, tmp_path_factory):
    return copies(fp16, tmp_path_factory.mktemp("b"), 1)[0]


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_logged_is_asked_of_the_store_again(fp16, bundle, name):
    options = TrackingOptions()
    damaged(bundle.measured / TRACKED, name)
    assert not is_tracked(bundle, list(fp16.measurements), options)
    assert stores_of(bundle.path.parent) == []
    (bundle.measured / TRACKED).unlink()


def test_a_bundle_whose_file_is_damaged_is_not_logged_twice(fp16, tmp_path, store_uri):
    (one,) = copies(fp16, tmp_path, 1)
    options = TrackingOptions(uri=store_uri)
    first = track(one.path, options)
    damaged(one.measured / TRACKED, "list")
    assert track(one.path, options) == first
    assert stored(tmp_path / "mlflow.db") == whole(1)


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_marker_is_a_sentence(bundle, capsys, name):
    marker = damaged(bundle.measured / UNTRACKED, name)
    assert reports_main(["sync", str(bundle.path.parent)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and "cannot be read" in line and len(line) < 500
    marker.unlink()


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_record_is_a_sentence(bundle, capsys, name):
    kept = (bundle.measured / RECORD).read_bytes()
    damaged(bundle.measured / RECORD, name)
    assert read_record(bundle) is None
    mark_untracked(bundle.measured, TrackingOptions())
    codes = collections.Counter(
        reports_main(command) for command in (["html", str(bundle.path)], ["sync", str(bundle.path.parent)])
    )
    assert codes == {2: 2} and capsys.readouterr().err.count("is missing or cannot be read") == 2
    (bundle.measured / RECORD).write_bytes(kept)
    (bundle.measured / UNTRACKED).unlink()


def test_a_user_without_a_name_logs_as_a_number(fp16, tmp_path, monkeypatch, store_uri):
    """A container's user often has no entry in passwd."""
    import os
    import pwd

    def absent(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", absent)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    (one,) = copies(fp16, tmp_path, 1)
    options = TrackingOptions(uri=store_uri)
    runs = track(one.path, options)

    import mlflow

    run = mlflow.MlflowClient(options.uri).get_run(next(iter(runs.values())))
    assert run.data.tags["mlflow.user"] == f"uid {os.getuid()}"
    from reports.champions import promote

    promote(str(one.path), "it is good", options)


def test_a_user_without_a_home_keeps_what_they_made_to_themselves_or_says_where(monkeypatch, tmp_path):
    import platformdirs

    from runtime.bundle import trust
    from runtime.machine.cache import NoHome, cache_folder

    def homeless(name):
        raise RuntimeError("could not determine the home directory")

    for folder in ("user_cache_dir", "user_state_dir"):
        monkeypatch.setattr(platformdirs, folder, homeless)
    for name in ("VOXPORT_CACHE", "VOXPORT_STATE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(NoHome, match="set HOME, or VOXPORT_CACHE"):
        cache_folder()
    trust.vouch_for(b"of this process")
    trust.require_trust(b"of this process", tmp_path)
    with pytest.raises(trust.UntrustedError):
        trust.require_trust(b"of another", tmp_path)
