"""Networks of a live voice: any speaker's mel to one speaker's, and that to audio, causal but for a few frames.

`Converter` is a WaveNet of gated causal convolutions (van den Oord et al. 2016, arXiv 1609.03499, without its skips) on
mel frames; all that it sees ahead is in its first layer. `CausalGenerator` is HiFi-GAN (Kong et al. 2020, arXiv
2010.05646) with every layer padded on the left alone; its upsampling is a convolution whose channels become samples
(Shi et al. 2016, arXiv 1609.05158), the same functions as a transposed one's of twice the stride.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.1  # of leaky ReLU, HiFi-GAN's


@dataclass(frozen=True)
class ConverterSettings:
    """`lookahead`: frames; `kernel` of every layer, of which the first sees `lookahead` after its own frame.
    `bottleneck`: channels half way, where pitch and voicing are given again; 0 for none."""

    bands: int = 80
    channels: int = 256
    blocks: int = 12
    kernel: int = 5
    dilations: tuple[int, ...] = (1, 2, 4, 8)
    lookahead: int = 2
    bottleneck: int = 0


@dataclass(frozen=True)
class GeneratorSettings:
    """`upsampling`: factors; times `samples`, which the last layer makes at each position, the samples of a frame."""

    bands: int = 80
    channels: int = 256
    upsampling: tuple[int, ...] = (8, 8, 2, 2)
    kernels: tuple[int, ...] = (3, 7, 11)
    dilations: tuple[int, ...] = (1, 3, 5)
    samples: int = 1

    @property
    def hop_length(self) -> int:
        return math.prod(self.upsampling) * self.samples


class CausalConv(nn.Conv1d):
    """A convolution along time that sees `lookahead` positions after its own, zeros outside.

    It takes (B, C, T), or (B, C, 1, T) in training: cuDNN computes that in channels-last without turning it round.
    """

    def __init__(self, channels_in: int, channels_out: int, kernel: int, dilation: int = 1, lookahead: int = 0) -> None:
        super().__init__(channels_in, channels_out, kernel, dilation=dilation)
        self.ends = ((kernel - 1) * dilation - lookahead, lookahead)

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x, self.ends) if any(self.ends) else x
        if x.dim() == 4:
            return F.conv2d(padded, self.weight.unsqueeze(2), self.bias, 1, 0, (1, self.dilation[0]))
        return F.conv1d(padded, self.weight, self.bias, 1, 0, self.dilation[0])


class GatedBlock(nn.Module):
    def __init__(self, channels: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.conv = CausalConv(channels, 2 * channels, kernel, dilation)
        self.out = CausalConv(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.conv(x).chunk(2, 1)
        return x + self.out(torch.tanh(value) * torch.sigmoid(gate))


class Converter(nn.Module):
    """A speaker's mel, and below it the normalised log F0 and whether it is voiced, to the voice's mel."""

    def __init__(self, settings: ConverterSettings) -> None:
        super().__init__()
        self.settings = settings
        self.into = CausalConv(settings.bands + 2, settings.channels, settings.kernel, lookahead=settings.lookahead)
        self.blocks = nn.ModuleList(
            GatedBlock(settings.channels, settings.kernel, settings.dilations[index % len(settings.dilations)])
            for index in range(settings.blocks)
        )
        if settings.bottleneck:
            self.narrow = CausalConv(settings.channels, settings.bottleneck, 1)
            self.widen = CausalConv(settings.bottleneck + 2, settings.channels, 1)
        self.last = CausalConv(settings.channels, settings.bands, 1)

    def forward(self, speech: Tensor) -> Tensor:
        """speech (B, bands + 2, T) -> mel (B, bands, T)."""
        return self.decode(self.encode(speech), speech)

    def encode(self, speech: Tensor) -> Tensor:
        """speech (B, bands + 2, T) -> what is said (B, C, T), the first half of the blocks."""
        x = self.into(speech)
        for block in list(self.blocks)[: self.settings.blocks // 2]:
            x = block(x)
        return torch.tanh(self.narrow(x)) if self.settings.bottleneck else x

    def decode(self, x: Tensor, speech: Tensor) -> Tensor:
        """What is said (B, C, T) and speech (B, bands + 2, T), of which pitch and voicing are read -> mel."""
        if self.settings.bottleneck:
            x = self.widen(torch.cat([x, speech[:, self.settings.bands :]], 1))
        for block in list(self.blocks)[self.settings.blocks // 2 :]:
            x = block(x)
        return self.last(F.leaky_relu(x, SLOPE))


class ResidualBlock(nn.Module):
    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.first = nn.ModuleList(CausalConv(channels, channels, kernel, dilation) for dilation in dilations)
        self.second = nn.ModuleList(CausalConv(channels, channels, kernel) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        for first, second in zip(self.first, self.second):
            x = x + second(F.leaky_relu(first(F.leaky_relu(x, SLOPE)), SLOPE))
        return x


def interleaved(x: Tensor, factor: int) -> Tensor:
    """x (B, factor * C, …, T) -> (B, C, …, factor * T): channels become positions."""
    return x.unflatten(1, (factor, -1)).movedim(1, -1).flatten(-2)


class Upsampling(nn.Module):
    """Each position becomes `factor`, of the position itself and the one before."""

    def __init__(self, channels_in: int, channels_out: int, factor: int) -> None:
        super().__init__()
        self.conv, self.factor = CausalConv(channels_in, factor * channels_out, 2), factor

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, …, T) -> (B, C', …, factor * T)."""
        return interleaved(self.conv(x), self.factor)


class CausalGenerator(nn.Module):
    """mel to waveform, without a sample of the future."""

    def __init__(self, settings: GeneratorSettings) -> None:
        super().__init__()
        self.settings = settings
        channels = settings.channels
        self.into = CausalConv(settings.bands, channels, 7)
        self.ups, self.residual = nn.ModuleList(), nn.ModuleList()
        for factor in settings.upsampling:
            self.ups.append(Upsampling(channels, channels // 2, factor))
            channels //= 2
            self.residual.append(
                nn.ModuleList(ResidualBlock(channels, kernel, settings.dilations) for kernel in settings.kernels)
            )
        self.last = CausalConv(channels, settings.samples, 7)

    def forward(self, mel: Tensor) -> Tensor:
        """mel (B, bands, T) -> samples (B, 1, hop_length T)."""
        x = self.into(mel)
        for up, blocks in zip(self.ups, self.residual):
            x = up(F.leaky_relu(x, SLOPE))
            first, *others = blocks.children()
            total = first(x)
            for block in others:
                total = total + block(x)
            x = total / (1 + len(others))
        return self.finish(x)

    def finish(self, x: Tensor) -> Tensor:
        return interleaved(torch.tanh(self.last(F.leaky_relu(x, SLOPE))), self.settings.samples)


class LiveVoice(nn.Module):
    """Both networks, under the names of the checkpoint."""

    def __init__(self, converter: ConverterSettings, generator: GeneratorSettings) -> None:
        super().__init__()
        self.converter, self.generator = Converter(converter), CausalGenerator(generator)
