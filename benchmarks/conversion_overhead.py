"""What the job's conversion costs over bare trace + convert + save of the same modules: processor seconds and memory.

    python -m benchmarks.conversion_overhead [MODEL ...] [--stream MODE]

A process each for the two, which take turns component by component; the second of two rounds counts. `once` converts
each component once; the job makes every size of it, so that `bare` is what a script that wants the same functions pays.
With a stream mode `bare` converts the chunks' modules, which it is given: rewriting and counting costs are the job's.
Memory is the most that either process held. Weights that are not bundled are random.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

import conf
from benchmarks.families import CONVERSIONS, MODELS
from checkpoints.locate import locate
from convert.schema import Job, register
from convert.stages import convert_artefact, load_original
from converters.component import Component
from converters.formats.mlprogram import _tensor_types
from converters.streaming import streaming_component
from runtime.machine.coreml_tools import coremltools

ALL = MODELS | CONVERSIONS
HEAD = (
    "| model | components | once s | bare s | job s | job / bare | bare GB | job GB | memory, job / bare |\n"
    + "|---" * 9
    + "|"
)


def functions_of(job: Job, component: Component) -> list[Component]:
    """What the job makes functions of: every size, or a chunk away from the ends and at them."""
    if component.sizes:
        return [component.at_size(size) for size in component.sizes]
    if job.stream.mode == "offline" or component.time is None:
        return [component]
    return list(streaming_component(component, job.stream, job.upsampler.name, True).functions.values())


def bare(job: Job, component: Component, folder: Path) -> list[float]:
    """Seconds of torch.jit.trace, coremltools.convert and save, function by function."""
    ct: Any = coremltools()
    seconds = []
    for one in functions_of(job, component):
        example = one.example()
        started = time.process_time()
        with torch.no_grad():
            arguments = [example[spec.name] for spec in one.inputs]
            traced = torch.jit.trace(one.module, arguments, check_trace=False)
        model = ct.convert(
            traced,
            inputs=_tensor_types(ct, one.inputs),
            outputs=[ct.TensorType(spec.name) for spec in one.outputs],
            convert_to="mlprogram",
            minimum_deployment_target=ct.target.macOS15,
            compute_precision=ct.precision.FLOAT16,
            skip_model_load=True,
        )
        model.save(str(folder / f"bare-{one.name}.mlpackage"))
        seconds.append(time.process_time() - started)
    return seconds


def ours(job: Job, component: Component, folder: Path) -> list[float]:
    started = time.process_time()
    convert_artefact(job, component, folder)
    return [time.process_time() - started]


CONVERTERS = {"bare": bare, "job": ours}


def serve(kind: str, model: str, stream: str, asked: Connection) -> None:
    """Answers a number with the seconds of that component's conversion, or with why it fails; at the beginning says how
    many components there are, at the end (None) how many GB this process held at most."""
    job = composed([f"model={model}", f"stream={stream}", *ALL[model]])
    checkpoint = locate(job.checkpoint, job.model.family, job.model.default_checkpoint, print)
    parts = {
        name: locate(part.checkpoint, part.family, part.default_checkpoint, print)
        for name, part in job.model.chosen_parts().items()
    }
    components = load_original(job, checkpoint, parts).components
    asked.send(len(components))
    while (number := asked.recv()) is not None:
        with tempfile.TemporaryDirectory() as folder:
            try:
                asked.send(CONVERTERS[kind](job, components[number], Path(folder)))
            except Exception as error:  # of the bare one: what upstream's converter does not take
                asked.send(" ".join(str(error).split())[:80])
    asked.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)


def composed(overrides: Sequence[str]) -> Job:
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    register()
    with initialize_config_dir(config_dir=str(Path(conf.__file__).parent), version_base="1.3"):
        job: Any = OmegaConf.to_object(compose("config", overrides=["precision=fp16", *overrides]))
    return job


def row(model: str, stream: str = "offline") -> str:
    """One line of the table."""
    context = multiprocessing.get_context("spawn")
    asking: dict[str, Connection] = {}
    processes = []
    for kind in CONVERTERS:
        asking[kind], theirs = context.Pipe()
        processes.append(context.Process(target=serve, args=(kind, model, stream, theirs), daemon=True))
        processes[-1].start()
    counts = {kind: pipe.recv() for kind, pipe in asking.items()}
    total = {"once": 0.0, "bare": 0.0, "job": 0.0}
    failed = ""
    for number in range(counts["job"]):
        answers: dict[str, list[float] | str] = {}
        for kind in [*CONVERTERS, *CONVERTERS]:
            asking[kind].send(number)
            answers[kind] = asking[kind].recv()
        bare_seconds, seconds = answers["bare"], answers["job"]
        if isinstance(bare_seconds, str) or isinstance(seconds, str):
            failed = f" ({number} fails: {bare_seconds if isinstance(bare_seconds, str) else seconds})"
            continue
        total = {
            "once": total["once"] + bare_seconds[0],
            "bare": total["bare"] + sum(bare_seconds),
            "job": total["job"] + sum(seconds),
        }
    held = {}
    for kind, pipe in asking.items():
        pipe.send(None)
        held[kind] = pipe.recv()
    for process in processes:
        process.join()
    cells = [
        model, f"{counts['job']}{failed}", *(f"{value:.1f}" for value in total.values()),
        f"{total['job'] / max(total['bare'], 1e-9):.2f}", f"{held['bare']:.2f}", f"{held['job']:.2f}",
        f"{held['job'] / held['bare']:.2f}",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", choices=[[], *ALL], default=[], metavar="MODEL")
    parser.add_argument("--stream", default="offline", choices=("offline", "stateful", "window"))
    options = parser.parse_args()
    print(HEAD)
    for model in options.models or ALL:
        print(row(model, options.stream), flush=True)


if __name__ == "__main__":
    main()
