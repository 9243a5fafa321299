"""Every family in every format and precision, converted and executed here: the table docs/models.md.

    python -m benchmarks.models docs/models.md [--output FOLDER]

A job each, one after another; bundles that exist are reused, and so are the rows of an interrupted run, which lie in
the folder. What cannot be done stands there with its reason.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from reports.record import read_job
from runtime.engines import cpu_name
from runtime.measure import Measurement

SECONDS = 600  # for a job
MATRIX = {
    "hifigan": ["checkpoint=kathleen_hifigan"],
    "ge2e": ["checkpoint=rtvc_encoder"],
    "vits": ["checkpoint=joe_vits"],
    **{
        model: ["checkpoint.source=random"]
        for model in ("melgan", "multiband_melgan", "fullband_melgan", "parallel_wavegan", "univnet", "wavernn")
    },
    **{
        model: ["checkpoint.source=random", "model.vocoder.checkpoint.source=bundled"]
        for model in ("fastspeech2", "fast_pitch", "speedy_speech", "glow_tts", "tacotron2", "tacotron2_dca")
    },
    "sv2tts": ["checkpoint.source=random", "model.vocoder.checkpoint.source=random"],
}
FORMS = {
    "mlprogram fp32": ["precision=fp32", "stream=offline"],
    "mlprogram fp16": ["precision=fp16", "stream=offline"],
    "mlprogram fp16, stateful8": ["precision=fp16", "stream=stateful"],
    "neuralnetwork fp16": ["precision=fp16", "format=neuralnetwork", "stream=offline"],
    "coreai fp16": ["precision=fp16", "format=coreai", "stream=offline"],
    "onnx fp32": ["precision=fp32", "format=onnx", "stream=offline"],
}
HEAD = """# Families, formats, precisions

Made by `make models`: every row was converted and executed on one machine ({machine}), one job each. Quality is
that of the engine that computes as the artefact declares (`mil` for ML programs), against PyTorch, on the worst of the
goldens. Nothing here was run on a Mac. Checkpoints called `…_random` are weights drawn at the published architecture:
parity only.

SNR in dB of what makes audio end to end, of a speaker encoder that of its embeddings; of each component in brackets.
Conversion is trace, rewrite, convert and save of all components at all their sizes; memory is the most that the job's
process held, measurements included. Times are of one pass on a shared machine: an order of magnitude, not a comparison.

| model | form | verdict | SNR | log-mel L1 | cosine | size MB | ops | conversion s | memory GB | RTF in ONNX Runtime |
|---|---|---|---|---|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Done:
    """A bundle, or why there is none."""

    bundle: Path | None
    reason: str
    memory_gb: float = 0.0


def convert(overrides: list[str], output: Path) -> Done:
    # a small process between, whose only child is the job: so the most that a child held is the job's
    program = (
        "import resource, subprocess, sys\n"
        f"try: code = subprocess.run(sys.argv[1:], timeout={SECONDS}).returncode\n"
        "except subprocess.TimeoutExpired: code = 124\n"
        "print('memory:', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
        "sys.exit(code)\n"
    )
    command = [sys.executable, "-m", "convert", *overrides, "tracking=off", f"output={output}"]
    result = subprocess.run([sys.executable, "-c", program, *command], capture_output=True, text=True, check=False)
    if result.returncode == 124:
        return Done(None, f"not finished in {SECONDS // 60} minutes")
    found = re.search(r"^bundle: (.+)$", result.stdout, re.MULTILINE)
    memory = re.search(r"^memory: (\d+)$", result.stdout, re.MULTILINE)
    if found and memory:
        return Done(Path(found[1]), "", int(memory[1]) / 1e6)
    said = " ".join(result.stderr.split())
    reason = re.split(r"[;:] (?:it knows|use|take|convert) ", said.rpartition("error ")[2])[0]
    return Done(None, reason[:160] or f"ended with {result.returncode}")


def row(model: str, form: str, done: Done) -> str:
    if done.bundle is None:
        return f"| {model} | {form} | not here: {done.reason} | | | | | | | | |"
    bundle, record, measurements = read_job(done.bundle)
    judge = record.gates[0].engine if record.gates else measurements[0].engine
    judged = next(m for m in measurements if m.engine == judge)
    timed = [m.latency.rtf for m in measurements if m.latency is not None]
    seconds = sum(value for name, value in record.seconds.items() if name.startswith("convert "))
    cells = [
        bundle.manifest.checkpoint.name,
        form,
        "passed" if record.passed else "rejected",
        _snr(judged),
        f"{max(clip.agreement.log_mel_l1 for clip in judged.clips):.5f}" if judged.clips else "",
        f"{min(one.cosine for one in judged.rows):.6f}" if judged.rows and not judged.clips else "",
        f"{bundle.artefact_bytes / 1e6:.2f}",
        str(sum(sum(component.ops.values()) for component in bundle.manifest.components)),
        f"{seconds:.1f}",
        f"{done.memory_gb:.1f}",
        f"{min(timed):.3f}" if timed else "",
    ]
    return f"| {' | '.join(cells)} |"


def _snr(judged: Measurement) -> str:
    components: dict[str, list[float]] = {name: [] for name in dict.fromkeys(one.component for one in judged.rows)}
    for one in judged.rows:
        components[one.component].append(one.snr_db)
    if not judged.clips:
        return f"{min(min(values) for values in components.values()):.1f}"
    whole = f"{judged.worst.agreement.snr_db:.1f}"
    parts = ", ".join(f"{name} {min(values):.0f}" for name, values in components.items())
    return f"{whole} ({parts})" if parts else whole


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.models", description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("--output", type=Path, default=Path("build/models"), help="folder of the bundles [%(default)s]")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    kept = options.output / "rows.json"
    rows: dict[str, str] = json.loads(kept.read_text()) if kept.is_file() else {}
    for model, own in MATRIX.items():
        for form, overrides in FORMS.items():
            if model == "ge2e" and "stream=stateful" in overrides:
                continue  # windows of a fixed length do not stream
            job = " ".join([f"model={model}", *own, *overrides])
            if job not in rows:
                rows[job] = row(model, form, convert(job.split(), options.output))
                kept.write_text(json.dumps(rows, indent=1))
            print(rows[job], flush=True)
    machine = f"{cpu_name()}, {platform.system()} {platform.machine()}"
    options.page.write_text(HEAD.format(machine=machine) + "\n".join(rows.values()) + "\n")


if __name__ == "__main__":
    main()
