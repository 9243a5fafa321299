"""A bundle that was converted elsewhere, measured on this machine: fetched, executed, gated, reported, logged."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path

from reports.champions import Champion, fetch, version_of_run
from reports.html import write_report
from reports.options import TrackingOptions
from reports.record import FILE as RECORD
from reports.record import read_record, read_record_file, write_record
from reports.store import client_of, mlflow_module
from reports.tracking import track
from runtime.bundle.store import Bundle, BundleError, open_bundle
from runtime.machine.child import output_of
from runtime.measuring.gates import judge
from runtime.measuring.measure import Measurement, engines_for, measurement_key, measurement_path, read_measurement
from runtime.measuring.options import GateLimits, MeasureOptions


def measured_here(target: str, tracking: TrackingOptions, output: Path) -> Bundle:
    """target: a bundle's folder, or one of its runs in MLflow, whose bundle is fetched into `output`. What was measured
    here before, by the same code, is not measured again; what is new is logged.

    Raises TrackingError, BundleError or EngineError; the message says what could not be had.
    """
    bundle = open_bundle(Path(target)) if Path(target).is_dir() else _fetched(target, tracking, output)
    record = read_record(bundle)
    if record is None:
        raise BundleError(f"{bundle.measured / RECORD} is missing or cannot be read")
    engines = engines_for(MeasureOptions(), bundle)
    if any(_known(bundle, engine) is None for engine in engines):
        _measure(bundle)
    measurements = [one for engine in engines if (one := _known(bundle, engine)) is not None]
    limits = {name: GateLimits(**row) for name, row in record.config["gates"]["limits"].items()}
    kind = record.config["precision"].get("kind", "")
    names = tuple(measurement_path(bundle, one.engine, one.chunk_frames).name for one in measurements)
    judged = dataclasses.replace(record, gates=tuple(judge(bundle, measurements, limits, kind)), measurements=names)
    write_record(bundle.measured, judged)
    write_report(bundle.path)
    if tracking.enabled:
        track(bundle.path, tracking)
    return bundle


def gates_missed(bundle: Bundle) -> list[str]:
    record = read_record(bundle)
    return [str(gate) for gate in record.gates if not gate.passed] if record else []


def _fetched(run: str, tracking: TrackingOptions, output: Path) -> Bundle:
    series, version, key = version_of_run(run, tracking)
    bundle = fetch(Champion(series, version, key), tracking, output)
    if read_record(bundle) is None:
        with client_of(tracking) as client:
            (source,) = client.search_model_versions(f"name = '{series}' and version_number = {version}")
            uri = f"runs:/{source.run_id}/{RECORD}"
            came = Path(mlflow_module().artifacts.download_artifacts(uri))
        kept = read_record_file(came)
        if kept is None:
            raise BundleError(f"{uri} in MLflow is no record of a job")
        record = dataclasses.replace(kept, gates=(), measurements=())
        shutil.rmtree(bundle.measured, ignore_errors=True)
        write_record(bundle.measured, record)
    return bundle


def _known(bundle: Bundle, engine: str) -> Measurement | None:
    """Returns what was measured here by the code that is here, or None."""
    try:
        measurement = read_measurement(measurement_path(bundle, engine, None))
    except BundleError:
        return None
    return measurement if measurement.key == measurement_key(bundle, engine, MeasureOptions()) else None


def _measure(bundle: Bundle) -> None:
    """Measures in a process of its own: a compiler can take it down."""
    command = [sys.executable, "-m", "runtime", "measure", str(bundle.path)]
    output_of(command, f"measuring {bundle.manifest.name}")
