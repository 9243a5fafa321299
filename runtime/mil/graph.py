"""A MIL function as a torch.fx.GraphModule: one node per MIL op, one buffer per constant tensor.

The graph computes in float32. What the program declares stands in each node's meta (`mil`), so that
interpreters can round to it (faithful.py), ignore it (lower.py), or compare the two.

Compressed weights (`constexpr_…`) become dense buffers, by coremltools' own decompression. A state is an input of the
graph and, after the program's outputs, an output: the graph itself is pure. The blocks of `cond` and `while_loop` are
graphs of their own that take what they capture from outside as further inputs.
"""

from __future__ import annotations

import inspect
import operator
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from runtime.errors import ArtefactError
from runtime.mil.ops import OPS, Op
from runtime.mil.package import Package

TORCH_DTYPES = {
    "fp16": torch.float16,
    "fp32": torch.float32,
    "fp64": torch.float64,
    "int8": torch.int8,
    "uint8": torch.uint8,
    "int16": torch.int16,
    "uint16": torch.uint16,
    "int32": torch.int32,
    "uint32": torch.uint32,
    "int64": torch.int64,
    "bool": torch.bool,
}


@dataclass(frozen=True)
class MilOp:
    """What a node came from: the op's type, its outputs' names, and the dtypes declared for them (None: a list)."""

    op_type: str
    outputs: tuple[str, ...]
    dtypes: tuple[torch.dtype | None, ...]


def build_graph(package: Package) -> fx.GraphModule:
    """A package's function, executable on float32 and integer tensors.

    Inputs are placeholders in the function's order, states among them; the outputs are a tuple: the program's, then
    the states' new values in the order of the inputs.
    Raises ArtefactError naming op, output and file for an op or a dtype that is not known.
    """
    source = package.program.functions[package.function]
    builder = _Builder(package.path)
    for name, var in source.inputs.items():
        builder.add_input(name, var)
    builder.add_operations(source.operations)
    return builder.finish(source.outputs)


def carried(array: np.ndarray) -> Tensor:
    """An array in the type that values travel in: float32 for floating point, a wider signed one for uint16, uint32.

    PyTorch has hardly an op for the unsigned types; their wrap-around is the interpreter's rounding.
    """
    wider = {"f": np.float32, "u2": np.int32, "u4": np.int64}
    kind = array.dtype.kind if array.dtype.kind == "f" else array.dtype.str[1:]
    return torch.from_numpy(array.astype(wider[kind]) if kind in wider else array)


def _plain(value: Any) -> Any:
    """A constant in Python's own types: the graph becomes source text, in which NumPy's have no meaning."""
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def is_state(var: Any) -> bool:
    from coremltools.converters.mil.mil import types as mil_types

    return bool(mil_types.is_state(var.sym_type))


def to_python(value: Tensor) -> Any:
    """A parameter that the program computes, as the plain value that the op takes."""
    return value.tolist()


class _Builder:
    """One graph under construction: a function, or a block of one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.graph, self.root = fx.Graph(), torch.nn.Module()
        self.values: dict[str, fx.Node] = {}
        self.states: dict[str, fx.Node] = {}  # the current value of each state

    def add_input(self, name: str, var: Any) -> None:
        node = self.graph.placeholder(_identifier(name))
        node.meta["mil"] = MilOp("input", (name,), (_dtype(var, self.path),))
        self.values[name] = node
        if is_state(var):
            self.states[name] = node

    def add_operations(self, operations: Sequence[Any]) -> None:
        for op in operations:
            if op.op_type == "const" or op.op_type.startswith("constexpr_"):
                continue  # made where it is used
            if op.op_type == "read_state":
                self.values[op.outputs[0].name] = self.states[op.input.name]
            elif op.op_type == "coreml_update_state":
                self.states[op.state.name] = self.values[op.outputs[0].name] = self._tensor(op.value)
            else:
                self._add_operation(op)

    def _add_operation(self, op: Any) -> None:
        if op.op_type not in OPS:
            raise ArtefactError(
                f"the reference engine does not know the op {op.op_type!r} "
                f"(output {op.outputs[0].name!r} in {self.path})"
            )
        compute = OPS[op.op_type]
        arguments = self._block_arguments(op) if op.blocks else self._arguments(op, compute)
        node = self.graph.call_function(compute, kwargs=arguments)
        dtypes = tuple(_dtype(output, self.path) for output in op.outputs)
        node.meta["mil"] = MilOp(op.op_type, tuple(output.name for output in op.outputs), dtypes)
        if len(op.outputs) == 1 and not op.blocks and op.op_type not in _ALWAYS_TUPLES:
            self.values[op.outputs[0].name] = node
            return
        for index, output in enumerate(op.outputs):
            self.values[output.name] = self.graph.call_function(operator.getitem, (node, index))

    def _arguments(self, op: Any, compute: Op) -> dict[str, Any]:
        takes_tensor = _tensor_parameters(compute)
        arguments: dict[str, Any] = {}
        for name, var in op.inputs.items():
            if var is None:
                continue
            if name not in takes_tensor:
                raise ArtefactError(
                    f"op {op.op_type!r} (output {op.outputs[0].name!r} in {self.path}): parameter {name!r} is not known"
                )
            arguments[name] = self._tensor(var) if takes_tensor[name] else self._literal(var)
        return arguments

    def _block_arguments(self, op: Any) -> dict[str, Any]:
        """Arguments of `cond` and `while_loop`: their blocks as modules, and what the blocks read from outside."""
        names = ("true_block", "false_block") if op.op_type == "cond" else ("cond_block", "body_block")
        captured = {var.name: var for block in op.blocks for var in _free_variables(block)}
        arguments: dict[str, Any] = {}
        for name, block in zip(names, op.blocks):
            inner = _Builder(self.path)
            for var in [*block.inputs, *captured.values()]:
                inner.add_input(var.name, var)
            inner.add_operations(block.operations)
            attribute = _identifier(f"{op.name}_{name}")
            self.root.add_module(attribute, inner.finish(block.outputs))
            arguments[name] = self.graph.get_attr(attribute)
        if op.op_type == "cond":
            arguments["pred"] = self._tensor(op.pred)
        else:
            arguments["loop_vars"] = [self._tensor(var) for var in op.loop_vars]
        arguments["captured"] = [self._tensor(var) for var in captured.values()]
        return arguments

    def _tensor(self, var: Any) -> Any:
        """The node of a value, or the nodes of several."""
        if isinstance(var, (list, tuple)):
            return [self._tensor(item) for item in var]
        if var.name not in self.values:
            self.values[var.name] = self._constant(var)
        return self.values[var.name]

    def _literal(self, var: Any) -> Any:
        """A plain Python value, from a constant or (at run time) from a tensor that the program computes."""
        if isinstance(var, (list, tuple)):
            return [self._literal(item) for item in var]
        value = _constant_value(var)
        if value is None and var.name in self.values:
            return self.graph.call_function(to_python, (self.values[var.name],))
        return _plain(value)

    def _constant(self, var: Any) -> fx.Node:
        value = _constant_value(var)
        if value is None:
            raise ArtefactError(f"{self.path}: {var.name!r} is used before it is computed")
        name, dtype = _identifier(var.name), _dtype(var, self.path)
        array = np.array(value, order="C")  # a copy of our own: the blob's memory is read-only
        self.root.register_buffer(name, carried(array))
        node = self.graph.get_attr(name)
        node.meta["mil"] = MilOp("const", (var.name,), (dtype,))
        return node

    def finish(self, outputs: Sequence[Any]) -> fx.GraphModule:
        results = [self._tensor(var) for var in outputs]
        self.graph.output((*results, *self.states.values()))
        module = fx.GraphModule(self.root, self.graph)
        module.eval()
        return module


# These give a tuple also where a program takes one output only.
_ALWAYS_TUPLES = {"split", "topk"}


def _constant_value(var: Any) -> Any:
    """A constant's value, decompressed; None for a value that the program computes."""
    op = var.op
    if op is None or not op.op_type.startswith("constexpr_"):
        return var.val
    if op.op_type == "constexpr_cast":
        return op.materialized_val_inference()
    # coremltools' materialized_val_inference does not look through every nesting of compressed values: its
    # `decompress` functions do the arithmetic, on inputs that are resolved here.
    operands = {name: _constant_value(value) for name, value in op.inputs.items() if value is not None}
    parameters = inspect.signature(op.decompress).parameters
    value = op.decompress(**{name: operands.get(name) for name in parameters})
    return value[op.outputs.index(var)] if isinstance(value, tuple) else value


def _free_variables(block: Any) -> Iterator[Any]:
    """Yields what a block reads and does not make itself, constants left out."""
    defined = {var.name for var in block.inputs}
    seen: set[str] = set()

    def outside(var: Any) -> bool:
        return var.name not in defined and var.name not in seen and _constant_value(var) is None

    for op in block.operations:
        inputs = [*op.inputs.values()]
        for inner in op.blocks:
            inputs += list(_free_variables(inner))
        for item in inputs:
            for var in item if isinstance(item, (list, tuple)) else [item]:
                if var is not None and hasattr(var, "name") and outside(var):
                    seen.add(var.name)
                    yield var
        defined |= {var.name for var in op.outputs}
    for var in block.outputs:
        if outside(var):
            seen.add(var.name)
            yield var


def _tensor_parameters(compute: Op) -> dict[str, bool]:
    """Parameter name -> whether it takes tensors (else a plain Python value), from the annotations."""
    hints = typing.get_type_hints(compute)
    return {name: _mentions_tensor(hints[name]) for name in inspect.signature(compute).parameters}


def _mentions_tensor(hint: Any) -> bool:
    if hint is Tensor:
        return True
    is_generic = isinstance(hint, types.UnionType) or typing.get_origin(hint) is not None
    return is_generic and any(_mentions_tensor(part) for part in typing.get_args(hint))


def _dtype(var: Any, path: Path) -> torch.dtype | None:
    """The declared dtype of a value, or None for a list and for what a classifier gives."""
    from coremltools.converters.mil.mil import types as mil_types

    sym_type = var.sym_type.wrapped_type() if is_state(var) else var.sym_type
    if mil_types.is_list(sym_type) or mil_types.is_str(sym_type) or mil_types.is_dict(sym_type):
        return None
    name = mil_types.builtin_to_string(sym_type.get_primitive() if mil_types.is_tensor(sym_type) else sym_type)
    if name not in TORCH_DTYPES:
        raise ArtefactError(f"the reference engine does not know the dtype {name!r} (value {var.name!r} in {path})")
    return TORCH_DTYPES[name]


def _identifier(name: str) -> str:
    cleaned = "".join(char if char.isalnum() else "_" for char in name)
    return cleaned if cleaned[:1].isalpha() else f"v_{cleaned}"
