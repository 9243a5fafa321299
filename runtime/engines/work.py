"""What a call of an artefact does, counted in the artefact: multiply-adds, bytes, operations.

Of ML programs and ONNX files of fixed shapes, whose every value's shape is written in them. A dispatch costs a device
time whatever it computes; so the three are counted apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.bundle.formats import format_of

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Work:
    """`bytes`: what its operations read and write of values that are computed; `weight_bytes`: of those that are
    stored.

    Constants, and what decompresses them, are no operations.
    """

    operations: int
    multiply_adds: float
    bytes: float
    weight_bytes: float


@dataclass(frozen=True)
class _Operation:
    """`reads`, `writes`: (name, shape, bytes of an element) of values that are computed; `weights`: of stored ones."""

    kind: str
    reads: Sequence[tuple[str, Shape, int]]
    weights: Sequence[tuple[str, Shape, int]]
    writes: Sequence[tuple[str, Shape, int]]


def work_of(path: Path, function: str | None = None) -> Work | None:
    """Counts a call of an artefact, or of one of its functions: None for other formats, flexible shapes, control flow.

    Raises ArtefactError for an unreadable artefact.
    """
    read = {"mlprogram": _of_program, "onnx": _of_onnx}.get(format_of(path) or "")
    try:
        operations = None if read is None else list(read(path, function))
    except _Unknown:
        return None
    if operations is None:
        return None
    return Work(
        len(operations),
        sum(_multiply_adds(operation) for operation in operations),
        sum(_size(value) for operation in operations for value in (*operation.reads, *operation.writes)),
        sum(_size(value) for operation in operations for value in operation.weights),
    )


class _Unknown(Exception):
    """A shape that is not written in the artefact."""


def _size(value: tuple[str, Shape, int]) -> int:
    return math.prod(value[1]) * value[2]


def _multiply_adds(operation: _Operation) -> float:
    kind = operation.kind.lower().replace("_", "")
    (written, *_) = operation.writes
    matrices = [shape for _, shape, _ in operation.weights if len(shape) > 1]
    if kind == "conv" and matrices:
        return math.prod(written[1]) * math.prod(matrices[0][1:])
    if kind == "convtranspose" and matrices:
        return math.prod(operation.reads[0][1]) * math.prod(matrices[0][1:])
    if kind in ("lstm", "gru", "rnn") and matrices:
        steps = operation.reads[0][1][0]
        return steps * sum(math.prod(shape) for shape in matrices)
    if kind in ("linear", "matmul", "gemm"):
        (first, *_) = [shape for _, shape, _ in (*operation.reads, *operation.weights)]
        return math.prod(written[1]) * first[-1]
    return 0


# Bytes of an element of coremltools' MIL types, by number: booleans, floating point, signed and unsigned integers.
_MIL_BYTES = {1: 1, 10: 2, 11: 4, 12: 8, 21: 1, 22: 2, 23: 4, 24: 8, 31: 1, 32: 2, 33: 4, 34: 8}
_STORED = ("const", "constexpr_")


def _of_program(path: Path, function: str | None) -> Iterator[_Operation]:
    from runtime.mil.package import read_specification

    program = read_specification(path).mlProgram
    chosen = program.functions[function or next(iter(program.functions))]
    block = chosen.block_specializations[chosen.opset]
    computed = {item.name: _mil_value(item) for item in chosen.inputs if item.type.WhichOneof("type") == "tensorType"}
    stored: dict[str, tuple[str, Shape, int]] = {}
    for op in block.operations:
        if op.blocks:
            raise _Unknown
        written = {item.name: _mil_value(item) for item in op.outputs}
        if op.type.startswith(_STORED):
            stored |= written
            continue
        names = [argument.name for item in op.inputs.values() for argument in item.arguments if argument.name]
        computed |= written
        yield _operation(op.type, names, computed, stored, list(written.values()))


def _mil_value(item: Any) -> tuple[str, Shape, int]:
    tensor = item.type.tensorType
    if any(dimension.WhichOneof("dimension") != "constant" for dimension in tensor.dimensions):
        raise _Unknown
    shape = tuple(int(dimension.constant.size) for dimension in tensor.dimensions)
    return item.name, shape, _MIL_BYTES.get(tensor.dataType, 0)


def _of_onnx(path: Path, function: str | None) -> Iterator[_Operation]:
    import onnx.shape_inference
    from google.protobuf.message import DecodeError

    from runtime.errors import ArtefactError

    try:
        graph = onnx.shape_inference.infer_shapes(onnx.load(path, load_external_data=False)).graph
    except (OSError, DecodeError) as error:
        raise ArtefactError(f"{path} cannot be read as an ONNX model: {error}") from error
    computed = {item.name: _onnx_value(item) for item in (*graph.input, *graph.value_info, *graph.output)}
    stored = {
        item.name: (item.name, tuple(item.dims), onnx.helper.tensor_dtype_to_np_dtype(item.data_type).itemsize)
        for item in graph.initializer
    }
    for node in graph.node:
        if node.op_type == "Constant":
            continue
        if any(name not in computed for name in node.output if name):
            raise _Unknown
        written = [computed[name] for name in node.output if name]
        yield _operation(node.op_type, list(node.input), computed, stored, written)


def _onnx_value(item: Any) -> tuple[str, Shape, int]:
    import onnx

    tensor = item.type.tensor_type
    if any(not dimension.HasField("dim_value") for dimension in tensor.shape.dim):
        raise _Unknown
    shape = tuple(int(dimension.dim_value) for dimension in tensor.shape.dim)
    return item.name, shape, onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).itemsize


def _operation(
    kind: str,
    names: Sequence[str],
    computed: Mapping[str, tuple[str, Shape, int]],
    stored: Mapping[str, tuple[str, Shape, int]],
    written: Sequence[tuple[str, Shape, int]],
) -> _Operation:
    reads = [computed[name] for name in names if name in computed and name not in stored]
    return _Operation(kind, reads, [stored[name] for name in names if name in stored], written)
