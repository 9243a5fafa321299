"""A sqlite store is whole or absent; a half-made one is set aside, one of another version is not touched."""

import contextlib
import shutil
import signal
import sqlite3
import subprocess
import sys

import pytest

from reports import sqlite_store
from reports.options import TrackingOptions
from reports.store import TrackingError, client_of, prepared
from tests.conftest import ROOT

# Reads a statement of SQL, a signal, how the store is made and its file a line. A child makes the store and sends
# itself the signal at that statement. Prints what it ended with.
KILLER = """
import os, signal, sys
import sqlalchemy
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from reports.options import TrackingOptions
from reports.tracking import prepare
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores it

def making(statement, by, how, file):
    seen = []
    @sqlalchemy.event.listens_for(sqlalchemy.engine.Engine, "before_cursor_execute")
    def counted(*_):
        seen.append(1)
        if len(seen) == int(statement):
            os.kill(os.getpid(), signal.Signals[by])
    if how == "ours":
        prepare(TrackingOptions(uri="sqlite:///" + file))
    else:
        SqlAlchemyStore("sqlite:///" + file, "/nowhere")

answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            making(*line.split())
            code = 0
        finally:
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers, flush=True)
"""


@pytest.fixture(scope="module")
def killed():
    """Makes a store in a process of its own, forked off one that has MLflow imported already. Gives its exit code."""
    command, pipe = [sys.executable, "-c", KILLER], subprocess.PIPE
    killer = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)

    def kill(file, statement, how="ours", by="SIGKILL"):
        killer.stdin.write(f"{statement} {by} {how} {file}\n")
        killer.stdin.flush()
        return int(killer.stdout.readline())

    yield kill
    killer.stdin.close()
    killer.wait()


def options_of(file):
    return TrackingOptions(uri=f"sqlite:///{file}")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    file = tmp_path_factory.mktemp("whole") / "mlflow.db"
    with prepared(options_of(file)):
        pass
    return file


@pytest.fixture
def store(whole, tmp_path):
    return shutil.copy(whole, tmp_path / "mlflow.db")


def changed(file, *statements):
    with contextlib.closing(sqlite3.connect(file)) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()
    return file.read_bytes()


@pytest.mark.parametrize(("statement", "by"), [(40, "SIGKILL"), (300, "SIGKILL"), (150, "SIGINT")])
def test_a_first_start_that_is_killed_leaves_no_store(killed, tmp_path, statement, by):
    file = tmp_path / "mlflow.db"
    assert killed(file, statement, by=by) != 0
    assert not file.exists()


def test_a_store_that_was_left_half_made_is_set_aside_and_made_anew(killed, tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_store, "_QUIET_SECONDS", 0.2)
    file = tmp_path / "mlflow.db"
    assert killed(file, 250, how="in-place") == -signal.SIGKILL
    leavings = tmp_path / ".mlflow.db.making-x"
    leavings.mkdir()
    with prepared(options_of(file)) as (client, experiment):
        run = client.create_run(experiment)
        assert client.get_run(run.info.run_id).info.artifact_uri.startswith((tmp_path / "mlartifacts").as_uri())
    (aside,) = (path for path in tmp_path.glob("*.half-made-*") if not path.name.endswith("-journal"))
    assert aside.stat().st_size and not leavings.exists()
    with prepared(options_of(file)) as (client, experiment):
        assert len(client.search_runs([experiment])) == 1


def test_a_store_that_mlflow_is_making_at_this_moment_is_waited_for(tmp_path, whole, monkeypatch):
    """A server of MLflow on the same file: what looks half made changes, and is whole after a while."""
    monkeypatch.setattr(sqlite_store, "_QUIET_SECONDS", 0.5)
    file = tmp_path / "mlflow.db"
    file.touch()
    moments = []

    def wait(seconds):
        moments.append(seconds)
        shutil.copy(whole, file)

    monkeypatch.setattr(sqlite_store.time, "sleep", wait)
    monkeypatch.setattr(sqlite_store, "_changed", lambda _: 0.0 if moments else sqlite_store.time.time())
    with prepared(options_of(file)):
        pass
    assert moments and not list(tmp_path.glob("*half-made*"))


@pytest.mark.parametrize(
    "statements",
    [
        ["UPDATE alembic_version SET version_num = '728d730b5ebd'"],
        ["UPDATE alembic_version SET version_num = '728d730b5ebd'", "DROP TABLE logged_model_tags"],
        ["DELETE FROM alembic_version"],
    ],
)
def test_a_store_of_an_older_mlflow_is_not_taken_for_a_half_made_one(store, statements):
    before = changed(store, *statements)
    with (
        pytest.raises(TrackingError, match=r"made by an older MLflow .*mlflow db upgrade sqlite:///"),
        client_of(options_of(store)),
    ):
        pass
    assert store.read_bytes() == before and not list(store.parent.glob("*half-made*"))


def test_a_store_of_a_newer_mlflow_is_a_sentence(store):
    changed(store, "UPDATE alembic_version SET version_num = 'fromthefuture'")
    with pytest.raises(TrackingError, match="made by a newer MLflow"), client_of(options_of(store)):
        pass


def test_a_file_that_is_no_store_is_left_alone(tmp_path):
    other, text = tmp_path / "other.db", tmp_path / "text.db"
    before = changed(other, "CREATE TABLE songs (name TEXT)")
    text.write_text("no database" * 1000)
    for file, match in ((other, "a database of something else"), (text, "cannot be read as a store")):
        with pytest.raises(TrackingError, match=match), prepared(options_of(file)):
            pass
    assert other.read_bytes() == before and len(text.read_text()) == 11000


@pytest.mark.proof
def test_first_starts_killed_at_many_moments_leave_no_store(killed, tmp_path):
    counts = {"absent": 0, "whole": 0, "half made": 0}
    for number, statement in enumerate(range(5, 605, 20)):
        file = tmp_path / f"{number}" / "mlflow.db"
        killed(file, statement)
        found = "absent" if not file.exists() else "half made" if sqlite_store._is_half_made(file) else "whole"
        counts[found] += 1
    print(f"\nfirst starts killed at a statement of SQL: {counts}")
    assert counts["half made"] == 0 and counts["absent"] > 20
