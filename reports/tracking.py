"""MLflow: one flat run per conversion and per measurement, the bundle as a LoggedModel.

What could not be sent is marked beside the bundle (`untracked.json`) and goes out with `python -m reports sync`.
mlflow is imported late: it costs a second.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from reports.html import FILE as REPORT
from reports.options import TrackingOptions
from reports.record import FILE as RECORD
from reports.record import JobRecord, read_job
from reports.tracked import UNTRACKED, tracked_runs, write_tracked
from runtime.audio import write_wav
from runtime.bench.whole import BenchReport
from runtime.bundle import MANIFEST, Bundle, BundleError, Manifest
from runtime.mac_check import MacCheck
from runtime.measure import Measurement


class TrackingError(RuntimeError):
    """A store that cannot be used; the message says why. Nothing is lost: see `mark_untracked`."""


def prepare(options: TrackingOptions) -> None:
    """Makes store and experiment. By one process before any other writes: a fresh sqlite file breaks under two.

    Raises TrackingError where the store cannot be reached.
    """
    mlflow = _mlflow()
    with _as_tracking_error(options):
        mlflow.set_tracking_uri(options.uri)
        client = mlflow.MlflowClient()
        experiment = client.get_experiment_by_name(options.experiment)
        if experiment is None:
            location = _artifact_folder(options.uri)
            client.create_experiment(options.experiment, artifact_location=location.as_uri() if location else None)
        mlflow.set_experiment(options.experiment)


@contextmanager
def client_of(options: TrackingOptions) -> Iterator[Any]:
    """MLflow's client of the store; whatever it raises becomes a TrackingError."""
    mlflow = _mlflow()
    with _as_tracking_error(options):
        mlflow.set_tracking_uri(options.uri)
        yield mlflow.MlflowClient()


def track(bundle_path: Path, options: TrackingOptions, tags: Mapping[str, str] | None = None) -> dict[str, str]:
    """Logs what is not logged yet: a run of kind=convert, one of kind=measure per measurement; kind or key -> run id.
    `tags`: of each new run, beside its own.

    A bundle that passed also becomes a LoggedModel and a version of its registered model.
    Raises TrackingError where the store cannot be reached, BundleError where the job's files cannot be read.
    """
    bundle, record, measurements = read_job(bundle_path)
    prepare(options)
    known = tracked_runs(bundle, options)
    fresh = dict(known)
    with _as_tracking_error(options):
        try:
            conversion = f"convert {bundle.manifest.created}"
            if conversion not in known:
                fresh[conversion] = _log_conversion(bundle, record, tags or {})
                if record.passed:
                    _log_model(bundle, fresh[conversion])
            for measurement in measurements:
                if measurement.key not in known:
                    fresh[measurement.key] = _log_measurement(bundle, record, measurement, tags or {})
        finally:
            write_tracked(bundle, options, fresh)
    (bundle.measured / UNTRACKED).unlink(missing_ok=True)
    return {key: run for key, run in fresh.items() if key not in known}


def track_bench(report: BenchReport, files: Sequence[Path], options: TrackingOptions) -> str:
    """One flat run of kind=bench, metrics by the median process, `files` as its artifacts; the run's id.

    Raises TrackingError where the store cannot be reached.
    """
    prepare(options)
    with _as_tracking_error(options):
        return _log_bench(report, "bench", f"bench {report.engine} {report.bundle}", {}, {}, files)


def track_mac_check(check: MacCheck, files: Sequence[Path], options: TrackingOptions) -> list[str]:
    """One flat run of kind=mac-check per bundle and compute unit that could be benched; their ids.

    Raises TrackingError where the store cannot be reached.
    """
    prepare(options)
    runs = []
    with _as_tracking_error(options):
        for bundle in check.bundles:
            for unit in bundle.units:
                if unit.bench is None:
                    continue
                loads = {"first_load_s": unit.first_load_s, "warm_load_s": unit.warm_load_s}
                metrics = {name: value for name, value in loads.items() if value is not None}
                if unit.placement is not None:
                    metrics |= {f"planned_{device}": share for device, share in unit.placement.cost.items()}
                tags = {"compute_unit": unit.compute_unit, "fallback": bundle.fallback, "best": str(bundle.best)}
                name = f"mac-check {unit.compute_unit} {bundle.bundle}"
                runs.append(_log_bench(unit.bench, "mac-check", name, tags, metrics, files))
    return runs


def _log_bench(
    report: BenchReport,
    kind: str,
    name: str,
    tags: Mapping[str, str],
    metrics: Mapping[str, float],
    files: Sequence[Path],
) -> str:
    mlflow = _mlflow()
    own = {"kind": kind, "mlflow.source.name": "voxport", "device": report.device, "system": report.system}
    own |= {"bundle": report.bundle, "bundle_key": report.bundle_key}
    own |= {f"target.{target.name}": target.verdict for target in report.targets}
    with mlflow.start_run(run_name=name, tags={**own, **tags}) as run:
        mlflow.log_params({"engine": report.engine, "processes": len(report.processes)})
        values = {name: row.median for name, row in report.spread.items()} | dict(metrics)
        last = report.processes[-1]
        if last.budget is not None:
            values["delay_ms"] = last.budget.total_ms
        if last.closed is not None:
            mlflow.log_params({"mode": last.closed.mode, "chunk": last.closed.chunk_frames})
        mlflow.log_metrics({name: float(value) for name, value in values.items() if np.isfinite(value)})
        for file in files:
            mlflow.log_artifact(str(file))
        return str(run.info.run_id)


def sync(output: Path) -> Iterator[tuple[Path, dict[str, str] | TrackingError | BundleError]]:
    """Sends what `untracked.json` files below `output` mark; yields each bundle with its runs or its problem."""
    for marker in sorted(output.rglob(UNTRACKED)):
        path = marker.parent.with_name(marker.parent.name.removesuffix(".measured"))
        try:
            wanted = json.loads(marker.read_text())
            options = TrackingOptions(uri=wanted["uri"], experiment=wanted["experiment"])
            yield path, track(path, options)
        except (TrackingError, BundleError) as error:
            yield path, error


def _log_conversion(bundle: Bundle, record: JobRecord, extra: Mapping[str, str]) -> str:
    mlflow = _mlflow()
    manifest = bundle.manifest
    tags = {**_tags(bundle, record, "convert"), **extra}
    with mlflow.start_run(run_name=f"convert {_label(manifest)}", tags=tags) as run:
        mlflow.log_params(_axes(manifest))
        converted = [s for name, s in record.seconds.items() if name.startswith("convert ")]
        metrics = {"size_mb": bundle.artefact_bytes / 1e6, "parameters_m": manifest.parameters / 1e6}
        if converted:
            metrics |= {"convert_s": sum(converted), "job_s": sum(record.seconds.values())}
        mlflow.log_metrics(metrics)
        mlflow.log_artifact(str(bundle.path / MANIFEST))
        for name in (RECORD, REPORT):
            if (bundle.measured / name).is_file():
                mlflow.log_artifact(str(bundle.measured / name))
        if (bundle.measured / "plots").is_dir():
            mlflow.log_artifacts(str(bundle.measured / "plots"), "plots")
        mlflow.log_dict(record.config, "config.yaml")
        return str(run.info.run_id)


def _log_measurement(bundle: Bundle, record: JobRecord, measurement: Measurement, extra: Mapping[str, str]) -> str:
    mlflow = _mlflow()
    name = f"{measurement.engine} {_label(bundle.manifest)}"
    latency = measurement.latency
    chunk = latency.chunk_frames if latency else measurement.chunk_frames
    tags = {**_tags(bundle, record, "measure"), "device": measurement.device, "system": measurement.system, **extra}
    with mlflow.start_run(run_name=name, tags=tags) as run:
        engine_axes = {
            "engine": measurement.engine,
            "chunk": chunk or "largest",
            "compute_unit": measurement.compute_unit,
        }
        mlflow.log_params({**_axes(bundle.manifest), **engine_axes})
        worst = {"size_mb": bundle.artefact_bytes / 1e6, "load_s": measurement.load_s, **_quality(measurement)}
        spoken = [clip for clip in measurement.clips if clip.stoi_recording is not None]
        if spoken:
            worst["stoi_recording"] = min(float(clip.stoi_recording or 0.0) for clip in spoken)
            worst["log_mel_l1_recording"] = max(float(clip.log_mel_l1_recording or 0.0) for clip in spoken)
        if latency:
            worst |= {f"latency_{name}": getattr(latency, name) for name in ("p50_ms", "p95_ms", "p99_ms", "max_ms")}
            worst |= {"rtf": latency.rtf, "first_call_ms": latency.first_call_ms}
            worst["deadline_misses"] = latency.deadline_misses
        mlflow.log_metrics({key: float(value) for key, value in worst.items() if np.isfinite(value)})
        with tempfile.TemporaryDirectory() as folder:
            for clip in measurement.clips:
                samples = np.load(bundle.measured / "audio" / f"{measurement.engine}-{clip.clip}.npy")
                assert bundle.sound is not None
                write_wav(Path(folder) / f"{clip.clip}.wav", samples, bundle.sound.sample_rate)
            if measurement.clips:
                mlflow.log_artifacts(folder, "audio")
        return str(run.info.run_id)


def _quality(measurement: Measurement) -> dict[str, float]:
    """On the worst of the goldens."""
    if measurement.rows and not measurement.clips:
        quality = {
            "snr_db": min(row.snr_db for row in measurement.rows),
            "cosine": min(row.cosine for row in measurement.rows),
        }
        return quality | {f"latency_p50_ms_{call.rows}": call.p50_ms for call in measurement.calls}
    agreements = [clip.agreement for clip in measurement.clips]
    least = ("snr_db", "worst_window_db", "head_db", "tail_db", "stoi")
    quality = {name: min(getattr(agreement, name) for agreement in agreements) for name in least}
    quality["log_mel_l1"] = max(agreement.log_mel_l1 for agreement in agreements)
    for component in dict.fromkeys(row.component for row in measurement.rows):
        quality[f"{component}_snr_db"] = min(row.snr_db for row in measurement.rows if row.component == component)
    if measurement.spoken:
        quality["durations_off"] = sum(one.durations_off for one in measurement.spoken)
        seconds = sum(one.seconds for one in measurement.spoken)
        elapsed = [one.elapsed_s for one in measurement.spoken if one.elapsed_s is not None]
        first = [one.first_audio_s for one in measurement.spoken if one.first_audio_s is not None]
        if elapsed and first:
            quality |= {"rtf_sentences": sum(elapsed) / seconds, "first_audio_s": max(first)}
    return quality


def _log_model(bundle: Bundle, run_id: str) -> None:
    """The bundle's directory as a LoggedModel (downloads give it back exactly), and a version of its series."""
    mlflow = _mlflow()
    manifest = bundle.manifest
    model = mlflow.initialize_logged_model(
        name=manifest.name,
        source_run_id=run_id,
        model_type=manifest.conversion.format,
        params=_axes(manifest),
        tags={"bundle_key": manifest.key, "checkpoint_sha256": manifest.checkpoint.sha256},
    )
    mlflow.MlflowClient().log_model_artifacts(model.model_id, str(bundle.path))
    mlflow.finalize_logged_model(model.model_id, "READY")
    with contextlib.redirect_stderr(io.StringIO()):  # it announces itself there, past all loggers
        tags = {"bundle_key": manifest.key, "bundle": manifest.name}
        mlflow.register_model(f"models:/{model.model_id}", series(manifest), tags=tags)


def _label(manifest: Manifest) -> str:
    """What differs between runs comes first: MLflow's lists cut a name after some 20 characters."""
    conversion = manifest.conversion
    parts = (conversion.precision, conversion.upsampler, conversion.mode, conversion.format, manifest.checkpoint.name)
    return " ".join(parts)


def _axes(manifest: Manifest) -> dict[str, str]:
    """What people compare runs by; values differ in their first 10 characters, which is what MLflow's plots show."""
    conversion = manifest.conversion
    return {
        "family": manifest.checkpoint.family,
        "checkpoint": manifest.checkpoint.name,
        "format": conversion.format,
        "precision": conversion.precision,
        "upsampler": conversion.upsampler,
        "mode": conversion.mode,
        "target": conversion.target,
    }


def _tags(bundle: Bundle, record: JobRecord, kind: str) -> dict[str, str]:
    manifest = bundle.manifest
    return {
        "kind": kind,
        "mlflow.source.name": "voxport",
        "verdict": "passed" if record.passed else "rejected",
        "bundle": manifest.name,
        "bundle_key": manifest.key,
        "checkpoint_sha256": manifest.checkpoint.sha256,
        "checkpoint_fallback": str(manifest.checkpoint.fallback).lower(),
        "git_commit": manifest.git_commit or "none",
        **{f"version.{tool}": version for tool, version in manifest.versions.items()},
    }


def series(manifest: Manifest) -> str:
    """`<checkpoint>-<format>-<precision>-<upsampler>-<mode>`: the registered model."""
    conversion = manifest.conversion
    parts = (conversion.format, conversion.precision, conversion.upsampler, conversion.mode)
    return "-".join((manifest.checkpoint.name, *parts))


def _artifact_folder(uri: str) -> Path | None:
    """Beside a sqlite store; a server decides for itself."""
    if not uri.startswith("sqlite:///"):
        return None
    return Path(uri.removeprefix("sqlite:///")).resolve().parent / "mlartifacts"


@contextmanager
def _as_tracking_error(options: TrackingOptions) -> Iterator[None]:
    """mlflow's many ways to fail, as one sentence."""
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, RequestException, SQLAlchemyError, OSError) as error:
        raise TrackingError(f"MLflow at {options.uri}: {str(error).splitlines()[0]}") from error


def _mlflow() -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # an unreachable server is decided in seconds, not in its default minutes
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    import mlflow

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return mlflow
