"""ONNX through torch.export; the opset's native types carry the precision, and convolutions have the form that ONNX
Runtime computes fastest."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from converters.component import Artefact, Component
from converters.options import ConversionError, FormatOptions, PrecisionOptions
from converters.precision.cast import DTYPES, InPrecision
from ops.exporting import translations_read_once
from runtime.mil.tidy import tidy


def convert(component: Component, precision: PrecisionOptions, options: FormatOptions, folder: Path) -> Artefact:
    """Writes `folder/<component>.onnx`. Inputs and outputs stay float32; `precision` is that of weights and ops."""
    if precision.name not in DTYPES:
        raise ConversionError(f"format onnx has no precision {precision.name!r}; it has: {', '.join(DTYPES)}")
    if component.states:
        raise ConversionError("stream.state=mlstate is Core ML's: format onnx takes stream.state=explicit")
    module = component.module
    example = component.example()
    arguments = tuple(example[spec.name] for spec in component.inputs)
    shapes: tuple[Any, ...] = tuple(component.dynamic_axes(spec) for spec in component.inputs)
    is_flexible = any(shapes)
    if precision.name != "fp32":
        module = InPrecision(module, DTYPES[precision.name]).eval()
        shapes = (shapes,)  # its forward takes *inputs: one more level
    with torch.inference_mode(), translations_read_once(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        exported = torch.onnx.export(
            module,
            arguments,
            dynamo=True,
            verbose=False,
            input_names=[spec.name for spec in component.inputs],
            output_names=[spec.name for spec in component.outputs],
            dynamic_shapes=shapes if is_flexible else None,
            opset_version=options.opset,
            optimize=False,
        )
    assert exported is not None
    tidy(exported.model, widen=precision.name == "fp32")
    _rename_within(exported.model.graph)
    path = folder / f"{component.name}.onnx"
    exported.save(str(path), external_data=False)
    return Artefact(path)


def _rename_within(graph: Any) -> None:
    """The exporter names inputs and outputs last, as it may have named values between them."""
    ends = {id(value): value.name for value in (*graph.inputs, *graph.outputs)}
    for node in graph.all_nodes():
        for value in node.outputs:
            if id(value) not in ends and value.name in ends.values():
                value.name = f"{value.name}_within"


free_axes = True


def target(options: FormatOptions) -> str:
    return f"opset {options.opset}"


def notes(folder: Path) -> list[str]:
    return []


def holds_functions(options: FormatOptions) -> bool:
    return False


def convert_functions(
    functions: Mapping[str, Component], precision: PrecisionOptions, options: FormatOptions, folder: Path
) -> Artefact:
    raise ConversionError(f"format onnx holds one function, got {', '.join(functions)}")
