"""`python -m reports ui`: the addresses of MLflow's pages, and its server for a store that is a file."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from reports.nights import NIGHTS_SUFFIX
from reports.options import TrackingOptions
from reports.store import experiment_id, prepared
from reports.ui import NIGHTS, PLAIN, runs_address, server_of


def addresses(options: TrackingOptions, port: int) -> list[tuple[str, str]]:
    """(what, the address of its page): measurements, nights where there are any, accepted versions.

    `port`: where a sqlite store is served. Raises TrackingError where the store cannot be reached.
    """
    uri = options.uri if options.uri.startswith("http") else f"http://127.0.0.1:{port}"
    with prepared(options) as (client, experiment):
        pages = [("measurements", runs_address(uri, experiment))]
        name = options.experiment + NIGHTS_SUFFIX
        if client.get_experiment_by_name(name) is not None:
            pages.append(("nights", runs_address(uri, experiment_id(client, options, name, NIGHTS), NIGHTS)))
    return [*pages, ("versions", f"{server_of(uri)}/#/models?{PLAIN}")]


def serve(options: TrackingOptions, port: int) -> NoReturn:
    """Becomes MLflow's server of that store, for this machine alone; ctrl-C ends it."""
    os.environ |= {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    where = ("--backend-store-uri", options.uri, "--host", "127.0.0.1", "--port", str(port), "--workers", "1")
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", "server", *where])
