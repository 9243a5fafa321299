"""`python -m runtime`: look at, run, time and play a bundle or a bare artefact."""

from __future__ import annotations

if __name__ == "__main__":
    from runtime.machine.interrupts import remember_interrupts

    remember_interrupts()

import argparse
import importlib
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runtime.bundle.formats import FORMATS
from runtime.bundle.staging import sweep_around
from runtime.bundle.trust import trust_references
from runtime.engines import ENGINES
from runtime.machine.command_line import answered, program, run
from runtime.machine.files import as_json
from runtime.machine.terminal import note
from runtime.playing.player import OFFLINE_MODES

_ABOUT = "look at, run, time and play a bundle or a bare artefact"


@answered
def main(arguments: Sequence[str] | None = None) -> int:
    """Prints what a command gives: 0. What it could not do is a sentence on stderr and a code of runtime.errors."""
    options = parser().parse_args(arguments)
    warnings.showwarning = lambda message, *_, **__: note(str(message))
    sweep_around(vars(options).values())
    if getattr(options, "trust_reference", False):
        trust_references()
    module, _, name = options.run.partition(":")
    result = getattr(importlib.import_module(f"runtime.commands.{module}"), name)(options)
    print(json.dumps(as_json(result), indent=1) if options.json else _as_text(result))
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line of `python -m runtime`; each command names the function of runtime.commands that it runs."""
    whole = argparse.ArgumentParser(prog=program("runtime"), description=_ABOUT)
    commands = whole.add_subparsers(required=True, metavar="COMMAND")

    suffixes = ", ".join(facts.suffix for facts in FORMATS.values())

    def bare(name: str, run: str, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        added.add_argument("--json", action="store_true", help="print the result as JSON")
        return added

    def command(name: str, run: str, text: str, default: str = "") -> argparse.ArgumentParser:
        added = bare(name, run, text)
        said = f"a bundle, or a bare artefact ({suffixes}){default and f' [{default}]'}"
        added.add_argument("artefact", type=Path, nargs="?" if default else None, help=said)
        return added

    def with_engine(added: argparse.ArgumentParser) -> argparse.ArgumentParser:
        added.add_argument("--engine", default="auto", choices=["auto", *sorted(ENGINES)], help="[auto]")
        added.add_argument("--threads", type=int, help="threads of the engine [its own choice]")
        added.add_argument("--compute-unit", help="of Core ML: all, cpu, cpu_and_gpu, cpu_and_ne [cpu_and_gpu]")
        added.add_argument(
            "--trust-reference", action="store_true", help="engine torch executes the program that another machine made"
        )
        return added

    def executing(name: str, run: str, text: str, default: str = "") -> argparse.ArgumentParser:
        added = with_engine(command(name, run, text, default))
        modes = (*OFFLINE_MODES, "fold")
        added.add_argument("--mode", choices=modes, help="where it does not stream [overlap]; fold: where it samples")
        added.add_argument("--chunk", type=int, help="new frames per call [all that fit]")
        return added

    def on_a_sound_card(added: argparse.ArgumentParser, block: int) -> None:
        added.add_argument("--block", type=int, default=block, help="samples per callback of the device [%(default)s]")
        added.add_argument("--rate", type=int, default=48000, help="sample rate of the device [48000]")
        added.add_argument("--microphone", type=_device, help="name or number of the input device [the default one]")
        added.add_argument("--speakers", type=_device, help="name or number of the output device [the default one]")

    whose = "recordings of whom a conversion is to sound like, or what `python -m runtime target` made of them"
    own = "recordings of whose voice goes in, or a target made of them, for a conversion that asks"
    latent = (
        "a latent of a model that has them, by number from 0, times a scale and plus a bias [1 and 0]; again and again"
    )

    def controlling(added: argparse.ArgumentParser) -> None:
        added.add_argument("--latent", type=_latent, action="append", metavar="NUMBER:SCALE[:BIAS]", help=latent)

    def converting(added: argparse.ArgumentParser) -> None:
        added.add_argument("source", type=Path, metavar="IN.wav", help="any rate and format that libsndfile reads")
        added.add_argument("output", type=Path, metavar="OUT.wav")
        added.add_argument("--target", type=Path, nargs="+", metavar="REF.wav", help=whose)
        added.add_argument("--own", type=Path, nargs="+", metavar="REF.wav", help=f"{own} [IN.wav]")
        added.add_argument(
            "--pitch", type=float, default=0.0, metavar="SEMITONES", help="higher, or lower if negative [0]"
        )
        controlling(added)
        modes = (*OFFLINE_MODES, "fold", "stream")
        added.add_argument(
            "--mode", choices=modes, help="stream: as live does; else where it does not stream [overlap]"
        )
        added.add_argument("--chunk", type=int, help="new frames per call [all that fit]")
        with_engine(added)

    command("info", "artefact:info", "what a bundle or artefact holds")
    lower = bare(
        "lower", "artefact:lower", "lower .mlpackages to ONNX into the cache: the onnx engine opens them at once"
    )
    lower.add_argument("artefacts", type=Path, nargs="+", metavar="ARTEFACT", help="bundles or .mlpackages")
    lower.add_argument("--out", type=Path, metavar="FOLDER", help="write them there by name, with what they take")
    ran = executing("run", "artefact:run", "arrays in, arrays out")
    ran.add_argument("inputs", type=Path, metavar="IN.npz", help="one array per input, by name")
    ran.add_argument("outputs", type=Path, metavar="OUT.npz")
    vocode = bare(
        "vocode", "conversion:convert_voice", "audio -> features -> a vocoder's bundle -> audio: convert-voice's twin"
    )
    vocode.add_argument("bundle", type=Path, metavar="BUNDLE", help="what `python -m convert model=hifigan` made")
    converting(vocode)
    newest = "the newest live voice in bundles/, which `python -m convert model=kathleen_live` makes"
    convert = bare("convert-voice", "conversion:convert_voice", "a recording in another voice")
    convert.add_argument("--bundle", type=Path, help=f"what `python -m convert model=whisper_knn` made [{newest}]")
    converting(convert)
    target = bare(
        "target", "conversion:target", "whose voice a conversion is to be, kept in a file: a call starts at once"
    )
    target.add_argument("recordings", type=Path, nargs="+", metavar="REF.wav", help=whose)
    target.add_argument("output", type=Path, metavar="OUT.npz")
    target.add_argument("--bundle", type=Path, required=True, help="the conversion that it is for")
    target.add_argument("--encoder", type=Path, help="a speaker encoder's bundle: says whether it is one speaker")
    with_engine(target)
    embed = bare("embed", "speaker:embed", "a speaker's embedding from recordings, through a bundle's encoder")
    embed.add_argument("recordings", type=Path, nargs="+", metavar="REF.wav", help="with several: how alike they are")
    embed.add_argument("--bundle", type=Path, required=True, help="what `python -m convert model=ge2e` made")
    embed.add_argument("--out", type=Path, metavar="FILE.npy", help="the embeddings, (recordings, D)")
    with_engine(embed)
    speak = bare("speak", "speak:speak", "text -> a voice's bundle -> audio, sentence by sentence")
    speak.add_argument("text", help="what to say; - reads it from standard input")
    speak.add_argument("target", type=Path, metavar="OUT.wav", nargs="?", default="speech.wav", help="[%(default)s]")
    speak.add_argument("--voice", type=Path, help="what `python -m convert model=vits` made [the newest in bundles/]")
    speak.add_argument("--vocoder", type=Path, help="a bundle that plays the voice's mel [the voice's own vocoder]")
    speak.add_argument("--speaker", help="one of the voice's by name, or a recording to clone")
    speak.add_argument("--encoder", type=Path, help="the speaker encoder's bundle [the voice's own]")
    speak.add_argument("--language", help="one of the voice's")
    speak.add_argument("--pace", type=float, default=1.0, help="2 is twice as fast [1]")
    speak.add_argument("--pitch", type=float, default=0.0, help="shift, in standard deviations of the speaker's [0]")
    speak.add_argument("--energy", type=float, default=0.0, help="as --pitch, where the voice predicts it [0]")
    speak.add_argument("--fold", action="store_true", help="of a vocoder that samples: stretches of audio side by side")
    speak.add_argument("--seed", type=int, default=0, help="of the noise: the same seed, the same audio [0]")
    with_engine(speak)
    live = executing(
        "live", "live:live", "microphone -> features -> a streaming bundle -> speakers, as it comes", newest
    )
    live.add_argument("--target", dest="target_voice", type=Path, nargs="+", metavar="REF.wav", help=whose)
    live.add_argument("--own", type=Path, nargs="+", metavar="REF.wav", help=own)
    live.add_argument("--pitch", type=float, default=0.0, metavar="SEMITONES", help="higher, or lower if negative [0]")
    controlling(live)
    live.add_argument("--gate", type=float, metavar="DB", help="silence where the input is softer, such as -45 [none]")
    live.add_argument("--in", dest="source", type=Path, metavar="FILE", help="instead of the microphone")
    live.add_argument(
        "--out", dest="target", type=Path, metavar="FILE", help="instead of the speakers; with --in on a virtual clock"
    )
    on_a_sound_card(live, 256)
    live.add_argument("--prefill", type=float, default=20.0, help="ms of output kept ready for slow steps [20]")
    live.add_argument("--max-age", type=float, default=500.0, help="ms that input may wait before it is dropped [500]")
    live.add_argument("--seconds", type=float, help="end after so long [at ctrl-C]")
    bare("devices", "live:list_devices", "the sound cards that live and loopback can use")
    loopback = bare("loopback", "live:measure_loopback", "time from playing a sound to recording it, without a model")
    on_a_sound_card(loopback, 128)
    loopback.add_argument("--sounds", type=int, default=10, help="how many are played, one a second [10]")
    measured = executing("measure", "measure:measure_bundle", "quality against the goldens, and times, as the job does")
    measured.add_argument("--repeat", type=int, default=1, help="measure so many times: how far do they scatter? [1]")
    measured.add_argument("--no-timing", action="store_true", help="quality alone")
    measured.add_argument("--out", type=Path, metavar="FOLDER", help="for the JSON files [beside the bundle]")
    audited = command("audit", "audit:audit", "what rounding costs in an ML program, op by op, on real inputs")
    audited.add_argument("--inputs", type=Path, metavar="IN.npz", help="of a bare .mlpackage [a bundle's goldens]")
    audited.add_argument("--function", help="of a bare .mlpackage that holds several [its default]")
    audited.add_argument("--top", type=int, default=10, help="ops that are printed [%(default)s]")
    audited.add_argument("--out", type=Path, metavar="FILE.json", help="[audit.json beside the bundle]")
    diff = bare("diff", "compare:diff", "what differs between two bundles, down to the first op whose result does")
    diff.add_argument("before", type=Path, metavar="BUNDLE")
    diff.add_argument("after", type=Path, metavar="OTHER")
    bench = executing("bench", "bench:bench", "correctness, then throughput, latency, delay, memory and a stress test")
    bench.add_argument("--seconds", type=float, help="throughput is timed at least that long [5]")
    bench.add_argument("--min-chunks", type=int, help="and at least that many chunks [100]")
    bench.add_argument("--paced-seconds", type=float, help="of latency on a schedule, 0 for none [10]")
    bench.add_argument("--processes", type=int, help="fresh processes one after another [1]")
    bench.add_argument("--block", type=int, help="samples per block of the device that the delay is for [256]")
    bench.add_argument("--device-rate", type=int, help="its sample rate [48000]")
    bench.add_argument("--target", nargs="+", metavar="REF.wav", help=f"{whose} [the clips that ship]")
    bench.add_argument("--quick", action="store_true", help="correctness and one second of throughput alone")
    bench.add_argument("--full", action="store_true", help="1000 chunks, a minute at least, in three processes")
    bench.add_argument("--out", type=Path, metavar="FILE.json", help="everything, for `python -m reports bench`")
    fixtures = bare(
        "fixtures", "fixtures:write", "what this runtime makes of small fixed inputs, to compare another one with"
    )
    fixtures.add_argument("folder", type=Path, metavar="FOLDER")
    more = "a table of texts to be spoken beside its own: kinds of rows, each with a `text`"
    fixtures.add_argument("--texts", type=Path, metavar="FILE.yaml", help=more)
    mac = bare("mac-check", "mac:check", "on a Mac: every compute unit on these bundles, against the targets")
    mac.add_argument("artefacts", type=Path, nargs="+", metavar="BUNDLE")
    mac.add_argument("--units", nargs="+", default=["cpu", "cpu_and_gpu", "cpu_and_ne", "all"], help="[all four]")
    mac.add_argument("--paced-seconds", type=float, default=30.0, help="of latency on a schedule for each [30]")
    mac.add_argument("--limit", type=float, default=900.0, help="seconds that a unit's process may take [900]")
    mac.add_argument("--out", type=Path, default=Path("mac-check.json"), metavar="FILE.json", help="[mac-check.json]")
    return whole


def _device(text: str) -> str | int:
    return int(text) if text.isdigit() else text


def _latent(text: str) -> tuple[int, float, float]:
    latent, scale, bias, *more = [*text.split(":"), "0"]
    if len(more) > 1:
        raise ValueError
    return int(latent), float(scale), float(bias)


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
    run(main)
