"""The main job as a short list of stages: locate, convert, execute, gate, report, log."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from checkpoints.locate import LocatedCheckpoint, locate
from convert import console
from convert.key import bundle_key, bundle_name
from convert.schema import Job
from runtime.bundle import Bundle, BundleError, open_bundle, publish, staging
from runtime.gates import GateResult, evaluate, limits_for
from runtime.measure import (
    Measurement,
    engine_names,
    measure,
    measurement_key,
    measurement_path,
    read_measurement,
    write_measurement,
)


@dataclass(frozen=True)
class Outcome:
    """What a job ends with."""

    bundle: Bundle
    measurements: tuple[Measurement, ...]
    gates: tuple[GateResult, ...]
    reused: bool
    seconds: dict[str, float]

    @property
    def passed(self) -> bool:
        return all(gate.passed for gate in self.gates)


def run_job(job: Job) -> Outcome:
    """Converts (or reuses), measures, gates, reports and logs. A bundle that misses a gate goes to `rejected/`.

    Raises the errors of the floors below; nothing that looks finished is left behind by any of them.
    """
    stages = console.Stages()
    output = Path(job.output).expanduser().resolve()
    with stages.stage("locate checkpoint"), console.download_bar("checkpoint") as bar:
        located = locate(
            job.checkpoint,
            job.model.family,
            job.model.default_checkpoint,
            console.warn,
            lambda done, total: bar.update(bar.task_ids[0], completed=done, total=total),
        )
    key = bundle_key(job, located)
    name = bundle_name(job, located, key)
    existing = None if job.force else _existing(output, name, key)
    with staging(output, name) as scratch:
        bundle = existing or _convert(job, located, scratch / name, key, stages)
        measurements, fresh = _measure(job, bundle, stages)
        gates = _judge(job, bundle, measurements)
        passed = all(gate.passed for gate in gates)
        if existing is None and job.force:
            _discard(output, name)
        bundle = publish(bundle, output if passed else output / "rejected")
    return Outcome(bundle, tuple(measurements), tuple(gates), existing is not None and not fresh, stages.seconds)


def _existing(output: Path, name: str, key: str) -> Bundle | None:
    """A finished bundle of this key, accepted or rejected; a damaged one is converted anew."""
    for parent in (output, output / "rejected"):
        if (parent / name).is_dir():
            try:
                bundle = open_bundle(parent / name)
            except BundleError as error:
                console.warn(f"{error}: it is converted anew")
                _discard(output, name)
                return None
            if bundle.manifest.key == key:
                return bundle
    return None


def _discard(output: Path, name: str) -> None:
    for parent in (output, output / "rejected"):
        for path in (parent / name, parent / f"{name}.measured"):
            shutil.rmtree(path, ignore_errors=True)


def _convert(job: Job, located: LocatedCheckpoint, folder: Path, key: str, stages: console.Stages) -> Bundle:
    with stages.stage("import PyTorch and coqui-tts"):
        from convert import stages as steps
    folder.mkdir()
    with stages.stage(f"load {located.name}"):
        original = steps.load_original(job, located)
    with stages.stage(f"convert to {job.format.name} {job.precision.name}, upsampler {job.upsampler.name}"):
        artefact = steps.convert_artefact(job, original, folder)
    with stages.stage("export the reference"):
        steps.write_reference(original, folder)
    with stages.stage("goldens of real speech"):
        steps.make_goldens(original, folder)
        return steps.finish_bundle(job, located, original, artefact, folder, key)


def _measure(job: Job, bundle: Bundle, stages: console.Stages) -> tuple[list[Measurement], bool]:
    """Measurements by every engine asked for, and whether any of them is new."""
    measurements, fresh = [], False
    for engine in engine_names(job.measure.engines, bundle.manifest.conversion.format):
        path = measurement_path(bundle, engine, job.measure.chunk)
        key = measurement_key(bundle, engine, job.measure)
        known = read_measurement(path) if path.is_file() and not job.force else None
        if known is None or known.key != key:
            with stages.stage(f"execute and measure in {engine}"):
                known = measure(bundle, engine, job.measure, key, keep_audio=bundle.measured / "audio")
            write_measurement(path, known)
            fresh = True
        measurements.append(known)
    return measurements, fresh


def _judge(job: Job, bundle: Bundle, measurements: list[Measurement]) -> list[GateResult]:
    conversion = bundle.manifest.conversion
    results = []
    for measurement in measurements:
        limits = limits_for(job.gates.limits, measurement.engine, conversion.format, conversion.precision)
        if limits is not None:
            results += evaluate(measurement, limits)
    if not results:
        console.warn(f"no gate judges precision {conversion.precision} in the engines that ran: measured, not judged")
    return results
