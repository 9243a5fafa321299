"""Layers that RAVE's encoder and decoder are made of."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2  # of every leaky ReLU


class Conv(nn.Conv1d):
    """A convolution with `same` padding: half of it on each side, the larger half on the right, or all on the left."""

    def __init__(
        self, into: int, out: int, kernel: int, causal: bool, bias: bool = False, stride: int = 1, dilation: int = 1,
        groups: int = 1,
    ) -> None:  # fmt: skip
        super().__init__(into, out, kernel, stride, dilation=dilation, groups=groups, bias=bias)
        total = (kernel - 1) * dilation
        right = 0 if causal else (total + 1) // 2
        self.ends = (total - right, right)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, self.ends) if any(self.ends) else x)


class Snake(nn.Module):
    """x + sin²(αx) / α for each channel (Ziyin, Hartwig and Ueda 2020, arXiv 2006.08195)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + (self.alpha + 1e-9).reciprocal() * torch.sin(self.alpha * x) ** 2


class AdaptiveNorm(nn.Module):
    """Adaptive instance normalisation by learned statistics, one of each channel: `x` of the source, `y` of the target.

    Upstream keeps a row for each of 64 items in a batch, of which the first is read. Until both were learned it does
    nothing, as there.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        for side in ("x", "y"):
            self.register_buffer(f"mean_{side}", torch.zeros(1, channels, 1))
            self.register_buffer(f"std_{side}", torch.ones(1, channels, 1))
            self.register_buffer(f"num_update_{side}", torch.zeros(1))
        self.is_learned = False

    def settle(self) -> None:
        """Decides by the statistics that were loaded whether it does anything."""
        self.is_learned = all(bool(self.get_buffer(f"num_update_{side}")) for side in ("x", "y"))

    def forward(self, x: Tensor) -> Tensor:
        if not self.is_learned:
            return x
        gain = self.get_buffer("std_y") / (self.get_buffer("std_x") + 1e-5)
        return (x - self.get_buffer("mean_x")) * gain + self.get_buffer("mean_y")


class Residual(nn.Module):
    """Adds what layers make of a value to it."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.net = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) + x


class Row(nn.Module):
    """Layers one after another, under the name that upstream gives them."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.net = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def activation(is_snake: bool, channels: int) -> nn.Module:
    return Snake(channels) if is_snake else nn.LeakyReLU(SLOPE)


class PastConv(nn.Conv1d):
    """A strided convolution of two strides, padded by one on the left."""

    def __init__(self, into: int, out: int, stride: int, bias: bool) -> None:
        super().__init__(into, out, 2 * stride, stride, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (self.stride[0], 0)))
