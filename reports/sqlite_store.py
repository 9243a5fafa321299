"""A sqlite store of MLflow: made aside and renamed, so that it is whole or absent.

MLflow makes one in place, by some fifty migrations that no transaction holds together: what is killed meanwhile leaves
a file that no later start repairs. Such a file is set aside, and a store is made anew.
"""

from __future__ import annotations

import datetime
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from urllib.parse import quote

import filelock

_BUSY_SECONDS = 20.0
_QUIET_SECONDS = 3.0  # a half-made store that somebody is still making changes more often than that
_COMPANIONS = ("", "-journal", "-wal", "-shm")
_FIRST_TABLES = {"experiments", "runs", "metrics", "params", "tags"}  # before any migration
# Files that were looked at by this process: a store that is whole stays whole.
_complete: set[tuple[str, int]] = set()


class StoreError(RuntimeError):
    """A file that cannot be used as a store; the message says why, and what to do."""


class StoreBusy(StoreError):
    """A store that another process does not let go of."""


def file_of(uri: str) -> Path | None:
    """The file of a sqlite address; None for other addresses, and for a store in memory."""
    if not uri.startswith("sqlite"):
        return None
    name = uri.partition("://")[2].partition("?")[0].removeprefix("/")
    return None if name in ("", ":memory:") or name.startswith("file:") else Path(name).resolve()


def artifacts_of(file: Path) -> Path:
    """The folder of the artifacts, beside the store."""
    return file.parent / "mlartifacts"


@contextmanager
def alone(file: Path, seconds: float) -> Iterator[None]:
    """One writer at a time; re-entrant. The kernel releases the lock of a process that dies.

    Raises StoreBusy where another process holds it for that long.
    """
    folder = artifacts_of(file)  # where everybody who writes to the store writes, of whatever container
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / f".{file.name}.lock", is_singleton=True)
    try:
        lock.acquire(timeout=seconds)
    except filelock.Timeout as error:
        raise StoreBusy(f"another process has been writing for {seconds:g} s") from error
    try:
        yield
    finally:
        lock.release()


def ensure(file: Path, seconds: float) -> None:
    """Makes the store where it is absent or half made; a half-made one is set aside, never deleted.

    Raises StoreError for a file that is no store, or one of another version of MLflow.
    """
    if _is_known(file):
        return
    with alone(file, seconds):
        for leaving in file.parent.glob(f".{file.name}.making-*"):  # of a killed process: ours is the only one alive
            rmtree(leaving, ignore_errors=True)
        if file.exists() and _is_half_made(file):
            _wait_until_quiet(file)
            if _is_half_made(file):
                _set_aside(file)
        if not file.exists():
            _make(file)
        _require_version(file)
        _complete.add((str(file), file.stat().st_ino))


def _is_known(file: Path) -> bool:
    with suppress(OSError):
        return (str(file), file.stat().st_ino) in _complete
    return False


def _make(file: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with tempfile.TemporaryDirectory(dir=file.parent, prefix=f".{file.name}.making-") as folder:
        database = Path(folder, file.name)
        SqlAlchemyStore(f"sqlite:///{database}", artifacts_of(file).as_uri()).engine.dispose()
        try:
            os.link(database, file)  # unlike a rename it replaces nothing that came meanwhile
        except FileExistsError:
            return
        except OSError:  # a file system without links
            database.rename(file)


def _is_half_made(file: Path) -> bool:
    """Whether nobody can have logged into it, and MLflow's migrations were not finished.

    The last thing that MLflow does with a new store is to give it an experiment: one without is half made, whatever its
    version is, and one with an experiment merely belongs to the MLflow that made it.
    """
    with _opened(file) as database:
        rows = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        tables = [name for (name,) in rows if not name.startswith(("alembic_", "sqlite_", "workspaces"))]
        if tables and not _FIRST_TABLES & set(tables):
            raise StoreError(f"{file} is a database of something else: pass another tracking.uri")
        quoted = ('"' + name.replace('"', '""') + '"' for name in tables)
        return all(database.execute(f"SELECT 1 FROM {name} LIMIT 1").fetchone() is None for name in quoted)


def _wait_until_quiet(file: Path) -> None:
    """MLflow itself (a server on this file) may be making it at this moment, in steps."""
    while (age := time.time() - _changed(file)) < _QUIET_SECONDS:
        time.sleep(_QUIET_SECONDS - max(age, 0.0))


def _changed(file: Path) -> float:
    files = [file.with_name(file.name + companion) for companion in _COMPANIONS]
    return max((one.stat().st_mtime for one in files if one.exists()), default=0.0)


def _set_aside(file: Path) -> None:
    stem = f"{file.name}.half-made-{datetime.datetime.now():%Y%m%dT%H%M%S}"
    names = (stem, *(f"{stem}-{number}" for number in range(2, 1000)))
    aside = next(name for name in names if not file.with_name(name).exists())
    for companion in reversed(_COMPANIONS):  # a journal belongs to its file
        with suppress(FileNotFoundError):
            file.with_name(file.name + companion).rename(file.with_name(aside + companion))


def _require_version(file: Path) -> None:
    """MLflow would refuse an older store, or migrate it in place without a copy."""
    import mlflow
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    scripts = ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations"))
    with _opened(file) as database:
        try:
            (version,) = database.execute("SELECT version_num FROM alembic_version").fetchone() or (None,)
        except sqlite3.OperationalError:
            version = None
    if version == scripts.get_current_head():
        return
    try:
        is_older = version is None or scripts.get_revision(version) is not None
    except CommandError:
        is_older = False
    if not is_older:
        raise StoreError(f"{file} was made by a newer MLflow than {mlflow.__version__}: install that one")
    raise StoreError(
        f"{file} was made by an older MLflow than {mlflow.__version__}: keep a copy of it, then run "
        f"`mlflow db upgrade sqlite:///{file}`"
    )


@contextmanager
def _opened(file: Path) -> Iterator[sqlite3.Connection]:
    address = f"file:{quote(str(file))}?mode=rw"  # makes no file; rolls back what a killed writer left
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=_BUSY_SECONDS)) as database:
            yield database
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{file} cannot be read as a store of MLflow: {error}") from error
