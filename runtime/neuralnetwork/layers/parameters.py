"""What the entries of the layers' tables are made of: weights as tensors, functions without parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from runtime.neuralnetwork.weights import dense

Function = Callable[..., Tensor | tuple[Tensor, ...]]
Layer = Callable[[Any], Function]


def weights(held: Any, *shape: int, channel_axis: int = 0) -> Tensor:
    """Returns an array of a layer as a float32 tensor of that shape."""
    return torch.from_numpy(dense(held, shape, channel_axis))


def bias_of(layer: Any, channels: int) -> Tensor | None:
    return weights(layer.bias, channels) if layer.hasBias else None


def plain(function: Callable[..., Any]) -> Layer:
    """Makes an entry of a function without parameters."""
    return lambda layer: function


def on_images(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Makes a function of (N, C, H, W) one of any rank from 3: the axes before the last three are a batch."""

    def of_any_rank(x: Tensor) -> Tensor:
        if x.dim() == 4:
            return function(x)
        y = function(x.reshape(-1, *x.shape[-3:]))
        return y.reshape(*x.shape[:-3], *y.shape[1:])

    return of_any_rank


def integers(x: Tensor) -> list[int]:
    """Returns the sizes or positions that a tensor holds; networks carry them as floating point."""
    return [int(number) for number in x.reshape(-1).tolist()]


def number(x: Tensor) -> float:
    """Returns the one number that a tensor holds."""
    return float(x.reshape(-1)[0])
