"""A MIL function as a torch.fx.GraphModule: one node per MIL op, one buffer per constant tensor.

The graph computes in float32. What the program declares stands in each node's meta (`mil`), so that
interpreters can round to it (faithful.py), ignore it (lower.py), or compare the two.
"""

from __future__ import annotations

import inspect
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from runtime.errors import ArtefactError
from runtime.mil.ops import OPS, Op

TORCH_DTYPES = {
    "fp16": torch.float16,
    "fp32": torch.float32,
    "fp64": torch.float64,
    "int8": torch.int8,
    "uint8": torch.uint8,
    "int16": torch.int16,
    "uint16": torch.uint16,
    "int32": torch.int32,
    "int64": torch.int64,
    "bool": torch.bool,
}


@dataclass(frozen=True)
class MilOp:
    """What a node came from: the op's type, its output's name and the dtype that the program declares."""

    op_type: str
    output: str
    dtype: torch.dtype


def build_graph(program: Any, path: Path, function: str = "main") -> fx.GraphModule:
    """The named function of a MIL program, executable on float32 and integer tensors.

    Inputs are placeholders in the function's order; the outputs are a tuple in the program's order.
    Raises ArtefactError naming op, output and file for an op or a dtype that is not known.
    """
    source = program.functions[function]
    graph, buffers = fx.Graph(), torch.nn.Module()
    values: dict[str, fx.Node] = {}
    for name, var in source.inputs.items():
        node = graph.placeholder(_identifier(name))
        node.meta["mil"] = MilOp("input", name, _dtype(var, path))
        values[name] = node

    def tensor_argument(var: Any) -> Any:
        if isinstance(var, (list, tuple)):
            return [tensor_argument(item) for item in var]
        if var.name not in values:
            values[var.name] = _constant_node(graph, buffers, var, path)
        return values[var.name]

    for op in source.operations:
        if op.op_type == "const":
            continue
        if op.op_type not in OPS:
            raise ArtefactError(
                f"the reference engine does not know the op {op.op_type!r} (output {op.outputs[0].name!r} in {path})"
            )
        compute = OPS[op.op_type]
        takes_tensor = _tensor_parameters(compute)
        arguments: dict[str, Any] = {}
        for name, var in op.inputs.items():
            if var is None:
                continue
            if name not in takes_tensor:
                raise ArtefactError(
                    f"op {op.op_type!r} (output {op.outputs[0].name!r} in {path}): parameter {name!r} is not known"
                )
            arguments[name] = tensor_argument(var) if takes_tensor[name] else _literal(op, name, var, path)
        node = graph.call_function(compute, kwargs=arguments)
        (output,) = op.outputs
        node.meta["mil"] = MilOp(op.op_type, output.name, _dtype(output, path))
        values[output.name] = node
    graph.output(tuple(tensor_argument(var) for var in source.outputs))
    module = fx.GraphModule(buffers, graph)
    module.eval()
    return module


def _tensor_parameters(compute: Op) -> dict[str, bool]:
    """Parameter name -> whether it takes tensors (else a plain Python value), from the annotations."""
    hints = typing.get_type_hints(compute)
    return {name: _mentions_tensor(hints[name]) for name in inspect.signature(compute).parameters}


def _mentions_tensor(hint: Any) -> bool:
    if hint is Tensor:
        return True
    is_generic = isinstance(hint, types.UnionType) or typing.get_origin(hint) is not None
    return is_generic and any(_mentions_tensor(part) for part in typing.get_args(hint))


def _literal(op: Any, name: str, var: Any, path: Path) -> Any:
    """The Python value of a constant parameter."""
    value = [item.val for item in var] if isinstance(var, (list, tuple)) else var.val
    if value is None:
        raise ArtefactError(
            f"op {op.op_type!r} (output {op.outputs[0].name!r} in {path}): parameter {name!r} is computed by the "
            "program; the reference engine takes it as a constant only"
        )
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def _constant_node(graph: fx.Graph, buffers: torch.nn.Module, var: Any, path: Path) -> fx.Node:
    if var.val is None:
        raise ArtefactError(f"{path}: {var.name!r} is used before it is computed")
    name = _identifier(var.name)
    dtype = _dtype(var, path)
    array = np.array(var.val, order="C")  # a copy of our own: the blob's memory is read-only
    value = torch.from_numpy(array.astype(np.float32) if dtype.is_floating_point else array)
    buffers.register_buffer(name, value)
    node = graph.get_attr(name)
    node.meta["mil"] = MilOp("const", var.name, dtype)
    return node


def _dtype(var: Any, path: Path) -> torch.dtype:
    from coremltools.converters.mil.mil import types as mil_types

    name = mil_types.builtin_to_string(var.dtype)
    if name not in TORCH_DTYPES:
        raise ArtefactError(f"the reference engine does not know the dtype {name!r} (value {var.name!r} in {path})")
    return TORCH_DTYPES[name]


def _identifier(name: str) -> str:
    cleaned = "".join(char if char.isalnum() else "_" for char in name)
    return cleaned if cleaned[:1].isalpha() else f"v_{cleaned}"
