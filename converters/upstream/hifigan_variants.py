"""Variations of HiFi-GAN around coqui-tts's layers: BigVGAN's anti-aliased activations, iSTFTNet's last transform.

Both compute what upstream's generators do, in operations that every exporter and the streaming rewrite take.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_SLOPE, _LAST_SLOPE = 0.1, 0.01  # of leaky ReLU: LRELU_SLOPE, and F.leaky_relu's own at the end
_TAPS = 12  # of BigVGAN's filters, which go up and down by 2


class _Filter(nn.Module):
    """Holds a filter under upstream's name."""

    filter: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filter", torch.zeros(1, 1, _TAPS))


class _LowPass(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lowpass = _Filter()


class _Snake(nn.Module):
    """Holds the parameters of x + sin(alpha x)^2 / beta under upstream's names; `snake` has beta = alpha."""

    def __init__(self, channels: int, has_beta: bool) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(channels))
        if has_beta:
            self.beta = nn.Parameter(torch.zeros(channels))


class Activation(nn.Module):
    """BigVGAN's Activation1d: up by 2, Snake, down by 2, the ends repeated (arXiv 2206.04658, section 3.2).

    `prepare` makes layers of its filters, once its weights are there.
    """

    def __init__(self, channels: int, kind: str, logscale: bool) -> None:
        super().__init__()
        self.act, self.upsample, self.downsample = _Snake(channels, kind == "snakebeta"), _Filter(), _LowPass()
        self.logscale = logscale

    def prepare(self) -> None:
        """Replaces what the checkpoint holds by what is computed with."""
        alpha, beta = self.act.alpha.data, getattr(self.act, "beta", self.act.alpha).data
        alpha, beta = (torch.exp(value) if self.logscale else value for value in (alpha, beta))
        channels = len(alpha)
        self.alpha = nn.Parameter(alpha[None, :, None].clone())
        self.inverse = nn.Parameter((1.0 / (beta + 1e-9))[None, :, None].clone())  # no_div_by_zero of upstream
        # upstream repeats the ends 5 times and crops 15 samples; what is kept depends on 3 of them
        self.up = nn.ConvTranspose1d(channels, channels, _TAPS, 2, _TAPS - 1, groups=channels, bias=False)
        self.up.weight.data = 2 * self.upsample.filter.expand(channels, 1, _TAPS).clone()
        self.down = nn.Conv1d(channels, channels, _TAPS, 2, groups=channels, bias=False)
        self.down.weight.data = self.downsample.lowpass.filter.expand(channels, 1, _TAPS).clone()
        del self.act, self.upsample, self.downsample

    def forward(self, x: Tensor) -> Tensor:
        """x (1, C, T) -> (1, C, T)."""
        x = self.up(F.pad(x, (3, 3), mode="replicate"))
        x = x + self.inverse * torch.sin(self.alpha * x) ** 2
        return self.down(F.pad(x, (_TAPS // 2 - 1, _TAPS // 2), mode="replicate"))


class SnakeGenerator(nn.Module):
    """BigVGAN's generator: coqui-tts's layers with an activation before each convolution of a residual block and before
    the last one, none before an upsampling."""

    def __init__(self, generator: Any, kind: str, logscale: bool, final_tanh: bool) -> None:
        super().__init__()
        self.conv_pre, self.ups, self.resblocks = generator.conv_pre, generator.ups, generator.resblocks
        self.conv_post, self.num_kernels, self.final_tanh = generator.conv_post, generator.num_kernels, final_tanh
        for block in self.resblocks:
            layers = _convolutions(block)
            activations = [Activation(layer.in_channels, kind, logscale) for layer in layers]
            block.activations = nn.ModuleList(activations)
        self.activation_post = Activation(self.conv_post.in_channels, kind, logscale)

    def prepare(self) -> None:
        for part in list(self.modules()):
            if isinstance(part, Activation):
                part.prepare()

    def forward(self, mel: Tensor) -> Tensor:
        """mel (1, n_mels, T) -> audio (1, 1, hop_length * T)."""
        x = self.conv_pre(mel)
        for stage, upsampling in enumerate(self.ups):
            x = _mean(self, stage, upsampling(x), _snake_block)
        x = self.conv_post(self.activation_post(x))
        return torch.tanh(x) if self.final_tanh else torch.clamp(x, -1.0, 1.0)


def _convolutions(block: Any) -> list[Any]:
    """A block's convolutions in the order in which they run."""
    if hasattr(block, "convs"):
        return list(block.convs)
    return [layer for pair in zip(block.convs1, block.convs2) for layer in pair]


def _snake_block(block: Any, x: Tensor) -> Tensor:
    layers, activations = _convolutions(block), list(block.activations)
    depth = 1 if hasattr(block, "convs") else 2
    for first in range(0, len(layers), depth):
        y = x
        for activation, layer in zip(activations[first : first + depth], layers[first : first + depth]):
            y = layer(activation(y))
        x = x + y
    return x


def _mean(generator: Any, stage: int, x: Tensor, run: Any) -> Tensor:
    """The mean of what the residual blocks of a stage make of x."""
    count = generator.num_kernels
    blocks = list(generator.resblocks)[stage * count : (stage + 1) * count]
    total = run(blocks[0], x)
    for block in blocks[1:]:
        total = total + run(block, x)
    return total / count


class TransformGenerator(nn.Module):
    """iSTFTNet's generator: the last convolution gives the log magnitude and the phase of short frames, which an
    inverse transform adds up (torch.istft with a periodic Hann window, centred)."""

    def __init__(self, generator: Any, n_fft: int, hop_length: int) -> None:
        super().__init__()
        self.generator, self.bins = generator, n_fft // 2 + 1
        self.inverse = nn.ConvTranspose1d(2 * self.bins + 1, 2, n_fft, hop_length, n_fft // 2, bias=False)
        self.inverse.weight.data = _inverse_basis(n_fft)

    def forward(self, mel: Tensor) -> Tensor:
        """mel (1, n_mels, T) -> audio (1, 1, hop_length * T)."""
        network = self.generator
        x = network.conv_pre(mel)
        for stage, upsampling in enumerate(network.ups):
            x = _mean(network, stage, upsampling(F.leaky_relu(x, _SLOPE)), lambda block, y: block(y))
        x = network.conv_post(F.pad(F.leaky_relu(x, _LAST_SLOPE), (1, 0), mode="reflect"))
        magnitude, phase = torch.exp(x[:, : self.bins]), torch.sin(x[:, self.bins :])
        # a row of ones becomes the sum of squared windows, less at both ends, by which torch.istft divides
        ones = phase[:, :1] * 0 + 1
        summed = self.inverse(torch.cat([magnitude * torch.cos(phase), magnitude * torch.sin(phase), ones], dim=1))
        return summed[:, :1] / summed[:, 1:]


def _inverse_basis(n_fft: int) -> Tensor:
    """(2 bins + 1, 2, n_fft): what a real and an imaginary part add to the samples of a frame under its window, and in
    the last row the window squared."""
    window = torch.hann_window(n_fft, dtype=torch.float64)
    bins = n_fft // 2 + 1
    angle = 2 * math.pi / n_fft * torch.arange(bins)[:, None] * torch.arange(n_fft)[None].double()
    # both halves of the spectrum, of which the first and the last bin are there once
    weight = torch.full((bins, 1), 2.0, dtype=torch.float64)
    weight[0], weight[-1] = 1.0, 1.0
    basis = torch.zeros(2 * bins + 1, 2, n_fft, dtype=torch.float64)
    basis[:bins, 0] = weight * torch.cos(angle) / n_fft * window
    basis[bins : 2 * bins, 0] = -weight * torch.sin(angle) / n_fft * window
    basis[2 * bins, 1] = window**2
    return basis.float()


def reflect_at_the_ends(generator: nn.Module) -> None:
    """Lets every convolution see what lies before an end mirrored beyond it, as SpeechBrain's do."""
    for part in generator.modules():
        if isinstance(part, nn.Conv1d):
            part.padding_mode = "reflect"
