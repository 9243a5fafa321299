"""What a RAVE is built of."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class NoiseSettings:
    """`ratios`: strides of its layers; their product is the positions of a block. `bands`: magnitudes of a filter.
    `hidden`: channels between the layers, of generation 2."""

    ratios: tuple[int, ...]
    bands: int
    hidden: int = 0

    @property
    def block(self) -> int:
        """Positions of a block."""
        return math.prod(self.ratios)

    def layers(self, into: int, hidden: int, bands: int) -> list[tuple[int, int, int]]:
        """(channels in, out, stride) of each layer, for a decoder of so many bands."""
        widths = [into, *[hidden] * (len(self.ratios) - 1), bands * self.bands]
        return list(zip(widths, widths[1:], self.ratios))


@dataclass(frozen=True)
class HalfSettings:
    """An encoder or a decoder. `ratios` in the order of upstream's config, from the audio inwards; `dilations` for each
    of them: generation 2, of units; generation 1, of the decoder, the same lists of pairs for each. `widening`: twice
    the channels at each ratio, or `ratio` times as many (`keep_dim`). `bias`: of its convolutions."""

    capacity: int
    ratios: tuple[int, ...]
    dilations: tuple[tuple[int, ...], ...] = ()
    kernel: int = 3
    widening: Literal["double", "ratio"] = "double"
    bias: bool = False

    def channels(self) -> list[int]:
        """Channels at each level, from the audio inwards."""
        levels = [self.capacity]
        for ratio in self.ratios:
            levels.append(levels[-1] * (2 if self.widening == "double" else ratio))
        return levels


@dataclass(frozen=True)
class RaveSettings:
    """A whole model. `latent_size`: of the network; `latents`: kept of them by the export's cropping (0: by `fidelity`,
    the share of variance); `augmentation`: rows of noise below the latents that the decoder takes beside them.
    `attenuation` (dB) designs the filter bank where no weights hold it. `snake`: the activation between levels, and
    `unit_snake` that within residual layers: upstream's `v3` has it between them alone, whatever its snake.gin says."""

    encoder: HalfSettings
    decoder: HalfSettings
    sampling_rate: int = 44100
    generation: Literal[1, 2] = 2
    encoding: Literal["variational", "wasserstein"] = "variational"
    bands: int = 16
    attenuation: float = 100.0
    latent_size: int = 128
    latents: int = 0
    fidelity: float = 0.95
    augmentation: int = 0
    causal: bool = False
    snake: bool = False
    unit_snake: bool = False
    adain: bool = False
    amplitude: bool = True
    noise: NoiseSettings | None = None

    @property
    def ratio(self) -> int:
        """Samples for each latent: the block."""
        return self.bands * math.prod(self.encoder.ratios)
