"""MLflow: one flat run per conversion and per measurement, the bundle as a LoggedModel.

What is to be sent is marked beside the bundle (`untracked.json`) before sending begins, and goes out with
`python -m reports sync`, once however often sending is broken off and repeated (`reports.runs`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import filelock

from reports.conversions import BundleRuns
from reports.options import TrackingOptions
from reports.record import read_job
from reports.store import prepared
from reports.tracked import UNTRACKED, conversion_key, mark_untracked, tracked_runs, write_tracked

_SYNC_SECONDS = 600.0


def prepare(options: TrackingOptions) -> None:
    """Makes store and experiment. Raises TrackingError where the store cannot be reached."""
    with prepared(options):
        pass


def track(bundle_path: Path, options: TrackingOptions, tags: Mapping[str, str] | None = None) -> dict[str, str]:
    """Logs what is not logged yet: a run of kind=convert, one of kind=measure per measurement; kind or key -> run id.
    `tags`: of each new run, beside its own and those of the options.

    A bundle that passed its gates also becomes a LoggedModel and a version of its registered model.
    Raises TrackingError where the store cannot be reached, BundleError where the job's files cannot be read.
    """
    bundle, record, measurements = read_job(bundle_path)
    options = replace(options, tags={**options.tags, **(tags or {})})
    with filelock.FileLock(bundle.measured / ".tracking.lock", timeout=_SYNC_SECONDS):
        known = tracked_runs(bundle, options)
        fresh = dict(known)
        mark_untracked(bundle.measured, options)
        with prepared(options) as (client, experiment):
            runs = BundleRuns(client, experiment, bundle, options.tags)
            try:
                conversion = conversion_key(bundle.manifest)
                if conversion not in known:
                    run = runs.conversion(record)
                    if record.verdict == "passed":
                        runs.model(run, measurements)
                    fresh[conversion] = run
                for measurement in measurements:
                    if measurement.key not in known:
                        fresh[measurement.key] = runs.measurement(record, measurement)
            finally:
                write_tracked(bundle, options, fresh)
        (bundle.measured / UNTRACKED).unlink(missing_ok=True)
    return {key: run for key, run in fresh.items() if key not in known}
