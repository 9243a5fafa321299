"""Speech in, a speaker's embedding out: what stands around a GE2E encoder (Wan et al. 2018, arXiv 1710.10467).

Level, silence, features and windows are those that an encoder's weights expect: by default Real-Time-Voice-Cloning's
(and Resemblyzer's, which shares them), for Coqui's encoders those of its `compute_embedding`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from runtime.audio import AudioError, MelSettings, mel_spectrogram

# Of the voice activity detector: windows of 30 ms, their flags averaged over 8, silences of up to 6 windows kept.
_VAD_MILLISECONDS, _VAD_AVERAGE, _VAD_KEPT, _VAD_MODE = 30, 8, 6, 3


@dataclass(frozen=True)
class SpeakerSettings:
    """`level_dbfs`: quieter speech is raised to it, None for as it is. `partial_frames`: frames of a window that is
    embedded by itself; neighbours share `overlap` of them, and a last one that the audio fills to less than
    `least_coverage` is left out. `spread`: so many windows evenly over the audio instead. `mel`: a vocoder's log-mel
    instead of mel power."""

    sample_rate: int = 16000
    n_fft: int = 400
    win_length: int = 400
    hop_length: int = 160
    n_mels: int = 40
    window: str = "hann"
    htk: bool = False
    preemphasis: float = 0.0
    partial_frames: int = 160
    overlap: float = 0.5
    least_coverage: float = 0.75
    spread: int | None = None
    level_dbfs: float | None = -30.0
    trims_silence: bool = True
    mel: MelSettings | None = None

    @property
    def unit(self) -> str:
        return "mel power" if self.mel is None else self.mel.unit


def partials(samples: np.ndarray, settings: SpeakerSettings) -> np.ndarray:
    """samples (N,) at settings.sample_rate, full scale 1.0 -> mel windows (partials, partial_frames, n_mels) float32.

    Raises AudioError for audio without speech.
    """
    samples = prepared(samples, settings)
    if settings.spread is None:
        starts = partial_starts(len(samples), settings)
        end = (starts[-1] + settings.partial_frames) * settings.hop_length
        frames = speaker_mel(np.pad(samples, (0, max(0, end - len(samples)))), settings)
    else:
        frames = speaker_mel(samples, settings)
        frames = np.pad(frames, ((0, max(0, settings.partial_frames - len(frames))), (0, 0)))
        starts = np.linspace(0, len(frames) - settings.partial_frames, settings.spread).astype(int).tolist()
    return np.stack([frames[start : start + settings.partial_frames] for start in starts])


def utterance_embedding(embeddings: np.ndarray) -> np.ndarray:
    """Embeddings of partials (partials, D) -> (D,): their mean at length 1."""
    mean = embeddings.mean(axis=0)
    return mean / np.linalg.norm(mean)


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    """Of the angle between two vectors."""
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


def prepared(samples: np.ndarray, settings: SpeakerSettings) -> np.ndarray:
    """Raised to the level, long silences cut out. Raises AudioError for audio without speech."""
    samples = np.asarray(samples, np.float32)
    if samples.ndim != 1 or not len(samples):
        raise AudioError(f"a speaker is embedded from one channel of audio, got an array of shape {samples.shape}")
    power = float(np.mean(samples.astype(np.float64) ** 2))
    if power == 0 or not np.isfinite(power):
        raise AudioError("the recording is silent (or not finite): there is no speaker in it")
    if settings.level_dbfs is not None:
        gain = max(0.0, settings.level_dbfs - 10 * np.log10(power))
        samples = samples * np.float32(10 ** (gain / 20))
    if not settings.trims_silence:
        return samples
    samples = voiced(samples, settings.sample_rate)
    if not len(samples):
        raise AudioError("there is no speech in the recording")
    return samples


def voiced(samples: np.ndarray, sample_rate: int) -> np.ndarray:
    """Without the silences that last, by WebRTC's voice activity detector in its strictest mode."""
    import webrtcvad  # type: ignore[import-untyped]
    from scipy.ndimage import binary_dilation

    window = _VAD_MILLISECONDS * sample_rate // 1000
    samples = samples[: len(samples) // window * window]
    pcm = np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").reshape(-1, window)
    detector = webrtcvad.Vad(_VAD_MODE)
    flags = np.array([detector.is_speech(row.tobytes(), sample_rate) for row in pcm], float)
    padded = np.concatenate([np.zeros((_VAD_AVERAGE - 1) // 2), flags, np.zeros(_VAD_AVERAGE // 2)])
    average = np.convolve(padded, np.full(_VAD_AVERAGE, 1 / _VAD_AVERAGE), "valid") if len(flags) else flags
    kept = binary_dilation(np.round(average).astype(bool), np.ones(_VAD_KEPT + 1)) if len(flags) else average
    return samples[np.repeat(kept.astype(bool), window)]


def partial_starts(samples: int, settings: SpeakerSettings) -> list[int]:
    """First frames of the windows that cover so many samples; at least one."""
    frames = -(-(samples + 1) // settings.hop_length)
    step = max(1, round(settings.partial_frames * (1 - settings.overlap)))
    starts = list(range(0, max(1, frames - settings.partial_frames + step + 1), step))
    covered = samples / settings.hop_length - starts[-1]
    if len(starts) > 1 and covered < settings.least_coverage * settings.partial_frames:
        starts.pop()
    return starts


def speaker_mel(samples: np.ndarray, settings: SpeakerSettings) -> np.ndarray:
    """samples (N,) -> (floor(N / hop) + 1, n_mels) float32: mel bands of the power spectrum, centred.

    Slaney's bands and zeros at the ends as librosa's `melspectrogram`, which RTVC calls; HTK's bands without norm and
    reflection at the ends as torchaudio's `MelSpectrogram`, which Coqui does.
    """
    from scipy.fft import rfft

    samples = np.asarray(samples, np.float32)
    if settings.mel is not None:
        return mel_spectrogram(samples, settings.mel).T
    if settings.preemphasis:
        previous = np.concatenate([samples[1:2], samples[:-1]])  # Coqui's filter begins with a reflection
        samples = samples - np.float32(settings.preemphasis) * previous
    padded = np.pad(samples, settings.n_fft // 2, mode="reflect" if settings.htk else "constant")
    windows = np.lib.stride_tricks.sliding_window_view(padded, settings.n_fft)[:: settings.hop_length]
    window = _window(settings.window, settings.win_length, settings.n_fft)
    power = np.abs(rfft(windows * window, axis=1)) ** 2
    bands = _mel_bands(settings.sample_rate, settings.n_fft, settings.n_mels, settings.htk)
    return (power @ bands.T).astype(np.float32)


@functools.lru_cache(maxsize=4)
def _window(name: str, length: int, n_fft: int) -> np.ndarray:
    from scipy.signal import get_window

    window = np.zeros(n_fft, np.float32)
    start = (n_fft - length) // 2
    window[start : start + length] = get_window(name, length)
    return window


@functools.lru_cache(maxsize=4)
def _mel_bands(sample_rate: int, n_fft: int, n_mels: int, htk: bool) -> np.ndarray:
    import librosa

    return librosa.filters.mel(sr=sample_rate, n_fft=n_fft, n_mels=n_mels, htk=htk, norm=None if htk else "slaney")
