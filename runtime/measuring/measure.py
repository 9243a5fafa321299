"""A measurement: one engine on one device run on one bundle. Quality against the goldens, RTF, latency, gates."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from runtime.bundle.formats import FORMATS
from runtime.bundle.store import Bundle, BundleError, ComponentRecord, GoldenCase
from runtime.bundle.trust import trust_references
from runtime.engines import ENGINES, Engine, cpu_name, device_slug
from runtime.errors import EngineError
from runtime.machine.checked import Name
from runtime.machine.files import write_array, write_json
from runtime.machine.sources import MEASUREMENT, sources_hash
from runtime.machine.versions import tool_versions
from runtime.measuring.bench.calls import CallTiming, chunk_latency, time_chunks, time_part, time_sizes
from runtime.measuring.bench.closed import Latency
from runtime.measuring.bench.load import LoadWatch, OtherLoad
from runtime.measuring.conversion import ConvertedResult, convert_goldens
from runtime.measuring.listening import NOBODY_LISTENS, Listeners, Reading, readings
from runtime.measuring.options import MeasureOptions
from runtime.playing.chains import Request
from runtime.playing.player import Player, open_player
from runtime.playing.sizes import Batched, Padded, open_sized
from runtime.playing.speak import Voice, sampled_by
from runtime.speech.metrics import Agreement, agreement, log_mel_l1, snr_db, stoi
from runtime.speech.speaker import cosine

SCHEMA_VERSION = 1

# Made to be right, not fast: a measurement does not time them (`python -m runtime bench --engine mil` does).
AUDIT = "audit.json"  # beside a bundle, where what rounding costs was audited


@dataclass(frozen=True)
class ClipResult:
    """One golden clip. `*_recording`: against the human recording; `reference_*`: PyTorch's own score there."""

    clip: Name
    seconds: float
    length_ok: bool
    agreement: Agreement
    log_mel_l1_recording: float | None
    stoi_recording: float | None
    reference_log_mel_l1_recording: float | None
    reference_stoi_recording: float | None


@dataclass(frozen=True)
class RowsResult:
    """One golden case of a component that makes no audio, or of a voice's component on the reference's own inputs:
    `rows` of its output at once.

    `cosine`: the least of any row, of the angle to the reference.
    """

    component: str
    case: str
    output: str
    rows: int
    shape_ok: bool
    snr_db: float
    cosine: float


@dataclass(frozen=True)
class SpokenResult:
    """One golden sentence through a whole voice. `durations_off`: symbols that last another number of frames than the
    reference gives them. Seconds until its first audio and its last, of calls one after another; none where the engine
    is not timed. `readings`: of its audio with the reference's durations, beside PyTorch's."""

    case: str
    symbols: int
    seconds: float
    durations_off: int
    first_audio_s: float | None
    elapsed_s: float | None
    readings: tuple[Reading, ...] = ()


@dataclass(frozen=True)
class Measurement:
    """Everything one engine gave on one bundle; a JSON file beside the bundle and one MLflow run.

    `clips` of what makes audio, end to end; `rows` and `calls` of each component that makes none; `spoken` of a voice;
    `converted` of a conversion, and `waits_ms`: what its live audio waits for, by part, however fast the machine is.
    `beside`: the other work on the machine meanwhile, where anything was timed and it was looked at.
    """

    schema_version: int
    key: str
    bundle: str
    bundle_key: str
    component: str
    engine: str
    device: str
    system: str
    compute_unit: str
    mode: str
    chunk_frames: int | None
    created: str
    versions: dict[str, str]
    load_s: float
    quality_s: float
    clips: tuple[ClipResult, ...]
    latency: Latency | None
    rows: tuple[RowsResult, ...] = ()
    calls: tuple[CallTiming, ...] = ()
    spoken: tuple[SpokenResult, ...] = ()
    converted: tuple[ConvertedResult, ...] = ()
    waits_ms: dict[str, float] = dataclasses.field(default_factory=dict)
    beside: OtherLoad | None = None

    @property
    def is_timed(self) -> bool:
        return self.latency is not None or bool(self.calls) or any(one.elapsed_s is not None for one in self.spoken)

    @property
    def is_busy(self) -> bool:
        """Whether its times were taken beside other work, and so are no champion's."""
        return self.is_timed and self.beside is not None and self.beside.is_busy

    @property
    def worst(self) -> ClipResult:
        return min(self.clips, key=lambda clip: clip.agreement.snr_db)


def measure(
    bundle: Bundle,
    engine_name: str,
    options: MeasureOptions,
    keep_audio: Path | None = None,
    listeners: Listeners = NOBODY_LISTENS,
) -> Measurement:
    """Runs the bundle's goldens through one engine. `keep_audio`: a folder for the outputs, one `.npy` a clip;
    `listeners`: hear whole sentences, and what was converted.

    Raises what the engine raises. A clip whose output has the wrong length is recorded as such, not raised.
    """
    if options.trust_reference:
        trust_references()
    watch = LoadWatch()
    measurement = _measure(bundle, engine_name, options, keep_audio, listeners)
    return dataclasses.replace(measurement, beside=watch.load()) if measurement.is_timed else measurement


def _measure(
    bundle: Bundle, engine_name: str, options: MeasureOptions, keep_audio: Path | None, listeners: Listeners
) -> Measurement:
    """Measures what the bundle is: a voice, a component that makes audio, or one that makes none."""
    if bundle.manifest.voice is not None:
        return _measure_voice(bundle, engine_name, options, keep_audio, listeners)
    component = bundle.main
    time_axis = component.time
    if time_axis is None:
        return _measure_rows(bundle, engine_name, options, listeners)
    if component.sound is None:
        return _measure_frames(bundle, engine_name, options, listeners)
    cases = bundle.goldens(component)
    started = time.perf_counter()
    player = open_player(bundle, options.execution(engine_name), chunk=options.chunk)
    engine = player.engine
    loaded = time.perf_counter()
    clips = []
    for case in cases:
        samples = player.play(*case.along(time_axis))
        output = np.moveaxis(samples, time_axis.output_axis, -1).reshape(-1)
        clips.append(_clip_result(bundle, case, output, engine.name, keep_audio))
    is_timed = options.bench_seconds > 0 and ENGINES[engine.name].is_timed
    rows, calls = _other_results(bundle, engine_name, options, is_timed, [component.name])
    converted: list[ConvertedResult] = []
    waits: dict[str, float] = {}
    if bundle.manifest.conversion is not None:
        execution = options.execution(engine_name)
        converted, waits = convert_goldens(bundle, player, execution, listeners, _keeping(engine.name, keep_audio))
    finished = time.perf_counter()
    timing = chunk_latency(player, cases, options) if is_timed else None
    times = _Timing(started, loaded, finished)
    return _measurement(
        bundle, engine_name, options, listeners, engine, player.mode, chunk_of(player, options), times,
        clips=tuple(clips), latency=timing, rows=tuple(rows), calls=tuple(calls), converted=tuple(converted),
        waits_ms=waits,
    )  # fmt: skip


def _other_results(
    bundle: Bundle, engine_name: str, options: MeasureOptions, is_timed: bool, done: Sequence[str]
) -> tuple[list[RowsResult], list[CallTiming]]:
    """Measures the components that are not `done` on the reference's own inputs, at each of their sizes."""
    rows: list[RowsResult] = []
    calls: list[CallTiming] = []
    for component in bundle.manifest.components:
        if component.name in done:
            continue
        if component.time is not None:
            player = open_player(bundle, options.execution(engine_name), component.name)
            frames_rows, frames_calls = _along_time(player, component, bundle.goldens(component), options, is_timed)
            rows, calls = rows + frames_rows, calls + frames_calls
            continue
        opened = open_sized(bundle, options.execution(engine_name), component.name)
        cases = bundle.goldens(component)
        rows += _rows_results(opened, component.name, cases)
        if is_timed:
            calls += time_sizes(opened, component, cases, options.bench_seconds)
    return rows, calls


def _along_time(
    player: Player, component: ComponentRecord, cases: Sequence[GoldenCase], options: MeasureOptions, is_timed: bool
) -> tuple[list[RowsResult], list[CallTiming]]:
    """Measures a component that makes frames of frames, streamed where it streams."""
    rows, output = [], player.time.output
    for case in cases:
        made, reference = player.play(*case.along(player.time)), case.outputs[output]
        rows.append(_rows_result(component.name, case.clip, output, reference, made))
    return rows, time_chunks(player, component.name, cases, options.bench_seconds) if is_timed else []


@dataclass(frozen=True)
class _Timing:
    """Moments: when it began, was loaded, and had run the goldens."""

    started: float
    loaded: float
    finished: float


def chunk_of(player: Player, options: MeasureOptions) -> int | None:
    """Frames of a stream's chunk, else what was asked for."""
    return options.chunk if player.form is None else player.form.chunk


def _measurement(
    bundle: Bundle,
    engine_name: str,
    options: MeasureOptions,
    listeners: Listeners,
    engine: Engine,
    mode: str,
    chunk: int | None,
    times: _Timing,
    clips: tuple[ClipResult, ...] = (),
    latency: Latency | None = None,
    rows: tuple[RowsResult, ...] = (),
    calls: tuple[CallTiming, ...] = (),
    spoken: tuple[SpokenResult, ...] = (),
    converted: tuple[ConvertedResult, ...] = (),
    waits_ms: dict[str, float] | None = None,
) -> Measurement:
    """Builds the record of what was found, with everything that it depends on."""
    return Measurement(
        schema_version=SCHEMA_VERSION,
        key=measurement_key(bundle, engine_name, options, listeners.names),
        bundle=bundle.path.name,
        bundle_key=bundle.manifest.key,
        component=bundle.main.name,
        engine=engine.name,
        device=engine.device,
        system=f"{platform.system()} {platform.machine()}",
        compute_unit=getattr(engine, "compute_unit", "cpu"),
        mode=mode,
        chunk_frames=chunk,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        versions=tool_versions(),
        load_s=times.loaded - times.started,
        quality_s=times.finished - times.loaded,
        clips=clips,
        latency=latency,
        rows=rows,
        calls=calls,
        spoken=spoken,
        converted=converted,
        waits_ms=waits_ms or {},
    )


def _measure_rows(bundle: Bundle, engine_name: str, options: MeasureOptions, listeners: Listeners) -> Measurement:
    """Measures a component that makes no audio."""
    component = bundle.main
    started = time.perf_counter()
    opened = open_sized(bundle, options.execution(engine_name), component.name)
    loaded = time.perf_counter()
    cases = bundle.goldens(component)
    results = _rows_results(opened, component.name, cases)
    finished = time.perf_counter()
    timings: list[CallTiming] = []
    if options.bench_seconds > 0 and ENGINES[opened.name].is_timed:
        timings = time_sizes(opened, component, cases, options.bench_seconds)
    times = _Timing(started, loaded, finished)
    return _measurement(
        bundle, engine_name, options, listeners, opened.one, "offline", None, times,
        rows=tuple(results), calls=tuple(timings),
    )  # fmt: skip


def _measure_frames(bundle: Bundle, engine_name: str, options: MeasureOptions, listeners: Listeners) -> Measurement:
    """Measures a component that makes frames of frames and is a bundle of its own."""
    component = bundle.main
    started = time.perf_counter()
    player = open_player(bundle, options.execution(engine_name), component.name, chunk=options.chunk)
    loaded = time.perf_counter()
    is_timed = options.bench_seconds > 0 and ENGINES[player.engine.name].is_timed
    rows, calls = _along_time(player, component, bundle.goldens(component), options, is_timed)
    times = _Timing(started, loaded, time.perf_counter())
    return _measurement(
        bundle, engine_name, options, listeners, player.engine, player.mode, chunk_of(player, options), times,
        rows=tuple(rows), calls=tuple(calls),
    )  # fmt: skip


def _measure_voice(
    bundle: Bundle, engine_name: str, options: MeasureOptions, keep_audio: Path | None, listeners: Listeners
) -> Measurement:
    """Measures each component on the reference's own inputs, then the chain. The chain runs with the reference's
    durations, so that samples can be compared, and with its own, to see which differ and how long it takes."""
    started = time.perf_counter()
    voice = Voice(bundle, options.execution(engine_name), chunk=options.chunk)
    engine = voice.last.engine
    loaded = time.perf_counter()
    rows: list[RowsResult] = []
    calls: list[CallTiming] = []
    is_timed = options.bench_seconds > 0 and ENGINES[engine.name].is_timed
    last = bundle.main
    rows += _last_rows(voice, bundle.goldens(last))
    for name, part in voice.parts.items():
        cases = bundle.goldens(bundle.component(name))
        rows += _rows_results(part, name, cases)
        if is_timed:
            calls.append(time_part(part, name, cases, options.bench_seconds / len(voice.parts)))
    other_rows, other_calls = _other_results(bundle, engine_name, options, is_timed, [last.name, *voice.parts])
    rows, calls = rows + other_rows, calls + other_calls
    clips, spoken = [], []
    for case in bundle.spoken():
        request = request_of(case)
        aligned = voice.utterance(dataclasses.replace(request, durations=case.outputs["durations"]))
        if sampled_by(bundle) is not None:  # goldens of the beginning
            count = case.outputs["audio"].size // voice.last.time.samples_per_frame
            aligned = dataclasses.replace(aligned, frames=np.ascontiguousarray(aligned.frames[..., :count]))
        audio = voice.audio(aligned)
        clips.append(_clip_result(bundle, case, audio, engine.name, keep_audio))
        sentence = _spoken_result(voice, case, request, is_timed)
        if sampled_by(bundle) is None:
            read = readings(listeners.readers, bundle.audio_of(case), audio, voice.record.sample_rate)
            sentence = dataclasses.replace(sentence, readings=read)
        spoken.append(sentence)
    finished = time.perf_counter()
    timing = chunk_latency(voice.last, bundle.goldens(last), options) if is_timed else None
    times = _Timing(started, loaded, finished)
    return _measurement(
        bundle, engine_name, options, listeners, engine, voice.last.mode, chunk_of(voice.last, options), times,
        clips=tuple(clips), latency=timing, rows=tuple(rows), calls=tuple(calls), spoken=tuple(spoken),
    )  # fmt: skip


def _last_rows(voice: Voice, cases: Sequence[GoldenCase]) -> list[RowsResult]:
    """Measures what makes the audio, on the reference's own frames."""
    results, time_axis = [], voice.last.time
    for case in cases:
        output = voice.last.play(*case.along(time_axis))
        results.append(
            _rows_result(voice.record.last, case.clip, time_axis.output, case.outputs[time_axis.output], output)
        )
    return results


def request_of(case: GoldenCase) -> Request:
    """Returns what a golden sentence asks a voice for."""
    inputs = case.inputs
    return Request(
        ids=inputs["ids"], seed=int(inputs["seed"]), speaker=inputs.get("speaker"), language=inputs.get("language")
    )


def _spoken_result(voice: Voice, case: GoldenCase, request: Request, is_timed: bool) -> SpokenResult:
    started = time.perf_counter()
    utterance = voice.utterance(request)
    first = None
    if is_timed:
        for piece in voice.pieces(utterance):
            if first is None and len(piece):
                first = time.perf_counter() - started
    elapsed = time.perf_counter() - started
    durations = case.outputs["durations"]
    off = (
        int((utterance.durations != durations).sum())
        if utterance.durations.shape == durations.shape
        else len(durations)
    )
    seconds = int(utterance.durations.sum()) * voice.record.samples_per_frame / voice.record.sample_rate
    return SpokenResult(case.clip, len(request.ids), seconds, off, first, elapsed if is_timed else None)


def _rows_results(opened: Batched | Padded, component: str, cases: Sequence[GoldenCase]) -> list[RowsResult]:
    results = []
    for case in cases:
        outputs = opened.run(case.inputs)
        for name, reference in case.outputs.items():
            results.append(_rows_result(component, case.clip, name, reference, outputs[name]))
    return results


def _rows_result(component: str, case: str, name: str, reference: np.ndarray, output: np.ndarray) -> RowsResult:
    if output.shape != reference.shape:
        return RowsResult(component, case, name, len(reference), False, float("nan"), float("nan"))
    least = min(cosine(one.ravel(), other.ravel()) for one, other in zip(reference, output))
    return RowsResult(component, case, name, len(reference), True, snr_db(reference.ravel(), output.ravel()), least)


def _clip_result(
    bundle: Bundle, case: GoldenCase, output: np.ndarray, engine: str, keep_audio: Path | None
) -> ClipResult:
    """output (N,). `keep_audio`: a folder where it is kept as `<engine>-<clip>.npy`."""
    sound, reference = bundle.sound, bundle.audio_of(case)
    assert sound is not None
    rate, features = sound.sample_rate, sound.mel
    _keeping(engine, keep_audio)(case.clip, output)
    length_ok = len(output) == len(reference)
    common = min(len(output), len(reference))
    reference, output = reference[:common], output[:common]
    human: list[float | None] = [None] * 4
    if case.recording is not None:
        spoken = min(common, len(case.recording))
        recording = case.recording[:spoken]
        human = [
            log_mel_l1(recording, output[:spoken], features),
            stoi(recording, output[:spoken], rate),
            log_mel_l1(recording, reference[:spoken], features),
            stoi(recording, reference[:spoken], rate),
        ]
    return ClipResult(case.clip, len(reference) / rate, length_ok, agreement(reference, output, features), *human)


def _keeping(engine: str, folder: Path | None) -> Callable[[str, np.ndarray], None]:
    """Returns a function that keeps audio (N,) as `<engine>-<name>.npy` in a folder, where there is one."""

    def keep(name: str, samples: np.ndarray) -> None:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            write_array(folder / f"{engine}-{name}.npy", samples)

    return keep


def engine_names(options: MeasureOptions, artefact_format: str) -> list[str]:
    """`auto`: every engine that can execute the format on this machine, the judging one first.

    Raises EngineError for a name that is none, an engine that does not execute the format, and a compute unit where
    none of them has any.
    """
    facts = FORMATS[artefact_format]
    engines, core_ml = facts.engines, ("coreml",) if facts.is_core_ml else ()
    names: list[str] = []
    for name in options.engines:
        if name != "auto" and name not in ENGINES:
            raise EngineError(f"there is no engine {name!r}; there is: auto, {', '.join(sorted(ENGINES))}")
        if name not in ("auto", *engines, *core_ml, *facts.extras, "torch"):
            raise EngineError(
                f"engine {name} does not execute format {artefact_format}; it takes: "
                f"{', '.join((*engines, *facts.extras))}"
            )
        if name != "auto":
            names.append(name)
        else:
            names += [*engines, *(core_ml if platform.system() == "Darwin" else ())]
    if options.compute_unit is not None and not any(ENGINES[name].has_compute_units for name in names):
        raise EngineError(
            f"compute unit {options.compute_unit} is Core ML's, which is not among the engines: {', '.join(names)}"
        )
    return list(dict.fromkeys(names))


def engines_for(options: MeasureOptions, bundle: Bundle) -> list[str]:
    """Returns the `engine_names`. `auto` leaves ONNX Runtime out where a program has loops, which are not lowered to
    ONNX."""
    artefact_format = bundle.manifest.options.format
    names = engine_names(options, artefact_format)
    loops = any("while_loop" in component.ops for component in bundle.manifest.components)
    is_left_out = FORMATS[artefact_format].is_lowered and loops and "onnx" not in options.engines
    return [name for name in names if name != "onnx" or not is_left_out]


def measurement_key(bundle: Bundle, engine: str, options: MeasureOptions, listeners: Sequence[str] = ()) -> str:
    """sha256 of bundle, engine, options, tool versions and the sources that measure. `listeners`: the names of those
    that took part."""
    asked = {**dataclasses.asdict(options), "engines": engine, "listen": list(listeners)}
    del asked["trust_reference"]  # whether it is executed, not what comes of it
    parts = [bundle.manifest.key, cpu_name(), asked, tool_versions(), sources_hash(MEASUREMENT)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def measurement_path(bundle: Bundle, engine: str, chunk: int | None) -> Path:
    """One file per engine, mode, chunk and device, beside the bundle."""
    form = bundle.main.stream
    mode, chunk = ("overlap", chunk) if form is None or engine == "torch" else (form.mode, form.chunk)
    chunked = "" if chunk is None else f"-chunk{chunk}"
    return bundle.measured / f"{engine}-{mode}{chunked}-{device_slug(cpu_name())}.json"


def write_measurement(path: Path, measurement: Measurement) -> None:
    write_json(path, dataclasses.asdict(measurement))


def read_measurement(path: Path) -> Measurement:
    """Raises BundleError for a file that is no measurement of this schema."""
    try:
        return TypeAdapter(Measurement).validate_json(path.read_text())
    except (OSError, ValidationError) as error:
        raise BundleError(f"{path} is no measurement that this voxport reads: {error}") from error
