"""What is removed of bundles and of MLflow's files, and what stays."""

import json
import os
import shutil
import time

import pytest

from reports import tracking
from reports.__main__ import main
from reports.champions import promote
from reports.conversions import versions_of
from reports.options import TrackingOptions
from reports.prune import plan, remove
from reports.prune_bundles import InUse, Kept, PruneError, Rule, decided
from reports.store import TrackingError, prepared
from reports.tracked import mark_untracked
from runtime.bundle.store import MANIFEST
from runtime.machine.locks import locked

DAY = 86400.0


def copied(job, folder, name, days):
    """A bundle like that of the job under another name and key, last used so many days ago."""
    path = folder / name
    shutil.copytree(job.bundle.path, path)
    measured = shutil.copytree(job.bundle.measured, folder / f"{name}.measured")
    manifest = json.loads((path / MANIFEST).read_text())
    manifest |= {"name": name, "key": name, "created": "2020-01-01T00:00:00+00:00"}
    (path / MANIFEST).write_text(json.dumps(manifest))
    used = time.time() - days * DAY
    os.utime(measured, (used, used))
    return path


def names(folder):
    return {path.name for path in folder.iterdir() if not path.name.endswith(".measured")}


def test_the_newest_of_each_series_the_young_and_champions_stay():
    found = [
        Kept(f"{series}{age}", "here", series, f"{series}{age}", -age * DAY, 1) for series in "ab" for age in range(5)
    ]
    found.append(Kept("elsewhere", "there", "a", "x", -9 * DAY, 1))
    plans = decided(found, Rule(keep=2, days=2.5), {"b4"}, now=0.0)
    assert {one.name for one in plans if not one.stays} == {"a3", "a4", "b3"}
    assert {one.stays for one in plans if one.name in ("b4", "a2", "elsewhere")} == {
        "champion", "young", "among the newest of its series",
    }  # fmt: skip
    with pytest.raises(PruneError, match="at least 1"):
        Rule(keep=0)


def test_a_dry_run_shows_what_would_go_and_then_it_goes(fp16, tmp_path, capsys):
    output = tmp_path / "bundles"
    for name, days in {"new": 1, "old": 50, "older": 60, "unsent": 70}.items():
        copied(fp16, output, name, days)
    copied(fp16, output / "rejected", "refused", 80)
    mark_untracked(output / "unsent.measured", TrackingOptions(uri="sqlite:///elsewhere.db"))
    os.utime(output / "unsent.measured", (0, 0))
    command = ["prune", str(output), "--keep", "1", "--uri="]
    assert main([*command, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "older" in shown and "would free" in shown and "in 2 places" in shown
    assert {"new", "old", "older", "unsent"} <= names(output)

    assert main(command) == 0
    printed = capsys.readouterr()
    assert "1 of 2: old, " in printed.err and "freed " in printed.out and "1 not sent to MLflow yet" in printed.out
    assert names(output) == {"new", "unsent", "rejected"} and names(output / "rejected") == {"refused"}
    assert not (output / "old.measured").exists()
    assert not [path for path in output.iterdir() if path.name.startswith(".")]


def test_what_is_in_use_stays_and_what_a_kill_left_goes(fp16, tmp_path, capsys):
    output = tmp_path / "bundles"
    for name, days in {"new": 1, "old": 50}.items():
        copied(fp16, output, name, days)
    planned = plan(output, TrackingOptions(uri=""), Rule(keep=1))
    (old,) = planned.going
    with locked(output / ".old.publishing"):
        with pytest.raises(InUse):
            remove(old, planned)
        assert main(["prune", str(output), "--keep", "1", "--uri="]) == 0
    assert "freed 0.0 MB in 0 places" in (said := capsys.readouterr().out) and "1 in use" in said
    assert (output / "old" / MANIFEST).is_file() and (output / "old.measured").is_dir()
    shutil.rmtree(output / "old")  # a prune that was killed between its two renames
    (left,) = plan(output, TrackingOptions(uri=""), Rule(keep=1)).going
    remove(left, planned)
    assert names(output) == {"new"} and not (output / "old.measured").exists()


def test_a_store_frees_files_and_keeps_figures_and_champions(fp16, store_uri, tmp_path):
    output, store = tmp_path / "bundles", TrackingOptions(uri=store_uri)
    first, second = (copied(fp16, output, name, days) for name, days in (("first", 60), ("second", 50)))
    for path in (first, second):
        tracking.track(path, store)
    promote(str(first), "heard", store)
    later = time.time() + 100 * DAY
    assert plan(output, store, Rule(keep=1), later).going == []

    promote(str(second), "better", store)
    os.utime(output / "first.measured", (later, later))  # measured again: its version is needed
    assert plan(output, store, Rule(keep=1), later).going == []
    os.utime(output / "first.measured", (0, 0))
    planned = plan(output, store, Rule(keep=1), later)
    assert [one.name for one in planned.going] == ["first", "first"]
    artifacts = tmp_path / "mlartifacts"
    before = sum(file.stat().st_size for file in artifacts.rglob("*"))
    for one in planned.going:
        remove(one, planned)
    after = sum(file.stat().st_size for file in artifacts.rglob("*"))
    (freed,) = [one.size for one in planned.going if one.place in planned.stores]
    assert before - after >= freed > fp16.bundle.artefact_bytes
    assert names(output) == {"second"} and plan(output, store, Rule(keep=1), later).going == []
    with prepared(store) as (client, experiment):
        runs = client.search_runs([experiment], "tags.bundle_key = 'first'")
        series = fp16.bundle.manifest.series
        assert [version.tags["bundle_key"] for version in versions_of(client, series)] == ["second"]
        assert any("snr_db" in run.data.metrics for run in runs), "the figures stay"


def test_without_the_store_that_knows_the_champions_nothing_goes(fp16, store_uri, tmp_path):
    output, store = tmp_path / "bundles", TrackingOptions(uri=store_uri)
    tracking.track(copied(fp16, output, "first", 60), store)
    (tmp_path / "mlflow.db").unlink()
    with pytest.raises(TrackingError, match="no champion is known"):
        plan(output, TrackingOptions(uri=f"sqlite:///{tmp_path}/other.db"), Rule())
