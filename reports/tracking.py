"""MLflow: one flat run per conversion and per measurement, the bundle as a LoggedModel.

What could not be sent is marked beside the bundle (`untracked.json`) and goes out with `python -m reports sync`, once
however often sending is broken off and repeated (`reports.runs`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import yaml

from reports import figures
from reports.html import FILE as REPORT
from reports.options import TrackingOptions
from reports.record import FILE as RECORD
from reports.record import JobRecord, read_job
from reports.runs import KEY, NOTE, finished_run, log_run
from reports.store import TrackingError, prepared
from reports.tracked import UNTRACKED, tracked_runs, write_tracked
from runtime.bundle import MANIFEST, Bundle, BundleError, Manifest
from runtime.measure import AUDIT, Measurement
from runtime.recordings import write_wav

_SYNC_SECONDS = 600.0


def prepare(options: TrackingOptions) -> None:
    """Makes store and experiment. Raises TrackingError where the store cannot be reached."""
    with prepared(options):
        pass


def track(bundle_path: Path, options: TrackingOptions, tags: Mapping[str, str] | None = None) -> dict[str, str]:
    """Logs what is not logged yet: a run of kind=convert, one of kind=measure per measurement; kind or key -> run id.
    `tags`: of each new run, beside its own and those of the options.

    A bundle that passed also becomes a LoggedModel and a version of its registered model.
    Raises TrackingError where the store cannot be reached, BundleError where the job's files cannot be read.
    """
    bundle, record, measurements = read_job(bundle_path)
    extra = {**options.tags, **(tags or {})}
    with filelock.FileLock(bundle.measured / ".tracking.lock", timeout=_SYNC_SECONDS):
        known = tracked_runs(bundle, options)
        fresh = dict(known)
        with prepared(options) as (client, experiment):
            log = _Log(client, experiment, bundle, extra)
            try:
                conversion = f"convert {bundle.manifest.created}"
                if conversion not in known:
                    run = log.once(f"{bundle.manifest.key} {conversion}", lambda key: log.conversion(key, record))
                    if record.passed:
                        log.model(run)
                    fresh[conversion] = run
                for measurement in measurements:
                    if measurement.key not in known:
                        fresh[measurement.key] = log.once(
                            f"measure {measurement.key} {measurement.created}",
                            lambda key, one=measurement: log.measurement(key, record, one),  # type: ignore[misc]
                        )
            finally:
                write_tracked(bundle, options, fresh)
        (bundle.measured / UNTRACKED).unlink(missing_ok=True)
    return {key: run for key, run in fresh.items() if key not in known}


def sync(output: Path) -> Iterator[tuple[Path, dict[str, str] | TrackingError | BundleError]]:
    """Sends what `untracked.json` files below `output` mark; yields each bundle or night with its runs or its
    problem."""
    from reports import nights

    for marker in sorted(output.rglob(UNTRACKED)):
        try:
            wanted = json.loads(marker.read_text())
            options = TrackingOptions(uri=wanted["uri"], experiment=wanted["experiment"], tags=wanted.get("tags", {}))
        except (OSError, ValueError, KeyError, TypeError) as error:
            yield marker, BundleError(f"{marker} cannot be read: {error!r}")
            continue
        is_night = (marker.parent / nights.SUITE).is_file()
        path = marker.parent if is_night else marker.parent.with_name(marker.parent.name.removesuffix(".measured"))
        try:
            yield path, nights.track_night(path, options) if is_night else track(path, options)
        except (TrackingError, BundleError) as error:
            yield path, error


class _Log:
    """What is logged of one bundle."""

    def __init__(self, client: Any, experiment: str, bundle: Bundle, extra: Mapping[str, str]) -> None:
        self.client, self.experiment, self.bundle, self.extra = client, experiment, bundle, extra

    def once(self, key: str, log: Callable[[str], str]) -> str:
        return finished_run(self.client, self.experiment, key) or log(key)

    def conversion(self, key: str, record: JobRecord) -> str:
        bundle, manifest = self.bundle, self.bundle.manifest
        converted = [seconds for name, seconds in record.seconds.items() if name.startswith("convert ")]
        metrics = {"size_mb": bundle.artefact_bytes / 1e6, "parameters_m": manifest.parameters / 1e6}
        if converted:
            metrics |= {"convert_s": sum(converted), "job_s": sum(record.seconds.values())}

        def fill(folder: Path) -> None:
            for file in (bundle.path / MANIFEST, *(bundle.measured / name for name in (RECORD, REPORT, AUDIT))):
                if file.is_file():
                    shutil.copy(file, folder)
            if (bundle.measured / "plots").is_dir():
                shutil.copytree(bundle.measured / "plots", folder / "plots")
            (folder / "config.yaml").write_text(yaml.safe_dump(record.config, sort_keys=False))

        tags = {**self._tags(key, record, "convert"), NOTE: _conversion_note(bundle, record), **self.extra}
        return log_run(self.client, self.experiment, f"convert {_label(manifest)}", tags, axes(manifest), metrics, fill)

    def measurement(self, key: str, record: JobRecord, measurement: Measurement) -> str:
        bundle, latency = self.bundle, measurement.latency
        quality = figures.quality(measurement)
        metrics = {"size_mb": bundle.artefact_bytes / 1e6, "load_s": measurement.load_s, **quality}
        metrics |= {**figures.against_recording(measurement), **figures.timing(measurement)}
        params = {
            **axes(bundle.manifest),
            "engine": measurement.engine,
            "chunk": (latency.chunk_frames if latency else measurement.chunk_frames) or "largest",
            "compute_unit": measurement.compute_unit,
        }

        def fill(folder: Path) -> None:
            for clip in measurement.clips:
                assert bundle.sound is not None
                samples = np.load(bundle.measured / "audio" / f"{measurement.engine}-{clip.clip}.npy")
                (folder / "audio").mkdir(exist_ok=True)
                write_wav(folder / "audio" / f"{clip.clip}.wav", samples, bundle.sound.sample_rate)
                picture = bundle.measured / "plots" / f"clip-{clip.clip}.png"
                if picture.is_file():
                    (folder / "spectrograms").mkdir(exist_ok=True)
                    shutil.copy(picture, folder / "spectrograms" / f"{clip.clip}.png")

        tags = {
            **self._tags(key, record, "measure"),
            "device": measurement.device,
            "system": measurement.system,
            NOTE: _measurement_note(measurement, metrics),
            **self.extra,
        }
        return log_run(
            self.client, self.experiment, f"{measurement.engine} {_label(bundle.manifest)}", tags, params, metrics, fill
        )

    def model(self, run: str) -> None:
        """The bundle's directory as a LoggedModel (downloads give it back exactly), and a version of its series."""
        manifest, client = self.bundle.manifest, self.client
        name, tags = manifest.series, {"bundle_key": manifest.key, "bundle": manifest.name}
        if any(one.tags.get("bundle_key") == manifest.key for one in versions_of(client, name)):
            return
        ours = f"tags.bundle_key = '{manifest.key}'"
        ready = None
        for model in client.search_logged_models([self.experiment], ours):
            if str(model.status) == "READY" and model.source_run_id == run:
                ready = model
            else:  # an upload that was broken off
                client.delete_logged_model(model.model_id)
        if ready is None:
            ready = client.create_logged_model(
                self.experiment,
                name=manifest.name,
                source_run_id=run,
                model_type=manifest.conversion.format,
                params=axes(manifest),
                tags={**tags, "checkpoint_sha256": manifest.checkpoint.sha256},
            )
            client.log_model_artifacts(ready.model_id, str(self.bundle.path))
            client.finalize_logged_model(ready.model_id, "READY")
        _registered(client, name)
        client.create_model_version(name, f"models:/{ready.model_id}", run, tags, model_id=ready.model_id)

    def _tags(self, key: str, record: JobRecord, kind: str) -> dict[str, str]:
        manifest = self.bundle.manifest
        return {
            KEY: key,
            "kind": kind,
            "verdict": "passed" if record.passed else "rejected",
            "bundle": manifest.name,
            "bundle_key": manifest.key,
            "checkpoint_sha256": manifest.checkpoint.sha256,
            "checkpoint_fallback": str(manifest.checkpoint.fallback).lower(),
            "git_commit": manifest.git_commit or "none",
            **{f"version.{tool}": version for tool, version in manifest.versions.items()},
        }


def versions_of(client: Any, name: str) -> list[Any]:
    """The versions of a series in the registry; none where it is not there."""
    return list(client.search_model_versions(f"name = '{name}'"))


def _registered(client: Any, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _conversion_note(bundle: Bundle, record: JobRecord) -> str:
    """What a reader of the run's page sees first."""
    manifest = bundle.manifest
    lines = [f"**{'passed' if record.passed else 'rejected'}**: {manifest.name}", ""]
    lines += [f"- gate missed: {gate}" for gate in record.gates if not gate.passed]
    lines += [f"- {len(record.gates)} gates judged, {bundle.artefact_bytes / 1e6:.2f} MB"]
    lines += [f"- {note}" for note in manifest.notes]
    lines += [f"- checkpoint {manifest.checkpoint.name}: {manifest.checkpoint.source} ({manifest.checkpoint.licence})"]
    return "\n".join([*lines, "", "report.html among the artifacts: spectrograms, players, figures."])


def _measurement_note(measurement: Measurement, metrics: Mapping[str, float]) -> str:
    parts = [f"{measurement.engine} on {measurement.device}, {measurement.system}, mode {measurement.mode}."]
    if "snr_db" in metrics:
        parts.append(f"Worst golden: {metrics['snr_db']:.1f} dB to PyTorch.")
    parts.append(f"RTF {metrics['rtf']:.3f} (elapsed / audio, lower is better)." if "rtf" in metrics else "Not timed.")
    return " ".join(parts)


def _label(manifest: Manifest) -> str:
    """What differs between runs comes first: MLflow's lists cut a name after some 20 characters."""
    conversion = manifest.conversion
    parts = (conversion.precision, conversion.upsampler, conversion.mode, conversion.format, manifest.checkpoint.name)
    return " ".join(parts)


def axes(manifest: Manifest) -> dict[str, str]:
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
