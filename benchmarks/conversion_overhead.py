"""What the job's conversion costs over bare trace + convert + save of the same components, by family, at full size.

    python -m benchmarks.conversion_overhead [MODEL ...]

Interleaved in one process, the second of two rounds counts. `bare` converts each component once; the job makes every
size of it, so that `bare, all sizes` is what a script that wants the same functions would pay.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from checkpoints.load import load
from checkpoints.locate import locate
from convert.schema import Choice, Job, ModelOptions
from convert.stages import convert_artefact
from converters.component import Component, family
from converters.formats.mlprogram import _tensor_types
from converters.options import FormatOptions, PrecisionOptions, Shape
from runtime.coreml_tools import coremltools

MODELS = {"hifigan": "kathleen_hifigan", "ge2e": "rtvc_encoder", "vits": "joe_vits"}


def bare(component: Component, folder: Path) -> float:
    """Seconds of torch.jit.trace, coremltools.convert and save."""
    ct: Any = coremltools()
    example = component.example()
    started = time.perf_counter()
    with torch.no_grad():
        traced = torch.jit.trace(component.module, [example[spec.name] for spec in component.inputs], check_trace=False)
    model = ct.convert(
        traced,
        inputs=_tensor_types(ct, component.inputs),
        outputs=[ct.TensorType(spec.name) for spec in component.outputs],
        convert_to="mlprogram",
        minimum_deployment_target=ct.target.macOS15,
        compute_precision=ct.precision.FLOAT16,
        skip_model_load=True,
    )
    model.save(str(folder / f"bare-{component.name}.mlpackage"))
    return time.perf_counter() - started


def main(names: list[str]) -> None:
    print("family | component | bare s | bare, all sizes s | job s | job / bare | job / bare, all sizes")
    for name in names or list(MODELS):
        from checkpoints.options import CheckpointOptions

        checkpoint = load(locate(CheckpointOptions(name=MODELS[name]), name, "", print))
        architecture = family(name)
        components = architecture.components(architecture.load(checkpoint), checkpoint, Shape())
        job = Job(
            model=ModelOptions(name),
            precision=PrecisionOptions("fp16"),
            upsampler=Choice("polyphase"),
            format=FormatOptions(),
        )
        total = [0.0, 0.0, 0.0]
        for component in components:
            sized = [component.at_size(size) for size in component.sizes] or [component]
            for _ in range(2):
                with tempfile.TemporaryDirectory() as folder:
                    seconds = [bare(one, Path(folder)) for one in sized]
                    started = time.perf_counter()
                    convert_artefact(job, component, Path(folder))
                    row = [seconds[0], sum(seconds), time.perf_counter() - started]
            total = [a + b for a, b in zip(total, row)]
            show(name, component.name, row)
        show(name, "all", total)


def show(name: str, component: str, row: list[float]) -> None:
    once, every, job = row
    print(f"{name} | {component} | {once:.2f} | {every:.2f} | {job:.2f} | {job / once:.2f} | {job / every:.2f}")


if __name__ == "__main__":
    main(sys.argv[1:])
