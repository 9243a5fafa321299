"""An MLflow store or server: opened, prepared, and its many ways to fail as one error. mlflow is imported late."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import filelock

from reports.options import TrackingOptions
from runtime.cache import cache_folder
from runtime.errors import MachineError, VoxportError

_SQLITE = "sqlite:///"
_LOCK_SECONDS = 600.0  # a dozen jobs that end together log one after another
ABOUT = """Conversions and measurements of speech models by voxport.

- `kind`: `convert` (one per bundle), `measure` (one per engine and device), `bench`, `mac-check`. Nights have an
  experiment of their own.
- Compare runs: tick some, *Compare*. `precision`, `format`, `upsampler`, `mode`, `engine`, `chunk` are the axes.
- `snr_db` and `log_mel_l1` are against PyTorch on the worst golden; `rtf` is elapsed / audio: lower is better.
- A bundle that passes its gates is a version of the registered model of its series; `champion` is the accepted one.
"""


class TrackingError(VoxportError, RuntimeError):
    """Something asked of a store that is not there; the message says what."""


class StoreAway(MachineError, TrackingError):
    """A store that cannot be used; the message says why. Nothing is lost: see `tracked.mark_untracked`."""


def mlflow_module() -> Any:
    """mlflow, imported on first use, quiet, and quick to see that a server is away."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # an unreachable server is decided in seconds, not in its default minutes
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    import mlflow

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return mlflow


@contextmanager
def client_of(options: TrackingOptions) -> Iterator[Any]:
    """MLflow's client of the store; whatever it raises becomes a TrackingError."""
    mlflow = mlflow_module()
    with as_tracking_error(options):
        mlflow.set_tracking_uri(options.uri)
        yield mlflow.MlflowClient()


@contextmanager
def prepared(options: TrackingOptions) -> Iterator[tuple[Any, str]]:
    """(client, id of the experiment), both made where they are not there yet.

    A sqlite store has one writer at a time: a fresh one breaks under two, and any fails after 20 s of waiting.
    Raises TrackingError where the store cannot be reached.
    """
    with _alone(options), client_of(options) as client:
        yield client, experiment_id(client, options, options.experiment)


def experiment_id(client: Any, options: TrackingOptions, name: str, about: str = ABOUT) -> str:
    """The id of an experiment, made with a note where it is not there yet."""
    from mlflow.exceptions import MlflowException

    existing = client.get_experiment_by_name(name)
    if existing is not None:
        return str(existing.experiment_id)
    location = _artifact_folder(options.uri)
    place = location.as_uri() if location else None
    try:
        return str(client.create_experiment(name, artifact_location=place, tags={"mlflow.note.content": about}))
    except MlflowException:  # on a server another process may have been faster
        existing = client.get_experiment_by_name(name)
        if existing is None:
            raise
        return str(existing.experiment_id)


@contextmanager
def _alone(options: TrackingOptions) -> Iterator[None]:
    folder = cache_folder() / "locks"
    with nullcontext() if not options.uri.startswith("sqlite:") else _lock(folder, options.uri):
        yield


@contextmanager
def _lock(folder: Path, what: str) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    path = Path(what.removeprefix(_SQLITE)).resolve()
    lock = filelock.FileLock(folder / f"{hashlib.sha256(str(path).encode()).hexdigest()[:16]}.lock")
    try:
        lock.acquire(timeout=_LOCK_SECONDS)
    except filelock.Timeout as error:
        raise StoreAway(f"MLflow at {what}: another process has been writing for {_LOCK_SECONDS:g} s") from error
    try:
        yield
    finally:
        lock.release()


def _artifact_folder(uri: str) -> Path | None:
    """Beside a sqlite store; a server decides for itself."""
    if not uri.startswith(_SQLITE):
        return None
    return Path(uri.removeprefix(_SQLITE)).resolve().parent / "mlartifacts"


@contextmanager
def as_tracking_error(options: TrackingOptions) -> Iterator[None]:
    """mlflow's many ways to fail, as one sentence."""
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, RequestException, SQLAlchemyError, OSError) as error:
        said = str(error).splitlines()[0]
        is_away = "Max retries exceeded" in said  # its own sentence goes on for lines
        is_missing = getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST"
        kind = TrackingError if is_missing else StoreAway
        raise kind(f"MLflow at {options.uri}: {'it does not answer' if is_away else said}") from error
