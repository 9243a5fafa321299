"""The vocoders of the field at their published geometry, with an eighth of their channels: exactness does not depend on
the width. Random weights, for parity only."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from converters.upstream.coqui import import_coqui
from ops.streaming import Input


def _coqui(module: str, name: str) -> Callable[..., nn.Module]:
    return getattr(import_coqui(f"TTS.vocoder.models.{module}"), name)


def hifigan(version: str, width: int = 8, conditioning: int = 0, channels_in: int = 80) -> nn.Module:
    kernels, dilations = ([3, 7, 11], [[1, 3, 5]] * 3) if version != "V3" else ([3, 5, 7], [[1, 2], [2, 6], [3, 12]])
    ups = ([16, 16, 4, 4], [8, 8, 2, 2]) if version != "V3" else ([16, 16, 8], [8, 8, 4])
    channels = {"V1": 512, "V2": 128, "V3": 256}[version] // width
    generator = _coqui("hifigan_generator", "HifiganGenerator")(
        channels_in,
        1,
        "2" if version == "V3" else "1",
        dilations,
        kernels,
        ups[0],
        channels,
        ups[1],
        cond_channels=conditioning,
    )
    return Renamed(_folded(generator), conditioning > 0)


class Renamed(nn.Module):
    def __init__(self, generator: nn.Module, conditioned: bool) -> None:
        super().__init__()
        self.generator, self.conditioned = generator, conditioned

    def forward(self, mel: Tensor, speaker: Tensor | None = None) -> Tensor:
        return self.generator(mel, speaker) if self.conditioned else self.generator(mel)


class Melgan(nn.Module):
    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, mel: Tensor) -> Tensor:
        bands = self.generator.layers(mel)
        return self.generator.pqmf_synthesis(bands) if hasattr(self.generator, "pqmf_layer") else bands


class ParallelWavegan(nn.Module):
    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, mel: Tensor, noise: Tensor) -> Tensor:
        network = self.generator
        conditioning, x, skips = network.upsample_net(mel), network.first_conv(noise), 0
        for layer in network.conv_layers:
            x, skip = layer(x, conditioning)
            skips = skips + skip
        x = skips * math.sqrt(1.0 / len(network.conv_layers))
        for layer in network.last_conv_layers:
            x = layer(x)
        return x


class Univnet(nn.Module):
    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, mel: Tensor, noise: Tensor) -> Tensor:
        x = self.generator.first_conv(noise)
        for block in self.generator.lvc_blocks:
            x = block(x, mel)
        for layer in self.generator.last_conv_layers:
            x = layer(F.leaky_relu(x, 0.2))
        return torch.tanh(x)


def _folded(module: nn.Module) -> nn.Module:
    for layer in module.modules():
        if nn.utils.parametrize.is_parametrized(layer):
            nn.utils.parametrize.remove_parametrizations(layer, "weight")
    return module.eval()


def _melgan(module: str, name: str, channels: int, width: int) -> nn.Module:
    return Melgan(_folded(_coqui(module, name)(base_channels=channels // width)))


def _wavegan(width: int) -> nn.Module:
    build = _coqui("parallel_wavegan_generator", "ParallelWaveganGenerator")
    sizes = {"res_channels": 64, "gate_channels": 128, "skip_channels": 64}
    return ParallelWavegan(_folded(build(**{name: size // width for name, size in sizes.items()})))


def _univnet(width: int) -> nn.Module:
    build = _coqui("univnet_generator", "UnivnetGenerator")
    return Univnet(_folded(build(64 // width, 1, 32 // width, 80, [8, 8, 4], 4, 3, 64 // width, 3, 0.0)))


_MEL = Input("mel", (1, 80, 0), 2, dtype=torch.float64)

# name -> (builder of a width, inputs at that width, frames needed by reflection padding)
VOCODERS: dict[str, tuple[Callable[[int], nn.Module], Callable[[int], list[Input]], int]] = {
    "HiFi-GAN V1": (lambda w: hifigan("V1", w), lambda w: [_MEL], 1),
    "HiFi-GAN V2": (lambda w: hifigan("V2", w), lambda w: [_MEL], 1),
    "HiFi-GAN V3": (lambda w: hifigan("V3", w), lambda w: [_MEL], 1),
    "MelGAN": (lambda w: _melgan("melgan_generator", "MelganGenerator", 512, w), lambda w: [_MEL], 4),
    "multi-band MelGAN": (
        lambda w: _melgan("multiband_melgan_generator", "MultibandMelganGenerator", 384, w),
        lambda w: [_MEL],
        14,
    ),
    "full-band MelGAN": (
        lambda w: _melgan("fullband_melgan_generator", "FullbandMelganGenerator", 512, w),
        lambda w: [_MEL],
        14,
    ),
    "Parallel WaveGAN": (
        _wavegan,
        lambda w: [_MEL, Input("noise", (1, 1, 0), 2, rate=256, dtype=torch.float64)],
        1,
    ),
    "UnivNet": (_univnet, lambda w: [_MEL, Input("noise", (1, 64 // w, 0), 2, dtype=torch.float64)], 1),
    "VITS decoder": (
        lambda w: hifigan("V1", w, conditioning=256, channels_in=192),
        lambda w: [
            Input("mel", (1, 192, 0), 2, dtype=torch.float64),
            Input("speaker", (1, 256, 1), dtype=torch.float64),
        ],
        1,
    ),
}
