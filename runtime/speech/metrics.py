"""How close an engine's audio is to the reference, as numbers with units."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace

import numpy as np

from runtime.errors import VoxportError
from runtime.speech.mel import Mel

WINDOW_SECONDS = 0.05
# Bounds a perfect match, and keeps silence from deciding: the reference power that a window's error is compared with
# is never taken to be lower than this share of the clip's mean power (-40 dB).
BEST_DB = 200.0
_POWER_FLOOR = 1e-4


class LengthError(VoxportError, ValueError):
    """Two signals that should have the same number of samples and have not."""


@dataclass(frozen=True)
class Agreement:
    """One output against the reference output, both (N,).

    snr_db: 10 log10(sum ref^2 / sum (ref - out)^2) over all samples. worst_window_db, head_db, tail_db: the same
    over the worst, first and last 50 ms, the reference's power floored at -40 dB of the clip's mean power.
    log_mel_l1: mean |difference| of natural-log mel amplitudes. stoi: intelligibility, 1.0 is best.
    """

    snr_db: float
    worst_window_db: float
    worst_window_at_s: float
    head_db: float
    tail_db: float
    max_abs_error: float
    log_mel_l1: float
    stoi: float


def agreement(reference: np.ndarray, output: np.ndarray, settings: Mel) -> Agreement:
    """reference, output: (N,) float, full scale 1.0. Raises LengthError unless both have N samples."""
    reference, output = _same_length(reference, output)
    windows = window_snr_db(reference, output, settings.sample_rate)
    worst = int(np.argmin(windows))
    last_start = len(reference) / settings.sample_rate - WINDOW_SECONDS
    return Agreement(
        snr_db=snr_db(reference, output),
        worst_window_db=float(windows[worst]),
        worst_window_at_s=min(worst * WINDOW_SECONDS, max(last_start, 0.0)),
        head_db=float(windows[0]),
        tail_db=float(windows[-1]),
        max_abs_error=float(np.abs(reference - output).max()),
        log_mel_l1=log_mel_l1(reference, output, settings),
        stoi=stoi(reference, output, settings.sample_rate),
    )


def snr_db(reference: np.ndarray, output: np.ndarray) -> float:
    """Signal-to-noise ratio over all samples; not finite output counts as no signal at all."""
    reference, output = _same_length(reference, output)
    if not np.isfinite(output).all():
        return -BEST_DB
    return _ratio_db(float((reference**2).sum()), float(((reference - output) ** 2).sum()))


def window_snr_db(reference: np.ndarray, output: np.ndarray, sample_rate: int) -> np.ndarray:
    """SNR of each 50 ms window from the first sample on, and of the last 50 ms as the last value."""
    reference, output = _same_length(reference, output)
    length = min(round(WINDOW_SECONDS * sample_rate), len(reference))
    starts = [*range(0, len(reference) - length + 1, length), len(reference) - length]
    floor = _POWER_FLOOR * float((reference**2).mean()) * length
    ratios = []
    for start in starts:
        part = slice(start, start + length)
        if not np.isfinite(output[part]).all():
            ratios.append(-BEST_DB)
            continue
        signal = max(float((reference[part] ** 2).sum()), floor)
        ratios.append(_ratio_db(signal, float(((reference[part] - output[part]) ** 2).sum())))
    return np.array(ratios)


def log_mel_l1(reference: np.ndarray, output: np.ndarray, settings: Mel) -> float:
    """Mean absolute difference of natural-log mel spectrograms, whatever the checkpoint's own scale is."""
    if not np.isfinite(output).all():
        return float("inf")
    natural = replace(settings, log_base=math.e, gain=1.0, signal_norm=False, amplitude_floor=1e-5, noise_rows=0)
    reference, output = _same_length(reference, output)
    return float(np.abs(natural.of(reference) - natural.of(output)).mean())


def stoi(reference: np.ndarray, output: np.ndarray, sample_rate: int) -> float:
    """Short-time objective intelligibility (Taal et al. 2011), by pystoi; nan where there is too little speech."""
    import pystoi

    if not np.isfinite(output).all():
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(pystoi.stoi(reference, output, sample_rate))
        except RuntimeWarning:
            return float("nan")


def _ratio_db(signal: float, noise: float) -> float:
    if noise == 0.0:
        return BEST_DB
    if signal == 0.0:
        return -BEST_DB
    return float(np.clip(10.0 * np.log10(signal / noise), -BEST_DB, BEST_DB))


def _same_length(reference: np.ndarray, output: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if reference.shape != output.shape:
        raise LengthError(f"the reference has {reference.shape} samples, the output {output.shape}")
    return reference.astype(np.float64), output.astype(np.float64)
