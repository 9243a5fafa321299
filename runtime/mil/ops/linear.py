"""Matrix products and attention (coremltools: ops/defs/*/linear.py, iOS18/transformers.py)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """weight: (D_out, D_in), which may be of integers, as the bias may."""
    return F.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))


def matmul(x: Tensor, y: Tensor, transpose_x: bool = False, transpose_y: bool = False) -> Tensor:
    """Multiplies two matrices; the product of an integer and a floating-point one is floating point."""
    if x.is_floating_point() != y.is_floating_point():
        x, y = x.float(), y.float()
    x = x.transpose(-1, -2) if transpose_x and x.dim() > 1 else x
    y = y.transpose(-1, -2) if transpose_y and y.dim() > 1 else y
    return torch.matmul(x, y)


def einsum(values: list[Tensor], equation: str) -> Tensor:
    return torch.einsum(equation, *values)


def scaled_dot_product_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    """A bool mask says what takes part, a float one is added to the scores."""
    return F.scaled_dot_product_attention(query, key, value, attn_mask)


OPS: dict[str, Callable[..., Tensor]] = {
    "linear": linear,
    "matmul": matmul,
    "einsum": einsum,
    "scaled_dot_product_attention": scaled_dot_product_attention,
}
