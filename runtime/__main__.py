"""`python -m runtime`: look at, run and time a bundle or a bare artefact."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import runtime
from runtime.audio import AudioError, MelSettings, mel_spectrogram, read_audio, write_wav
from runtime.bundle import Bundle, BundleError, ComponentRecord, open_bundle
from runtime.engines import ENGINES, EngineError
from runtime.errors import ArtefactError, StreamError
from runtime.files import as_json
from runtime.form import StreamForm
from runtime.inspect import op_histogram
from runtime.spec import Dim, InputError, TimeAxis
from runtime.stream import StreamingArtefact
from runtime.synthesis import OFFLINE_MODES, mode_of, open_artefact, synthesise

if TYPE_CHECKING:
    from runtime.bench.closed import Latency
    from runtime.bench.paced import Paced
    from runtime.bench.whole import BenchReport
    from runtime.engines import Engine

_ERRORS = (ArtefactError, AudioError, BundleError, EngineError, InputError, StreamError, OSError)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when it did what was asked, 1 with a sentence on stderr when it could not."""
    options = _parser().parse_args(arguments)
    warnings.showwarning = lambda message, *_, **__: print(f"note: {message}", file=sys.stderr)
    try:
        result = options.run(options)
    except _ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    print(json.dumps(as_json(result), indent=1) if options.json else _as_text(result))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m runtime", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        added.add_argument("artefact", type=Path, help="a bundle, an .mlpackage or an .onnx file")
        added.add_argument("--json", action="store_true", help="print the result as JSON")
        return added

    def executing(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        added = command(name, run, text)
        added.add_argument("--engine", default="auto", choices=["auto", *sorted(ENGINES)], help="[auto]")
        added.add_argument("--threads", type=int, help="threads of the engine [its own choice]")
        added.add_argument("--compute-unit", help="of Core ML: all, cpu, cpu_and_gpu, cpu_and_ne [cpu_and_gpu]")
        added.add_argument("--mode", choices=OFFLINE_MODES, help="of an artefact that does not stream [overlap]")
        added.add_argument("--chunk", type=int, help="new frames per call [all that fit]")
        return added

    command("info", _info, "what a bundle or artefact holds")
    command("lower", _lower, "lower an .mlpackage to ONNX into the cache, so that the onnx engine opens it at once")
    run = executing("run", _run, "arrays in, arrays out")
    run.add_argument("inputs", type=Path, metavar="IN.npz", help="one array per input, by name")
    run.add_argument("outputs", type=Path, metavar="OUT.npz")
    vocode = executing("vocode", _vocode, "audio -> mel -> artefact -> audio")
    vocode.add_argument("source", type=Path, metavar="IN.wav", help="any sample rate and format that libsndfile reads")
    vocode.add_argument("target", type=Path, metavar="OUT.wav")
    live = executing("live", _live, "audio through a streaming bundle block by block, as a sound card would play it")
    live.add_argument("source", type=Path, metavar="IN.wav", help="what the device hears")
    live.add_argument("target", type=Path, metavar="OUT.wav", help="what it plays")
    live.add_argument("--block", type=int, default=256, help="samples per callback of the device [256]")
    live.add_argument("--rate", type=int, default=48000, help="sample rate of the device [48000]")
    live.add_argument("--prefill", type=float, default=20.0, help="ms of output kept ready for slow steps [20]")
    live.add_argument("--max-age", type=float, default=500.0, help="ms that input may wait before it is dropped [500]")
    bench = executing("bench", _bench, "correctness, then throughput, latency, delay, memory and strain")
    bench.add_argument("--seconds", type=float, help="throughput is timed at least that long [5]")
    bench.add_argument("--min-chunks", type=int, help="and at least that many chunks [100]")
    bench.add_argument("--paced-seconds", type=float, help="of latency on a schedule, 0 for none [10]")
    bench.add_argument("--processes", type=int, help="fresh processes one after another [1]")
    bench.add_argument("--block", type=int, help="samples per block of the device that the delay is for [256]")
    bench.add_argument("--device-rate", type=int, help="its sample rate [48000]")
    bench.add_argument("--quick", action="store_true", help="correctness and one second of throughput alone")
    bench.add_argument("--full", action="store_true", help="1000 chunks, a minute at least, in three processes")
    bench.add_argument("--out", type=Path, metavar="FILE.json", help="everything, for `python -m reports bench`")
    return parser


def _info(options: argparse.Namespace) -> dict[str, Any]:
    if _is_artefact(options.artefact):
        engine = "mil" if options.artefact.suffix == ".mlpackage" else "onnx"
        opened = runtime.load(options.artefact, engine)
        return {
            "artefact": options.artefact.name,
            "inputs": [str(spec) for spec in opened.inputs],
            "outputs": [str(spec) for spec in opened.outputs],
            "ops": op_histogram(options.artefact),
        }
    bundle = open_bundle(options.artefact)
    manifest = bundle.manifest
    record = bundle.component()
    facts: dict[str, Any] = {
        "bundle": manifest.name,
        "created": manifest.created,
        "checkpoint": f"{manifest.checkpoint.name} ({manifest.checkpoint.licence}), {manifest.checkpoint.source}",
        "conversion": manifest.conversion.model_dump(),
        "component": record.name,
        "computes": record.computes,
        "inputs": [str(spec) for spec in record.inputs],
        "outputs": [str(spec) for spec in record.outputs],
        "parameters": manifest.parameters,
        "size_mb": round(bundle.artefact_bytes / 1e6, 3),
        "ops": record.ops,
        "notes": list(manifest.notes),
        "files": f"{len(manifest.files)}, every sha256 as in the manifest",
    }
    if record.stream is not None:
        facts |= _stream_facts(record.stream)
    if record.time is not None:
        facts["receptive field"] = f"{record.time.left} frames before, {record.time.right} after"
        facts["sample_rate"] = record.time.sample_rate
    return facts


def _stream_facts(form: StreamForm) -> dict[str, Any]:
    sizes = [int(np.prod(state.shape)) for state in form.states]
    facts: dict[str, Any] = {
        "stream": f"{form.mode}, {'exact' if form.exact else 'approximate'}, chunks of {form.chunk} frames",
        "lookahead": f"{form.lookahead} frames",
        "delay": f"{form.delay} output samples",
        "state": f"{form.state}, {len(sizes)} tensors, {sum(sizes)} values" if sizes else "none",
    }
    if form.truncation_db:
        pairs = (f"{frames}: {here:.1f} ({zeros:.1f})" for frames, (here, zeros) in form.truncation_db.items())
        facts["SNR by lookahead"] = f"dB, last frame repeated (zeros instead): {', '.join(pairs)}"
    return facts


def _lower(options: argparse.Namespace) -> dict[str, Any]:
    from runtime.mil.lower import functions_of, lowered

    path = options.artefact
    if not _is_artefact(path):
        bundle = open_bundle(path)
        path = bundle.artefact(bundle.component())
    if path.suffix != ".mlpackage":
        raise ArtefactError(f"{path.name} is not an .mlpackage: there is nothing to lower")
    return {"onnx": [str(lowered(path, function)[0]) for function in functions_of(path)]}


def _run(options: argparse.Namespace) -> dict[str, Any]:
    opened = _open(options)
    try:
        with np.load(options.inputs, allow_pickle=False) as stored:
            inputs = dict(stored)
    except ValueError as error:
        raise InputError(f"{options.inputs} cannot be read as arrays: {error}") from error
    time_axis = None if _is_artefact(options.artefact) else open_bundle(options.artefact, False).component().time
    if time_axis is not None and mode_of(opened, options.mode) != "offline" and set(inputs) == {time_axis.input}:
        samples = synthesise(opened, time_axis, inputs[time_axis.input], options.mode, options.chunk)
        outputs = {time_axis.output: samples}
    else:
        outputs = _engine(opened).run(inputs)
    partial = options.outputs.with_name(f".{options.outputs.name}.partial.npz")
    np.savez(partial, **outputs)  # type: ignore[arg-type]  # its stub takes keywords for options
    partial.replace(options.outputs)
    return {"engine": _engine(opened).name, **{name: f"{value.dtype} {value.shape}" for name, value in outputs.items()}}


def _vocode(options: argparse.Namespace) -> dict[str, Any]:
    bundle, record, time_axis, features = _vocoder(options.artefact)
    opened = _open(options)
    samples = read_audio(options.source, features.sample_rate)
    shortest = 1 if isinstance(opened, StreamingArtefact) else _shortest(record, time_axis)
    padded = _at_least(samples, shortest * features.hop_length, features)
    mel = mel_spectrogram(padded, features)[None]
    audio = synthesise(opened, time_axis, mel, options.mode, options.chunk).reshape(-1)
    if len(padded) > len(samples):
        audio = audio[: len(samples)]
    write_wav(options.target, audio, features.sample_rate)
    return {
        "bundle": bundle.manifest.name,
        "engine": _engine(opened).name,
        "mode": mode_of(opened, options.mode),
        "frames": mel.shape[2],
        "seconds": round(len(audio) / features.sample_rate, 3),
        "padded_with_silence": len(padded) > len(samples),
        "wrote": str(options.target),
    }


def _live(options: argparse.Namespace) -> dict[str, Any]:
    from runtime.live import CopySynthesis, Session, VirtualDevice

    if options.block < 1 or options.rate < 8000 or options.prefill < 0 or options.max_age <= 0:
        raise StreamError("live needs --block >= 1, --rate >= 8000, --prefill >= 0 and --max-age > 0")
    bundle, _, time_axis, features = _vocoder(options.artefact)
    opened = _open(options)
    if not isinstance(opened, StreamingArtefact):
        raise StreamError(f"{bundle.path.name} was converted to be called offline: convert it with stream=stateful")
    samples = read_audio(options.source, options.rate)
    chain = CopySynthesis(opened, time_axis, features, options.rate)
    chain.push(np.zeros(2 * options.rate, np.float32))  # warm-up
    chain.reset()
    session = Session(chain, options.block, round(options.prefill * options.rate / 1e3), options.max_age / 1e3)
    device = VirtualDevice()
    write_wav(options.target, device.play(session, samples), options.rate)
    milliseconds = 1e3 / options.rate
    facts: dict[str, Any] = {
        "bundle": bundle.manifest.name,
        "engine": _engine(opened).name,
        "chain": "copy-synthesis: audio, mel, vocoder, audio",
        "clock": f"virtual, moved by measured inference times on {_engine(opened).device}",
        "delay_ms": (session.delay or 0) * milliseconds,
        **{f"of which {part}": f"{value:.1f} ms, by structure" for part, value in chain.latency.items()},
        "chunk_p50_ms": 1e3 * float(np.percentile(device.costs, 50)),
        "chunk_p99_ms": 1e3 * float(np.percentile(device.costs, 99)),
        "chunk_max_ms": 1e3 * max(device.costs),
    }
    return facts | dataclasses.asdict(session.counters) | {"wrote": str(options.target)}


def _bench(options: argparse.Namespace) -> dict[str, Any]:
    from runtime.bench.whole import BenchOptions, bench_bundle, write_bench

    if _is_artefact(options.artefact):
        raise BundleError(f"{options.artefact.name} is a bare artefact: what it should give is in its bundle")
    preset: dict[str, Any] = {}
    if options.quick:
        preset = {"seconds": 1.0, "min_chunks": 20, "paced_seconds": 0.0, "growth_chunks": 0, "strain": False}
    if options.full:
        preset = {"seconds": 20.0, "min_chunks": 1000, "paced_seconds": 60.0, "paced_chunks": 1000}
        preset |= {"growth_chunks": 10_000, "processes": 3}
    names = {field.name for field in dataclasses.fields(BenchOptions)}
    asked = preset | {name: value for name, value in vars(options).items() if name in names and value is not None}
    report = bench_bundle(options.artefact, BenchOptions(**asked), lambda text: print(text, file=sys.stderr))
    if options.out is not None:
        write_bench(options.out, report)
    if report.problem:
        raise StreamError(f"not benched, for it is not correct: {report.problem}")
    return dataclasses.asdict(report) if options.json else _bench_text(report)


def _bench_text(report: BenchReport) -> dict[str, Any]:
    """The worst process of each kind is what counts; the spread over processes follows."""
    last = report.processes[-1]
    closed, budget = last.closed, last.budget
    assert closed is not None
    assert budget is not None
    checked = last.correctness
    load = "" if report.load_average is None else f", load average {report.load_average:.1f} before"
    facts: dict[str, Any] = {
        "bundle": report.bundle,
        "engine": f"{report.engine} on {report.device}, {report.cores} cores{load}",
        "correct": f"{checked.mode}, {checked.snr_db:.1f} dB against PyTorch, {checked.seam_db:.1f} dB at the seams, "
        f"head {checked.head_db:.1f}, tail {checked.tail_db:.1f}",
        "load": f"{last.load_s * 1e3:.0f} ms, first call {closed.first_call_ms:.1f} ms",
        "throughput": f"RTF {closed.rtf:.4f} (elapsed / audio; {1 / closed.rtf:.1f} times real time), "
        f"{closed.chunks} chunks of {closed.chunk_frames} frames",
        "per chunk": _percentiles(closed),
    }
    if last.paced is not None:
        paced = last.paced
        facts["on a schedule"] = _percentiles(paced)
        facts["deadline"] = (
            f"{paced.period_ms:.1f} ms, missed {paced.misses} of {paced.chunks} ({paced.miss_percent:.2g} %), at most "
            f"{paced.longest_run_of_misses} in a row; safe with {paced.safe_prefill_ms:.1f} ms of prefill"
        )
        facts["jitter"] = f"{paced.jitter_ms:.2f} ms, drift {paced.drift_ms_per_min:+.2f} ms per minute"
    if last.stall is not None:
        after = last.stall.recovered_after_ms
        facts["stall"] = (
            f"{last.stall.injected_ms:.0f} ms injected: latency up to {last.stall.worst_ms:.0f} ms, "
            + ("not recovered" if after is None else f"recovered after {after:.0f} ms")
            + f", {last.stall.residual_ms:+.2f} ms remain"
        )
    if last.under_load is not None:
        facts["busy cores"] = f"{_percentiles(last.under_load)}, {last.under_load.misses} misses"
    if last.silence is not None:
        quiet = last.silence
        facts["silence"] = (
            f"speech {quiet.speech_ms:.1f} ms per chunk, silence {quiet.silence_ms:.1f}, speech "
            f"{quiet.speech_again_ms:.1f}; {quiet.not_finite} samples not finite, {quiet.clipped} clipped"
        )
    if last.resources is not None:
        used = last.resources
        facts["memory"] = (
            f"{used.rss_mb:.0f} MB, {used.blocks_grown:+d} Python objects over {used.chunks} chunks, "
            f"{used.rss_slope_mb_per_h:+.1f} MB per hour over {used.seconds:.0f} s"
        )
    parts = ", ".join(f"{part.name} {part.milliseconds:.1f}" for part in budget.parts)
    facts["delay budget"] = f"{budget.total_ms:.1f} ms without the device's converters: {parts}"
    for target in report.targets:
        facts[f"target {target.name}"] = f"{target.value:.3g}, limit {target.limit:.3g}: {target.verdict}"
    if len(report.processes) > 1:
        for name, row in report.spread.items():
            facts[f"spread {name}"] = f"{row.median:.4g} ({row.least:.4g} to {row.most:.4g})"
    return facts


def _percentiles(timed: Latency | Paced) -> str:
    names = ("p50", "p90", "p95", "p99", "p999", "max")
    return ", ".join(f"{name} {getattr(timed, f'{name}_ms'):.1f}" for name in names) + " ms"


def _vocoder(path: Path) -> tuple[Bundle, ComponentRecord, TimeAxis, MelSettings]:
    if _is_artefact(path):
        raise BundleError(f"{path.name} is a bare artefact: its mel settings and receptive field are in its bundle")
    bundle = open_bundle(path)
    record = bundle.component()
    if record.time is None or record.features is None:
        raise BundleError(f"{path.name}: component {record.name} is no vocoder")
    return bundle, record, record.time, record.features


def _shortest(record: ComponentRecord, time_axis: TimeAxis) -> int:
    (window,) = (spec for spec in record.inputs if spec.name == time_axis.input)
    axis = window.shape[time_axis.input_axis]
    return axis.lo if isinstance(axis, Dim) else axis


def _at_least(samples: np.ndarray, length: int, features: MelSettings) -> np.ndarray:
    """Silence behind audio that is shorter than the artefact takes (or than one STFT window)."""
    missing = max(length, features.n_fft) - len(samples)
    return np.pad(samples, (0, missing)) if missing > 0 else samples


def _open(options: argparse.Namespace) -> Engine | StreamingArtefact:
    return open_artefact(options.artefact, options.engine, threads=options.threads, compute_unit=options.compute_unit)


def _engine(opened: Engine | StreamingArtefact) -> Engine:
    return opened.edge if isinstance(opened, StreamingArtefact) else opened


def _is_artefact(path: Path) -> bool:
    return path.suffix in (".mlpackage", ".onnx")


def _as_text(result: dict[str, Any]) -> str:
    width = max(map(len, result))
    lines = []
    for name, value in result.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {item}" for key, item in value.items())
        elif isinstance(value, list):
            value = ", ".join(map(str, value)) or "none"
        elif isinstance(value, float):
            value = f"{value:.4g}"
        lines.append(f"{name:<{width}}  {value}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
