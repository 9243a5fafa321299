"""The log-mel spectrogram that a vocoder was trained on, and how it is scaled."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from runtime.errors import AudioError
from runtime.speech.frames import Framed, cosine_window, require_counts, spectra
from runtime.speech.mel_bands import mel_bands
from runtime.speech.noise import noise_of

Framing = Literal["centered", "inset"]
FRAMINGS = get_args(Framing)
PAD_MODES = ("reflect", "constant", "edge", "symmetric", "wrap")


@dataclass(frozen=True)
class Mel(Framed):
    """How a checkpoint's mel spectrogram is made. Names and defaults follow Coqui's audio config.

    With `framing: centered` it equals coqui-tts's AudioProcessor.melspectrogram. Rows of noise follow the bands where
    the settings have them.

    `framing`: `centered` is Coqui's STFT (reflect n_fft / 2, floor(N / hop) + 1 frames); `inset` is that of
    HiFi-GAN's own training (reflect (n_fft - hop) / 2, floor(N / hop) frames, shifted by hop / 2 samples).
    `magnitude_floor` is added under the square root, `amplitude_floor` bounds the logarithm's argument. `power`: of the
    magnitudes that the bands are sums of, 2 in Whisper's. `noise_rows`:
    of noise below the bands, for a vocoder that starts from noise or samples (`with_noise`), `noise` being its standard
    distribution: `normal` or `logistic`.
    """

    sample_rate: int = 22050
    n_fft: int = 1024
    win_length: int = 1024
    hop_length: int = 256
    n_mels: int = 80
    fmin: float = 0.0
    fmax: float | None = None
    framing: Framing = "centered"
    pad_mode: str = "reflect"
    preemphasis: float = 0.0
    log_base: float = 10.0
    gain: float = 20.0
    amplitude_floor: float = 1e-8
    magnitude_floor: float = 0.0
    power: Literal[1, 2] = 1
    signal_norm: bool = True
    min_level_db: float = -100.0
    ref_level_db: float = 20.0
    symmetric_norm: bool = True
    max_norm: float = 4.0
    clip_norm: bool = True
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    noise_rows: int = 0
    noise: Literal["normal", "logistic"] = "normal"
    kind: Literal["mel"] = "mel"

    def __post_init__(self) -> None:
        if not isinstance(self.framing, str) or self.framing not in FRAMINGS:
            raise AudioError(f"there is no framing {self.framing!r}; the framings are: {', '.join(FRAMINGS)}")
        require_counts(self, "sample_rate", "n_fft", "win_length", "hop_length", "n_mels")
        for name, value in vars(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise AudioError(f"audio setting {name} is {value}, which is no level and no frequency")
        for name, row in (("mean", self.mean), ("std", self.std)):
            if row is not None and len(row) != self.n_mels:
                raise AudioError(f"the statistics have {len(row)} values of {name} for {self.n_mels} bands")
        if not isinstance(self.pad_mode, str) or self.pad_mode not in PAD_MODES:
            raise AudioError(f"there is no stft_pad_mode {self.pad_mode!r}; there is: {', '.join(PAD_MODES)}")
        if not 0 <= self.fmin < (self.fmax or self.sample_rate / 2) <= self.sample_rate:
            raise AudioError(f"the bands from {self.fmin} to {self.fmax} Hz are none at {self.sample_rate} Hz")
        if self.min_level_db == 0 or self.max_norm <= 0:
            raise AudioError(f"min_level_db {self.min_level_db} and max_norm {self.max_norm} normalise nothing")
        if self.win_length > self.n_fft:
            raise AudioError(f"win_length {self.win_length} is larger than n_fft {self.n_fft}")
        if self.log_base not in (10.0, math.e):
            raise AudioError(f"the logarithm's base must be 10 or e, got {self.log_base}")

    @property
    def border(self) -> int:
        """Samples by which the first window reaches before the audio, and the last one after it."""
        return self.n_fft // 2 if self.framing == "centered" else (self.n_fft - self.hop_length) // 2

    @property
    def border_mode(self) -> str:
        """What is there, as numpy.pad calls it."""
        return self.pad_mode if self.framing == "centered" else "reflect"

    @property
    def channels(self) -> int:
        return self.n_mels + self.noise_rows

    @property
    def unit(self) -> str:
        scale = self._scale
        return f"{scale}; {self.noise_rows} rows of noise" if self.noise_rows else scale

    @property
    def _scale(self) -> str:
        scale = "natural-log amplitude" if self.log_base != 10.0 else f"{self.gain:g} * log10 amplitude"
        if not self.signal_norm:
            return scale if self.log_base == 10.0 or self.gain == 1 else f"{self.gain:g} * {scale}"
        return f"{scale}, normalised by {'mean and variance' if self.mean else 'range'}"

    def of_padded(self, padded: np.ndarray, first: int = 0) -> np.ndarray:
        """The frames of samples that have their borders and pre-emphasis already, the first being frame `first`.

        |STFT| with a periodic Hann window. librosa's stft gives the same numbers, and compiles itself for 12 s on a
        machine that has not run it before.
        """
        magnitude = np.abs(spectra(padded, cosine_window(self.n_fft, self.win_length), self.hop_length)).T
        if self.magnitude_floor:
            magnitude = np.sqrt(magnitude**2 + self.magnitude_floor)
        if self.power == 2:
            magnitude = magnitude**2
        basis = _mel_basis(self.sample_rate, self.n_fft, self.n_mels, self.fmin, self.fmax)
        amplitude = np.maximum(basis @ magnitude, self.amplitude_floor)
        level = self.gain * (np.log10(amplitude) if self.log_base == 10.0 else np.log(amplitude))
        return with_noise(_normalised(level, self).astype(np.float32), self, first)


@functools.lru_cache(maxsize=8)
def _mel_basis(sample_rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float | None) -> Any:
    """(n_mels, n_fft / 2 + 1), sparse: a dense product sums in another order for few frames than for many."""
    from scipy.sparse import csr_array

    return csr_array(mel_bands(sample_rate, n_fft, n_mels, fmin, fmax))


def _normalised(level: np.ndarray, settings: Mel) -> np.ndarray:
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


def with_noise(mel: np.ndarray, settings: Mel, start: int = 0) -> np.ndarray:
    """mel (…, n_mels, T), its first frame being frame `start` of an utterance -> (…, n_mels + noise_rows, T).

    The noise is a frame's own: the same in whatever pieces an utterance comes.
    """
    rows, frames = settings.noise_rows, mel.shape[-1]
    if not rows:
        return mel
    noise = noise_of(rows, start, start + frames, settings.noise)
    return np.concatenate([mel, np.broadcast_to(noise, (*mel.shape[:-2], *noise.shape))], axis=-2)


def shifted_mel(mel: np.ndarray, settings: Mel, decibels: np.ndarray) -> np.ndarray:
    """A mel spectrogram (n_mels, T) so many dB (T,) louder, as far as its floor reaches.

    Raises AudioError for one that is normalised.
    """
    if settings.signal_norm:
        raise AudioError("the level of a normalised mel is not shifted")
    scale = 1.0 if settings.log_base == 10.0 else math.log(10.0)
    floor = settings.gain * math.log10(settings.amplitude_floor) * scale
    return np.maximum(mel + settings.gain * scale / 20 * decibels, floor).astype(np.float32)


def rescaled_mel(mel: np.ndarray, source: Mel, target: Mel) -> np.ndarray:
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


def _scale(settings: Mel) -> tuple[object, ...]:
    if not settings.signal_norm:
        return (settings.log_base, settings.gain)
    if settings.mean is not None:
        return (settings.log_base, settings.gain, settings.mean, settings.std)
    levels = (settings.min_level_db, settings.ref_level_db, settings.symmetric_norm, settings.max_norm)
    return (settings.log_base, settings.gain, *levels)


def _level(normalised: np.ndarray, settings: Mel) -> np.ndarray:
    """The inverse of `_normalised`."""
    if not settings.signal_norm:
        return normalised
    if settings.mean is not None and settings.std is not None:
        return normalised * np.array(settings.std)[:, None] + np.array(settings.mean)[:, None]
    if settings.symmetric_norm:
        normalised = (normalised + settings.max_norm) / 2
    return normalised / settings.max_norm * -settings.min_level_db + settings.min_level_db + settings.ref_level_db


def require_same_spectrum(source: Mel, target: Mel) -> None:
    """Raises AudioError where the mel of one settings differs from that of the other in more than its scale."""
    differing = [name for name in _SPECTRUM if _spectrum(source)[name] != _spectrum(target)[name]]
    if differing:
        name = differing[0]
        raise AudioError(
            f"the mel of one model does not fit the other: {name} is {_spectrum(source)[name]:g} here and "
            f"{_spectrum(target)[name]:g} there"
        )


_SPECTRUM = ("sample_rate", "n_fft", "win_length", "hop_length", "n_mels", "fmin", "fmax", "preemphasis", "power")


def _spectrum(settings: Mel) -> dict[str, float]:
    return {**{name: getattr(settings, name) for name in _SPECTRUM}, "fmax": settings.fmax or settings.sample_rate / 2}
