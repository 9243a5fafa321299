"""What streaming costs over the bare network: ratios of time in ONNX Runtime, multiply-adds, operations.

    python -m benchmarks.streaming [V1|V2|live] [CHUNK ...] [--threads N] [--forms FORM ...]
    python -m benchmarks.streaming --plot SVG

For each chunk of C frames, float32, one session each, away from the utterance's ends:

- bare: the offline network on C frames alone (wrong at its edges; the least there is to compute),
- `auto`, `layer` and `stage` (where a stateful form keeps state) and `window`: through the player, C frames at a time,
  and the call of the graph alone,
- overlap: the offline network on C + 26 frames, which is how it is done without a rewrite.

Rounds are interleaved in one process, the ratio is of medians; with --processor it is of the processor's time, which
other work on the machine does not lengthen. V2 is the bundled vocoder; V1 has random weights at its published
architecture, for time alone; `live` are the two components of the bundled live voice. `--plot` draws multiply-adds,
bytes and operations of V1 against the chunk, which are counted and not timed.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import onnxruntime
import torch

import ops.streaming
from checkpoints.load import load
from checkpoints.locate import locate
from checkpoints.options import CheckpointOptions
from converters.component import Component, family, format_
from converters.families import hifigan
from converters.options import FormatOptions, PrecisionOptions, Shape, StreamOptions
from converters.streaming import network_of, streaming_component
from converters.upstream.coqui import import_coqui
from ops.streaming import KEEPS, Keep, Network, stateful, window
from ops.upsample import rewrite_upsampling
from runtime.engines import Engine, Execution, open_engine
from runtime.engines.work import Work, work_of
from runtime.machine.files import write_bytes
from runtime.playing.player import Streaming
from runtime.playing.stream import StreamingArtefact

ROUNDS, SECONDS = 10, 4.0
LABELS = {"layer": "after every layer", "stage": "between stages", "window": "nowhere", "auto": "chosen"}
FORMS = {"window": StreamOptions("window"), **{keep: StreamOptions("stateful", keep=keep) for keep in KEEPS}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version", nargs="?", default="V2", choices=["V1", "V2", "live"])
    parser.add_argument("chunks", nargs="*", type=int, default=[4, 8, 16])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--forms", nargs="+", default=[*FORMS, "overlap"], choices=[*FORMS, "overlap"])
    parser.add_argument("--processor", action="store_true", help="the processor's time, of all threads")
    parser.add_argument("--plot", type=Path, metavar="SVG")
    options = parser.parse_args()
    if options.plot is not None:
        write_bytes(options.plot, drawn(network_of(component("V1"), "polyphase")))
        return
    components = live_voice() if options.version == "live" else [component(options.version)]
    clock = time.process_time if options.processor else time.perf_counter
    print(f"{options.version}, onnxruntime {onnxruntime.__version__}, {options.threads} threads of "
          f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.2f}")  # fmt: skip
    print("chunk | form | ms | over bare | RTF | million multiply-adds | operations | MB read and written")
    for one in components:
        print(one.name)
        for chunk in options.chunks:
            rows(one, chunk, options.threads, options.forms, clock)


def rows(part: Component, chunk: int, threads: int, forms: Sequence[str], clock: Callable[[], float]) -> None:
    assert part.time is not None
    (spec,) = part.inputs
    frames = np.random.default_rng(0).normal(-4, 2, (*spec.default_shape[:-1], 200)).astype(np.float32)
    lengths = {"bare": chunk, "overlap": chunk + part.time.left + part.time.right}
    calls: dict[str, Iterator[Callable[[], object]]] = {}
    works: dict[str, Work | None] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("bare", *forms):
            if name in lengths:
                path = converted(sized(part, lengths[name]), Path(folder, name))
                calls[name] = repeated(
                    opened(path, threads), {spec.name: np.ascontiguousarray(frames[..., : lengths[name]])}
                )
            else:
                streaming = streaming_component(part, dataclasses.replace(FORMS[name], chunk=chunk), "polyphase", True)
                edge = converted(streaming.functions["edge"], Path(folder, name + "-edge"))
                path = converted(streaming.functions["steady"], Path(folder, name))
                steady = opened(path, threads)
                example = {key: value.numpy() for key, value in streaming.functions["steady"].example().items()}
                calls[f"{name} alone"], works[f"{name} alone"] = repeated(steady, example), work_of(path)
                artefact = StreamingArtefact(streaming.form, opened(edge, threads), steady)
                calls[name] = iter(Streaming(artefact, part.time).feed(frames))
            works[name] = work_of(path)
        medians = interleaved(calls, clock)
    for name, value in medians.items():
        work, seconds = works[name], chunk * part.time.frame_seconds
        assert work is not None
        print(f"{chunk:5} | {name:12} | {value:7.2f} | {value / medians['bare']:5.3f} | {value / 1e3 / seconds:.3f} | "
              f"{work.multiply_adds / 1e6:7.1f} | {work.operations:4} | {work.bytes / 1e6:6.1f}",
              flush=True)  # fmt: skip


def drawn(network: Network) -> bytes:
    """Multiply-adds, bytes and operations per frame against the chunk, by where state is kept, as SVG."""
    import io

    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from reports.plots import PALETTE

    chunks = (1, 2, 4, 8, 16, 32)
    titles = ("multiply-adds of a frame, million", "MB read and written of a frame", "operations of a call")
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "voxport"}):
        figure = Figure(figsize=(10, 3.6), layout="constrained")
        panels = figure.subplots(1, 3)
        for color, (name, label) in zip(PALETTE, LABELS.items()):
            works = [work_of_form(network, name, chunk) for chunk in chunks]
            values = (
                [work.multiply_adds / chunk / 1e6 for work, chunk in zip(works, chunks)],
                [work.bytes / chunk / 1e6 for work, chunk in zip(works, chunks)],
                [work.operations for work in works],
            )
            for axes, title, row in zip(panels, titles, values):
                axes.plot(chunks, row, "o-", color=color, label=label, markersize=4)
                axes.set(xscale="log", title=title, xlabel="frames of a chunk", ylim=(0, None))
                axes.set_xticks(chunks, map(str, chunks))
                axes.minorticks_off()
        panels[0].legend(frameon=False)
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def work_of_form(network: Network, name: str, chunk: int) -> ops.streaming.Work:
    form = window(network, chunk) if name == "window" else stateful(network, chunk, cast(Keep, name))
    return ops.streaming.work_of(network, chunk, form.plan)


def component(version: str) -> Component:
    """The generator without weight norm, as the converter gets it."""
    checkpoint = load(locate(CheckpointOptions(source="bundled"), "hifigan", "", print))
    (bundled,) = hifigan.components(hifigan.load(checkpoint), checkpoint, Shape())
    if version == "V2":
        return bundled
    torch.manual_seed(0)
    generator = import_coqui("TTS.vocoder.models.hifigan_generator").HifiganGenerator(
        80, 1, "1", [[1, 3, 5]] * 3, [3, 7, 11], [16, 16, 4, 4], 512, [8, 8, 2, 2]
    )
    generator.remove_weight_norm()
    return dataclasses.replace(bundled, module=Mel(generator.eval()).eval())


def live_voice() -> list[Component]:
    """The converter and the generator of the bundled live voice."""
    checkpoint = load(locate(CheckpointOptions(source="bundled"), "live_voice", "kathleen_live", print))
    architecture = family("live_voice")
    return list(architecture.components(architecture.load(checkpoint), checkpoint, Shape()))


class Mel(torch.nn.Module):
    def __init__(self, generator: torch.nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        return self.generator(mel)


def sized(part: Component, frames: int) -> Component:
    """The offline component for so many frames."""
    inputs = tuple(dataclasses.replace(spec, shape=(*spec.default_shape[:-1], frames)) for spec in part.inputs)
    module = rewrite_upsampling(part.module, "polyphase")
    example = {spec.name: torch.randn(spec.default_shape) for spec in inputs}
    return dataclasses.replace(part, module=module, inputs=inputs, example=lambda: example)


def converted(part: Component, folder: Path) -> Path:
    folder.mkdir()
    return format_("onnx").convert(part, PrecisionOptions("fp32"), FormatOptions("onnx"), folder).path


def opened(artefact: Path, threads: int) -> Engine:
    return open_engine(artefact, Execution("onnx", threads))


def repeated(engine: Engine, inputs: dict[str, np.ndarray]) -> Iterator[Callable[[], object]]:
    while True:
        yield lambda: engine.run(inputs)


def interleaved(
    calls: dict[str, Iterator[Callable[[], object]]], clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Name -> median ms of a call."""
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for turns in calls.values():
        for _ in range(10):
            next(turns)()
    for _ in range(ROUNDS):
        for name, turns in calls.items():
            began = time.perf_counter()
            while time.perf_counter() - began < SECONDS / ROUNDS:
                call = next(turns)
                started = clock()
                call()
                samples[name].append((clock() - started) * 1e3)
    return {name: statistics.median(values) for name, values in samples.items()}


if __name__ == "__main__":
    main()
