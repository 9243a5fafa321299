"""What converts without an error and no Mac executes: refused when the program is opened, as Core ML refuses it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runtime.bundle.spec import TensorSpec
from runtime.errors import ArtefactError
from runtime.mil.interface import Interface

MAX_RANK = 5


def refuse_what_core_ml_refuses(function: Any, interface: Interface, path: Path) -> None:
    """Raises ArtefactError naming op, output and file."""
    from coremltools.converters.mil.mil import types as mil_types

    defaults = _default_sizes(function, interface.inputs)
    for op in _operations(function):
        if op.op_type == "custom_layer":  # coremltools issue 1416
            raise ArtefactError(
                f"{path}: op {op.name!r} is a custom_layer, which no ML program can hold: no Mac compiles it"
            )
        for output in op.outputs:
            rank = output.rank if mil_types.is_tensor(output.sym_type) else 0
            if rank > MAX_RANK and not _is_compressed_weight(op, output):
                raise ArtefactError(
                    f"{path}: op {op.op_type!r} (output {output.name!r}) gives a tensor of rank {rank}; "
                    f"Core ML takes at most {MAX_RANK}"
                )
        if op.op_type == "stack":
            shapes = {tuple(defaults.get(size, size) for size in value.shape) for value in op.values}
            if any(len({size for size in sizes if isinstance(size, int)}) > 1 for sizes in zip(*shapes)):
                raise ArtefactError(
                    f"{path}: op 'stack' (output {op.outputs[0].name!r}) joins values that are declared with unequal "
                    f"shapes: {', '.join(map(str, sorted(shapes, key=str)))}"
                )


def _operations(block: Any) -> Iterator[Any]:
    for op in block.operations:
        yield op
        for inner in op.blocks:
            yield from _operations(inner)


def _is_compressed_weight(op: Any, output: Any) -> bool:
    """Tables of compressed weights have more axes; only their decompression reads them."""
    return (op.op_type == "const" or op.op_type.startswith("constexpr_")) and all(
        reader.op_type.startswith("constexpr_") for reader in output.child_ops
    )


def _default_sizes(function: Any, specs: tuple[TensorSpec, ...]) -> dict[Any, int]:
    """The symbols of flexible axes -> their default sizes."""
    return {
        symbol: size
        for spec in specs
        for symbol, size in zip(function.inputs[spec.name].shape, spec.default_shape)
        if not isinstance(symbol, int)
    }
