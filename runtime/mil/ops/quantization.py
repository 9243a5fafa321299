"""Activation quantisation (coremltools: ops/defs/iOS17/quantization_ops.py). Compressed weights: see graph.py."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_RANGES = {"int8": (-128, 127), "uint8": (0, 255)}


def quantize(
    input: Tensor, scale: Tensor, output_dtype: str, zero_point: Tensor | None = None, axis: int | None = None
) -> Tensor:
    low, high = _RANGES[output_dtype]
    shift = torch.tensor(0.0) if zero_point is None else _along(zero_point.float(), input, axis)
    return torch.clamp(torch.round(input / _along(scale, input, axis)) + shift, low, high)


def dequantize(input: Tensor, scale: Tensor, zero_point: Tensor | None = None, axis: int | None = None) -> Tensor:
    shift = torch.tensor(0.0) if zero_point is None else _along(zero_point.float(), input, axis)
    return (input.float() - shift) * _along(scale, input, axis)


def _along(values: Tensor, x: Tensor, axis: int | None) -> Tensor:
    """A vector's values along `axis` of x."""
    if values.dim() == 0 or axis is None:
        return values
    return values.reshape([-1 if i == axis % x.dim() else 1 for i in range(x.dim())])


OPS: dict[str, Callable[..., Tensor]] = {"quantize": quantize, "dequantize": dequantize}
