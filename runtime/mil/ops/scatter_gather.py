"""Gathering and scattering (coremltools: ops/defs/*/scatter_gather.py). Negative indices count from the end."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_REDUCE = {"mul": "prod", "max": "amax", "min": "amin"}


def _wrapped(indices: Tensor, length: int) -> Tensor:
    indices = indices.long()
    return torch.where(indices < 0, indices + length, indices)


def gather(x: Tensor, indices: Tensor, axis: int = 0, batch_dims: int = 0, validate_indices: bool = False) -> Tensor:
    """Output: x.shape[:axis] + indices.shape[batch_dims:] + x.shape[axis + 1:]."""
    axis = axis % x.dim()
    batch_dims = batch_dims % max(indices.dim(), 1) if batch_dims < 0 else batch_dims
    wrapped = _wrapped(indices, x.shape[axis])
    if batch_dims == 0:
        flat = torch.index_select(x, axis, wrapped.reshape(-1))
        return flat.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    batch = x.shape[:batch_dims]
    rows = x.reshape(-1, *x.shape[batch_dims:])
    picks = wrapped.reshape(rows.shape[0], -1)
    gathered = torch.stack([torch.index_select(row, axis - batch_dims, pick) for row, pick in zip(rows, picks)])
    return gathered.reshape(*batch, *x.shape[batch_dims:axis], *indices.shape[batch_dims:], *x.shape[axis + 1 :])


def gather_along_axis(x: Tensor, indices: Tensor, axis: int = 0, validate_indices: bool = False) -> Tensor:
    return torch.take_along_dim(x, _wrapped(indices, x.shape[axis]), axis)


def gather_nd(x: Tensor, indices: Tensor, batch_dims: int = 0, validate_indices: bool = False) -> Tensor:
    """The last axis of `indices` holds coordinates into x after its batch axes."""
    depth = indices.shape[-1]
    columns = [_wrapped(indices[..., i], x.shape[batch_dims + i]) for i in range(depth)]
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
    validate_indices: bool = False,
) -> Tensor:
    """`updates` replaces axis `axis` of data by the shape of `indices`."""
    axis = axis % data.dim()
    picks = _wrapped(indices, data.shape[axis]).reshape(-1)
    shape = (*data.shape[:axis], picks.shape[0], *data.shape[axis + 1 :])
    spread = picks.reshape([-1 if i == axis else 1 for i in range(data.dim())]).expand(shape)
    return _combine(data, axis, spread, updates.reshape(shape), mode)


def scatter_along_axis(
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    axis: int = 0,
    mode: str = "add",
    validate_indices: bool = False,
) -> Tensor:
    return _combine(data, axis, _wrapped(indices, data.shape[axis]), updates, mode)


def scatter_nd(
    data: Tensor, indices: Tensor, updates: Tensor, mode: str = "add", validate_indices: bool = False
) -> Tensor:
    """The last axis of `indices` holds coordinates of slices of `data`."""
    depth = indices.shape[-1]
    rest = data.shape[depth:]
    flat_index = torch.zeros(indices.shape[:-1], dtype=torch.long)
    for i in range(depth):
        flat_index = flat_index * data.shape[i] + _wrapped(indices[..., i], data.shape[i])
    rows = data.reshape(-1, *rest)
    picks = flat_index.reshape(-1)
    values = updates.reshape(picks.shape[0], *rest)
    spread = picks.reshape(-1, *[1] * len(rest)).expand(values.shape)
    return _combine(rows, 0, spread, values, mode).reshape(data.shape)


def _combine(data: Tensor, axis: int, indices: Tensor, updates: Tensor, mode: str) -> Tensor:
    updates = updates.to(data.dtype)
    if mode == "update":
        return torch.scatter(data, axis, indices, updates)
    if mode in ("add", "sub"):
        return torch.scatter_add(data, axis, indices, updates if mode == "add" else -updates)
    if mode == "div":
        return torch.scatter_reduce(data, axis, indices, 1 / updates, "prod")
    return torch.scatter_reduce(data, axis, indices, updates, _REDUCE[mode])


OPS: dict[str, Callable[..., Tensor]] = {
    "gather": gather,
    "gather_along_axis": gather_along_axis,
    "gather_nd": gather_nd,
    "scatter": scatter,
    "scatter_along_axis": scatter_along_axis,
    "scatter_nd": scatter_nd,
}
