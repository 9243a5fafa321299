"""Mel bands as weights of a spectrum's bins: librosa's filters, without the compiler that librosa imports for them."""

from __future__ import annotations

import numpy as np

# Slaney's Auditory Toolbox (technical report 1998-010): linear up to 1000 Hz, then 27 steps for each factor of 6.4.
_LINEAR_HZ = 200 / 3
_BREAK_HZ = 1000.0
_LOG_STEP = np.log(6.4) / 27


def mel_bands(
    sample_rate: int, n_fft: int, n_mels: int, fmin: float = 0.0, fmax: float | None = None, *, htk: bool = False
) -> np.ndarray:
    """Returns triangles of `n_mels` bands over the bins, (n_mels, n_fft / 2 + 1) float32, between `fmin` and `fmax` Hz
    (half the sample rate).

    On Slaney's scale each has an area of 1 in Hz; on HTK's, as torchaudio has them, a height of 1.
    """
    highest = sample_rate / 2 if fmax is None else fmax
    lowest_mel, highest_mel = _mel_of(np.array([fmin, highest]), htk)
    steps = np.linspace(lowest_mel, highest_mel, n_mels + 2)
    edges = _hz_of(steps, htk)
    bins = np.fft.rfftfreq(n_fft, 1 / sample_rate)
    from_edges, widths = bins - edges[:, None], np.diff(edges)[:, None]
    rising, falling = from_edges[:-2] / widths[:-1], -from_edges[2:] / widths[1:]
    weights = np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)
    return weights if htk else (weights * (2 / (edges[2:] - edges[:-2]))[:, None]).astype(np.float32)


def _mel_of(hertz: np.ndarray, htk: bool) -> np.ndarray:
    if htk:
        return 2595.0 * np.log10(1.0 + hertz / 700.0)
    above = _BREAK_HZ / _LINEAR_HZ + np.log(np.maximum(hertz, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    return np.where(hertz >= _BREAK_HZ, above, hertz / _LINEAR_HZ)


def _hz_of(mel: np.ndarray, htk: bool) -> np.ndarray:
    if htk:
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    at_break = _BREAK_HZ / _LINEAR_HZ
    return np.where(mel >= at_break, _BREAK_HZ * np.exp(_LOG_STEP * (mel - at_break)), _LINEAR_HZ * mel)
