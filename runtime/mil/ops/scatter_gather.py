"""Gathering and scattering (coremltools: ops/defs/*/scatter_gather.py)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_REDUCE = {"mul": "prod", "max": "amax", "min": "amin"}


def _within(indices: Tensor, length: int, validate: bool | None) -> Tensor:
    """Indices in [0, length), and `length` for what lies outside.

    `validate`: up to iOS 16 the op has no such parameter (None) and negative indices count from the end; from iOS 17
    an index outside is an error (True: IndexError) or undefined (False: such an element is left out).
    """
    indices = indices.long()
    if validate is None:
        indices = torch.where(indices < 0, indices + length, indices)
    outside = (indices < 0) | (indices >= length)
    if validate and bool(outside.any()):
        raise IndexError(f"an index is out of range for an axis of length {length}")
    return torch.where(outside, length, indices)


def _readable(indices: Tensor, length: int, validate: bool | None) -> Tensor:
    return torch.clamp(_within(indices, length, validate), max=max(length - 1, 0))


def gather(
    x: Tensor, indices: Tensor, axis: int = 0, batch_dims: int = 0, validate_indices: bool | None = None
) -> Tensor:
    """Output: x.shape[:axis] + indices.shape[batch_dims:] + x.shape[axis + 1:]."""
    axis = axis % x.dim()
    batch_dims = batch_dims % max(indices.dim(), 1) if batch_dims < 0 else batch_dims
    wrapped = _readable(indices, x.shape[axis], validate_indices)
    if batch_dims == 0:
        flat = torch.index_select(x, axis, wrapped.reshape(-1))
        return flat.reshape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))
    batch = x.shape[:batch_dims]
    rows = x.reshape(-1, *x.shape[batch_dims:])
    picks = wrapped.reshape(rows.shape[0], -1)
    gathered = torch.stack([torch.index_select(row, axis - batch_dims, pick) for row, pick in zip(rows, picks)])
    return gathered.reshape((*batch, *x.shape[batch_dims:axis], *indices.shape[batch_dims:], *x.shape[axis + 1 :]))


def gather_along_axis(x: Tensor, indices: Tensor, axis: int = 0, validate_indices: bool | None = None) -> Tensor:
    return torch.take_along_dim(x, _readable(indices, x.shape[axis], validate_indices), axis)


def gather_nd(x: Tensor, indices: Tensor, batch_dims: int = 0, validate_indices: bool | None = None) -> Tensor:
    """The last axis of `indices` holds coordinates into x after its batch axes."""
    depth = indices.shape[-1]
    columns = [_readable(indices[..., i], x.shape[batch_dims + i], validate_indices) for i in range(depth)]
    batch = [
        torch.arange(x.shape[i]).reshape([-1 if axis == i else 1 for axis in range(indices.dim() - 1)])
        for i in range(batch_dims)
    ]
    return x[(*batch, *columns)]


def scatter(
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    axis: int = 0,
    mode: str = "add",
    validate_indices: bool | None = None,
) -> Tensor:
    """`updates` replaces axis `axis` of data by the shape of `indices`."""
    axis = axis % data.dim()
    picks = _within(indices, data.shape[axis], validate_indices).reshape(-1)
    shape = (*data.shape[:axis], picks.shape[0], *data.shape[axis + 1 :])
    spread = picks.reshape([-1 if i == axis else 1 for i in range(data.dim())]).expand(shape)
    return _combine(data, axis, spread, updates.reshape(shape), mode)


def scatter_along_axis(
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    axis: int = 0,
    mode: str = "add",
    validate_indices: bool | None = None,
) -> Tensor:
    return _combine(data, axis, _within(indices, data.shape[axis], validate_indices), updates, mode)


def scatter_nd(
    data: Tensor, indices: Tensor, updates: Tensor, mode: str = "add", validate_indices: bool | None = None
) -> Tensor:
    """The last axis of `indices` holds coordinates of slices of `data`."""
    depth = indices.shape[-1]
    rest = data.shape[depth:]
    flat_index = torch.zeros(indices.shape[:-1], dtype=torch.long)
    outside = torch.zeros(indices.shape[:-1], dtype=torch.bool)
    for i in range(depth):
        coordinate = _within(indices[..., i], data.shape[i], validate_indices)
        outside = outside | (coordinate == data.shape[i])
        flat_index = flat_index * data.shape[i] + coordinate
    rows = data.reshape(-1, *rest)
    picks = torch.where(outside, rows.shape[0], flat_index).reshape(-1)
    values = updates.reshape(picks.shape[0], *rest)
    spread = picks.reshape(-1, *[1] * len(rest)).expand(values.shape)
    return _combine(rows, 0, spread, values, mode).reshape(data.shape)


def _combine(data: Tensor, axis: int, indices: Tensor, updates: Tensor, mode: str) -> Tensor:
    """`data` with `updates` at `indices` along `axis`; the index one past the end takes what is left out."""
    length = data.shape[axis]
    spare = data.new_zeros([1 if i == axis % data.dim() else size for i, size in enumerate(data.shape)])
    data, updates = torch.cat([data, spare], axis), updates.to(data.dtype)
    if mode == "update":
        result = torch.scatter(data, axis, indices, updates)
    elif mode in ("add", "sub"):
        result = torch.scatter_add(data, axis, indices, updates if mode == "add" else -updates)
    elif mode == "div":
        result = torch.scatter_reduce(data, axis, indices, 1 / updates, "prod")
    else:
        result = torch.scatter_reduce(data, axis, indices, updates, _REDUCE[mode])
    return result.narrow(axis, 0, length)


OPS: dict[str, Callable[..., Tensor]] = {
    "gather": gather,
    "gather_along_axis": gather_along_axis,
    "gather_nd": gather_nd,
    "scatter": scatter,
    "scatter_along_axis": scatter_along_axis,
    "scatter_nd": scatter_nd,
}
