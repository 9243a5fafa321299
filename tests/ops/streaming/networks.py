"""Randomly drawn networks: anything that the rewrite says it knows, in any order."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor, nn

CHANNELS = 4


class Padded(nn.Module):
    """A convolution behind its own padding, of any mode, unequal at the two sides."""

    def __init__(self, kernel: int, left: int, right: int, mode: str) -> None:
        super().__init__()
        self.conv, self.pads, self.mode = nn.Conv1d(CHANNELS, CHANNELS, kernel), (left, right), mode

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, self.pads, self.mode))


class Residual(nn.Module):
    """x + f(x), or both beside each other, where f keeps the length."""

    def __init__(self, kernel: int, dilation: int, concatenates: bool) -> None:
        super().__init__()
        self.conv = nn.Conv1d(CHANNELS, CHANNELS, kernel, dilation=dilation, padding=(kernel - 1) // 2 * dilation)
        self.join = nn.Conv1d(2 * CHANNELS, CHANNELS, 1) if concatenates else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(F.leaky_relu(x, 0.1))
        return self.join(torch.cat([x, y], 1)) if self.join else x + y


class Recurrent(nn.Module):
    """A unidirectional recurrent layer over time."""

    def __init__(self, kind: type[nn.RNNBase], layers: int) -> None:
        super().__init__()
        self.layer = kind(CHANNELS, CHANNELS, layers, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.transpose(1, 2))[0].transpose(1, 2)


class ChannelNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.transpose(1, 2)).transpose(1, 2)


class Shuffle(nn.Module):
    """A pixel shuffle along time."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor, self.conv = factor, nn.Conv1d(CHANNELS, CHANNELS * factor, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x).reshape(1, CHANNELS, self.factor, -1).transpose(2, 3)
        return y.reshape(1, CHANNELS, -1)


@st.composite
def convolution(draw: st.DrawFn) -> nn.Module:
    kernel, dilation = draw(st.integers(1, 7)), draw(st.integers(1, 3))
    padding = draw(st.integers(0, (kernel - 1) * dilation))
    mode = draw(st.sampled_from(["zeros", "zeros", "reflect", "replicate"]))
    groups = draw(st.sampled_from([1, 2, 4]))
    return nn.Conv1d(CHANNELS, CHANNELS, kernel, 1, padding, dilation, groups, padding_mode=mode)


@st.composite
def strided(draw: st.DrawFn) -> nn.Module:
    """Halves the rate, its padding chosen so that whole frames stay whole."""
    kernel = draw(st.sampled_from([2, 4, 6]))
    return nn.Conv1d(CHANNELS, CHANNELS, kernel, 2, (kernel - 2) // 2)


@st.composite
def transposed(draw: st.DrawFn) -> nn.Module:
    stride = draw(st.integers(1, 4))
    kernel = stride + draw(st.integers(0, 6))
    padding = draw(st.integers(0, (kernel - 1) // 2))
    extra = draw(st.integers(0, stride - 1))
    return nn.ConvTranspose1d(CHANNELS, CHANNELS, kernel, stride, padding, extra)


@st.composite
def padded(draw: st.DrawFn) -> nn.Module:
    mode = draw(st.sampled_from(["constant", "reflect", "replicate"]))
    return Padded(draw(st.integers(1, 5)), draw(st.integers(0, 4)), draw(st.integers(0, 4)), mode)


def _blocks() -> st.SearchStrategy[nn.Module]:
    return st.one_of(
        convolution(),
        convolution(),
        strided(),
        transposed(),
        padded(),
        st.builds(Residual, st.sampled_from([1, 3, 5]), st.integers(1, 3), st.booleans()),
        st.builds(Shuffle, st.integers(2, 3)),
        st.builds(ChannelNorm),
        st.builds(lambda: nn.BatchNorm1d(CHANNELS)),
        st.sampled_from([nn.ReLU(), nn.Tanh(), nn.GELU(), nn.Sigmoid()]),
        st.builds(lambda s: nn.Upsample(scale_factor=s, mode="nearest"), st.integers(2, 3)),
        st.builds(lambda: nn.Upsample(scale_factor=2, mode="linear")),
        st.builds(lambda: nn.AvgPool1d(2)),
        st.builds(lambda p: nn.MaxPool1d(2 + 2 * p, 2, p), st.integers(0, 1)),
    )


def recurrent() -> st.SearchStrategy[nn.Module]:
    return st.builds(Recurrent, st.sampled_from([nn.LSTM, nn.GRU]), st.integers(1, 2))


@st.composite
def networks(draw: st.DrawFn, with_recurrence: bool = False) -> nn.Sequential:
    blocks = draw(st.lists(_blocks(), min_size=1, max_size=5))
    if with_recurrence:
        blocks.insert(draw(st.integers(0, len(blocks))), draw(recurrent()))
    return nn.Sequential(*blocks)


def frame(network: nn.Sequential) -> int:
    """Input positions to count as one frame, so that every rate inside is a whole number."""
    halvings = sum(isinstance(b, (nn.AvgPool1d, nn.MaxPool1d)) or getattr(b, "stride", 0) == (2,) for b in network)
    return 2**halvings
