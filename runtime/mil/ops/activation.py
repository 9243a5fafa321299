"""Activations (coremltools: ops/defs/iOS15/activation.py, elementwise_unary.py)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def leaky_relu(x: Tensor, alpha: float) -> Tensor:
    return F.leaky_relu(x, alpha)


def relu(x: Tensor) -> Tensor:
    return F.relu(x)


def sigmoid(x: Tensor) -> Tensor:
    return torch.sigmoid(x)


def tanh(x: Tensor) -> Tensor:
    return torch.tanh(x)


OPS: dict[str, Callable[..., Tensor]] = {"leaky_relu": leaky_relu, "relu": relu, "sigmoid": sigmoid, "tanh": tanh}
