"""MLflow's UI as it should open: the columns that matter, kept with the experiment as a shared view, and its address.

A link with `viewStateShareKey=KEY` makes the UI show the experiment's tag `mlflow.sharedViewState.KEY`, a JSON of its
own: what *Share* in the UI writes, uncompressed. Seen in MLflow 3.17.2.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from runtime.machine.address import Address

PORT = 5000  # of `make ui`
PLAIN = "workflowType=machine_learning"  # without the sidebar for language models


@dataclass(frozen=True)
class View:
    """A table of runs. `columns`: as `metrics.NAME`, `params.NAME` or `tags.NAME`, from left to right; `only`: a filter
    of MLflow's."""

    key: str
    columns: Sequence[str]
    only: str = ""

    @property
    def tag(self) -> dict[str, str]:
        """The experiment's tag that the UI reads; newest run first."""
        columns = [f"{kind}.`{name}`" for kind, _, name in (column.partition(".") for column in self.columns)]
        state = {"selectedColumns": columns, "searchFilter": self.only}
        order = {"orderByKey": "attributes.start_time", "orderByAsc": False}
        return {f"mlflow.sharedViewState.{self.key}": json.dumps({**state, **order})}


MEASUREMENTS = View(
    "voxport-measurements",
    (
        "params.checkpoint",
        "params.precision",
        "params.mode",
        "params.engine",
        "tags.verdict",
        "tags.busy",
        "metrics.snr_db",
        "metrics.log_mel_l1",
        "metrics.rtf",
        "metrics.latency_p95_ms",
        "metrics.size_mb",
    ),
    "tags.kind = 'measure'",
)
NIGHTS = View(
    "voxport-nights",
    (
        "tags.verdict",
        "params.suite",
        "params.device",
        "metrics.jobs_passed",
        "metrics.jobs_regressed",
        "metrics.jobs_rejected",
        "metrics.jobs_failed",
    ),
)


def runs_address(uri: str, experiment: str, view: View = MEASUREMENTS) -> str:
    """Returns the address of the experiment's runs in that view."""
    return f"{server_of(uri)}/#/experiments/{experiment}/runs?{PLAIN}&viewStateShareKey={view.key}"


def run_address(uri: str, experiment: str, run: str) -> str:
    """Returns the address of a run's page."""
    return f"{server_of(uri)}/#/experiments/{experiment}/runs/{run}?{PLAIN}"


def compare_address(uri: str, experiment: str, runs: Sequence[str]) -> str:
    """Returns the address of the UI's page that compares runs."""
    listed, experiments = (quote(json.dumps(ids, separators=(",", ":"))) for ids in (list(runs), [experiment]))
    return f"{server_of(uri)}/#/compare-runs?runs={listed}&experiments={experiments}&{PLAIN}"


def server_of(uri: str) -> str:
    """Returns where the UI of a store is: a sqlite store has one where `make ui` serves it."""
    return Address(uri).place if uri.startswith("http") else f"http://127.0.0.1:{PORT}"
