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
from runtime.form import StreamForm
from runtime.inspect import op_histogram
from runtime.measure import as_json
from runtime.spec import Dim, InputError, TimeAxis
from runtime.stream import StreamingArtefact
from runtime.synthesis import OFFLINE_MODES, mode_of, open_artefact, synthesise

if TYPE_CHECKING:
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
    bench = executing("bench", _bench, "real-time factor and latency per chunk")
    bench.add_argument("--seconds", type=float, default=5.0, help="timed at least that long [5]")
    bench.add_argument("--min-chunks", type=int, default=100, help="and at least that many chunks [100]")
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
    from runtime.bench import bench

    bundle, record, time_axis, _ = _vocoder(options.artefact)
    opened = _open(options)
    frames = np.concatenate([case.inputs[time_axis.input] for case in bundle.goldens(record)], time_axis.input_axis)
    latency = bench(
        opened,
        time_axis,
        frames,
        options.chunk,
        options.mode,
        options.seconds,
        options.min_chunks,
        threads=options.threads,
    )
    facts = {"bundle": bundle.manifest.name, "engine": _engine(opened).name, "device": _engine(opened).device}
    facts |= dataclasses.asdict(latency)
    return facts if options.json else {name: value for name, value in facts.items() if name != "samples_ms"}


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
