"""Convolution and transposed convolution (coremltools: ops/defs/iOS15/conv.py)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}

# Of these a convolution with the channels side by side in memory takes half the time (PyTorch 2.13, an AMD EPYC), and
# of others as long or longer.
_FEW_CHANNELS, _MANY_POSITIONS = 64, 256


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    strides: list[int] | None = None,
    pad_type: str = "valid",
    pad: list[int] | None = None,
    dilations: list[int] | None = None,
    groups: int = 1,
) -> Tensor:
    """x: (N, C_in, *spatial), weight: (C_out, C_in / groups, *kernel); pad: (before, after) per spatial axis."""
    spatial = x.dim() - 2
    strides, dilations = strides or [1] * spatial, dilations or [1] * spatial
    reach = [(weight.shape[2 + i] - 1) * dilations[i] for i in range(spatial)]
    pairs = spatial_padding(pad_type, pad, [x.shape[2 + i] for i in range(spatial)], strides, reach)
    if all(before == after for before, after in pairs):
        padding = [before for before, _ in pairs]
    else:
        x, padding = F.pad(x, [amount for pair in reversed(pairs) for amount in pair]), [0] * spatial
    if spatial == 1 and groups == 1 and x.shape[1] <= _FEW_CHANNELS and x.shape[2] >= _MANY_POSITIONS:
        x, weight = (one.unsqueeze(2).contiguous(memory_format=torch.channels_last) for one in (x, weight))
        return F.conv2d(x, weight, bias, [1, *strides], [0, *padding], [1, *dilations]).squeeze(2)
    return _CONV[spatial](x, weight, bias, strides, padding, dilations, groups)


def conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    pad: list[int] | None = None,
    output_shape: list[int] | None = None,
    pad_type: str = "valid",
    strides: list[int] | None = None,
    dilations: list[int] | None = None,
    groups: int = 1,
) -> Tensor:
    """x: (N, C_in, *spatial), weight: (C_in, C_out / groups, *kernel); `pad` is cut off the full output.

    With `pad_type="same"` output length is input length * stride; `output_shape` overrides the length.
    """
    spatial = x.dim() - 2
    strides, dilations = strides or [1] * spatial, dilations or [1] * spatial
    full = _CONV_TRANSPOSE[spatial](x, weight, bias, strides, 0, 0, groups, dilations)
    for axis in range(spatial):
        length = full.shape[2 + axis]
        if pad_type == "custom" and pad is not None:
            before, size = pad[2 * axis], length - pad[2 * axis] - pad[2 * axis + 1]
        elif pad_type.startswith("same"):
            size = x.shape[2 + axis] * strides[axis]
            surplus = max(length - size, 0)
            before = (surplus + 1) // 2 if pad_type == "same_lower" else surplus // 2
        else:
            before, size = 0, length
        if output_shape is not None:
            size = output_shape[2 + axis]
        missing = before + size - length
        if missing > 0:
            full = F.pad(full, [0, 0] * (spatial - 1 - axis) + [0, missing])
        full = full.narrow(2 + axis, before, size)
    return full


def spatial_padding(
    pad_type: str, pad: list[int] | None, lengths: list[int], strides: list[int], reach: list[int]
) -> list[tuple[int, int]]:
    """(before, after) per spatial axis for the four pad types of MIL's conv."""
    if pad_type == "valid":
        return [(0, 0)] * len(strides)
    if pad_type == "custom":
        amounts = pad or [0] * (2 * len(strides))
        return list(zip(amounts[0::2], amounts[1::2]))
    pairs = []
    for length, stride, extent in zip(lengths, strides, reach):
        total = max((-(-length // stride) - 1) * stride + extent + 1 - length, 0)
        less, more = total // 2, total - total // 2
        pairs.append((more, less) if pad_type == "same_lower" else (less, more))
    return pairs


OPS: dict[str, Callable[..., Tensor]] = {"conv": conv, "conv_transpose": conv_transpose}
