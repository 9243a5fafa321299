"""Core ML's `mlprogram`: traced with TorchScript, converted by coremltools, saved as an `.mlpackage`."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from converters.component import Component
from converters.compression import check_compression, compressed
from converters.mixed import mil_name, search, take_records, write_records
from converters.options import COMPUTE, ConversionError, FormatOptions, PrecisionOptions
from runtime.bundle import PLACES, MixedRecord
from runtime.coreml_tools import coremltools
from runtime.mil.cases import fitted_inputs
from runtime.spec import Dim, TensorSpec


def convert(component: Component, precision: PrecisionOptions, options: FormatOptions, folder: Path) -> Path:
    """Writes `folder/<component>.mlpackage`. Inputs and outputs stay float32."""
    ct = coremltools()
    if component.states and (precision.compute != "fp16" or not holds_functions(options)):
        raise ConversionError("Core ML keeps states in fp16, from macOS15 on: take precision=fp16 and that target")
    if precision.compute not in COMPUTE:
        raise ConversionError(f"format mlprogram has no precision {precision.compute!r}; it has: {', '.join(COMPUTE)}")
    if options.target not in ct.target.__members__:
        known = ", ".join(sorted(ct.target.__members__))
        raise ConversionError(f"coremltools {ct.__version__} has no target {options.target!r}; it has: {known}")
    check_compression(precision, options.target)
    example = component.example()
    traced = _traced(component, example)
    if precision.compute == "mixed":
        cases = _cases(component, example)
        program, record = search(lambda chosen: _program(traced, component, chosen, options), cases, precision)
        places = _places(traced, component)
        kept = {output: places.get(output, "") for output in record.kept}
        write_records({"main": record.model_copy(update={"kept": kept})}, component.name, folder)
    else:
        types = {"fp32": ct.precision.FLOAT32, "fp16": ct.precision.FLOAT16}
        program = _program(traced, component, types[precision.compute], options)
    program = compressed(program, precision)
    path = folder / f"{component.name}.mlpackage"
    program.save(str(path))
    write_places({"main": _places(traced, component)}, component.name, folder)
    return path


def _traced(component: Component, example: Mapping[str, torch.Tensor]) -> Any:
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # TorchScript announces its retirement at every trace
        arguments = tuple(example[spec.name] for spec in component.inputs)
        return torch.jit.trace(component.module, arguments, check_trace=False)


def _cases(component: Component, example: Mapping[str, torch.Tensor]) -> list[dict[str, np.ndarray]]:
    """Real inputs in the component's shapes, or its example."""
    if not component.cases:
        return [{spec.name: example[spec.name].numpy() for spec in component.inputs}]
    horizon = int(example["before"]) if "before" in example else 0
    return [fitted_inputs(component.inputs, case, horizon) for case in component.cases]


def _program(traced: Any, component: Component, precision: Any, options: FormatOptions) -> Any:
    """precision: coremltools' own, or its transform that selects ops."""
    ct = coremltools()
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        program = ct.convert(
            traced,
            inputs=_tensor_types(ct, component.inputs),
            states=[_state_type(ct, spec) for spec in component.states] or None,
            outputs=[ct.TensorType(name=spec.name, dtype=np.dtype(spec.dtype)) for spec in component.outputs],
            convert_to="mlprogram",
            minimum_deployment_target=ct.target.__members__[options.target],
            compute_precision=precision,
            skip_model_load=True,
        )
    for spec in component.inputs:
        program.input_description[spec.name] = spec.unit
    for spec in component.outputs:
        program.output_description[spec.name] = spec.unit
    return program


def write_places(places: Mapping[str, Mapping[str, str]], name: str, folder: Path) -> None:
    """Function -> output of an op -> module that it comes from, beside the artefact: what an audit names."""
    (folder / f"{name}{PLACES}").write_text(json.dumps(places, indent=0))


def _places(traced: Any, component: Component) -> dict[str, str]:
    """By TorchScript's scopes. coremltools keeps the names of values, but for characters that MIL does not take."""
    places = {}
    last = [output.debugName() for output in traced.inlined_graph.outputs()]
    renamed = dict(zip(last, (spec.name for spec in component.outputs))) if len(last) == len(component.outputs) else {}
    for node in traced.inlined_graph.nodes():
        scope = node.scopeName().rpartition("/")[2].removeprefix("__module.")
        for output in node.outputs() if scope and scope != "__module" else ():
            name = output.debugName()
            places[renamed.get(name) or mil_name(name)] = scope
    return places


def holds_functions(options: FormatOptions) -> bool:
    """From iOS18 and macOS15 on."""
    ct = coremltools()
    target = ct.target.__members__.get(options.target)
    return target is not None and target >= ct.target.macOS15


def convert_functions(
    functions: Mapping[str, Component], precision: PrecisionOptions, options: FormatOptions, folder: Path
) -> Path:
    """One `.mlpackage`; weights that are equal in several functions are stored once."""
    ct = coremltools()
    (name,) = {component.name for component in functions.values()}
    path = folder / f"{name}.mlpackage"
    with tempfile.TemporaryDirectory(dir=folder, prefix=".functions-") as scratch:
        descriptor = ct.utils.MultiFunctionDescriptor()
        places: dict[str, dict[str, str]] = {}
        records: dict[str, MixedRecord] = {}
        for function, component in functions.items():
            own = Path(scratch, function)
            own.mkdir()
            part = convert(component, precision, options, own)
            descriptor.add_function(str(part), src_function_name="main", target_function_name=function)
            places |= {function: json.loads((own / f"{name}{PLACES}").read_text())["main"]}
            for record in take_records(name, own).values():
                records[function] = record
        descriptor.default_function_name = next(iter(functions))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ct.utils.save_multifunction(descriptor, str(path))
    write_places(places, name, folder)
    if records:
        write_records(records, name, folder)
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
