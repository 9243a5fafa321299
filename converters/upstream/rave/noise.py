"""Noise that is filtered as a decoder says, block by block, in every band (Engel et al. 2020, arXiv 2001.04643)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from converters.upstream.rave.settings import NoiseSettings


def mod_sigmoid(x: Tensor) -> Tensor:
    """A sigmoid that reaches 2 and never 0; an amplitude of DDSP."""
    return 2 * torch.sigmoid(x) ** 2.3 + 1e-7


class NoiseGenerator(nn.Module):
    """x (1, C, T) and noise (1, block · bands · blocks, frames) -> filtered noise (1, bands, T).

    The layers give the magnitudes of each block's filter, whose impulse response has a Hann window; what it makes of
    a block ends with the block. Computed as a product of discrete Fourier transforms of twice the block.
    """

    def __init__(
        self, settings: NoiseSettings, bands: int, convs: Sequence[nn.Module], activations: Sequence[nn.Module]
    ) -> None:
        super().__init__()
        self.settings, self.bands = settings, bands
        layers = [convs[0]]
        for activation, conv in zip(activations, convs[1:]):
            layers += [activation, conv]
        self.net = nn.Sequential(*layers)
        matrices = _transforms(settings.block, settings.bands)
        for name, matrix in matrices.items():
            repeated = matrix.float().repeat(bands, 1)[:, :, None]  # the same for each band, as a convolution's weights
            self.register_buffer(name, repeated, persistent=False)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        magnitudes, blocks = mod_sigmoid(self.net(x) - 5), self._blocks(noise)
        real, imaginary = self._each("shape_real", magnitudes), self._each("shape_imaginary", magnitudes)
        noise_real, noise_imaginary = self._each("into_real", blocks), self._each("into_imaginary", blocks)
        made = self._each("out_real", real * noise_real - imaginary * noise_imaginary)
        made = made + self._each("out_imaginary", real * noise_imaginary + imaginary * noise_real)
        made = made.reshape(1, self.bands, self.settings.block, -1).transpose(2, 3)
        return made.reshape(1, self.bands, -1)

    def _each(self, name: str, x: Tensor) -> Tensor:
        return F.conv1d(x, self.get_buffer(name), groups=self.bands)

    def _blocks(self, noise: Tensor) -> Tensor:
        """noise (1, blocks · bands · block, frames) -> (1, bands · block, frames · blocks)."""
        rows = self.bands * self.settings.block
        return noise.reshape(1, -1, rows, noise.shape[2]).permute(0, 2, 3, 1).reshape(1, rows, -1)


def _transforms(block: int, bands: int) -> dict[str, Tensor]:
    """Real and imaginary parts, in float64, of `into` (block + 1, block), the transform of a block and as many zeros,
    of `out` (block, block + 1), its inverse, and of `shape` (block + 1, bands), magnitudes to the transform of their
    windowed impulse response."""
    into = torch.fft.rfft(F.pad(torch.eye(block, dtype=torch.float64), (0, block))).T
    bins = torch.eye(block + 1, dtype=torch.float64)
    length = 2 * (bands - 1)
    responses = torch.fft.irfft(torch.eye(bands, dtype=torch.float64) + 0j, length).roll(length // 2, -1)
    responses = responses * torch.hann_window(length, dtype=torch.float64)
    responses = F.pad(responses, (0, block - length)).roll(-length // 2, -1)
    shape = into @ responses.T.to(into.dtype)
    return {
        "into_real": into.real,
        "into_imaginary": into.imag,
        "out_real": torch.fft.irfft(bins + 0j, 2 * block).T[:block],
        "out_imaginary": torch.fft.irfft(bins * 1j, 2 * block).T[:block],
        "shape_real": shape.real,
        "shape_imaginary": shape.imag,
    }
