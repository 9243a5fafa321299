import shutil

import pytest

from reports import tracking
from reports.__main__ import main
from reports.champions import champion_of, promote
from reports.options import TrackingOptions
from reports.store import TrackingError
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
