"""Shapes, slices and rearrangements (coremltools: ops/defs/*/tensor_transformation.py)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def batch_to_space(x: Tensor, block_shape: list[int], crops: list[list[int]]) -> Tensor:
    batch, channels, height, width = x.shape
    a, b = block_shape
    y = x.reshape(a, b, batch // (a * b), channels, height, width).permute(2, 3, 4, 0, 5, 1)
    y = y.reshape(batch // (a * b), channels, height * a, width * b)
    (top, bottom), (left, right) = crops
    return y[:, :, top : height * a - bottom, left : width * b - right]


def depth_to_space(x: Tensor, block_size: int) -> Tensor:
    """Channels in the order (block row, block column, channel), unlike pixel_shuffle."""
    batch, channels, height, width = x.shape
    y = x.reshape(batch, block_size, block_size, channels // block_size**2, height, width)
    return y.permute(0, 3, 4, 1, 5, 2).reshape(batch, -1, height * block_size, width * block_size)


def expand_dims(x: Tensor, axes: list[int]) -> Tensor:
    rank = x.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def pixel_shuffle(x: Tensor, upscale_factor: int) -> Tensor:
    return F.pixel_shuffle(x, upscale_factor)


def pixel_unshuffle(x: Tensor, downscale_factor: int) -> Tensor:
    return F.pixel_unshuffle(x, downscale_factor)


def reshape(x: Tensor, shape: list[int]) -> Tensor:
    """A 0 in `shape` takes the size of x on that axis, counted from the last one, and 1 beyond x's first; one -1 is
    inferred."""
    offset = x.dim() - len(shape)
    sizes = [(x.shape[i + offset] if i + offset >= 0 else 1) if size == 0 else size for i, size in enumerate(shape)]
    return x.reshape(sizes)


def reshape_like(
    x: Tensor, ref_tensors: list[Tensor], begins: list[int], ends: list[int], end_masks: list[bool]
) -> Tensor:
    shape: list[int] = []
    for reference, begin, end, masked in zip(ref_tensors, begins, ends, end_masks):
        shape += reference.shape[begin:] if masked else reference.shape[begin:end]
    return x.reshape(shape)


def reverse(x: Tensor, axes: list[int] | None = None) -> Tensor:
    return torch.flip(x, list(range(x.dim())) if axes is None else axes)


def reverse_sequence(x: Tensor, lengths: Tensor, seq_axis: int = 0, batch_axis: int = 0) -> Tensor:
    """Reverses the first lengths[b] steps of batch element b."""
    steps = torch.arange(x.shape[seq_axis])[None]
    count = lengths.reshape(-1, 1).long()
    at = torch.where(steps < count, count - 1 - steps, steps)  # (B, S)
    moved = x.movedim((batch_axis, seq_axis), (0, 1))
    picked = torch.stack([row[index] for row, index in zip(moved, at)])
    return picked.movedim((0, 1), (batch_axis, seq_axis))


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
        if squeeze_mask[axis]:
            x = x.select(axis, begin[axis])
            continue
        start = None if begin_mask[axis] else begin[axis]
        stop = None if end_mask[axis] else end[axis]
        step, before = stride[axis], (slice(None),) * axis
        if step > 0:
            x = x[(*before, slice(start, stop, step))]
        else:  # torch has no negative step: pick by index
            x = x.index_select(
                axis, torch.tensor(list(range(x.shape[axis]))[slice(start, stop, step)], dtype=torch.long)
            )
    return x


def slice_by_size(x: Tensor, begin: list[int], size: list[int]) -> Tensor:
    """A size of -1 takes all that is left."""
    for axis, (start, length) in enumerate(zip(begin, size)):
        start = start + x.shape[axis] if start < 0 else start
        x = x.narrow(axis, start, x.shape[axis] - start if length == -1 else length)
    return x


def slice_update(
    x: Tensor,
    update: Tensor,
    begin: list[int],
    end: list[int],
    stride: list[int] | None = None,
    begin_mask: list[bool] | None = None,
    end_mask: list[bool] | None = None,
    squeeze_mask: list[bool] | None = None,
) -> Tensor:
    """x with the slice that slice_by_index would take replaced by `update`."""
    positions = torch.arange(x.numel()).reshape(x.shape)
    picked = slice_by_index(positions, begin, end, stride, begin_mask, end_mask, squeeze_mask).reshape(-1)
    return x.reshape(-1).scatter(0, picked, update.reshape(-1).to(x.dtype)).reshape(x.shape)


def sliding_windows(x: Tensor, axis: int, size: int, stride: int = 1) -> Tensor:
    """The windows' elements become the axis after `axis`."""
    axis = axis % x.dim()
    return x.unfold(axis, size, stride).movedim(-1, axis + 1)


def space_to_batch(x: Tensor, block_shape: list[int], paddings: list[list[int]]) -> Tensor:
    (top, bottom), (left, right) = paddings
    x = F.pad(x, (left, right, top, bottom))
    batch, channels, height, width = x.shape
    a, b = block_shape
    y = x.reshape(batch, channels, height // a, a, width // b, b).permute(3, 5, 0, 1, 2, 4)
    return y.reshape(batch * a * b, channels, height // a, width // b)


def space_to_depth(x: Tensor, block_size: int) -> Tensor:
    """Channels in the order (block row, block column, channel), unlike pixel_unshuffle."""
    batch, channels, height, width = x.shape
    y = x.reshape(batch, channels, height // block_size, block_size, width // block_size, block_size)
    y = y.permute(0, 3, 5, 1, 2, 4)
    return y.reshape(batch, channels * block_size**2, height // block_size, width // block_size)


def squeeze(x: Tensor, axes: list[int] | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


def transpose(x: Tensor, perm: list[int]) -> Tensor:
    return x.permute(perm)


OPS: dict[str, Callable[..., Tensor]] = {
    "batch_to_space": batch_to_space,
    "depth_to_space": depth_to_space,
    "expand_dims": expand_dims,
    "pixel_shuffle": pixel_shuffle,
    "pixel_unshuffle": pixel_unshuffle,
    "reshape": reshape,
    "reshape_like": reshape_like,
    "reverse": reverse,
    "reverse_sequence": reverse_sequence,
    "slice_by_index": slice_by_index,
    "slice_by_size": slice_by_size,
    "slice_update": slice_update,
    "sliding_windows": sliding_windows,
    "space_to_batch": space_to_batch,
    "space_to_depth": space_to_depth,
    "squeeze": squeeze,
    "transpose": transpose,
}
