"""An MLflow store or server: opened, prepared, and its many ways to fail as one error. mlflow is imported late."""

from __future__ import annotations

import getpass
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

from reports.options import TrackingOptions
from reports.sqlite_store import StoreBusy, StoreError, alone, artifacts_of, ensure, file_of
from reports.ui import MEASUREMENTS, View
from runtime.errors import MachineError, VoxportError

_REACH_SECONDS = 8.0  # until a server that is there says anything
_reached: set[str] = set()
_LOCK_SECONDS = 600.0  # a dozen jobs that end together log one after another
ABOUT = """Conversions and measurements of speech models by voxport.

- `kind`: `convert` (one per bundle), `measure` (one per engine and device), `bench`, `mac-check`. Nights have an
  experiment of their own.
- `make ui` prints a link to the measurements with the columns that matter; clear its filter for the other kinds.
- A run's name begins with the checkpoint, shortened, the precision, the first letters of format, upsampler and mode,
  and the engine, or `job`: `ka_hif fp16 mpo mil`. The words follow.
- Filter by tags, as in `tags.kind = 'measure' and tags.verdict = 'passed'`: `device`, `series`, `bundle`, `busy`, …
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
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what fails is raised, too, and told in a sentence
    return mlflow


def user_name() -> str:
    """Who logs; in a container a user often has a number only."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # KeyError: no entry in passwd, until Python 3.13
        return f"uid {os.getuid()}"


@contextmanager
def client_of(options: TrackingOptions) -> Iterator[Any]:
    """MLflow's client of the store, which is made where it is not there; whatever fails becomes a TrackingError."""
    if problem := options.address.problem:
        raise TrackingError(f"MLflow at {options.uri}: {problem}")
    mlflow = mlflow_module()
    with as_tracking_error(options):
        uri = options.address.revealed()
        if uri.startswith("http"):
            _reach(options.address.place)
        file = file_of(uri)
        if file is not None:
            ensure(file, _LOCK_SECONDS)
        mlflow.set_tracking_uri(uri)
        yield mlflow.MlflowClient()


def _reach(place: str) -> None:
    """Asks a server once whether it is there. MLflow's client would go on asking one that is not for a minute.

    Raises what `requests` raises; any answer will do, and what is wrong with a certificate is MLflow's to say.
    """
    import requests

    if place not in _reached:
        with suppress(requests.exceptions.SSLError):
            requests.get(f"{place}/health", timeout=_REACH_SECONDS, stream=True).close()
        _reached.add(place)


@contextmanager
def prepared(options: TrackingOptions) -> Iterator[tuple[Any, str]]:
    """(client, id of the experiment), both made where they are not there yet.

    A sqlite store has one writer at a time: any fails after 20 s of waiting.
    Raises TrackingError where the store cannot be reached.
    """
    file = file_of(options.uri)
    lock = alone(file, _LOCK_SECONDS) if file else nullcontext()
    with as_tracking_error(options), lock, client_of(options) as client:
        yield client, experiment_id(client, options, options.experiment)


def experiment_id(
    client: Any, options: TrackingOptions, name: str, view: View = MEASUREMENTS, about: str = ABOUT
) -> str:
    """The id of an experiment, made with a note where it is not there yet. `view`: how the UI shows its runs."""
    from mlflow.exceptions import MlflowException

    existing = client.get_experiment_by_name(name)
    if existing is None:
        file = file_of(options.uri)
        place = artifacts_of(file).as_uri() if file else None  # a server decides for itself
        tags = {"mlflow.note.content": about, **view.tag}
        try:
            return str(client.create_experiment(name, artifact_location=place, tags=tags))
        except MlflowException:  # on a server another process may have been faster
            existing = client.get_experiment_by_name(name)
            if existing is None:
                raise
    for key, state in view.tag.items():
        if existing.tags.get(key) != state:
            client.set_experiment_tag(existing.experiment_id, key, state)
    return str(existing.experiment_id)


@contextmanager
def as_tracking_error(options: TrackingOptions) -> Iterator[None]:
    """mlflow's many ways to fail, as one sentence, without the secret of the address."""
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, RequestException, SQLAlchemyError, StoreError, OSError, ImportError) as error:
        kind = TrackingError if _is_of_the_input(error) else StoreAway
        raise kind(_sentence(options, error)) from (None if options.address.has_secret else error)


def _is_of_the_input(error: Exception) -> bool:
    """Whether something else should have been asked for, in place of a store that is away."""
    if isinstance(error, (StoreError, ImportError)):
        return not isinstance(error, StoreBusy)
    return getattr(error, "error_code", "") in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE") or _is_refused(
        error
    )


def _is_refused(error: Exception) -> bool:
    return bool(re.search(r"error code 40[13]\b", str(error)))


def _sentence(options: TrackingOptions, error: Exception) -> str:
    reason = (options.address.scrubbed(str(error)).splitlines() or [type(error).__name__])[0]
    if re.search("Max retries exceeded|Read timed out", reason):  # its own sentence goes on for lines
        reason = "it does not answer"
    elif _is_refused(error):
        reason = "it refuses this user or password (MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD)"
    return f"MLflow at {options.uri}: {reason}"
