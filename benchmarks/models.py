"""Every family in every format and precision, converted and executed here: the table docs/models.md.

    python -m benchmarks.models docs/models.md [--output FOLDER] [--models MODEL ...]

A job each, one after another, measured by the engine that computes as the artefact declares; bundles that exist are
reused, and so are the rows that the page has: take out those that are to be made anew. Two processes may make some of
the models each. What cannot be done stands there with its reason.
"""

from __future__ import annotations

import argparse
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import conversion_overhead
from benchmarks.families import MODELS
from reports.record import read_job
from runtime.engines import cpu_name
from runtime.machine.files import write_text
from runtime.measuring.measure import Measurement
from runtime.measuring.quality import metric_of, quality

COST = "cost"
JUDGED_BY_QUALITY = ("mixed", "int8", "palette6", "palette4")  # what weights that were drawn lose says nothing
FORMS = {
    "mlprogram fp32": ["precision=fp32", "stream=offline", "measure.engines=[mil]"],
    "mlprogram fp16": ["precision=fp16", "stream=offline", "measure.engines=[mil]"],
    "mlprogram fp16, stateful8": ["precision=fp16", "stream=stateful", "measure.engines=[mil]"],
    **{
        f"mlprogram {precision}": [f"precision={precision}", "stream=offline", "measure.engines=[mil]"]
        for precision in JUDGED_BY_QUALITY
    },
    "neuralnetwork fp16": ["precision=fp16", "format=neuralnetwork", "stream=offline"],
    "coreai fp16": ["precision=fp16", "format=coreai", "stream=offline"],
    "onnx fp32": ["precision=fp32", "format=onnx", "stream=offline", "measure.bench_seconds=0"],
}
HEAD = """# Families, formats, precisions

Made by `make models`: every row was converted and executed on one machine ({machine}), one job each. Quality is
that of the engine that computes as the artefact declares (`mil` for ML programs), against PyTorch, on the worst of the
goldens. Nothing here was run on a Mac. hifigan, fargan, ge2e, vits and fastspeech2 are trained, the others drawn at the
published architecture: parity only. What a drawn MelGAN makes is next to silence in most bands, so that its log-mel L1
compares rounding with nothing and misses the gate; drawn weights are not compressed, for what that costs is a matter of
quality. fargan, rave (both made on an AMD EPYC), wavernn and sv2tts are streaming forms throughout. Apple's runtime of
Core AI on Linux sums products in half precision ([upsampling.md](upsampling.md)), the other engines in single: up to
18 dB, by which fast_pitch misses gates.
A neural network declares no precision for its arithmetic: it is computed in single, fp16 is that of its weights, which
of hifigan and fastspeech2 are stored in half as they ship.

SNR in dB of what makes audio end to end, of a speaker encoder that of its embeddings; of each component in brackets.
Conversion is trace, rewrite, convert and save of all components at all their sizes; memory is the most that the job's
process held, measurements included. Times are of one pass on a shared machine: an order of magnitude, not a comparison;
what conversion costs over coremltools alone is below.

| model | form | verdict | SNR | log-mel L1 | cosine | size MB | ops | conversion s | memory GB |
|---|---|---|---|---|---|---|---|---|---|
"""
VOCODERS = """
## RAVE

RAVE has a page of its own, [rave.md](rave.md): no weights of it could be had, its rows are of drawn ones.

## FARGAN, and why not LPCNet

FARGAN has a page of its own: [fargan.md](fargan.md). LPCNet, whose place it took in opus, makes one sample after
another: 16,000 dependent steps a second, each two GRUs and a choice among 256 classes that the next step reads. At a
real-time factor of 0.2 a step has 12.5 µs; unrolled within a graph it is 160 such steps for 10 ms, where FARGAN has
four. WaveRNN, which is built alike and of which a graph makes 25 samples a call, takes 0.30 ms a sample in ONNX
Runtime, an RTF of 4.7 ([voices.md](voices.md)). LPCNet's authors develop it no more and name FARGAN as its successor,
which takes the same features; its weights are not in opus's source.
"""
COSTS = """
## What conversion costs

Over `torch.jit.trace`, `coremltools.convert` and `save` of the same components to fp16 ML programs
(`python -m benchmarks.conversion_overhead`; a process each for the two, which take turns component by component; the
second of two rounds). `once` is every component at one size, `bare` at every size that the job makes.

"""


@dataclass(frozen=True)
class Done:
    """A bundle, or why there is none."""

    bundle: Path | None
    reason: str
    memory_gb: float = 0.0


def convert(overrides: list[str], output: Path, limit: int) -> Done:
    # a small process between, whose only child is the job: so the most that a child held is the job's
    program = (
        "import resource, subprocess, sys\n"
        f"try: code = subprocess.run(sys.argv[1:], timeout={limit}).returncode\n"
        "except subprocess.TimeoutExpired: code = 124\n"
        "print('memory:', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
        "sys.exit(code)\n"
    )
    command = [sys.executable, "-m", "convert", *overrides, "tracking=off", f"output={output}"]
    result = subprocess.run([sys.executable, "-c", program, *command], capture_output=True, text=True, check=False)
    if result.returncode == 124:
        return Done(None, f"not finished in {limit // 60} minutes")
    bundle = re.search(r"^bundle: (.+)$", result.stdout, re.MULTILINE)
    memory = re.search(r"^memory: (\d+)$", result.stdout, re.MULTILINE)
    if bundle and memory:
        return Done(Path(bundle[1]), "", int(memory[1]) / 1e6)
    stderr = " ".join(result.stderr.split())
    reason = re.split(r"[;:] (?:it knows|use|take|convert) ", stderr.rpartition("error ")[2])[0]
    return Done(None, reason[:160] or f"ended with {result.returncode}")


def row(model: str, form: str, done: Done) -> str:
    if done.bundle is None:
        return f"| {model} | {form} | not here: {done.reason} | | | | | | | |"
    bundle, record, measurements = read_job(done.bundle)
    judge = record.gates[0].engine if record.gates else measurements[0].engine
    judged = next(m for m in measurements if m.engine == judge)
    seconds = sum(value for name, value in record.seconds.items() if name.startswith("convert "))
    scores = quality(judged)
    cells = [
        model,
        form,
        record.verdict,
        _snr(judged),
        *(metric_of(name).number(scores[name]) if name in scores else "" for name in ("log_mel_l1", "cosine")),
        f"{bundle.artefact_bytes / 1e6:.2f}",
        str(sum(sum(component.ops.values()) for component in bundle.manifest.components)),
        f"{seconds:.1f}",
        f"{done.memory_gb:.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def _snr(judged: Measurement) -> str:
    components: dict[str, list[float]] = {name: [] for name in dict.fromkeys(one.component for one in judged.rows)}
    for one in judged.rows:
        components[one.component].append(one.snr_db)
    if not judged.clips:
        return f"{min(min(values) for values in components.values()):.1f}"
    worst = f"{judged.worst.agreement.snr_db:.1f}"
    parts = ", ".join(f"{name} {min(values):.0f}" for name, values in components.items())
    return f"{worst} ({parts})" if parts else worst


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.models", description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("--output", type=Path, default=Path("build/models"), help="folder of the bundles [%(default)s]")
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS), metavar="MODEL")
    parser.add_argument("--limit", type=int, default=600, metavar="SECONDS", help="for a job [%(default)s]")
    options = parser.parse_args()

    def table_row(model: str, form: str, job: list[str]) -> str:
        return row(model, form, convert(job, options.output, options.limit))

    rows = Rows(options.page, options.output / "rows")
    entries = [(model, form, job) for model in options.models for form, job in jobs(model)]
    for model, form, job in entries:
        if "coreai" not in form:
            rows.keep(model, form, partial(table_row, model, form, job))
    for model in options.models:
        rows.keep(model, COST, partial(conversion_overhead.row, model))
    for model, form, job in entries:  # its engine is the slowest, so it comes last
        rows.keep(model, form, partial(table_row, model, form, job))
    rows.write()


class Rows:
    """A file each, so that processes may share the folder; those that the page has count as made."""

    def __init__(self, page: Path, folder: Path) -> None:
        self.page, self.folder = page, folder
        for line in page.read_text().splitlines() if page.is_file() else ():
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            form = cells[1] if len(cells) > 1 and cells[1] in FORMS else COST
            if cells[0] in MODELS and not (file := self._file(cells[0], form)).is_file():
                write_text(file, line)

    def keep(self, model: str, form: str, make: Callable[[], str]) -> None:
        file = self._file(model, form)
        if not file.is_file():
            write_text(file, make())
            self.write()
        print(file.read_text(), flush=True)

    def write(self) -> None:
        """The page with the rows that there are, and which there are not."""
        entries = [(model, form) for model in MODELS for form, _ in jobs(model)]
        lines = [HEAD.format(machine=f"{cpu_name()}, {platform.system()} {platform.machine()}").rstrip()]
        lines += self._known(entries)
        missing = [f"{model} {form}" for model, form in entries if not self._file(model, form).is_file()]
        if missing:
            lines += ["", f"Not run yet (`make models` goes on with these): {', '.join(missing)}."]
        lines += [
            "",
            VOCODERS.strip(),
            "",
            COSTS.strip(),
            "",
            conversion_overhead.HEAD,
            *self._known([(model, COST) for model in MODELS]),
        ]
        write_text(self.page, "\n".join(lines) + "\n")

    def _known(self, entries: Sequence[tuple[str, str]]) -> list[str]:
        files = (self._file(model, form) for model, form in entries)
        return [file.read_text() for file in files if file.is_file()]

    def _file(self, model: str, form: str) -> Path:
        return self.folder / f"{model} {form}.md"


def is_drawn(model: str) -> bool:
    return "checkpoint.source=random" in MODELS[model]


def jobs(model: str) -> Iterator[tuple[str, list[str]]]:
    """Form, overrides."""
    for form, overrides in FORMS.items():
        if model == "ge2e" and "stateful" in form:
            continue  # windows of a fixed length do not stream
        if is_drawn(model) and form.removeprefix("mlprogram ") in JUDGED_BY_QUALITY:
            continue
        if model in ("fargan", "rave", "wavernn", "sv2tts"):  # which play block after block, as they were made to
            if "stateful" in form:
                continue
            overrides = ["stream=stateful" if one == "stream=offline" else one for one in overrides]
        yield form, [f"model={model}", *MODELS[model], *overrides]


if __name__ == "__main__":
    main()
