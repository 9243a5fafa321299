"""Speech as somebody else would say it, at the same moments: what a converter learns from one speaker alone.

All in the magnitude domain, so that nothing sounds of a vocoder: a frame is read faster or slower, which moves pitch
and formants; a cepstrum parts envelope and excitation, and the envelope is stretched by itself (as in the disguises of
NANSY, Choi et al. 2021, arXiv 2110.14513, which works on waveforms). Then rooms, equalisers, bands, noise and levels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from checkpoints.training.mel import FLOOR, FMAX, HOP, N_FFT, N_MELS, SAMPLE_RATE, mel_filters

MARGIN = 24 * HOP  # samples on each side of a piece: windows may be twice as long, hops longer
_OVERSAMPLING = 4  # before frames are read at fractions of a sample
_ENVELOPE = (40, 60)  # quefrencies in samples over which the envelope ends: below the period of a high voice
_BINS = N_FFT // 2 + 1
_ECHOES = 14  # frames
_ENERGY = math.sqrt(3 / 8 * N_FFT)  # the magnitude that noise of full scale has under a Hann window


@dataclass(frozen=True)
class Ranges:
    """What is drawn for a piece; levels in dB, times in seconds."""

    pitch: tuple[float, float] = (0.55, 1.95)
    formants: tuple[float, float] = (0.78, 1.28)
    uneven: float = 0.035  # of the formants, beside that: standard deviation of three waves over frequency
    resonance: tuple[float, float] = (0.75, 1.25)  # of the envelope's logarithm
    breathy: float = 0.25
    equaliser_db: float = 6.0
    snr_db: tuple[float, float] = (8.0, 50.0)
    level_db: tuple[float, float] = (-24.0, 4.0)
    silent_db: tuple[float, float] = (-80.0, -46.0)
    stretch: tuple[float, float] = (0.85, 1.18)
    stretched: float = 0.5  # shares of the pieces
    echoing: float = 0.3
    narrow: float = 0.2
    noisy: float = 0.85
    silent: float = 0.04


NEAR = Ranges(pitch=(0.85, 1.18), formants=(0.9, 1.12), uneven=0.0, resonance=(1.0, 1.0), breathy=0.0)  # real ones


class Frames(nn.Module):
    """Magnitude spectra of windows of any width, at hops of any width."""

    window: Tensor

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.frames = frames
        self.register_buffer("window", torch.hann_window(N_FFT))

    def forward(self, samples: Tensor, speed: Tensor, stretch: Tensor) -> Tensor:
        """samples (B, MARGIN + N + MARGIN), the audio of whole frames; what is read `speed` times as fast (B,), at
        `stretch` times the hop (B,) -> (B, T, bins)."""
        length = samples.shape[1]
        spectrum = torch.fft.rfft(samples)
        highest = torch.arange(spectrum.shape[1], device=samples.device) / (spectrum.shape[1] - 1)
        spectrum = spectrum * (highest * speed[:, None] < 1)  # no aliases
        fine = torch.fft.irfft(spectrum, _OVERSAMPLING * length) * _OVERSAMPLING
        middle = (
            length / 2
            + (torch.arange(self.frames, device=samples.device) - self.frames / 2 + 0.5) * HOP * stretch[:, None]
        )
        offsets = (torch.arange(N_FFT, device=samples.device) - N_FFT / 2) * speed[:, None]
        at = (middle[:, :, None] + offsets[:, None]) * _OVERSAMPLING
        at = at.clamp(0, _OVERSAMPLING * length - 2)
        before = at.floor()
        share, before = at - before, before.long().flatten(1)
        low, high = fine.gather(1, before).view(share.shape), fine.gather(1, before + 1).view(share.shape)
        windows = (low + (high - low) * share) * self.window
        spectra = torch.fft.rfft(windows)
        return torch.sqrt(spectra.real.square() + spectra.imag.square() + 1e-9)


class Disguise(nn.Module):
    """Pieces of `frames` frames: the mel of somebody else, and the speaker's own at the same moments."""

    filters: Tensor
    lifter: Tensor

    def __init__(self, frames: int, ranges: Ranges) -> None:
        super().__init__()
        self.ranges, self.read = ranges, Frames(frames)
        self.register_buffer("filters", mel_filters(SAMPLE_RATE, N_FFT, N_MELS, FMAX))
        first, last = _ENVELOPE
        quefrency = torch.arange(N_FFT).minimum(N_FFT - torch.arange(N_FFT)).float()
        share = ((quefrency - first) / (last - first)).clamp(0, 1)
        self.register_buffer("lifter", 0.5 + 0.5 * torch.cos(math.pi * share))

    def stretches(self, count: int, device: torch.device | str) -> Tensor:
        """How many times longer than a hop the pieces' steps are (B,)."""
        drawn = _between(self.ranges.stretch, count, device)
        return torch.where(torch.rand(count, device=device) < self.ranges.stretched, drawn, torch.ones_like(drawn))

    def clean(self, samples: Tensor, stretch: Tensor) -> Tensor:
        """samples (B, MARGIN + N + MARGIN), stretch (B,) -> mel (B, n_mels, T) of the speech as it is."""
        return self._mel(self.read(samples, torch.ones_like(stretch), stretch))

    def forward(self, samples: Tensor, stretch: Tensor) -> tuple[Tensor, Tensor]:
        """samples (B, MARGIN + N + MARGIN), stretch (B,) -> mel (B, n_mels, T) of somebody else, and which pieces are
        no speech but a room's noise (B,)."""
        count, device, ranges = len(samples), samples.device, self.ranges
        pitch, formants = _between(ranges.pitch, count, device, True), _between(ranges.formants, count, device, True)
        magnitude = self.read(samples, pitch, stretch)
        magnitude = self._with_formants(magnitude, pitch, formants)
        magnitude = magnitude * self._response(count, device)[:, None]
        magnitude = self._in_a_room(magnitude)
        power = magnitude.square().mean((1, 2)).clamp(min=1e-12)
        noise = self._noise(count, device)
        snr = _between(ranges.snr_db, count, device)
        amount = torch.sqrt(power) * 10 ** (-snr / 20) * (torch.rand(count, device=device) < ranges.noisy)
        level = 10 ** (_between(ranges.level_db, count, device) / 20)
        is_silent = torch.rand(count, device=device) < ranges.silent
        silence = 10 ** (_between(ranges.silent_db, count, device) / 20) * _ENERGY
        speech = torch.where(is_silent, torch.zeros_like(level), level)
        hiss = torch.where(is_silent, silence, amount * level)
        real, imaginary = (
            torch.randn_like(magnitude) * noise * (hiss[:, None, None] * math.sqrt(0.5)) for _ in range(2)
        )
        magnitude = torch.sqrt((magnitude * speech[:, None, None] + real).square() + imaginary.square())
        return self._mel(magnitude), is_silent

    def _mel(self, magnitude: Tensor) -> Tensor:
        return torch.log(torch.clamp(magnitude @ self.filters.T, min=FLOOR)).transpose(1, 2)

    def _with_formants(self, magnitude: Tensor, pitch: Tensor, formants: Tensor) -> Tensor:
        """The envelope, which was moved with the pitch, stretched to where `formants` has it."""
        count, device, ranges = len(magnitude), magnitude.device, self.ranges
        logarithm = torch.log(magnitude.clamp(min=1e-5))
        envelope = torch.fft.rfft(torch.fft.irfft(logarithm, N_FFT) * self.lifter).real
        excitation = logarithm - envelope
        bins = torch.arange(_BINS, device=device)
        random = torch.log(torch.randn_like(magnitude).square() + torch.randn_like(magnitude).square() + 1e-4) / 2
        is_breathy = torch.rand(count, device=device) < ranges.breathy
        tone = torch.where(is_breathy, _between((0.08, 0.6), count, device), torch.ones_like(pitch))
        highest = torch.minimum(0.92 * pitch, tone)[:, None] * (_BINS - 1)  # above it there is no tone, or nothing
        excitation = torch.where((bins < highest)[:, None], excitation, random)
        resonance = _between(ranges.resonance, count, device)[:, None, None]
        middle = envelope.mean(2, keepdim=True)
        envelope = middle + (envelope - middle) * resonance
        waves = torch.cos(math.pi * torch.arange(1, 4, device=device)[:, None] * bins / (_BINS - 1))
        uneven = 1 + torch.randn(count, 3, device=device) @ waves * ranges.uneven
        at = (bins * (pitch / formants)[:, None] * uneven).clamp(0, _BINS - 1.001)
        before = at.floor().long()
        share = (at - before)[:, None]
        low, high = (envelope.gather(2, index[:, None].expand_as(envelope)) for index in (before, before + 1))
        return torch.exp(excitation + low + (high - low) * share)

    def _response(self, count: int, device: torch.device) -> Tensor:
        """Of microphone and room (B, bins): a smooth curve, some of a narrow band."""
        ranges = self.ranges
        position = torch.linspace(0, 1, _BINS, device=device).sqrt()
        waves = torch.cos(math.pi * torch.arange(1, 8, device=device)[:, None] * position)
        decibels = torch.randn(count, 7, device=device) @ waves * ranges.equaliser_db / 2
        hertz = torch.linspace(0, SAMPLE_RATE / 2, _BINS, device=device)
        is_narrow = torch.rand(count, 1, device=device) < ranges.narrow
        top = torch.where(is_narrow, _between((3400.0, 8000.0), count, device)[:, None], SAMPLE_RATE)
        bottom = torch.where(is_narrow, _between((60.0, 300.0), count, device)[:, None], 20.0)
        decibels = decibels - 60 * ((hertz - top) / 600).clamp(0, 1) - 40 * ((bottom - hertz) / 100).clamp(0, 1)
        return 10 ** (decibels / 20)

    def _in_a_room(self, magnitude: Tensor) -> Tensor:
        """Echoes that decay exponentially, as energy."""
        count, device = len(magnitude), magnitude.device
        seconds = _between((0.1, 0.7), count, device, True)  # until -60 dB
        decay = 10 ** (-6 * HOP / SAMPLE_RATE / seconds)
        amount = _between((0.02, 0.25), count, device, True) * (torch.rand(count, device=device) < self.ranges.echoing)
        power = magnitude.square()
        total = power.clone()
        for frame in range(1, _ECHOES):
            total[:, frame:] += power[:, :-frame] * (amount * decay**frame)[:, None, None]
        return torch.sqrt(total)

    def _noise(self, count: int, device: torch.device) -> Tensor:
        """(B, T, bins), of mean power 1: white to brown, coloured, swelling."""
        frames = self.read.frames
        slope = _between((0.0, 1.2), count, device)
        bins = torch.arange(_BINS, device=device).clamp(min=2) / 20
        shape = bins ** -slope[:, None] * self._response(count, device)
        shape = shape / shape.square().mean(1, keepdim=True).sqrt()
        swells = torch.randn(count, 1, 6, device=device) * 2.5 * (torch.rand(count, 1, 1, device=device) < 0.5)
        decibels = F.interpolate(swells, frames, mode="linear", align_corners=True)
        return shape[:, None] * 10 ** (decibels.transpose(1, 2) / 20)


def _between(limits: tuple[float, float], count: int, device: torch.device | str, by_ratio: bool = False) -> Tensor:
    """(B,), even between the limits or, by ratio, between their logarithms."""
    low, high = (math.log(limit) for limit in limits) if by_ratio else limits
    drawn = torch.rand(count, device=device) * (high - low) + low
    return drawn.exp() if by_ratio else drawn
