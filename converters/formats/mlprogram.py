"""Core ML's `mlprogram`: traced with TorchScript, converted by coremltools, saved as an `.mlpackage`."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from converters.component import Component
from converters.options import ConversionError, FormatOptions
from runtime.coreml_tools import coremltools
from runtime.spec import Dim, TensorSpec


def convert(component: Component, precision: str, options: FormatOptions, folder: Path) -> Path:
    """Writes `folder/<component>.mlpackage`. Inputs and outputs stay float32; `precision` is that of the ops."""
    ct = coremltools()
    precisions = {"fp32": ct.precision.FLOAT32, "fp16": ct.precision.FLOAT16}
    if precision not in precisions:
        raise ConversionError(f"format mlprogram has no precision {precision!r}; it has: {', '.join(precisions)}")
    targets = ct.target.__members__
    if options.target not in targets:
        raise ConversionError(
            f"coremltools {ct.__version__} has no target {options.target!r}; it has: {', '.join(sorted(targets))}"
        )
    example = component.example()
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript announces its retirement at every trace
        traced = torch.jit.trace(
            component.module, tuple(example[spec.name] for spec in component.inputs), check_trace=False
        )
        program = ct.convert(
            traced,
            inputs=[_tensor_type(ct, spec) for spec in component.inputs],
            outputs=[ct.TensorType(name=spec.name, dtype=np.dtype(spec.dtype)) for spec in component.outputs],
            convert_to="mlprogram",
            minimum_deployment_target=targets[options.target],
            compute_precision=precisions[precision],
            skip_model_load=True,
        )
    for spec in component.inputs:
        program.input_description[spec.name] = spec.unit
    for spec in component.outputs:
        program.output_description[spec.name] = spec.unit
    path = folder / f"{component.name}.mlpackage"
    program.save(str(path))
    return path


def _tensor_type(ct: Any, spec: TensorSpec) -> Any:
    axes = [
        ct.RangeDim(lower_bound=axis.lo, upper_bound=axis.hi, default=axis.default) if isinstance(axis, Dim) else axis
        for axis in spec.shape
    ]
    return ct.TensorType(name=spec.name, shape=ct.Shape(axes), dtype=np.dtype(spec.dtype))
