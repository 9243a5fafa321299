"""The graph of an ML program as an ONNX model, in float32."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ops.exporting import translations_read_once
from runtime.bundle.spec import Dim, TensorSpec
from runtime.errors import ArtefactError, NotLowered
from runtime.mil.graph import build_graph
from runtime.mil.opaque import TRANSLATIONS
from runtime.mil.package import Package
from runtime.mil.shapes import Traced
from runtime.mil.tidy import tidy

_OPSET = 20


def next_state(name: str) -> str:
    """The ONNX output that carries a state's new value; an output cannot have the name of an input."""
    return f"{name}/next"


def export(package: Package, path: Path) -> None:
    """Writes the ONNX model. Raises NotLowered where ONNX cannot express the program."""
    interface = package.interface
    if interface.labels:
        raise NotLowered(f"{package.path.name} gives class labels, which are not lowered to ONNX")
    function = package.program.functions[package.function]
    if any(op.op_type == "while_loop" for op in function.operations):
        raise NotLowered(f"{package.path.name} has loops, which are not lowered to ONNX")
    specs = {spec.name: spec for spec in [*interface.inputs, *interface.states]}
    taken = [specs[name] for name in function.inputs]
    examples = tuple(
        torch.zeros(_example_shape(spec), dtype=getattr(torch, spec.dtype.replace("float16", "float32")))
        for spec in taken
    )
    names = [spec.name for spec in taken]
    results = [spec.name for spec in interface.outputs] + [next_state(spec.name) for spec in interface.states]
    # They are read by position: one that is an input, or occurs twice, is called something else.
    outputs = [f"{name}/{i}" if name in names + results[:i] else name for i, name in enumerate(results)]
    with torch.no_grad(), translations_read_once(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for tool in ("torch", "torch.onnx", "onnxscript", "onnx_ir"):
            logging.getLogger(tool).setLevel(logging.CRITICAL)
        try:
            exported = torch.onnx.export(
                _traced(build_graph(package), examples, taken),
                dynamo=True,
                verbose=False,
                input_names=names,
                output_names=outputs,
                opset_version=_OPSET,
                custom_translation_table=TRANSLATIONS,
                optimize=False,
            )
        except ArtefactError:
            raise
        except Exception as error:  # tracing raises whatever the ops and the exporter raise
            reason = str(error.__cause__ or error).strip().splitlines()[:1]
            raise NotLowered(f"the program cannot be lowered to ONNX ({' '.join(reason)})") from error
    assert exported is not None
    tidy(exported.model, widen=True)
    for value, name in zip(exported.model.graph.inputs, names):
        value.name = name  # the exporter gives an input that is an output the output's name
    exported.save(str(path), external_data=False)


def _example_shape(spec: TensorSpec) -> tuple[int, ...]:
    """The shape to trace with: torch.export takes the sizes 0 and 1 for fixed ones, whatever is said of an axis."""
    return tuple(min(max(axis.default, 2), axis.hi) if isinstance(axis, Dim) else axis for axis in spec.shape)


def _traced(graph: torch.fx.GraphModule, examples: tuple[Any, ...], taken: Sequence[TensorSpec]) -> Any:
    """Flexible axes are taken to be independent; where the program needs some to be equal, those of equal bounds."""
    for is_shared in (False, True):
        dynamic = tuple(
            {
                index: torch.export.Dim(
                    f"from_{axis.lo}_to_{axis.hi}" if is_shared else f"axis_{position}_{index}",
                    min=axis.lo,
                    max=axis.hi,
                )
                for index, axis in enumerate(spec.shape)
                if isinstance(axis, Dim)
            }
            for position, spec in enumerate(taken)
        )
        try:
            return torch.export.export(Traced(graph), examples, dynamic_shapes=(dynamic,), strict=False)
        except torch._dynamo.exc.UserError as error:
            if is_shared or "must always be equal" not in str(error):
                raise
    return None
