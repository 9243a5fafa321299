"""What opus's pitch detector reads of audio: how phases advance, and how alike the excitation is to itself before."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from runtime.errors import AudioError
from runtime.speech.frames import Framed

# Constants of dnn/freq.h, freq.c, pitchdnn.h and lpcnet_enc.c of opus 1.5.2, all for 16 kHz.
_RATE, _HOP = 16000, 160
_WINDOW = 2 * _HOP  # of the spectrum
_DELAY = _HOP // 2  # samples that the excitation lies behind the spectrum
_ORDER = 16  # of linear prediction
_PHASES = 30  # bins of which the advance is read
SHORTEST, LONGEST = 32, 256  # periods in samples
_BANDS = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 34, 40]) * 4  # edges, in bins
_LOW = ((1.0, -0.84946, 1.0), (1.0, -1.54220, 0.70781))  # ellip(2, 2, 20, 1200 / 8000)
_COMPENSATION = (
    [0.8] + [1.0] * 7 + [0.666667] + [0.5] * 3 + [0.333333] + [0.25] * 2 + [0.2, 0.166667, 0.173913]
)  # of a band's width  # fmt: skip


@dataclass(frozen=True)
class Excitation(Framed):
    """Instantaneous frequencies and cross-correlations, as `compute_frame_features` of opus 1.5.2 makes them.

    88 rows of the spectrum of 20 ms: of bin 0 its level, of bins 1 to 29 cosine and sine of the phase's advance since
    the frame before, and the level (log10 of power / 6.4 about, within -1 to 1). 224 rows of the excitation, which is
    the audio behind a linear prediction of order 16 out of 18 bands, emphasised low: its correlation with itself 256 to
    33 samples before, 2 xy / (1 + xx + yy) over 10 ms. 224 rows of the same without emphasis, below 1200 Hz by an
    elliptic filter that begins with the frame's window: xy / sqrt(1 + xx yy). A frame stands for the end of its 20 ms'
    first half.
    """

    kind: Literal["excitation"] = "excitation"
    sample_rate: int = _RATE
    hop_length: int = _HOP

    def __post_init__(self) -> None:
        if (self.sample_rate, self.hop_length) != (_RATE, _HOP):
            raise AudioError(f"the excitation is read at {_RATE} Hz every {_HOP} samples")

    @property
    def n_fft(self) -> int:
        """Samples that a frame depends on: the predictions of three frames."""
        return _WINDOW + 2 * _HOP

    @property
    def border(self) -> int:
        """Samples by which the first window reaches before the audio, and the last one after it."""
        return self.n_fft - _HOP

    @property
    def middle(self) -> float:
        """The sample of the window that a frame stands for."""
        return self.border

    @property
    def preemphasis(self) -> float:
        """The share of the sample before that is taken off each sample."""
        return 0.85

    @property
    def channels(self) -> int:
        return 3 * _PHASES - 2 + 2 * (LONGEST - SHORTEST)

    @property
    def unit(self) -> str:
        return "levels, advance of phases; correlation by period; the same of what is low"

    def of_padded(self, padded: np.ndarray, first: int = 0) -> np.ndarray:
        return analysed(padded)[1]


def analysed(padded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Emphasised samples, a frame of 640 every 160 -> of each frame the log10 energies of its last 320 samples' bands
    (n, 18) in float64 and the rows of `Excitation` (536, n) float32."""
    from scipy.fft import rfft
    from scipy.signal import lfilter

    scaled = padded.astype(np.float64) * 32768  # opus counts in 16-bit integers
    windows = np.lib.stride_tricks.sliding_window_view(scaled, _WINDOW)[::_HOP]
    spectra = rfft(windows * _power_sine(), axis=1) / _WINDOW
    levels = _band_levels(spectra)
    residual = _residual(scaled, _predictors(levels), len(windows))
    emphasised = residual + 0.7 * np.concatenate([[0.0], residual[:-1]])
    xy, xx, yy = _products(_frames_of(emphasised))
    low_xy, low_xx, low_yy = _products(lfilter(*_LOW, _frames_of(residual), axis=1))
    correlations = [2 * xy / (1 + xx + yy), low_xy / np.sqrt(1 + low_xx * low_yy)]
    rows = np.concatenate([_phases(spectra[1:]), *(one.T for one in correlations)]).astype(np.float32)
    return levels[len(levels) - rows.shape[1] :], rows


@functools.cache
def _power_sine() -> np.ndarray:
    """The window of the Vorbis codec."""
    return np.sin(0.5 * np.pi * np.sin(np.pi * (np.arange(_WINDOW) + 0.5) / _WINDOW) ** 2)


def _level(spectra: np.ndarray) -> np.ndarray:
    power = spectra.real**2 + spectra.imag**2
    return np.clip((10 * np.log10(power + 1e-15) - 6) / 64, -1, 1)


def _phases(spectra: np.ndarray) -> np.ndarray:
    """spectra (n + 1, bins), the first of the frame before -> (88, n)."""
    before, here = spectra[:-1, 1:_PHASES], spectra[1:, 1:_PHASES]
    advance = here * np.conj(before)
    advance = advance / np.sqrt(advance.real**2 + advance.imag**2 + 1e-15)
    rows = np.stack([advance.real, advance.imag, _level(here)], axis=2).reshape(len(here), -1)
    return np.concatenate([_level(spectra[1:, :1].real), rows], axis=1).T


@functools.cache
def _triangles() -> Any:
    """(18, 161), sparse: bands that overlap by halves; the last bin is in none."""
    from scipy.sparse import csr_array

    bins = np.arange(_WINDOW // 2 + 1)
    bands = np.stack([np.interp(bins, _BANDS, row) for row in np.eye(len(_BANDS))])
    bands[:, -1] = 0.0
    return csr_array(bands)


def _band_levels(spectra: np.ndarray) -> np.ndarray:
    """spectra (n, bins) -> log10 energies (n, 18), no more than 25 dB below the band before, 80 below the loudest
    before."""
    energy = (_triangles() @ (spectra.real**2 + spectra.imag**2).T).T
    energy[:, [0, -1]] *= 2
    levels, highest, follow = np.log10(energy + 1e-2), np.full(len(energy), -2.0), np.full(len(energy), -2.0)
    for band in range(levels.shape[1]):
        levels[:, band] = np.maximum(highest - 8, np.maximum(follow - 2.5, levels[:, band]))
        highest = np.maximum(highest, levels[:, band])
        follow = np.maximum(follow - 2.5, levels[:, band])
    return levels


def _predictors(levels: np.ndarray) -> np.ndarray:
    """levels (n, 18) -> coefficients of linear prediction (n, order), of the sample before first."""
    from scipy.fft import irfft

    smooth = (_triangles().T @ (10.0**levels * _COMPENSATION).T).T
    lags = irfft(smooth, _WINDOW, axis=1)[:, : _ORDER + 1] * _WINDOW
    lags[:, 0] += lags[:, 0] * 1e-4 + 26 / 38  # a floor at -40 dB
    return _levinson(lags * (1 - 6e-5 * np.arange(_ORDER + 1) ** 2))


def _levinson(lags: np.ndarray) -> np.ndarray:
    """Autocorrelation (n, order + 1) -> coefficients (n, order); a frame is done at a gain of 30 dB."""
    coefficients, error = np.zeros((len(lags), _ORDER)), lags[:, 0].copy()
    goes_on = np.ones(len(lags), bool)
    for order in range(_ORDER):
        total = lags[:, order + 1].copy()
        for lag in range(order):
            total += coefficients[:, lag] * lags[:, order - lag]
        reflection = np.where(goes_on, -total / error, 0.0)
        before = coefficients[:, :order].copy()
        coefficients[:, :order] += reflection[:, None] * before[:, ::-1]
        coefficients[:, order] = reflection
        error -= reflection**2 * error
        goes_on &= error >= 1e-3 * lags[:, 0]
    return coefficients


def _residual(scaled: np.ndarray, predictors: np.ndarray, count: int) -> np.ndarray:
    """What is left of samples by the predictors of each hop: (count * hop,), half a hop behind the newest hop."""
    start = _WINDOW - _HOP - _DELAY
    residual = scaled[start : start + count * _HOP].reshape(count, _HOP).copy()
    for lag in range(1, _ORDER + 1):
        residual += predictors[:, lag - 1, None] * scaled[start - lag : start - lag + count * _HOP].reshape(count, _HOP)
    return residual.reshape(-1)


def _frames_of(signal: np.ndarray) -> np.ndarray:
    """The signal of n + 2 hops -> of each frame the last three (n, 3 hops)."""
    return np.lib.stride_tricks.sliding_window_view(signal, 3 * _HOP)[::_HOP]


def _products(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """frames (n, 3 hops) -> of the newest hop and what is a period before, the longest period first: their product
    (n, 224), the energy of the one (n, 1) and of the other (n, 224)."""
    from scipy.fft import irfft, next_fast_len, rfft

    reach = LONGEST + _HOP
    pieces, newest = frames[:, -reach:], frames[:, -_HOP:]
    lags, size = np.arange(LONGEST - SHORTEST), next_fast_len(reach + _HOP, real=True)
    products = irfft(np.conj(rfft(newest, size)) * rfft(pieces, size), size)[:, : len(lags)]
    energy = np.pad(np.cumsum(pieces**2, axis=1), ((0, 0), (1, 0)))
    return products, (newest**2).sum(axis=1, keepdims=True), energy[:, lags + _HOP] - energy[:, lags]
