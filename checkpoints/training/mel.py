"""Mel spectrograms as tensors with gradients: the one that a HiFi-GAN vocoder is fed, and a loss over several sizes."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

SAMPLE_RATE, N_FFT, HOP, N_MELS, FMAX = 22050, 1024, 256, 80, 8000.0
FLOOR = 1e-5  # of an amplitude before its logarithm


def mel_filters(sample_rate: int, n_fft: int, n_mels: int, fmax: float) -> Tensor:
    """Slaney's mel filters of equal area (librosa's), (n_mels, n_fft / 2 + 1): linear to 1 kHz, then logarithmic."""
    linear, border = 200.0 / 3, 1000.0
    step = math.log(6.4) / 27.0

    def to_mel(hertz: float) -> float:
        return hertz / linear if hertz < border else border / linear + math.log(hertz / border) / step

    mels = np.linspace(0.0, to_mel(fmax), n_mels + 2)
    edges = np.where(mels < border / linear, mels * linear, border * np.exp(step * (mels - border / linear)))
    bins = np.linspace(0.0, sample_rate / 2, n_fft // 2 + 1)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    area = 2.0 / (edges[2:] - edges[:-2])
    return torch.tensor(np.maximum(0.0, np.minimum(rising, falling)) * area[:, None], dtype=torch.float32)


class LogMel(nn.Module):
    """Natural log of mel amplitudes in HiFi-GAN's framing: reflection of (n_fft - hop) / 2 samples on both sides."""

    filters: Tensor
    window: Tensor

    def __init__(self, n_fft: int = N_FFT, hop: int = HOP, n_mels: int = N_MELS, fmax: float = FMAX) -> None:
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        self.register_buffer("filters", mel_filters(SAMPLE_RATE, n_fft, n_mels, fmax))
        self.register_buffer("window", torch.hann_window(n_fft))

    def forward(self, samples: Tensor) -> Tensor:
        """samples (B, N) -> (B, n_mels, N / hop)."""
        border = (self.n_fft - self.hop) // 2
        padded = F.pad(samples.unsqueeze(1), (border, border), mode="reflect").squeeze(1).float()
        spectrum = torch.stft(padded, self.n_fft, self.hop, window=self.window, center=False, return_complex=True)
        magnitude = torch.sqrt(spectrum.real.square() + spectrum.imag.square() + 1e-9)
        return torch.log(torch.clamp(self.filters @ magnitude, min=FLOOR))


class MelLoss(nn.Module):
    """Half the L1 of the vocoder's own mel, half the mean L1 of mels at several window sizes up to half the sample rate
    (after Kumar et al. 2023, arXiv 2306.06546, section 3.5): what one window cannot see, another does."""

    SIZES = ((128, 10), (256, 20), (512, 40), (1024, 80), (2048, 160))  # n_fft, n_mels

    def __init__(self) -> None:
        super().__init__()
        self.mel = LogMel()
        self.scales = nn.ModuleList(LogMel(size, size // 4, bands, SAMPLE_RATE / 2) for size, bands in self.SIZES)

    def forward(self, render: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """render, real (B, N) -> the loss, and the L1 of the vocoder's own mel."""
        l1 = F.l1_loss(self.mel(render), self.mel(real))
        others = torch.stack([F.l1_loss(scale(render), scale(real)) for scale in self.scales]).mean()
        return 0.5 * l1 + 0.5 * others, l1
