"""Runs of MLflow side by side in a terminal, and the address of its own page that compares them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table

from reports.options import TrackingOptions
from reports.store import TrackingError, client_of
from reports.ui import compare_address


@dataclass(frozen=True)
class Compared:
    """`rows`: (what, the value in each run); parameters that are the same everywhere are left out. `address`: of the
    UI's page."""

    names: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    address: str


def compare_runs(runs: Sequence[str], options: TrackingOptions) -> Compared:
    """runs: ids, or the beginnings of ids. Raises TrackingError where one is not there, or not one alone, and where
    fewer than two are left to compare."""
    with client_of(options) as client:
        known = {run.info.run_id: run for run in (_run(client, prefix, options) for prefix in runs)}
    records = list(known.values())
    if len(records) < 2:
        raise TrackingError(
            f"it takes two runs or more to compare, and {' '.join(runs)} {'is' if len(runs) == 1 else 'are'} one: name "
            "another (python -m reports ui shows them)"
        )
    params = _rows([run.data.params for run in records])
    metrics = _rows([{name: f"{value:.5g}" for name, value in run.data.metrics.items()} for run in records])
    tags = _rows(
        [{name: run.data.tags.get(name, "") for name in ("verdict", "device", "git_commit")} for run in records]
    )
    versions = _rows([_versions(run.data.tags) for run in records])
    rows = [row for row in [*params, *tags, *versions] if len(set(row[1])) > 1] + metrics
    experiment = str(records[0].info.experiment_id)
    address = compare_address(options.uri, experiment, [run.info.run_id for run in records])
    return Compared(tuple(run.info.run_name for run in records), tuple(rows), address)


def table(compared: Compared) -> Table:
    shown = Table()
    shown.add_column("")
    for name in compared.names:
        shown.add_column(escape(name), justify="right")
    for what, values in compared.rows:
        shown.add_row(escape(what), *map(escape, values))
    return shown


def _run(client: Any, prefix: str, options: TrackingOptions) -> Any:
    if len(prefix) == 32:
        return client.get_run(prefix)
    experiment = client.get_experiment_by_name(options.experiment)
    if experiment is None:
        raise TrackingError(f"MLflow at {options.uri} has no experiment {options.experiment}")
    known = client.search_runs([experiment.experiment_id], max_results=5000)
    matches = [run for run in known if run.info.run_id.startswith(prefix)]
    if len(matches) != 1:
        many = f"{len(matches)} runs begin" if matches else "no run begins"
        raise TrackingError(f"{many} with {prefix!r} in experiment {options.experiment} of MLflow at {options.uri}")
    return matches[0]


def _rows(columns: Sequence[dict[str, str]]) -> list[tuple[str, tuple[str, ...]]]:
    names = dict.fromkeys(name for column in columns for name in column)
    return [(name, tuple(str(column.get(name, "–")) for column in columns)) for name in names]


def _versions(tags: dict[str, str]) -> dict[str, str]:
    return {name.removeprefix("version."): value for name, value in tags.items() if name.startswith("version.")}
