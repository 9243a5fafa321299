"""Many writers, and writers that are killed: what is logged is there once."""

import collections
import json
import shutil
import signal
import subprocess
import sys

import pytest

from reports.__main__ import main as reports_main
from reports.options import TrackingOptions
from reports.store import TrackingError, prepared
from reports.tracked import UNTRACKED, mark_untracked
from runtime.bundle.store import Bundle
from tests.conftest import ROOT
from tests.reports.worsened import worsened


def copies(fp16, folder, count) -> list[Bundle]:
    """Bundles of keys of their own, with what was measured of them."""
    made = []
    for number in range(count):
        bundle = worsened(fp16.bundle, folder, f"copy{number}", flip=None)
        shutil.copytree(fp16.bundle.measured, bundle.measured)
        for path in bundle.measured.glob("*-*.json"):
            row = json.loads(path.read_text())
            row["key"] = f"{row['engine']}-{number}"
            path.write_text(json.dumps(row))
        made.append(bundle)
    return made


def logged(options):
    """(kind, bundle, engine) -> how often, finished or not."""
    with prepared(options) as (client, experiment):
        runs = client.search_runs([experiment])
        assert {run.info.status for run in runs} <= {"FINISHED"}
        assert all(run.data.metrics["size_mb"] > 0 for run in runs)
        versions = client.search_model_versions("name LIKE '%hifigan-%'")
        models = client.search_logged_models([experiment])
    keys = [(run.data.tags["kind"], run.data.tags["bundle"], run.data.params.get("engine")) for run in runs]
    return collections.Counter(keys), sorted(version.tags["bundle"] for version in versions), len(models)


TRACK = (
    "import sys; from pathlib import Path; from reports import tracking; from reports.options import TrackingOptions"
)

# A process per bundle, forked off one that has MLflow imported, tracks it. Prints what they ended with.
WRITERS = f"""{TRACK}; import os, traceback, mlflow

def forked(bundle):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            tracking.track(Path(bundle), TrackingOptions(uri=sys.argv[1]))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return child

for child in [forked(bundle) for bundle in sys.argv[2:]]:
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize("jobs", [2, pytest.param(8, marks=pytest.mark.proof)])
def test_jobs_at_once_on_a_fresh_store_lose_nothing(fp16, tmp_path, jobs):
    bundles = copies(fp16, tmp_path / "b", jobs)
    options = TrackingOptions(uri=f"sqlite:///{tmp_path}/mlflow.db")
    command = [sys.executable, "-c", WRITERS, options.uri, *(str(bundle.path) for bundle in bundles)]
    writers = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert writers.stdout.split() == ["0"] * jobs, writers.stderr
    found, versions, models = logged(options)
    assert set(found.values()) == {1} and len(found) == 3 * jobs
    assert versions == sorted(bundle.manifest.name for bundle in bundles) and models == jobs


@pytest.mark.parametrize(
    "at",
    [
        "log_model_artifacts",
        pytest.param("create_run", marks=pytest.mark.proof),
        pytest.param("set_terminated", marks=pytest.mark.proof),
    ],
)
def test_a_sync_that_is_killed_and_repeated_delivers_once(fp16, tmp_path, store_uri, at, capsys):
    """Killed in the second call of a kind: after it has reached the store, before its answer has come back."""
    bundles = copies(fp16, tmp_path / "b", 2)
    options = TrackingOptions(uri=store_uri, tags={"suite": "s"})
    for bundle in bundles:
        mark_untracked(bundle.measured, options, "away")
    program = f"""
import os, pathlib, signal, sys
import mlflow
from reports.sync import sync
real, calls = mlflow.MlflowClient.{at}, []
def killed(*args, **kwargs):
    result = real(*args, **kwargs)
    calls.append(1)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return result
mlflow.MlflowClient.{at} = killed
list(sync(pathlib.Path(sys.argv[1])))
"""
    died = subprocess.run([sys.executable, "-c", program, str(tmp_path / "b")], cwd=ROOT, check=False)
    assert died.returncode == -signal.SIGKILL
    assert reports_main(["sync", str(tmp_path / "b")]) == 0
    assert reports_main(["sync", str(tmp_path / "b")]) == 0
    assert not list((tmp_path / "b").rglob(UNTRACKED))
    found, versions, models = logged(options)
    assert set(found.values()) == {1} and len(found) == 6
    assert versions == sorted(bundle.manifest.name for bundle in bundles) and models == 2


def test_a_writer_that_hangs_is_not_waited_for_for_ever(store_uri, monkeypatch):
    import reports.store

    monkeypatch.setattr(reports.store, "_LOCK_SECONDS", 0.3)
    options = TrackingOptions(uri=store_uri)
    program = f"{TRACK}; from reports.store import prepared; import time\n"
    program += "with prepared(TrackingOptions(uri=sys.argv[1])):\n    print('in', flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", program, options.uri], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "in\n"
        with pytest.raises(TrackingError, match="another process has been writing"), prepared(options):
            pass
    finally:
        holder.kill()
        holder.wait()


def test_a_damaged_marker_is_said_and_the_others_are_sent(fp16, tmp_path, store_uri, capsys):
    (bundle,) = copies(fp16, tmp_path / "b", 1)
    options = TrackingOptions(uri=store_uri)
    mark_untracked(bundle.measured, options, "away")
    damaged = tmp_path / "b" / "a.measured" / UNTRACKED
    damaged.parent.mkdir()
    damaged.write_text("{")
    assert reports_main(["sync", str(tmp_path / "b")]) == 2
    said = capsys.readouterr()
    assert "cannot be read" in said.err and "3 runs sent" in said.out
