"""Pooling over the spatial axes (coremltools: ops/defs/iOS15/pool.py)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from runtime.mil.ops.conv import spatial_padding


def max_pool(
    x: Tensor,
    kernel_sizes: list[int],
    strides: list[int] | None = None,
    pad_type: str = "valid",
    pad: list[int] | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    windows = _windows(x, kernel_sizes, strides, pad_type, pad, ceil_mode, fill=-math.inf)
    return windows.amax(tuple(range(-len(kernel_sizes), 0)))


def avg_pool(
    x: Tensor,
    kernel_sizes: list[int],
    strides: list[int] | None = None,
    pad_type: str = "valid",
    pad: list[int] | None = None,
    exclude_padding_from_average: bool = False,
    ceil_mode: bool = False,
) -> Tensor:
    """The mean over the window; padded zeros count unless excluded, what ceil_mode reads beyond them never."""
    axes = tuple(range(-len(kernel_sizes), 0))
    total = _windows(x, kernel_sizes, strides, pad_type, pad, ceil_mode, fill=0.0).sum(axes)
    ones = torch.ones_like(x[:1, :1])
    inside = 0.0 if exclude_padding_from_average else 1.0
    counted = _windows(ones, kernel_sizes, strides, pad_type, pad, ceil_mode, fill=inside, beyond=0.0).sum(axes)
    return total / counted


def l2_pool(
    x: Tensor,
    kernel_sizes: list[int],
    strides: list[int] | None = None,
    pad_type: str = "valid",
    pad: list[int] | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    axes = tuple(range(-len(kernel_sizes), 0))
    return torch.sqrt(_windows(x * x, kernel_sizes, strides, pad_type, pad, ceil_mode, fill=0.0).sum(axes))


def _windows(
    x: Tensor,
    kernel: list[int],
    strides: list[int] | None,
    pad_type: str,
    pad: list[int] | None,
    ceil_mode: bool,
    fill: float,
    beyond: float | None = None,
) -> Tensor:
    """(N, C, *out, *kernel) windows; `beyond` fills what only ceil_mode reaches (default: `fill`)."""
    spatial = len(kernel)
    strides = strides or [1] * spatial
    lengths = [x.shape[2 + axis] for axis in range(spatial)]
    pairs = spatial_padding(pad_type, pad, lengths, strides, [size - 1 for size in kernel])
    x = F.pad(x, [amount for pair in reversed(pairs) for amount in pair], value=fill)
    if ceil_mode:
        extra = []
        for axis in range(spatial):
            length = x.shape[2 + axis]
            count = -(-(length - kernel[axis]) // strides[axis]) + 1
            if (count - 1) * strides[axis] >= length - pairs[axis][1]:  # a window may not start in the padding
                count -= 1
            extra.append(max((count - 1) * strides[axis] + kernel[axis] - length, 0))
        amounts = [amount for axis in reversed(range(spatial)) for amount in (0, extra[axis])]
        x = F.pad(x, amounts, value=fill if beyond is None else beyond)
    for axis in range(spatial):
        x = x.unfold(2 + axis, kernel[axis], strides[axis])
    return x


OPS: dict[str, Callable[..., Tensor]] = {"max_pool": max_pool, "avg_pool": avg_pool, "l2_pool": l2_pool}
