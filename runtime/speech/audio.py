"""Audio in, features out: the mel spectrogram that a vocoder was trained on."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from runtime.bundle.mel import MelSettings, require_same_spectrum
from runtime.errors import AudioError


def mel_spectrogram(samples: np.ndarray, settings: MelSettings) -> np.ndarray:
    """samples: (N,) at settings.sample_rate, full scale 1.0 -> (n_mels, frames) float32, in settings.unit.

    With `framing: centered` it equals coqui-tts's AudioProcessor.melspectrogram. Rows of noise follow where the
    settings have them.
    Raises AudioError for audio too short to pad by reflection.
    """
    samples = np.asarray(samples, dtype=np.float32)
    if samples.ndim != 1:
        raise AudioError(f"the mel spectrogram takes one channel, got an array of shape {samples.shape}")
    if len(samples) <= settings.n_fft // 2:
        raise AudioError(f"{len(samples)} samples are too short for a window of {settings.n_fft}")
    samples = emphasised(samples, np.float32(0), settings)
    border = settings.border
    mel = mel_of(np.pad(samples, border, mode=settings.border_mode), settings)  # type: ignore[call-overload]
    return with_noise(mel, settings)


def emphasised(samples: np.ndarray, before: np.float32, settings: MelSettings) -> np.ndarray:
    """samples (n,) less `preemphasis` of the sample before each, in float64; `before`: the one before the first."""
    if not settings.preemphasis or not len(samples):
        return samples
    delayed = np.concatenate([[before], samples[:-1]]).astype(np.float64)
    return samples - settings.preemphasis * delayed


def mel_of(padded: np.ndarray, settings: MelSettings) -> np.ndarray:
    """The frames of samples that have their borders (and pre-emphasis) already: a window each `hop_length`.

    A frame is the same, to the last bit, whichever others are computed with it: so streamed audio equals offline audio.
    |STFT| with a periodic Hann window. librosa's stft gives the same numbers, and compiles itself for 12 s on a machine
    that has not run it before.
    """
    from scipy.fft import rfft

    windows = np.lib.stride_tricks.sliding_window_view(padded, settings.n_fft)[:: settings.hop_length]
    magnitude = np.abs(rfft(windows * _window(settings.n_fft, settings.win_length), axis=1)).T
    if settings.magnitude_floor:
        magnitude = np.sqrt(magnitude**2 + settings.magnitude_floor)
    basis = _mel_basis(settings.sample_rate, settings.n_fft, settings.n_mels, settings.fmin, settings.fmax)
    amplitude = np.maximum(basis @ magnitude, settings.amplitude_floor)
    level = settings.gain * (np.log10(amplitude) if settings.log_base == 10.0 else np.log(amplitude))
    return _normalised(level, settings).astype(np.float32)


@functools.lru_cache(maxsize=8)
def _window(n_fft: int, win_length: int) -> np.ndarray:
    from scipy.signal import get_window

    window = np.zeros(n_fft, dtype=np.float32)
    start = (n_fft - win_length) // 2
    window[start : start + win_length] = get_window("hann", win_length)
    return window


@functools.lru_cache(maxsize=8)
def _mel_basis(sample_rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float | None) -> Any:
    """(n_mels, n_fft / 2 + 1), sparse: a dense product sums in another order for few frames than for many."""
    import librosa
    from scipy.sparse import csr_array

    return csr_array(librosa.filters.mel(sr=sample_rate, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax))


def _normalised(level: np.ndarray, settings: MelSettings) -> np.ndarray:
    """Coqui's signal_norm: by mean and variance where there are statistics, else by level range."""
    if not settings.signal_norm:
        return level
    if settings.mean is not None and settings.std is not None:
        return (level - np.array(settings.mean)[:, None]) / np.array(settings.std)[:, None]
    unit = (level - settings.ref_level_db - settings.min_level_db) / -settings.min_level_db
    low, scaled = 0.0, settings.max_norm * unit
    if settings.symmetric_norm:
        low, scaled = -settings.max_norm, 2 * settings.max_norm * unit - settings.max_norm
    return np.clip(scaled, low, settings.max_norm) if settings.clip_norm else scaled


def with_noise(mel: np.ndarray, settings: MelSettings, start: int = 0) -> np.ndarray:
    """mel (…, n_mels, T), its first frame being frame `start` of an utterance -> (…, n_mels + noise_rows, T).

    The noise is a frame's own: the same in whatever pieces an utterance comes.
    """
    rows, frames = settings.noise_rows, mel.shape[-1]
    if not rows:
        return mel
    first, last = start // _NOISE_BLOCK, (start + frames - 1) // _NOISE_BLOCK
    blocks = [_noise_block(number, rows, settings.noise) for number in range(first, last + 1)]
    noise = np.concatenate([np.zeros((0, rows), np.float32), *blocks])[start - first * _NOISE_BLOCK :][:frames].T
    return np.concatenate([mel, np.broadcast_to(noise, (*mel.shape[:-2], *noise.shape))], axis=-2)


_NOISE_BLOCK = 64  # frames that are drawn at once


@functools.lru_cache(maxsize=16)
def _noise_block(number: int, rows: int, kind: str) -> np.ndarray:
    random = np.random.default_rng([rows, number])
    if kind == "logistic":
        return random.logistic(size=(_NOISE_BLOCK, rows)).astype(np.float32)
    return random.standard_normal((_NOISE_BLOCK, rows), np.float32)


def rescaled_mel(mel: np.ndarray, source: MelSettings, target: MelSettings) -> np.ndarray:
    """A mel spectrogram (…, n_mels, T) in the scale of other settings (level, logarithm, normalisation), their noise
    below.

    Raises AudioError where the settings differ in more than the scale.
    """
    require_same_spectrum(source, target)
    if _scale(source) == _scale(target):
        return with_noise(mel, target)
    level = _level(mel.astype(np.float64), source)
    log = level / source.gain * (math.log(10.0) if source.log_base == 10.0 else 1.0)
    log = np.maximum(log, math.log(target.amplitude_floor))
    level = target.gain * (log / math.log(10.0) if target.log_base == 10.0 else log)
    return with_noise(_normalised(level, target).astype(np.float32), target)


def _scale(settings: MelSettings) -> tuple[object, ...]:
    if not settings.signal_norm:
        return (settings.log_base, settings.gain)
    if settings.mean is not None:
        return (settings.log_base, settings.gain, settings.mean, settings.std)
    levels = (settings.min_level_db, settings.ref_level_db, settings.symmetric_norm, settings.max_norm)
    return (settings.log_base, settings.gain, *levels)


def _level(normalised: np.ndarray, settings: MelSettings) -> np.ndarray:
    """The inverse of `_normalised`."""
    if not settings.signal_norm:
        return normalised
    if settings.mean is not None and settings.std is not None:
        return normalised * np.array(settings.std)[:, None] + np.array(settings.mean)[:, None]
    if settings.symmetric_norm:
        normalised = (normalised + settings.max_norm) / 2
    return normalised / settings.max_norm * -settings.min_level_db + settings.min_level_db + settings.ref_level_db
