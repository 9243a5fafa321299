"""A pseudo quadrature mirror filter bank (Lin and Vaidyanathan 1998, IEEE Signal Processing Letters 5 (6)) as
convolutions: audio to bands at a fraction of its rate, and back."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Analysis(nn.Module):
    """audio (B, 1, bands · T) -> bands (B, bands, T). `weight` (bands, 1, taps)."""

    def __init__(self, bands: int, taps: int, causal: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(bands, 1, taps))
        self.ends, self.bands = _ends(taps, causal), bands
        self.register_buffer("signs", _signs(bands), persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        bands = F.conv1d(F.pad(audio, self.ends), self.weight, stride=self.bands)
        return _turned(bands, self.get_buffer("signs"))


class Synthesis(nn.Module):
    """bands (B, bands, T) -> audio (B, 1, bands · T). `weight` (bands, bands, taps): the samples between two positions
    of the bands in reverse order, a channel each."""

    def __init__(self, bands: int, taps: int, causal: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(bands, bands, taps))
        self.ends, self.bands = _ends(taps, causal), bands
        self.register_buffer("signs", _signs(bands), persistent=False)

    def forward(self, bands: Tensor) -> Tensor:
        turned = F.pad(_turned(bands, self.get_buffer("signs")), self.ends)
        samples = F.conv1d(turned, self.weight.flip(0) * self.bands)
        batch = bands.shape[0]
        return samples.reshape(batch, 1, self.bands, -1).transpose(2, 3).reshape(batch, 1, -1)


def _ends(taps: int, causal: bool) -> tuple[int, int]:
    """Padding: half on each side, or all on the left."""
    return (taps - 1, 0) if causal else ((taps - 1) // 2, taps // 2)


def _signs(bands: int) -> Tensor:
    """(bands, 1, 2): every second band's positions change their sign in turn, beginning with the first."""
    signs = torch.ones(bands, 1, 2)
    signs[1::2, :, 0] = -1
    return signs


def _turned(bands: Tensor, signs: Tensor) -> Tensor:
    """Frequency runs downwards in every second band; bands (B, bands, T), T even, as it does upwards."""
    batch, channels = bands.shape[:2]
    return (bands.reshape(batch, channels, -1, 2) * signs).reshape(batch, channels, -1)


def filter_bank(bands: int, attenuation: float) -> tuple[Tensor, Tensor]:
    """Designs the weights of `Analysis` and `Synthesis` as RAVE does: a Kaiser prototype of `attenuation` dB, whose
    cut-off brings it nearest to reconstruction, moved to the middle of each band."""
    from scipy.optimize import fmin

    def aliasing(cutoff: np.ndarray) -> float:
        prototype = _prototype(float(cutoff[0]), attenuation)
        correlated = np.abs(np.convolve(prototype, prototype[::-1]))
        return float(correlated[len(correlated) // 2 :: 2 * bands][1:].max())

    (cutoff,) = fmin(aliasing, 1 / bands, disp=0)
    prototype = _prototype(float(cutoff), attenuation)
    half, band = len(prototype) // 2, np.arange(bands)[:, None]
    phase = (2 * band + 1) * math.pi / (2 * bands) * np.arange(-half, half + 1) + (-1.0) ** band * math.pi / 4
    filters = 2 * prototype * np.cos(phase)
    missing = 2 ** math.ceil(math.log2(filters.shape[1])) - filters.shape[1]
    filters = np.pad(filters, ((0, 0), (missing // 2, missing - missing // 2))).astype(np.float32)
    inverse = filters[:, ::-1].reshape(bands, -1, bands).transpose(2, 0, 1)
    return torch.from_numpy(_odd(filters)[:, None].copy()), torch.from_numpy(_odd(inverse).copy())


def _odd(filters: np.ndarray) -> np.ndarray:
    """Filters of an odd length, a zero at the end."""
    return filters if filters.shape[-1] % 2 else np.pad(filters, [(0, 0)] * (filters.ndim - 1) + [(0, 1)])


def _prototype(cutoff: float, attenuation: float) -> np.ndarray:
    """A low-pass filter. `cutoff`: radians a sample."""
    from scipy.signal import firwin, kaiserord

    length, beta = kaiserord(attenuation, cutoff / math.pi)
    return firwin(2 * (length // 2) + 1, cutoff, window=("kaiser", beta), scale=False, fs=2 * math.pi)
