"""Core ML's `mlprogram`: traced with TorchScript, converted by coremltools, saved as an `.mlpackage`."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping, Sequence
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
    if component.states and (precision != "fp16" or not holds_functions(options)):
        raise ConversionError("Core ML keeps states in fp16, from macOS15 on: take precision=fp16 and that target")
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
            inputs=_tensor_types(ct, component.inputs),
            states=[_state_type(ct, spec) for spec in component.states] or None,
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


def holds_functions(options: FormatOptions) -> bool:
    """From iOS18 and macOS15 on."""
    ct = coremltools()
    target = ct.target.__members__.get(options.target)
    return target is not None and target >= ct.target.macOS15


def convert_functions(functions: Mapping[str, Component], precision: str, options: FormatOptions, folder: Path) -> Path:
    """One `.mlpackage`; weights that are equal in several functions are stored once."""
    ct = coremltools()
    (name,) = {component.name for component in functions.values()}
    path = folder / f"{name}.mlpackage"
    with tempfile.TemporaryDirectory(dir=folder, prefix=".functions-") as scratch:
        descriptor = ct.utils.MultiFunctionDescriptor()
        for function, component in functions.items():
            own = Path(scratch, function)
            own.mkdir()
            part = convert(component, precision, options, own)
            descriptor.add_function(str(part), src_function_name="main", target_function_name=function)
        descriptor.default_function_name = next(iter(functions))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ct.utils.save_multifunction(descriptor, str(path))
    return path


def _state_type(ct: Any, spec: TensorSpec) -> Any:
    return ct.StateType(wrapped_type=ct.TensorType(shape=spec.default_shape, dtype=np.float16), name=spec.name)


def _tensor_types(ct: Any, specs: Sequence[TensorSpec]) -> list[Any]:
    """Axes of equal bounds are one and the same: a length and its mask's."""
    shared: dict[Dim, Any] = {}

    def axis(size: int | Dim) -> Any:
        if isinstance(size, int):
            return size
        if size not in shared:
            shared[size] = ct.RangeDim(lower_bound=size.lo, upper_bound=size.hi, default=size.default)
        return shared[size]

    return [
        ct.TensorType(name=spec.name, shape=ct.Shape([axis(size) for size in spec.shape]), dtype=np.dtype(spec.dtype))
        for spec in specs
    ]
