"""Bands of several spectra, evenly spaced in log frequency, as a pitch detector reads them."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from runtime.errors import AudioError
from runtime.speech.frames import Framed, cosine_window, require_counts, spectra

_MOST_WINDOWS = 8


@dataclass(frozen=True)
class LogBands(Framed):
    """The natural log of bands of magnitude spectra, one window's bands below another's, and whether there is a sound.

    What SwiftF0 reads (the graph of model.onnx in swift-f0 0.3.0): |STFT| with periodic Hann windows that have one
    middle, zeros beyond the ends, floor(N / hop) + 1 frames. Band b is a triangle in Hz from the frequency of band
    b - 1 to that of band b + 1, its weights summing to one; a band that lies between two bins of the spectrum is the
    nearest of them. The frequency of band b is fmin * (fmax / fmin) ** (b / (bands_to_fmax - 1)). `amplitude_floor` is
    added before the logarithm. The last row is 1.0 where a sample of the frame's own hop reaches `silence`, else 0.0.
    """

    sample_rate: int = 16000
    hop_length: int = 256
    windows: tuple[int, ...] = (1024, 2048, 512)
    n_bands: int = 128
    bands_to_fmax: int = 95
    fmin: float = 46.875
    fmax: float = 2093.75
    amplitude_floor: float = 1e-8
    silence: float = 1e-3
    kind: Literal["log_bands"] = "log_bands"

    def __post_init__(self) -> None:
        require_counts(self, "sample_rate", "hop_length", "n_bands", "bands_to_fmax")
        if not 1 <= len(self.windows) <= _MOST_WINDOWS or any(not 2 <= size <= 1 << 14 for size in self.windows):
            raise AudioError(f"bands are made of 1 to {_MOST_WINDOWS} windows of 2 to 16384 samples: {self.windows}")
        if any(size % 2 for size in self.windows) or 2 * self.hop_length > self.n_fft:
            raise AudioError(f"windows of {self.windows} samples have no middle, or less than two hops")
        if not 2 <= self.bands_to_fmax <= self.n_bands <= 512:
            raise AudioError(f"{self.bands_to_fmax} of {self.n_bands} bands cannot lie between two frequencies")
        if not 0 < self.fmin < self.fmax <= self.sample_rate / 2 or not self.amplitude_floor > 0:
            raise AudioError(f"the bands from {self.fmin} to {self.fmax} Hz are none at {self.sample_rate} Hz")

    @property
    def n_fft(self) -> int:
        return max(self.windows)

    @property
    def channels(self) -> int:
        return len(self.windows) * self.n_bands + 1

    @property
    def border(self) -> int:
        """Samples by which the first window reaches before the audio, and the last one after it."""
        return self.n_fft // 2

    @property
    def unit(self) -> str:
        return "natural-log amplitude; 1.0 where there is a sound"

    def of_padded(self, padded: np.ndarray, first: int = 0) -> np.ndarray:
        longest, rows = self.n_fft, []
        for size in self.windows:
            inset = (longest - size) // 2
            magnitude = np.abs(
                spectra(padded[inset : len(padded) - inset], cosine_window(size, size), self.hop_length)
            ).T
            basis = _log_basis(self.sample_rate, size, self.n_bands, self.bands_to_fmax, self.fmin, self.fmax)
            rows.append(np.log(basis @ magnitude + self.amplitude_floor))
        hops = np.lib.stride_tricks.sliding_window_view(padded, longest)[:: self.hop_length]
        loudest = np.abs(hops[:, longest // 2 : longest // 2 + self.hop_length]).max(axis=1)
        return np.concatenate([*rows, (loudest >= self.silence)[None]]).astype(np.float32)


@functools.lru_cache(maxsize=8)
def _log_basis(sample_rate: int, n_fft: int, n_bands: int, bands_to_fmax: int, fmin: float, fmax: float) -> Any:
    """(n_bands, n_fft / 2 + 1), sparse: a dense product sums in another order for few frames than for many."""
    from scipy.sparse import csr_array

    bins = np.arange(n_fft // 2 + 1) * sample_rate / n_fft
    edges = fmin * (fmax / fmin) ** (np.arange(-1, n_bands + 1) / (bands_to_fmax - 1))
    below, middle, above = (edges[at : at + n_bands, None] for at in range(3))
    weights = np.maximum(0.0, np.minimum((bins - below) / (middle - below), (above - bins) / (above - middle)))
    empty = np.flatnonzero(weights.sum(axis=1) < 1e-9)
    weights[empty, np.abs(bins - middle[empty]).argmin(axis=1)] = 1.0
    return csr_array((weights / weights.sum(axis=1, keepdims=True)).astype(np.float32))
