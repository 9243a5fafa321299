"""Normalisations (coremltools: ops/defs/*/normalization.py)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def _per_channel(values: Tensor, x: Tensor) -> Tensor:
    return values.reshape([-1 if axis == 1 else 1 for axis in range(x.dim())])


def batch_norm(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: float = 1e-5,
) -> Tensor:
    if not (mean.requires_grad or variance.requires_grad):
        return F.batch_norm(x, mean, variance, gamma, beta, training=False, eps=epsilon)
    # PyTorch's own has no derivative with respect to these, which an audit asks for
    y = (x - _per_channel(mean, x)) / torch.sqrt(_per_channel(variance, x) + epsilon)
    y = y if gamma is None else y * _per_channel(gamma, x)
    return y if beta is None else y + _per_channel(beta, x)


def instance_norm(x: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None, epsilon: float = 1e-5) -> Tensor:
    axes = list(range(2, x.dim()))
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    y = (x - mean) / torch.sqrt(variance + epsilon)
    y = y if gamma is None else y * _per_channel(gamma, x)
    return y if beta is None else y + _per_channel(beta, x)


def l2_norm(x: Tensor, epsilon: float = 1e-6) -> Tensor:
    """Normalizes over the last three axes together."""
    return x / torch.sqrt(torch.sum(x * x, (-3, -2, -1), keepdim=True) + epsilon)


def layer_norm(
    x: Tensor,
    axes: list[int] | None = None,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: float = 1e-5,
) -> Tensor:
    """gamma and beta have the shape of the normalised axes, which need not be the last ones."""
    normalised = sorted(axis % x.dim() for axis in (range(x.dim()) if axes is None else axes))
    if normalised == list(range(normalised[0], x.dim())):
        return F.layer_norm(x, x.shape[normalised[0] :], gamma, beta, epsilon)
    variance, mean = torch.var_mean(x, normalised, correction=0, keepdim=True)
    y = (x - mean) / torch.sqrt(variance + epsilon)
    shape = [x.shape[axis] if axis in normalised else 1 for axis in range(x.dim())]
    y = y if gamma is None else y * gamma.reshape(shape)
    return y if beta is None else y + beta.reshape(shape)


def local_response_norm(x: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    return F.local_response_norm(x, size, alpha, beta, k)


OPS: dict[str, Callable[..., Tensor]] = {
    "batch_norm": batch_norm,
    "instance_norm": instance_norm,
    "l2_norm": l2_norm,
    "layer_norm": layer_norm,
    "local_response_norm": local_response_norm,
}
