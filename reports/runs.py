"""A flat MLflow run, logged in as few calls as it takes and once only.

Every run carries what it is of in the tag `voxport.key`; one that was not finished is deleted and logged anew: however
often sending is broken off and repeated, a result is there once.
"""

from __future__ import annotations

import getpass
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from reports.store import mlflow_module

KEY = "voxport.key"
NOTE = "mlflow.note.content"


def log_run(
    client: Any,
    experiment: str,
    name: str,
    tags: Mapping[str, str],
    params: Mapping[str, object],
    metrics: Mapping[str, float],
    fill: Callable[[Path], None],
) -> str:
    """One finished run in as few calls as it takes; `fill` puts its artifacts into a folder. The run's id."""
    mlflow_module()
    from mlflow.entities import Metric, Param

    now = int(1000 * time.time())
    own = {"mlflow.source.name": "voxport", "mlflow.user": getpass.getuser()}
    run = client.create_run(experiment, tags={**own, **tags}, run_name=name, start_time=now)
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
    """The finished run of this key; unfinished ones are deleted."""
    for run in client.search_runs([experiment], f"tags.`{KEY}` = '{key}'"):
        if run.info.status == "FINISHED":
            return str(run.info.run_id)
        client.delete_run(run.info.run_id)
    return None
