"""HiFi-GAN's generator under coqui-tts's names, and small discriminators to train it with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from checkpoints.training.mel import N_MELS

SLOPE = 0.1
UPSAMPLING = ((8, 16), (8, 16), (2, 4), (2, 4))  # factor, kernel: V1 and V2 of the paper
KERNELS, DILATIONS = (3, 7, 11), (1, 3, 5)


class ResidualBlock(nn.Module):
    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(_conv(channels, channels, kernel, dilation) for dilation in DILATIONS)
        self.convs2 = nn.ModuleList(_conv(channels, channels, kernel, 1) for _ in DILATIONS)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, 1, T)."""
        for first, second in zip(self.convs1, self.convs2):
            x = x + _planar(second, F.leaky_relu(_planar(first, F.leaky_relu(x, SLOPE)), SLOPE))
        return x


class Generator(nn.Module):
    """Kong et al. 2020 (arXiv 2010.05646), residual blocks of type 1. Its state dict is HifiganGenerator's."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_pre = _conv(N_MELS, channels, 7, 1)
        self.ups, self.resblocks = nn.ModuleList(), nn.ModuleList()
        for factor, kernel in UPSAMPLING:
            up = nn.ConvTranspose1d(channels, channels // 2, kernel, factor, padding=(kernel - factor) // 2)
            nn.init.normal_(up.weight, std=0.01)
            self.ups.append(weight_norm(up))
            channels //= 2
            self.resblocks.extend(ResidualBlock(channels, kernel) for kernel in KERNELS)
        self.conv_post = _conv(channels, 1, 7, 1)

    def forward(self, mel: Tensor) -> Tensor:
        """mel (B, n_mels, T) -> samples (B, 1, 256 T)."""
        x = _planar(self.conv_pre, mel.unsqueeze(2).contiguous(memory_format=torch.channels_last))
        for index, up in enumerate(self.ups):
            x = _planar(up, F.leaky_relu(x, SLOPE))
            blocks = self.resblocks[index * len(KERNELS) : (index + 1) * len(KERNELS)]
            x = sum((block(x) for block in blocks[1:]), start=blocks[0](x)) / len(KERNELS)
        # in single precision: the rounding of a waveform is a noise floor
        with torch.autocast(x.device.type, enabled=False):
            return torch.tanh(_planar(self.conv_post, F.leaky_relu(x.float()))).squeeze(2)


def _planar(layer: nn.Module, x: Tensor) -> Tensor:
    """A 1-D layer on (B, C, 1, T): cuDNN computes it without turning every tensor round and back."""
    assert isinstance(layer, (nn.Conv1d, nn.ConvTranspose1d))
    weight = layer.weight.unsqueeze(2).contiguous(memory_format=torch.channels_last)
    padding = (0, int(layer.padding[0]))
    if isinstance(layer, nn.ConvTranspose1d):
        return F.conv_transpose2d(x, weight, layer.bias, (1, layer.stride[0]), padding)
    return F.conv2d(x, weight, layer.bias, 1, padding, (1, layer.dilation[0]))


def _conv(channels_in: int, channels_out: int, kernel: int, dilation: int) -> nn.Module:
    conv = nn.Conv1d(channels_in, channels_out, kernel, dilation=dilation, padding=(kernel - 1) * dilation // 2)
    nn.init.normal_(conv.weight, std=0.01)
    return weight_norm(conv)


class Discriminator(nn.Module):
    """A stack of 2-D convolutions: a score and what each layer made (for feature matching)."""

    def __init__(self, convs: Sequence[nn.Conv2d], last: nn.Conv2d) -> None:
        super().__init__()
        self.convs = nn.ModuleList(weight_norm(conv) for conv in convs)
        self.last = weight_norm(last)

    def judge(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """x (B, 1, H, W)."""
        features = []
        x = x.contiguous(memory_format=torch.channels_last)
        for conv in self.convs:
            x = F.leaky_relu(conv(x), SLOPE)
            features.append(x)
        return self.last(x), features


class PeriodDiscriminator(Discriminator):
    """Puts every p-th sample in a column of its own (HiFi-GAN's), with a quarter of the paper's channels."""

    def __init__(self, period: int, channels: Sequence[int]) -> None:
        sizes = [1, *channels]
        strides = [3] * (len(channels) - 1) + [1]
        convs = [nn.Conv2d(a, b, (5, 1), (s, 1), (2, 0)) for a, b, s in zip(sizes, sizes[1:], strides)]
        super().__init__(convs, nn.Conv2d(sizes[-1], 1, (3, 1), padding=(1, 0)))
        self.period = period

    def forward(self, samples: Tensor) -> tuple[Tensor, list[Tensor]]:
        """samples (B, 1, N)."""
        missing = -samples.shape[2] % self.period
        padded = F.pad(samples, (0, missing), "reflect") if missing else samples
        return self.judge(padded.unflatten(2, (-1, self.period)))


class SpectrumDiscriminator(Discriminator):
    """The magnitude spectrogram at one resolution (UnivNet's, Jang et al. 2021)."""

    window: Tensor

    def __init__(self, n_fft: int, hop: int, window: int, channels: int) -> None:
        convs = [nn.Conv2d(1, channels, (3, 9), padding=(1, 4))]
        convs += [nn.Conv2d(channels, channels, (3, 9), (1, 2), (1, 4)) for _ in range(3)]
        convs += [nn.Conv2d(channels, channels, 3, padding=1)]
        super().__init__(convs, nn.Conv2d(channels, 1, 3, padding=1))
        self.n_fft, self.hop = n_fft, hop
        self.register_buffer("window", torch.hann_window(window), persistent=False)

    def forward(self, samples: Tensor) -> tuple[Tensor, list[Tensor]]:
        with torch.autocast(samples.device.type, enabled=False):
            spectrum = torch.stft(
                samples.squeeze(1).float(), self.n_fft, self.hop, len(self.window), self.window, return_complex=True
            )
            loudness = torch.log1p(10 * torch.sqrt(spectrum.real.square() + spectrum.imag.square() + 1e-9))
        return self.judge(loudness.transpose(1, 2).unsqueeze(1))


class Discriminators(nn.Module):
    def __init__(self, period_channels: Sequence[int] = (32, 64, 128, 256, 256), spectrum_channels: int = 32) -> None:
        super().__init__()
        periods = [PeriodDiscriminator(period, period_channels) for period in (2, 3, 5, 7, 11)]
        sizes = ((512, 50, 240), (1024, 120, 600), (2048, 240, 1200))
        self.all = nn.ModuleList([*periods, *(SpectrumDiscriminator(*size, spectrum_channels) for size in sizes)])

    def forward(self, samples: Tensor) -> list[tuple[Tensor, list[Tensor]]]:
        """samples (B, 1, N)."""
        return [discriminator(samples) for discriminator in self.all]


def judged(
    discriminators: Discriminators, real: Tensor, render: Tensor, half: torch.autocast, feature_weight: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Matching, fooling and discriminating of real, render (B, 1, N), by least squares (Mao et al. 2017, arXiv
    1611.04076), and the slope at the render of the first two, the matching of features `feature_weight` times.

    One pass of each waveform through the discriminators, in `half`'s precision, serves both networks.
    """
    heard = render.detach().requires_grad_(True)
    with half:
        of_real, of_render = discriminators(real), discriminators(heard)
    discriminating = torch.stack([
        (1 - yes.float()).square().mean() + no.float().square().mean()
        for (yes, _), (no, _) in zip(of_real, of_render)
    ]).sum()  # fmt: skip
    fooling = torch.stack([(1 - score.float()).square().mean() for score, _ in of_render]).sum()
    matching = torch.stack([
        (ours - theirs.detach()).abs().mean(dtype=torch.float32)
        for (_, real_features), (_, features) in zip(of_real, of_render)
        for theirs, ours in zip(real_features, features)
    ]).sum()  # fmt: skip
    (slope,) = torch.autograd.grad(fooling + feature_weight * matching, heard, retain_graph=True)
    return matching, fooling, discriminating, slope
