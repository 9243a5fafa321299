"""RAVE's encoder and decoder (Caillon and Esling 2021, arXiv 2111.05011; code: acids-ircam/RAVE), both generations.

The modules have upstream's names, so that its weights load, but for what stands around its branches (`renamed`). Every
layer pads itself, on both sides or on the left alone. Generation 1 (`v1`, BRAVE's sizes) has batch norm, a loudness and
residual stacks; generation 2 (`v2`, `v2_small`, `v3`) dilated units and an amplitude in its output.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from converters.upstream.rave.layers import SLOPE, AdaptiveNorm, Conv, PastConv, Residual, Row, activation
from converters.upstream.rave.noise import NoiseGenerator, mod_sigmoid
from converters.upstream.rave.pqmf import Analysis, Synthesis
from converters.upstream.rave.settings import HalfSettings, RaveSettings


def _units(settings: RaveSettings, half: HalfSettings, channels: int, dilations: tuple[int, ...]) -> list[nn.Module]:
    """The dilated units of generation 2 at one level."""
    units: list[nn.Module] = []
    for dilation in dilations:
        if settings.adain:
            units.append(AdaptiveNorm(channels))
        units.append(
            Residual(
                activation(settings.unit_snake, channels),
                Conv(channels, channels, half.kernel, settings.causal, half.bias, dilation=dilation),
                activation(settings.unit_snake, channels),
                Conv(channels, channels, 1, settings.causal, half.bias),
            )
        )
    return units


def _encoder_1(settings: RaveSettings) -> Row:
    half, outputs = settings.encoder, _outputs(settings)
    levels = half.channels()
    layers: list[nn.Module] = [Conv(settings.bands, levels[0], 7, settings.causal, half.bias)]
    for ratio, into, out in zip(half.ratios, levels, levels[1:]):
        layers += [
            nn.BatchNorm1d(into),
            nn.LeakyReLU(SLOPE),
            Conv(into, out, 2 * ratio + 1, settings.causal, half.bias, stride=ratio),
        ]
    last = Conv(levels[-1], settings.latent_size * outputs, 5, settings.causal, half.bias, groups=outputs)
    return Row(*layers, nn.LeakyReLU(SLOPE), last)


def _encoder_2(settings: RaveSettings) -> Row:
    half, causal = settings.encoder, settings.causal
    levels = half.channels()
    layers: list[nn.Module] = [Conv(settings.bands, levels[0], 2 * half.kernel + 1, causal, half.bias)]
    for ratio, dilations, into, out in zip(half.ratios, half.dilations, levels, levels[1:]):
        layers += _units(settings, half, into, dilations)
        layers += [activation(settings.snake, into), Conv(into, out, 2 * ratio, causal, half.bias, stride=ratio)]
    last = Conv(levels[-1], settings.latent_size * _outputs(settings), half.kernel, causal, half.bias)
    return Row(*layers, activation(settings.snake, levels[-1]), last)


def _outputs(settings: RaveSettings) -> int:
    """A mean alone, or a mean and a scale."""
    return 2 if settings.encoding == "variational" else 1


def _transposed(half: HalfSettings, into: int, out: int, ratio: int) -> nn.ConvTranspose1d:
    return nn.ConvTranspose1d(into, out, 2 * ratio, ratio, ratio // 2, bias=half.bias)


class _Stack(nn.Module):
    """Residual layers in a row, of generation 1."""

    def __init__(self, settings: RaveSettings, channels: int) -> None:
        super().__init__()
        half = settings.decoder
        self.net = nn.Sequential(Row(*(self._layer(settings, half, channels, pair) for pair in half.dilations)))

    @staticmethod
    def _layer(settings: RaveSettings, half: HalfSettings, channels: int, dilations: tuple[int, ...]) -> nn.Module:
        layers: list[nn.Module] = []
        for dilation in dilations:
            layers += [
                activation(settings.unit_snake, channels),
                Conv(channels, channels, half.kernel, settings.causal, half.bias, dilation=dilation),
            ]
        return Residual(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def _upsampling(settings: RaveSettings, into: int, out: int, ratio: int) -> Row:
    half = settings.decoder
    layer = _transposed(half, into, out, ratio) if ratio > 1 else Conv(into, out, 3, settings.causal, half.bias)
    return Row(activation(settings.unit_snake, into), layer)


class Decoder1(nn.Module):
    """Generation 1: a waveform, its loudness and filtered noise, of each band."""

    def __init__(self, settings: RaveSettings) -> None:
        super().__init__()
        half, causal = settings.decoder, settings.causal
        levels = half.channels()
        layers: list[nn.Module] = [Conv(settings.latent_size, levels[-1], 7, causal, half.bias)]
        for ratio, into, out in zip(half.ratios[::-1], levels[:0:-1], levels[-2::-1]):
            layers += [_upsampling(settings, into, out, ratio), _Stack(settings, out)]
        self.net = nn.Sequential(*layers)
        out = levels[0]
        self.synth = nn.ModuleList(
            [Conv(out, settings.bands, 7, causal, half.bias), Conv(out, 1, 3, causal, half.bias)]
        )
        if settings.noise:
            convs = [
                Conv(into, made, 3, causal, half.bias, stride=ratio)
                for into, made, ratio in settings.noise.layers(out, out, settings.bands)
            ]
            activations = [nn.LeakyReLU(SLOPE) for _ in convs[1:]]
            self.synth.append(NoiseGenerator(settings.noise, settings.bands, convs, activations))

    def forward(self, latents: Tensor, noise: Tensor | None) -> Tensor:
        x = self.net(latents)
        bands = torch.tanh(self.synth[0](x)) * mod_sigmoid(self.synth[1](x))
        return bands if noise is None else bands + self.synth[2](x, noise)


class Decoder2(nn.Module):
    """Generation 2: the bands times their amplitudes, and filtered noise in `v2_small`."""

    def __init__(self, settings: RaveSettings) -> None:
        super().__init__()
        half, causal = settings.decoder, settings.causal
        levels = half.channels()
        latents = settings.latent_size + settings.augmentation
        layers: list[nn.Module] = [Conv(latents, levels[-1], half.kernel, causal, half.bias)]
        backwards = zip(half.ratios[::-1], half.dilations[::-1], levels[:0:-1], levels[-2::-1])
        for ratio, dilations, into, out in backwards:
            layers += [activation(settings.snake, into), _transposed(half, into, out, ratio)]
            layers += _units(settings, half, out, dilations)
        out, made = levels[0], settings.bands * (2 if settings.amplitude else 1)
        layers.append(activation(settings.snake, out))
        waveform = Conv(out, made, 2 * half.kernel + 1, causal, half.bias)
        self.amplitude = settings.amplitude
        if settings.noise:
            sizes = settings.noise.layers(out, settings.noise.hidden, settings.bands)
            convs = [PastConv(*size, bias=half.bias) for size in sizes]
            activations = [activation(settings.snake, settings.noise.hidden) for _ in convs[1:]]
            self.noise_module = NoiseGenerator(settings.noise, settings.bands, convs, activations)
            self.waveform_module = waveform
        else:
            layers.append(waveform)
        self.net = nn.Sequential(*layers)

    def forward(self, latents: Tensor, noise: Tensor | None) -> Tensor:
        x = self.net(latents)
        bands = x if noise is None else self.waveform_module(x)
        if self.amplitude:
            signal, amplitude = bands.chunk(2, 1)
            bands = signal * torch.sigmoid(amplitude)
        return torch.tanh(bands if noise is None else bands + self.noise_module(x, noise))


_ENCODERS: Mapping[int, Callable[[RaveSettings], Row]] = {1: _encoder_1, 2: _encoder_2}
_DECODERS: Mapping[int, Callable[[RaveSettings], nn.Module]] = {1: Decoder1, 2: Decoder2}


class _FilterBank(nn.Module):
    """Audio to bands and back. `taps` of its two convolutions."""

    def __init__(self, bands: int, taps: tuple[int, int], causal: bool) -> None:
        super().__init__()
        self.forward_conv, self.inverse_conv = Analysis(bands, taps[0], causal), Synthesis(bands, taps[1], causal)


class _Wrapped(nn.Module):
    """An encoder in what upstream wraps it in for its kind of latents."""

    def __init__(self, encoder: Row) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, bands: Tensor) -> Tensor:
        return self.encoder(bands)


class Rave(nn.Module):
    """Encoder, decoder, filter bank, and the latents' principal axes. `taps` of the filter bank's two convolutions."""

    def __init__(self, settings: RaveSettings, taps: tuple[int, int]) -> None:
        super().__init__()
        self.settings = settings
        self.pqmf = _FilterBank(settings.bands, taps, settings.causal)
        self.encoder = _Wrapped(_ENCODERS[settings.generation](settings))
        self.decoder = _DECODERS[settings.generation](settings)
        self.register_buffer("latent_pca", torch.eye(settings.latent_size))
        self.register_buffer("latent_mean", torch.zeros(settings.latent_size))
        self.register_buffer("fidelity", torch.zeros(settings.latent_size))
        self.kept = settings.latents or settings.latent_size

    def settle(self) -> None:
        """Decides, once weights are loaded, what follows from them: `kept`, the latents that are given and taken, and
        whether a normalisation has learned."""
        self.kept = self._kept()
        for layer in self.modules():
            if isinstance(layer, AdaptiveNorm):
                layer.settle()

    def encode(self, audio: Tensor) -> Tensor:
        """audio (1, 1, ratio · T) -> latents (1, latents, T): the mean, along its principal axes."""
        latents = self.encoder(self.pqmf.forward_conv(audio))
        if self.settings.encoding == "wasserstein":
            return latents
        mean = self.get_buffer("latent_mean")[:, None]
        axes = self.get_buffer("latent_pca")[: self.kept, :, None]
        return F.conv1d(latents[:, : self.settings.latent_size] - mean, axes)

    def decode(self, latents: Tensor, noise: Tensor | None) -> Tensor:
        """latents (1, kept + completing, T) -> audio (1, 1, ratio · T).

        `noise` (1, ratio, T), uniform in -1 … 1: of the noise generator, where there is one.
        """
        if self.settings.encoding == "variational":
            axes, mean = self.get_buffer("latent_pca").T[:, :, None], self.get_buffer("latent_mean")[:, None]
            if self.settings.augmentation:
                inner, rest = latents.split([len(axes), self.settings.augmentation], 1)
                latents = torch.cat([F.conv1d(inner, axes) + mean, rest], 1)
            else:
                latents = F.conv1d(latents, axes) + mean
        return self.pqmf.inverse_conv(self.decoder(latents, noise))

    def _kept(self) -> int:
        """The power of two that holds `fidelity` of the latents' variance, as upstream's export crops them."""
        settings = self.settings
        if settings.encoding == "wasserstein" or settings.latents:
            return settings.latents or settings.latent_size
        above = (self.get_buffer("fidelity") > settings.fidelity).int()
        needed = max(int(torch.argmax(above)), 1) if bool(above.any()) else 1
        return min(2 ** math.ceil(math.log2(needed)), settings.latent_size)

    @property
    def completing(self) -> int:
        """Rows of standard normal noise that the decoder takes below the latents: for those that were left out, and
        those that it was trained with."""
        return self.settings.latent_size - self.kept + self.settings.augmentation


_BRANCHES = re.compile(r"\.aligned\.branches\.0(?=\.)|\.branches(?=\.\d)")


def renamed(name: str) -> str:
    """A weight's name without what upstream's streaming needs around branches."""
    return _BRANCHES.sub("", name)
