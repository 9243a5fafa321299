"""A bundle and what was measured of it as MLflow runs, and as a version of the registered model of its series."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from reports.html import FILE as REPORT
from reports.metrics import timing
from reports.names import run_name
from reports.record import FILE as RECORD
from reports.record import JobRecord
from reports.runs import NOTE, discard_model, log_once
from reports.tracked import conversion_key
from runtime.bundle.store import MANIFEST, Bundle, Manifest
from runtime.machine.files import write_text
from runtime.measuring.conversion import kept_name
from runtime.measuring.measure import AUDIT, Measurement
from runtime.measuring.quality import SNR, against_recording, quality
from runtime.speech.recordings import write_wav


class BundleRuns:
    """Logs each run of one bundle once; `extra`: tags of each, beside its own."""

    def __init__(self, client: Any, experiment: str, bundle: Bundle, extra: Mapping[str, str]) -> None:
        self.client, self.experiment, self.bundle, self.extra = client, experiment, bundle, extra

    def conversion(self, record: JobRecord) -> str:
        """The id of its run."""
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
            write_text(folder / "config.yaml", yaml.safe_dump(record.config, sort_keys=False), is_private=True)

        tags = {**self._tags(record, "convert"), NOTE: _conversion_note(bundle, record), **self.extra}
        name = run_name(manifest, "job")
        key = f"{manifest.key} {conversion_key(manifest)}"
        return log_once(self.client, self.experiment, key, name, tags, axes(manifest), metrics, fill)

    def measurement(self, record: JobRecord, measurement: Measurement) -> str:
        """The id of its run."""
        bundle, latency = self.bundle, measurement.latency
        scores = quality(measurement)
        metrics = {"size_mb": bundle.artefact_bytes / 1e6, "load_s": measurement.load_s, **scores}
        metrics |= {**against_recording(measurement), **timing(measurement)}
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

            for name in dict.fromkeys(kept_name(one.case, one.context) for one in measurement.converted):
                file = bundle.measured / "audio" / f"{measurement.engine}-{name}.npy"
                if file.is_file():  # silences are not kept
                    assert bundle.sound is not None
                    (folder / "audio").mkdir(exist_ok=True)
                    write_wav(folder / "audio" / f"{name}.wav", np.load(file), bundle.sound.sample_rate)

        tags = {
            **self._tags(record, "measure"),
            "device": measurement.device,
            "system": measurement.system,
            **({} if measurement.beside is None else {"busy": str(measurement.is_busy).lower()}),
            NOTE: _measurement_note(measurement, metrics),
            **self.extra,
        }
        name = run_name(bundle.manifest, measurement.engine)
        key = f"measure {measurement.key} {measurement.created}"
        return log_once(self.client, self.experiment, key, name, tags, params, metrics, fill)

    def model(self, run: str, measurements: Sequence[Measurement]) -> None:
        """The bundle's directory as a LoggedModel (downloads give it back exactly), and a version of its series with
        its figures: one of each, whatever was begun before or was made twice because an answer was lost."""
        manifest, client = self.bundle.manifest, self.client
        versions = self._versions()
        if not versions:
            tags = {"bundle_key": manifest.key, "bundle": manifest.name}
            model = self._ready_model(run) or self._upload(run, tags)
            _registered(client, manifest)
            about = _version_note(self.bundle, measurements)
            version_tags = tags | axes(manifest) | {"size_mb": f"{self.bundle.artefact_bytes / 1e6:.2f}"}
            client.create_model_version(
                manifest.series, f"models:/{model}", run, version_tags, description=about, model_id=model
            )
            versions = self._versions()
        for again in versions[1:]:
            client.delete_model_version(again.name, again.version)
        for model in self._models(run):
            if versions[0].source != f"models:/{model.model_id}":
                discard_model(client, model)

    def _versions(self) -> list[Any]:
        """Returns the versions of this bundle, the first first."""
        manifest = self.bundle.manifest
        versions = [
            one for one in versions_of(self.client, manifest.series) if one.tags.get("bundle_key") == manifest.key
        ]
        return sorted(versions, key=lambda one: int(one.version))

    def _models(self, run: str) -> list[Any]:
        """Returns the models of this bundle logged with that run; other machines may upload with runs of their own."""
        ours = f"tags.bundle_key = '{self.bundle.manifest.key}'"
        return [one for one in self.client.search_logged_models([self.experiment], ours) if one.source_run_id == run]

    def _ready_model(self, run: str) -> str | None:
        ready = [str(model.model_id) for model in self._models(run) if str(model.status) == "READY"]
        return ready[0] if ready else None

    def _upload(self, run: str, tags: Mapping[str, str]) -> str:
        manifest, client = self.bundle.manifest, self.client
        model = client.create_logged_model(
            self.experiment,
            name=manifest.name,
            source_run_id=run,
            model_type=manifest.options.format,
            params=axes(manifest),
            tags={**tags, "checkpoint_sha256": manifest.checkpoint.sha256},
        )
        client.log_model_artifacts(model.model_id, str(self.bundle.path))
        client.finalize_logged_model(model.model_id, "READY")
        return str(model.model_id)

    def _tags(self, record: JobRecord, kind: str) -> dict[str, str]:
        manifest = self.bundle.manifest
        return {
            "kind": kind,
            "verdict": record.verdict,
            "series": manifest.series,
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


def _registered(client: Any, manifest: Manifest) -> None:
    from mlflow.exceptions import MlflowException

    about = (
        f"{manifest.checkpoint.name} ({manifest.checkpoint.licence}) for {manifest.options.target}, bundles that passed"
    )
    try:
        client.create_registered_model(manifest.series, axes(manifest), about)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _conversion_note(bundle: Bundle, record: JobRecord) -> str:
    """Writes what a reader of the run's page sees first."""
    manifest = bundle.manifest
    lines = [f"**{record.verdict}**: {manifest.name}", ""]
    lines += [f"- gate missed: {gate}" for gate in record.gates if not gate.passed]
    lines += [f"- {len(record.gates)} gates judged, {bundle.artefact_bytes / 1e6:.2f} MB"]
    lines += [f"- {note}" for note in manifest.notes]
    lines += [f"- checkpoint {manifest.checkpoint.name}: {manifest.checkpoint.source} ({manifest.checkpoint.licence})"]
    return "\n".join([*lines, "", "report.html among the artifacts: spectrograms, players, metrics."])


def _version_note(bundle: Bundle, measurements: Sequence[Measurement]) -> str:
    """Says what a version is for and what was measured of it, in a line per engine."""
    how = bundle.manifest.options
    first = f"{bundle.manifest.name}: {how.format} for {how.target}, {bundle.artefact_bytes / 1e6:.2f} MB."
    return "\n\n".join([first, *(_measurement_note(one, quality(one) | timing(one)) for one in measurements)])


def _measurement_note(measurement: Measurement, metrics: Mapping[str, float]) -> str:
    parts = [f"{measurement.engine} on {measurement.device}, {measurement.system}, mode {measurement.mode}."]
    if "snr_db" in metrics:
        parts.append(f"Worst golden: {SNR.title} {SNR.text(metrics['snr_db'])} to PyTorch.")
    parts.append(f"RTF {metrics['rtf']:.3f} (elapsed / audio, lower is better)." if "rtf" in metrics else "Not timed.")
    if measurement.beside is not None:
        parts.append(f"While timed: {measurement.beside}.")
    return " ".join(parts)


def axes(manifest: Manifest) -> dict[str, str]:
    """Returns what people compare runs by; values differ in their first 10 characters, which MLflow's plots show."""
    conversion = manifest.options
    return {
        "family": manifest.checkpoint.family,
        "checkpoint": manifest.checkpoint.name,
        "format": conversion.format,
        "precision": conversion.precision,
        "upsampler": conversion.upsampler,
        "mode": conversion.mode,
        "target": conversion.target,
    }
