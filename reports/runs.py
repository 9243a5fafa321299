"""A flat MLflow run, logged in as few calls as it takes and once only.

Every run carries what it is of in the tag `voxport.key`; one that was not finished is deleted and logged anew: however
often sending is broken off and repeated, a result is there once.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from reports.store import mlflow_module, user_name

KEY = "voxport.key"
NOTE = "mlflow.note.content"
_ABANDONED_HOURS = 24.0  # no delivery to a server takes as long


def log_once(
    client: Any,
    experiment: str,
    key: str,
    name: str,
    tags: Mapping[str, str],
    params: Mapping[str, object],
    metrics: Mapping[str, float],
    fill: Callable[[Path], None],
) -> str:
    """The finished run of this key, logged where there is none; `fill` puts its artifacts into a folder. Its id."""
    known = finished_run(client, experiment, key)
    if known is not None:
        return known
    run = _log_run(client, experiment, name, {KEY: _key(key), **tags}, params, metrics, fill)
    # MLflow's client repeats a request whose answer was lost, and a run was made that it knows nothing of
    return finished_run(client, experiment, key) or run


def _log_run(
    client: Any,
    experiment: str,
    name: str,
    tags: Mapping[str, str],
    params: Mapping[str, object],
    metrics: Mapping[str, float],
    fill: Callable[[Path], None],
) -> str:
    mlflow_module()
    from mlflow.entities import Metric, Param

    now = int(1000 * time.time())
    origin = {"mlflow.source.name": "voxport", "mlflow.user": user_name()}
    run = client.create_run(experiment, tags={**origin, **tags}, run_name=name, start_time=now)
    finite = {key: float(value) for key, value in metrics.items() if np.isfinite(value)}
    client.log_batch(
        run.info.run_id,
        metrics=[Metric(key, value, now, 0) for key, value in finite.items()],
        params=[Param(key, str(value)) for key, value in params.items()],
    )
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder))
        if any(Path(folder).iterdir()):
            client.log_artifacts(run.info.run_id, folder)
    client.set_terminated(run.info.run_id)
    return str(run.info.run_id)


def finished_run(client: Any, experiment: str, key: str) -> str | None:
    """The finished run of this key, the first of several; every other is ended and deleted."""
    ours = f'tags.`{KEY}` = "{_key(key)}"'
    runs = client.search_runs([experiment], ours, order_by=["attributes.start_time ASC"])
    finished = [run.info.run_id for run in runs if run.info.status == "FINISHED"]
    for run in runs:
        if run.info.run_id not in finished[:1]:
            _discard_run(client, run)
    return str(finished[0]) if finished else None


def _key(text: str) -> str:
    return text.replace('"', "'")  # MLflow's filters know no way to write both quotes


def digest_of(file: Path) -> str:
    """Tells what was logged from one file from what was logged from another."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def end_strays(client: Any, experiment: str, *, is_alone: bool) -> int:
    """Ends and deletes runs and models that a delivery began and none will finish; how many.

    `is_alone`: nobody else can be delivering now, as in a sqlite store whose lock is held; else only what is older than
    a day is taken for one of those.
    """
    before = 1000 * (time.time() - (0.0 if is_alone else 3600 * _ABANDONED_HOURS))
    running = client.search_runs([experiment], f"attributes.status = 'RUNNING' and tags.`{KEY}` LIKE '%'")
    runs = [run for run in running if run.info.start_time <= before]
    models = [
        model
        for model in client.search_logged_models([experiment], "tags.bundle_key LIKE '%'")
        if str(model.status) == "PENDING" and model.creation_timestamp <= before
    ]
    for run in runs:
        _discard_run(client, run)
    for model in models:
        discard_model(client, model)
    return len(runs) + len(models)


def _discard_run(client: Any, run: Any) -> None:
    if run.info.status == "RUNNING":  # a deleted run can be restored, and nobody would end it then
        client.set_terminated(run.info.run_id, "KILLED")
    client.delete_run(run.info.run_id)


def discard_model(client: Any, model: Any) -> None:
    """Deletes a logged model; one whose upload was broken off is marked as failed first."""
    if str(model.status) == "PENDING":
        client.finalize_logged_model(model.model_id, "FAILED")
    client.delete_logged_model(model.model_id)
