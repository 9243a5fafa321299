"""Shape and type ops (coremltools: ops/defs/iOS15/tensor_transformation.py, tensor_operation.py)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

_CAST = {
    "fp16": torch.float32,  # the interpreter rounds to half precision where the program declares it
    "fp32": torch.float32,
    "int8": torch.int8,
    "uint8": torch.uint8,
    "int16": torch.int16,
    "uint16": torch.uint16,
    "int32": torch.int32,
    "bool": torch.bool,
}


def cast(x: Tensor, dtype: str) -> Tensor:
    return x.to(_CAST[dtype])


def concat(values: list[Tensor], axis: int, interleave: bool = False) -> Tensor:
    if interleave:
        stacked = torch.stack(values, dim=axis + 1 if axis >= 0 else axis)
        return stacked.flatten(axis, axis + 1) if axis >= 0 else stacked.flatten(axis - 1, axis)
    return torch.cat(values, dim=axis)


def expand_dims(x: Tensor, axes: list[int]) -> Tensor:
    rank = x.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def identity(x: Tensor) -> Tensor:
    return x


def pad(x: Tensor, pad: list[int], mode: str = "constant", constant_val: float = 0.0) -> Tensor:
    """pad: (before, after) for each of the last len(pad) / 2 axes."""
    pairs = list(zip(pad[0::2], pad[1::2]))
    while pairs and pairs[0] == (0, 0):  # torch pads no axis before the first that changes
        pairs.pop(0)
    amounts = [amount for pair in reversed(pairs) for amount in pair]
    if mode == "constant":
        return F.pad(x, amounts, value=constant_val)
    return F.pad(x, amounts, mode={"reflect": "reflect", "replicate": "replicate"}[mode])


def reshape(x: Tensor, shape: list[int]) -> Tensor:
    """A 0 in `shape` keeps that axis of x, one -1 is inferred."""
    return x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(shape)])


def slice_by_index(
    x: Tensor,
    begin: list[int],
    end: list[int],
    stride: list[int] | None = None,
    begin_mask: list[bool] | None = None,
    end_mask: list[bool] | None = None,
    squeeze_mask: list[bool] | None = None,
) -> Tensor:
    rank = x.dim()
    stride = stride or [1] * rank
    begin_mask, end_mask = begin_mask or [False] * rank, end_mask or [False] * rank
    squeeze_mask = squeeze_mask or [False] * rank
    for axis in reversed(range(rank)):
        length = x.shape[axis]
        if squeeze_mask[axis]:
            x = x.select(axis, begin[axis])
            continue
        step = stride[axis]
        if step > 0:
            start = None if begin_mask[axis] else begin[axis]
            stop = None if end_mask[axis] else end[axis]
            x = x[(slice(None),) * axis + (slice(start, stop, step),)]
        else:  # torch has no negative step: flip, then walk forwards
            first = length - 1 if begin_mask[axis] else begin[axis] % length
            last = -1 if end_mask[axis] else end[axis] % length
            flipped = x.flip(axis)
            x = flipped[(slice(None),) * axis + (slice(length - 1 - first, length - 1 - last, -step),)]
    return x


def squeeze(x: Tensor, axes: list[int] | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


def transpose(x: Tensor, perm: list[int]) -> Tensor:
    return x.permute(perm)


OPS: dict[str, Callable[..., Tensor]] = {
    "cast": cast,
    "concat": concat,
    "expand_dims": expand_dims,
    "identity": identity,
    "pad": pad,
    "reshape": reshape,
    "slice_by_index": slice_by_index,
    "squeeze": squeeze,
    "transpose": transpose,
}
