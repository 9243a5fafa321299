"""Core ML's `mlprogram`: traced with TorchScript, converted by coremltools, saved as an `.mlpackage`."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from converters.component import Artefact, Component
from converters.options import COMPUTE, ConversionError, FormatOptions, PrecisionOptions
from converters.precision.compression import check_compression, compressed, excluded_tensors
from converters.precision.mixed import Kept, mil_name, search
from runtime.bundle.spec import Dim, TensorSpec
from runtime.bundle.store import MODULES, MixedRecord
from runtime.engines.inspect import custom_layers
from runtime.machine.coreml_tools import coremltools, quick_conversion
from runtime.rounding.cases import real_inputs


@quick_conversion()
def convert(component: Component, precision: PrecisionOptions, options: FormatOptions, folder: Path) -> Artefact:
    """Writes `folder/<component>.mlpackage`. Inputs and outputs stay float32."""
    findings = _Findings()
    path = _converted(component, "main", precision, options, folder, findings)
    refuse_custom_layers(path)
    return findings.artefact(path)


def refuse_custom_layers(path: Path) -> None:
    """coremltools writes an mlprogram with a custom layer without an error; no Mac compiles it."""
    layers = custom_layers(path)
    if layers:
        raise ConversionError(
            f"the ML program has custom layers ({', '.join(layers)}), which no Mac compiles (coremltools 1416): "
            "take format=neuralnetwork or format=coreai, or upsampler=polyphase"
        )


free_axes = False


def target(options: FormatOptions) -> str:
    return options.target


def notes(folder: Path) -> list[str]:
    return []


@dataclass
class _Findings:
    """The functions of an artefact share these. What was chosen for one, others over the same weights take over, or
    these would be stored twice. `kept`: of mixed, by its first function; `excluded`: digest -> name."""

    kept: Kept | None = None
    excluded: dict[str, str] | None = None
    mixed: dict[str, MixedRecord] = field(default_factory=dict)
    modules: dict[str, dict[str, str]] = field(default_factory=dict)

    def artefact(self, path: Path) -> Artefact:
        """Writes where each op comes from beside it, for audits."""
        (path.parent / f"{path.stem}{MODULES}").write_text(json.dumps(self.modules, indent=0))
        return Artefact(path, self.mixed, None if self.excluded is None else tuple(sorted(self.excluded.values())))


def _converted(
    component: Component,
    function: str,
    precision: PrecisionOptions,
    options: FormatOptions,
    folder: Path,
    findings: _Findings,
) -> Path:
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
    cases = _cases(component, example) if precision.needs_cases else []
    modules = findings.modules[function] = _modules(traced, component)
    if precision.compute == "mixed":
        program, record, kept = search(
            lambda selection: _program(traced, component, selection, options), cases, precision, findings.kept
        )
        findings.kept = findings.kept or kept
        named = {output: modules.get(output, "") for output in record.kept}
        findings.mixed[function] = record.model_copy(update={"kept": named})
    else:
        types = {"fp32": ct.precision.FLOAT32, "fp16": ct.precision.FLOAT16}
        program = _program(traced, component, types[precision.compute], options)
    if precision.weights and precision.least_db is not None and findings.excluded is None:
        findings.excluded = excluded_tensors(program, precision, cases)
    program = compressed(program, precision, findings.excluded or ())
    path = folder / f"{component.name}.mlpackage"
    program.save(str(path))
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

    def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            results = component.module(*(torch.from_numpy(inputs[spec.name]) for spec in component.inputs))
        return {spec.name: value.numpy() for spec, value in zip(component.outputs, results)}

    horizon = int(example["before"]) if "before" in example else 0
    return [real_inputs(component.inputs, case, run, horizon) for case in component.cases]


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


def _modules(traced: Any, component: Component) -> dict[str, str]:
    """Maps values to TorchScript's scopes. coremltools keeps their names, but for characters that MIL does not take."""
    modules = {}
    last = [output.debugName() for output in traced.inlined_graph.outputs()]
    renamed = dict(zip(last, (spec.name for spec in component.outputs))) if len(last) == len(component.outputs) else {}
    for node in traced.inlined_graph.nodes():
        scope = node.scopeName().rpartition("/")[2].removeprefix("__module.")
        for output in node.outputs() if scope and scope != "__module" else ():
            name = output.debugName()
            modules[renamed.get(name) or mil_name(name)] = scope
    return modules


def holds_functions(options: FormatOptions) -> bool:
    """Whether the target holds several functions: from iOS18 and macOS15 on."""
    ct = coremltools()
    target = ct.target.__members__.get(options.target)
    return target is not None and target >= ct.target.macOS15


@quick_conversion()
def convert_functions(
    functions: Mapping[str, Component], precision: PrecisionOptions, options: FormatOptions, folder: Path
) -> Artefact:
    """One `.mlpackage`; weights that are equal in several functions are stored once."""
    ct = coremltools()
    (name,) = {component.name for component in functions.values()}
    path = folder / f"{name}.mlpackage"
    with tempfile.TemporaryDirectory(dir=folder, prefix=".functions-") as scratch:
        descriptor = ct.utils.MultiFunctionDescriptor()
        findings = _Findings()
        for function, component in functions.items():
            subfolder = Path(scratch, function)
            subfolder.mkdir()
            part = _converted(component, function, precision, options, subfolder, findings)
            descriptor.add_function(str(part), src_function_name="main", target_function_name=function)
        descriptor.default_function_name = next(iter(functions))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ct.utils.save_multifunction(descriptor, str(path))
    refuse_custom_layers(path)
    return findings.artefact(path)


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
