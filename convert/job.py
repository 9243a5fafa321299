"""The main job as a short list of stages: locate, convert, execute, gate, report, log."""

from __future__ import annotations

import dataclasses
import functools
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from checkpoints.locate import LocatedCheckpoint, locate
from convert import console
from convert.beside import SideBySide, Task
from convert.key import bundle_key, bundle_name
from convert.recorded import Expressions, recorded
from convert.schema import Job
from reports.record import JobRecord, read_record, write_record
from reports.tracked import is_tracked, mark_untracked, sync_hint
from reports.worker import ReportWorker, WorkerError
from runtime.bundle.formats import FORMATS
from runtime.bundle.staging import REJECTED, publish, staging, sweep
from runtime.bundle.store import GOLDENS, Bundle, BundleError, open_bundle
from runtime.engines import ENGINES
from runtime.errors import VoxportError
from runtime.machine.cache import NoHome, cache_folder
from runtime.machine.disk import full_disk_named
from runtime.machine.files import write_json
from runtime.measuring.gates import GateResult, judge, limit_names, unmeasured
from runtime.measuring.listening import NOBODY_LISTENS, Listeners
from runtime.measuring.measure import (
    AUDIT,
    Measurement,
    engine_names,
    engines_for,
    measure,
    measurement_key,
    measurement_path,
    read_measurement,
    write_measurement,
)

if TYPE_CHECKING:
    from convert.stages import Converted, Original


@dataclass(frozen=True)
class Outcome:
    """The result of a job."""

    bundle: Bundle
    measurements: tuple[Measurement, ...]
    gates: tuple[GateResult, ...]
    reused: bool
    seconds: dict[str, float]

    @property
    def passed(self) -> bool:
        return all(gate.passed for gate in self.gates)


def run_job(job: Job, expressions: Expressions = MappingProxyType({})) -> Outcome:
    """Converts (or reuses), measures, gates, reports and logs. A bundle that misses a gate goes to `rejected/`.

    expressions: of the settings that came from the environment, which are kept in place of their values.

    Raises the errors of the floors below; nothing that looks finished is left behind by any of them.
    """
    engine_names(job.measure, job.format.name)  # a misspelt engine ends here, not after the conversion
    stages = console.Stages()
    output = Path(job.output).expanduser().resolve()
    with stages.stage("locate checkpoint", spinner=False), console.download_bar("download") as progress:
        located = locate(job.checkpoint, job.model.family, job.model.default_checkpoint, console.warn, progress)
        parts = {
            name: locate(
                part.checkpoint,
                part.family,
                part.default_checkpoint,
                console.warn,
                progress,
                f"model.parts.{name}.checkpoint",
            )
            for name, part in job.model.chosen_parts().items()
        }
    key = bundle_key(job, located, parts)
    name = bundle_name(job, located, key)
    folders = _folders(output)
    sweep(output)
    existing = None if job.force else _existing(output, name, key)
    if existing is not None:
        known = _known_measurements(job, existing)
        if known is not None:
            with full_disk_named(*folders):
                return _reuse(job, expressions, existing, known, output, stages)
    with (
        ReportWorker(job.tracking) as worker,
        staging(output, name) as scratch,
        full_disk_named(*folders),  # innermost: while the disk is full still
    ):
        bundle = existing or _convert(job, located, parts, scratch / name, key, stages)
        measurements = _measure(job, bundle, stages, worker)
        gates = _judge(job, bundle, measurements)
        _audit(job, bundle, stages)
        with stages.stage("report"):
            _report(recorded(job, expressions), bundle, measurements, gates, stages.seconds, worker)
        if job.tracking.enabled:
            mark_untracked(bundle.measured, job.tracking)  # killed from here on, `sync` delivers it
        replaces = job.force or existing is not None
        bundle = publish(bundle, output, is_rejected=_is_rejected(gates), replaces=replaces)
        if job.tracking.enabled:
            _track(job, bundle, worker, stages)
    return Outcome(bundle, tuple(measurements), tuple(gates), False, stages.seconds)


def _folders(output: Path) -> list[Path]:
    """Lists where a job writes. One of their disks is meant when a library says only that a disk is full."""
    folders = [output, Path(tempfile.gettempdir())]
    with suppress(NoHome):
        folders.append(cache_folder())
    return folders


def _reuse(
    job: Job,
    expressions: Expressions,
    bundle: Bundle,
    measurements: list[Measurement],
    output: Path,
    stages: console.Stages,
) -> Outcome:
    """A job whose bundle and measurements are there: only thresholds may have changed, or MLflow may lack it."""
    gates = _judge(job, bundle, measurements)
    bundle = publish(bundle, output, is_rejected=_is_rejected(gates), replaces=True)
    record = read_record(bundle)
    is_stale = _audit(job, bundle, stages) or record is None or record.gates != tuple(gates)
    is_unlogged = job.tracking.enabled and not is_tracked(bundle, measurements, job.tracking)
    if is_unlogged:
        mark_untracked(bundle.measured, job.tracking)
    if is_stale or is_unlogged:
        with ReportWorker(job.tracking) as worker:
            if is_stale:
                with stages.stage("report"):
                    seconds = record.seconds if record else {}
                    _report(recorded(job, expressions), bundle, measurements, gates, seconds, worker)
            if is_unlogged:
                _track(job, bundle, worker, stages)
    return Outcome(bundle, tuple(measurements), tuple(gates), True, stages.seconds)


def _audit(job: Job, bundle: Bundle, stages: console.Stages) -> bool:
    """Makes the audit if one was asked for. Returns whether it was made."""
    if not job.audit or not FORMATS[job.format.name].is_program or (bundle.measured / AUDIT).is_file():
        return False
    from runtime.rounding.audit import audit_bundle

    with stages.stage("audit of what rounding costs"):
        write_json(bundle.measured / AUDIT, dataclasses.asdict(audit_bundle(bundle)))
    return True


def _is_rejected(gates: list[GateResult]) -> bool:
    return not all(gate.passed for gate in gates)


def _report(
    config: dict[str, Any],
    bundle: Bundle,
    measurements: list[Measurement],
    gates: list[GateResult],
    seconds: dict[str, float],
    worker: ReportWorker,
) -> None:
    names = tuple(measurement_path(bundle, m.engine, m.chunk_frames).name for m in measurements)
    record = JobRecord(config, tuple(gates), dict(seconds), names)
    write_record(bundle.measured, record)
    try:
        worker.report(bundle.path)
    except WorkerError as error:
        if error.full is not None:
            raise OSError(error.full, os.strerror(error.full)) from error
        console.warn(f"the report could not be written: {error}")


def _track(job: Job, bundle: Bundle, worker: ReportWorker, stages: console.Stages) -> None:
    """An unreachable store loses nothing: the result is marked and can be sent later."""
    try:
        with stages.stage("log to MLflow"):
            worker.track(bundle.path)
    except WorkerError as error:
        mark_untracked(bundle.measured, job.tracking, str(error))
        console.warn(f"{error}\nThe result is kept beside the bundle; {sync_hint(job.tracking)}")


def _existing(output: Path, name: str, key: str) -> Bundle | None:
    """A finished bundle of this key, accepted or rejected; a damaged one is converted anew, and replaced then."""
    for parent in (output, output / REJECTED):
        if (parent / name).is_dir():
            try:
                bundle = open_bundle(parent / name)
            except BundleError as error:
                console.warn(f"{error}: it is converted anew")
                continue
            if bundle.manifest.key == key:
                return bundle
    return None


def _convert(
    job: Job,
    located: LocatedCheckpoint,
    parts: Mapping[str, LocatedCheckpoint],
    folder: Path,
    key: str,
    stages: console.Stages,
) -> Bundle:
    with stages.stage("import PyTorch and coqui-tts"):
        from convert import stages as steps
    folder.mkdir()
    with stages.stage(f"load {located.name}"):
        original = steps.load_original(job, located, parts)
    if job.precision.needs_cases:
        with stages.stage("goldens of real speech"):
            original = steps.with_cases(job, original, folder)
    artefacts = _artefacts(job, original, folder, stages)
    if original.conversion is not None:
        with stages.stage("what the windows of the conversion cost"):
            original = steps.with_window_costs(job, original)
    if job.stream.mode == "lowlat":
        with stages.stage("what the bounded lookahead costs"):
            pairs = zip(original.components, artefacts)
            artefacts = [steps.measure_truncation(job, component, converted, folder) for component, converted in pairs]
    return steps.finish_bundle(job, located, parts, original, artefacts, folder, key)


def _artefacts(job: Job, original: Original, folder: Path, stages: console.Stages) -> list[Converted]:
    """Converts every component, and beside it writes references and goldens, which need nothing of a conversion."""
    from convert import stages as steps

    form = f"{job.precision.name}, upsampler {job.upsampler.name}, {job.mode}"
    tasks = []
    for component in reversed(original.components):  # the last one makes the audio, and takes longest
        what = f"{component.name} " if len(original.components) > 1 else ""
        convert = functools.partial(steps.convert_artefact, job, component, folder)
        tasks.append(Task(f"convert {what}to {job.format.name} {form}", convert))
    tasks.append(Task("export the reference", functools.partial(steps.write_references, original, folder)))
    if not (folder / GOLDENS).exists():
        tasks.append(Task("goldens of real speech", functools.partial(steps.make_goldens, job, original, folder)))
    with SideBySide(tasks) as processes:
        results = _together(processes, tasks, stages)
    steps.vouch_for_references(folder)
    return results[: len(original.components)][::-1]


def _together(processes: SideBySide, tasks: Sequence[Task], stages: console.Stages) -> list[Any]:
    """What each of the tasks gives."""
    from convert.stages import shared_cores

    cores = shared_cores() if processes.count > 1 else nullcontext()
    with stages.together([task.name for task in tasks]) as finished, cores:
        results = processes.results()
        finished([done.seconds for done in results])
    return [done.value for done in results]


def _known_measurements(job: Job, bundle: Bundle) -> list[Measurement] | None:
    """The measurements asked for, where every one of them is there and would come out of the same code."""
    known = []
    listeners = _listener_names(job, bundle)
    for engine in engines_for(job.measure, bundle):
        path = measurement_path(bundle, engine, job.measure.chunk)
        try:
            measurement = read_measurement(path)
        except BundleError:  # missing, damaged, or of another schema: it is measured again
            return None
        if measurement.key != measurement_key(bundle, engine, job.measure, listeners):
            return None
        known.append(measurement)
    return known


def _listener_names(job: Job, bundle: Bundle) -> tuple[str, ...]:
    """Returns who should listen in the measurements. One that some of them missed is made again."""
    if not job.measure.listen:
        return ()
    from convert.listening import listener_names

    return listener_names(bundle.manifest)


def _listeners(job: Job, bundle: Bundle, stages: console.Stages) -> Listeners:
    names = _listener_names(job, bundle)
    if not names:
        return NOBODY_LISTENS
    from convert.listening import open_listeners

    with stages.stage("open who listens", spinner=False), console.download_bar("download") as progress:
        return open_listeners(names, console.warn, progress)


def _measure(job: Job, bundle: Bundle, stages: console.Stages, worker: ReportWorker) -> list[Measurement]:
    """One measurement per engine: first of those that are not timed, and beside them programs are lowered. Nothing runs
    in the background while one is timed."""

    def measured(engine: str) -> Measurement:
        measurement = measure(bundle, engine, job.measure, bundle.measured / "audio", listeners)
        write_measurement(measurement_path(bundle, engine, job.measure.chunk), measurement)
        return measurement

    def task(engine: str) -> Task:
        return Task(f"execute and measure in {engine}", functools.partial(measured, engine))

    listeners = _listeners(job, bundle, stages)
    engines = engines_for(job.measure, bundle)
    untimed = [engine for engine in engines if not ENGINES[engine].is_timed]
    tasks = [task(engine) for engine in untimed]
    if FORMATS[job.format.name].is_lowered and "onnx" in engines:
        dearest_first = sorted(bundle.manifest.components, key=lambda component: -sum(component.ops.values()))
        paths = [bundle.artefact(component) for component in dearest_first]
        tasks += [Task(f"lower {path.stem} to ONNX", functools.partial(_lower, path)) for path in paths]
    # Who listens has threads of its own, which no fork has.
    with SideBySide(tasks) if listeners is NOBODY_LISTENS else SideBySide(tasks, processes=1) as processes:
        found = dict(zip(untimed, _together(processes, tasks, stages)))
    for engine in engines:
        if engine not in found:
            with stages.stage("wait for background work"):
                worker.wait_until_warm()
            one = task(engine)
            with stages.stage(one.name):
                found[engine] = one.run()
    return [found[engine] for engine in engines]


def _lower(artefact: Path) -> None:
    """Lowers a program to ONNX into the cache, where the engine finds it. What cannot be, the engine tries again and
    says why."""
    from runtime.mil.lower import functions_of, lowered

    with suppress(VoxportError):
        for function in functions_of(artefact):
            lowered(artefact, function)


def _judge(job: Job, bundle: Bundle, measurements: list[Measurement]) -> list[GateResult]:
    results = judge(bundle, measurements, job.gates.limits, job.precision.kind)
    if not results:
        judged = limit_names(bundle, job.precision.kind)[0]
        console.warn(f"no gate judges {judged} in the engines that ran: not judged, and so no version of its series")
    not_measured = unmeasured(bundle, measurements, job.gates.limits, job.precision.kind)
    if not_measured:
        how = "" if job.measure.listen else " (measure.listen=true does)"
        console.note(f"not measured, and so not judged: {', '.join(not_measured)}{how}")
    return results
