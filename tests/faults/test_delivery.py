"""Deliveries that are killed at any moment, and answers that are lost: after `sync` everything is there once.

The killed are real processes, forked off one that has MLflow imported already.
"""

import collections
import contextlib
import json
import shutil
import sqlite3
import subprocess
import sys
import time

import pytest

from reports.__main__ import main as reports_main
from reports.options import TrackingOptions
from reports.runs import KEY, end_strays
from reports.store import prepared
from reports.tracked import BEGUN, UNTRACKED, mark_untracked
from reports.tracking import track
from tests.conftest import ROOT
from tests.convert.test_config import composed
from tests.faults.proxy import proxied
from tests.reports.test_store import copies

READY = 2  # as MLflow stores it

CREATES = ("runs/create", "logged-models", "registered-models/create", "model-versions/create", "experiments/create")

# Reads a moment, an address and a bundle a line. A child tracks the bundle and is killed before the n-th call of the
# client, after it where n is negative; a second child syncs. Prints what they ended with.
KILLER = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
import mlflow, reports.tracking, reports.__main__
from mlflow.store.tracking import rest_store, sqlalchemy_store
from reports.options import TrackingOptions

def counted(moment):
    calls = []
    def wrapped(real):
        def call(*args, **kwargs):
            calls.append(real.__name__)
            number = len(calls)  # a call may make others
            if number == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return real(*args, **kwargs)
            finally:
                if number == -moment:
                    os.kill(os.getpid(), signal.SIGKILL)
        return call
    for name in ("get_experiment_by_name", "create_experiment", "search_runs", "create_run", "log_batch",
                 "log_artifacts", "set_terminated", "search_model_versions", "search_logged_models",
                 "create_logged_model", "log_model_artifacts", "finalize_logged_model", "create_registered_model",
                 "create_model_version"):
        setattr(mlflow.MlflowClient, name, wrapped(getattr(mlflow.MlflowClient, name)))

def forked(work):
    pid = os.fork()
    if pid == 0:
        code = 9
        try:
            code = work() or 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

for line in sys.stdin:
    moment, uri, bundle = line.split()
    def delivered():
        counted(int(moment))
        reports.tracking.track(Path(bundle), TrackingOptions(uri=uri))
    died = forked(delivered)
    marked = (Path(bundle + ".measured") / "untracked.json").is_file()
    synced = forked(lambda: reports.__main__.main(["sync", bundle + ".measured"]))
    print(died, marked, synced, file=answers, flush=True)
"""


def stored(database):
    """What there is in a store that was not deleted: runs by kind and status, models by status, versions."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        runs = connection.execute(
            "SELECT t.value, r.status FROM runs r JOIN tags t ON t.run_uuid = r.run_uuid AND t.key = 'kind' "
            "WHERE r.lifecycle_stage = 'active'"
        ).fetchall()
        unended = connection.execute("SELECT count(*) FROM runs WHERE status = 'RUNNING'").fetchone()[0]
        models = connection.execute("SELECT status FROM logged_models WHERE lifecycle_stage = 'active'").fetchall()
        versions = connection.execute(
            "SELECT count(*) FROM model_versions WHERE current_stage != 'Deleted_Internal'"
        ).fetchone()[0]
    return collections.Counter(runs), [status for (status,) in models], versions, unended


def whole(bundles):
    """What there is of so many bundles, each measured in two engines, that were delivered once."""
    runs = collections.Counter({("convert", "FINISHED"): bundles, ("measure", "FINISHED"): 2 * bundles})
    return runs, [READY] * bundles, bundles, 0


def killed_and_synced(bundles, uri, moments):
    """(killed, marked, exit code of sync) of each moment, until one comes after the delivery's end."""
    command = [sys.executable, "-c", KILLER, str(ROOT)]
    pipe = subprocess.PIPE
    killer = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
    rows = []
    for moment, bundle in zip(moments, bundles):
        killer.stdin.write(f"{moment} {uri} {bundle.path}\n")
        killer.stdin.flush()
        rows.append(tuple(killer.stdout.readline().split()))
        if rows[-1][0] != "-9":
            break
    killer.stdin.close()
    killer.wait()
    return rows


def test_a_delivery_killed_at_any_call_is_finished_by_sync(fp16, tmp_path, store_uri):
    moments = (13, -3)  # before a call, after it
    bundles = copies(fp16, tmp_path, len(moments))
    assert killed_and_synced(bundles, store_uri, moments) == [("-9", "True", "0")] * len(moments)
    assert stored(tmp_path / "mlflow.db") == whole(len(moments))
    assert not list(tmp_path.rglob(UNTRACKED))


def test_a_job_that_is_killed_before_it_logs_has_its_marker_already(
    fp16, sources, in_a_row, tmp_path, store_uri, monkeypatch
):
    import convert.job

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(convert.job, "_track", killed)
    shutil.copytree(fp16.bundle.path, tmp_path / fp16.bundle.path.name)  # not measured: nothing of it is logged yet
    options = ["measure.bench_seconds=0", "measure.engines=[mil]", f"tracking.uri={store_uri}"]
    with pytest.raises(KeyboardInterrupt):
        convert.job.run_job(composed(*sources, f"output={tmp_path}", *options))
    (marker,) = tmp_path.glob("*.measured/untracked.json")
    assert json.loads(marker.read_text())["reason"] == BEGUN
    assert reports_main(["sync", str(tmp_path)]) == 0
    runs, models, versions, unended = stored(tmp_path / "mlflow.db")
    assert (sum(runs.values()), models, versions, unended) == (2, [READY], 1, 0)


def test_a_running_job_is_none_of_syncs_business(tmp_path):
    hidden = tmp_path / ".x.partial-1" / "x.measured"
    hidden.mkdir(parents=True)
    mark_untracked(hidden, TrackingOptions(uri="http://127.0.0.1:9"))
    assert reports_main(["sync", str(tmp_path)]) == 0


@pytest.mark.proof
def test_answers_that_are_lost_leave_one_of_each(fp16, tmp_path, mlflow_server):
    lost = collections.Counter()

    def is_lost(method, path):
        (name,) = [one for one in CREATES if path.endswith(one)] or [""]
        lost[name] += bool(name) and method == "POST"
        return lost[name] == 1 and method == "POST"

    (bundle,) = copies(fp16, tmp_path, 1)
    with proxied(mlflow_server, is_lost=is_lost) as address:
        track(bundle.path, TrackingOptions(uri=f"http://{address}"))
        assert set(CREATES) <= set(lost), "every one was lost once"
    assert stored(tmp_path / "mlflow.db") == whole(1)


def test_what_a_killed_delivery_left_long_ago_is_ended_and_what_may_be_alive_is_not(store_uri):
    with prepared(TrackingOptions(uri=store_uri)) as (client, experiment):
        old, now = int(1000 * (time.time() - 2 * 86400)), int(1000 * time.time())
        ours = [client.create_run(experiment, tags={KEY: "k"}, start_time=at).info.run_id for at in (old, now)]
        other = client.create_run(experiment, start_time=old).info.run_id
        assert end_strays(client, experiment, is_alone=False) == 1
        assert [client.get_run(run).info.status for run in (*ours, other)] == ["KILLED", "RUNNING", "RUNNING"]
        assert end_strays(client, experiment, is_alone=True) == 1
        assert client.get_run(other).info.status == "RUNNING", "somebody else's"


@pytest.mark.proof
@pytest.mark.parametrize("where", ["sqlite", "server"])
def test_deliveries_killed_before_and_after_each_of_their_calls(fp16, tmp_path, mlflow_server, where):
    uri, database = (mlflow_server, "mlflow.db") if where == "server" else (f"sqlite:///{tmp_path}/l.db", "l.db")
    bundles, rows = copies(fp16, tmp_path / "b", 80), []
    for sign, own in ((1, bundles[:40]), (-1, bundles[40:])):
        rows += killed_and_synced(own, uri, range(sign, 41 * sign, sign))
        assert rows.pop() == ("0", "False", "0"), "it was through before its moment came"
    shutil.rmtree(tmp_path / "b")
    table = collections.Counter(rows)
    print(f"\n{where}: {len(rows)} moments; (killed, marked, exit code of sync): {dict(table)}")
    assert set(table) == {("-9", "True", "0")} and len(rows) > 50
    assert stored(tmp_path / database) == whole(len(rows) + 2)
