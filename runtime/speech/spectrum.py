"""Features of a window that are no mel: the linear spectrum, the level, the pitch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from runtime.errors import AudioError
from runtime.speech.frames import Framed, cosine_window, require_counts, spectra


@dataclass(frozen=True)
class Linear(Framed):
    """The magnitude spectrum that converters such as FreeVC and OpenVoice read (`spectrogram_torch` of VITS).

    |STFT| with a periodic Hann window, the audio reflected by (n_fft - hop_length) / 2 samples at both ends:
    floor(N / hop) frames. `magnitude_floor` is added under the square root.
    """

    sample_rate: int = 22050
    n_fft: int = 1024
    win_length: int = 1024
    hop_length: int = 256
    magnitude_floor: float = 1e-6
    kind: Literal["linear"] = "linear"

    def __post_init__(self) -> None:
        _require_a_hop(self)
        if not 0 < self.win_length <= self.n_fft:
            raise AudioError(f"win_length must be 1 to n_fft ({self.n_fft}), got {self.win_length}")

    @property
    def channels(self) -> int:
        return self.n_fft // 2 + 1

    @property
    def border_mode(self) -> str:
        return "reflect"

    @property
    def unit(self) -> str:
        return "amplitude"

    def of_padded(self, padded: np.ndarray, first: int = 0) -> np.ndarray:
        spectrum = spectra(padded, cosine_window(self.n_fft, self.win_length), self.hop_length)
        return np.sqrt(np.abs(spectrum) ** 2 + self.magnitude_floor).T.astype(np.float32)


@dataclass(frozen=True)
class Level(Framed):
    """The level of a window, 20 log10 of its root mean square, not lower than `floor_db`."""

    sample_rate: int = 22050
    n_fft: int = 1024
    hop_length: int = 256
    floor_db: float = -100.0
    kind: Literal["level"] = "level"

    def __post_init__(self) -> None:
        _require_a_hop(self)

    @property
    def channels(self) -> int:
        return 1

    @property
    def unit(self) -> str:
        return "dB, full scale 0"

    def of_padded(self, padded: np.ndarray, first: int = 0) -> np.ndarray:
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.n_fft)[:: self.hop_length]
        power = np.maximum((windows.astype(np.float64) ** 2).mean(axis=1), 10 ** (self.floor_db / 10))
        return (10 * np.log10(power)).astype(np.float32)[None]


class _Yin(Framed):
    """What is read off YIN's difference of each window."""

    fmin: float
    fmax: float

    @property
    def longest_period(self) -> int:
        """The period of `fmin`, in samples."""
        return int(self.sample_rate / self.fmin)

    @property
    def shortest_period(self) -> int:
        """The period of `fmax`, in samples."""
        return max(2, int(self.sample_rate / self.fmax))

    def of_padded(self, padded: np.ndarray, first: int = 0) -> np.ndarray:
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.n_fft)[:: self.hop_length]
        parts = [self._of_windows(windows[at : at + _AT_ONCE]) for at in range(0, len(windows), _AT_ONCE)]
        return np.concatenate([np.zeros((0, self.channels), np.float32), *parts]).T

    def _of_windows(self, windows: np.ndarray) -> np.ndarray:
        """windows (N, n_fft) -> (N, channels) float32."""
        raise NotImplementedError


@dataclass(frozen=True)
class Pitch(_Yin):
    """The fundamental frequency of a window by YIN, 0 where it is unvoiced.

    de Cheveigne and Kawahara 2002 (doi 10.1121/1.1458024), steps 2 to 5: the first dip below `threshold` of the
    cumulative mean normalized difference, with parabolic interpolation. The difference is taken over the samples that
    the longest period leaves of a window; a window without such a dip is unvoiced.
    """

    sample_rate: int = 22050
    n_fft: int = 1024
    hop_length: int = 256
    fmin: float = 65.0
    fmax: float = 800.0
    threshold: float = 0.15
    kind: Literal["pitch"] = "pitch"

    def __post_init__(self) -> None:
        _require_a_hop(self)
        if not 0 < self.fmin < self.fmax < self.sample_rate / 4:
            raise AudioError(f"a pitch of {self.fmin} to {self.fmax} Hz cannot be tracked at {self.sample_rate} Hz")
        if 2 * self.longest_period > self.n_fft:
            raise AudioError(f"a window of {self.n_fft} samples holds no two periods of {self.fmin} Hz")

    @property
    def channels(self) -> int:
        return 1

    @property
    def unit(self) -> str:
        return "Hz, 0 where unvoiced"

    def _of_windows(self, windows: np.ndarray) -> np.ndarray:
        """windows (N, n_fft) -> (N, 1) float32, in Hz."""
        shortest = self.shortest_period
        difference = _normalised_difference(windows.astype(np.float64), self.longest_period)
        dips = difference[:, shortest:-1] < self.threshold
        rises = difference[:, 1:-1] <= difference[:, 2:]  # of lag 1, 2, …: the next one is no deeper
        lags = np.arange(1, difference.shape[1] - 1)
        rises &= lags >= (shortest + dips.argmax(axis=1))[:, None]
        rises[:, -1] = True
        period = lags[rises.argmax(axis=1)]
        shift, _ = _vertex(difference, np.arange(len(windows)), period)
        hertz = np.where(dips.any(axis=1), self.sample_rate / (period + shift), 0.0)
        return hertz[:, None].astype(np.float32)


@dataclass(frozen=True)
class PitchCandidates(_Yin):
    """The periods that a window may have: the deepest dips of YIN's difference (`Pitch`), for a tracker to choose from.

    `count` rows of frequencies in Hz, falling, 0 where there is no further dip below `threshold`; then as many of how
    deep each dip is, 1 where there is none. Which one is the pitch is not the window's to know: see `PitchTracker`.
    """

    sample_rate: int = 22050
    n_fft: int = 768
    hop_length: int = 256
    fmin: float = 65.0
    fmax: float = 800.0
    threshold: float = 0.5
    count: int = 5
    kind: Literal["pitch_candidates"] = "pitch_candidates"

    def __post_init__(self) -> None:
        Pitch(self.sample_rate, self.n_fft, self.hop_length, self.fmin, self.fmax)  # raises AudioError as YIN does
        if not 1 <= self.count <= _MOST_CANDIDATES:
            raise AudioError(f"count must be 1 to {_MOST_CANDIDATES} candidates, got {self.count}")

    @property
    def channels(self) -> int:
        return 2 * self.count

    @property
    def unit(self) -> str:
        return "Hz, 0 where there is none; how deep each dip is"

    def _of_windows(self, windows: np.ndarray) -> np.ndarray:
        """windows (N, n_fft) -> (N, channels) float32."""
        shortest = self.shortest_period
        difference = _normalised_difference(windows.astype(np.float64), self.longest_period)
        before, here, after = (
            difference[:, shortest - 1 : -2],
            difference[:, shortest:-1],
            difference[:, shortest + 1 :],
        )
        depths = np.where((here < before) & (here <= after) & (here < self.threshold), here, np.inf)
        deepest = np.sort(np.argsort(depths, axis=1, kind="stable")[:, : self.count], axis=1)
        rows = np.arange(len(windows))[:, None]
        is_there = np.isfinite(depths[rows, deepest])
        shift, depth = _vertex(difference, rows, deepest + shortest)
        hertz = np.where(is_there, self.sample_rate / (deepest + shortest + shift), 0.0)
        # those that are missing behind the others, which stay in order
        order = np.argsort(~is_there, axis=1, kind="stable")
        depth = np.where(is_there, np.maximum(depth, 0.0), 1.0)
        return np.concatenate([hertz[rows, order], depth[rows, order]], axis=1).astype(np.float32)


_AT_ONCE = 256  # windows
_MOST_CANDIDATES = 16


def _normalised_difference(windows: np.ndarray, longest: int) -> np.ndarray:
    """d'(tau) of equation 8, for tau of 0 to `longest`: (N, n) -> (N, longest + 1)."""
    from scipy.fft import irfft, next_fast_len, rfft

    size = next_fast_len(windows.shape[1] + longest, real=True)
    head = windows[:, : windows.shape[1] - longest]
    products = irfft(np.conj(rfft(head, size)) * rfft(windows, size), size)[:, : longest + 1]
    energy = np.zeros((len(windows), windows.shape[1] + 1))
    np.cumsum(windows**2, axis=1, out=energy[:, 1:])
    lags = np.arange(longest + 1)
    energies = energy[:, lags + head.shape[1]] - energy[:, lags]
    difference = np.maximum(energies[:, :1] + energies - 2 * products, 0.0)
    total = np.cumsum(difference, axis=1)
    silent = total <= 1e-12 * np.maximum(energies[:, :1], 1e-12) * head.shape[1]
    return np.where(silent | (lags == 0), 1.0, difference * lags / np.where(silent, 1.0, total))


def _vertex(difference: np.ndarray, rows: np.ndarray, periods: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the parabola through a dip and its neighbours has its vertex: samples after the dip, and its height."""
    before, here, after = (difference[rows, periods + step] for step in (-1, 0, 1))
    curvature = before - 2 * here + after
    is_bent = curvature > 0
    shift = np.where(is_bent, 0.5 * (before - after) / np.where(is_bent, curvature, 1.0), 0.0)
    shift = np.clip(shift, -0.5, 0.5)
    return shift, here - 0.25 * (before - after) * shift


def _require_a_hop(features: Framed) -> None:
    require_counts(features, "sample_rate", "n_fft", "hop_length")
    if features.hop_length > features.n_fft:
        raise AudioError(f"hop_length {features.hop_length} is larger than n_fft {features.n_fft}")
