"""Whom a conversion is to sound like: what a target's encoder makes of a recording."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from runtime.errors import AudioError
from runtime.speech.features import Features
from runtime.speech.speaker import SpeakerMel, utterance_embedding

_SHORTEST = 2.0  # seconds
_SILENT_DB = -60.0
_TRIM_FRAME, _TRIM_HOP, _TRIM_DB = 2048, 512, 20.0


def target_embedding(
    samples: np.ndarray, features: Features | None, length: int, encoder: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Returns what an encoder, (windows, channels, length) -> (windows, …), makes of a recording: (1, …), the mean.

    samples (N,) at the features' rate. The windows are `length` frames that overlap by half, the last one ends with the
    recording (`embed_utterance` of coqui-tts's FreeVC); a recording of fewer frames begins anew, where FreeVC embeds a
    shorter window: an artefact's are of one length. Those of a speaker encoder, (windows, frames, bands), are as its
    features say, and the mean of its embeddings has length 1. Before either, silence is cut from both ends. Raises
    AudioError where there are no features.
    """
    if features is None:
        raise AudioError("a target's encoder takes features")
    samples = trimmed(samples)
    if isinstance(features, SpeakerMel):
        embeddings = encoder(features.of(samples))
        mean = utterance_embedding(embeddings.reshape(len(embeddings), -1))
        return mean.reshape(1, *embeddings.shape[1:])
    frames = features.of(samples)
    count = frames.shape[1]
    starts = [*range(0, count - length, max(1, length // 2)), max(count - length, 0)]
    windows = [np.take(frames, np.arange(start, start + length) % count, axis=1) for start in starts]
    return encoder(np.stack(windows)).mean(axis=0, keepdims=True)


def trimmed(samples: np.ndarray) -> np.ndarray:
    """Samples (N,) without what is over 20 dB softer than the loudest of it at either end.

    `librosa.effects.trim(top_db=20)`, with which coqui-tts's FreeVC prepares a target: the level of frames of 2048
    samples, one each 512, over zeros beyond both ends.
    """
    energy = np.cumsum(np.pad(samples.astype(np.float64) ** 2, (_TRIM_FRAME // 2 + 1, _TRIM_FRAME // 2)))
    power = (energy[_TRIM_FRAME:] - energy[:-_TRIM_FRAME])[::_TRIM_HOP]
    (loud,) = np.nonzero(power > power.max() * 10 ** (-_TRIM_DB / 10))
    return samples[loud[0] * _TRIM_HOP : (loud[-1] + 1) * _TRIM_HOP] if len(loud) else samples


def check_speech(samples: np.ndarray, sample_rate: int) -> None:
    """Raises AudioError for samples (N,) of a target that are too few or silent."""
    seconds = len(samples) / sample_rate
    if seconds < _SHORTEST:
        raise AudioError(f"a target of {seconds:.1f} s is too short: it takes {_SHORTEST:g} s, better ten")
    check_level(float(np.mean(samples.astype(np.float64) ** 2)))


def check_level(power: float) -> None:
    """Raises AudioError for a target of that mean power, full scale 1.0, where it is silent."""
    if power < 10 ** (_SILENT_DB / 10):
        raise AudioError(f"a target of {10 * np.log10(max(power, 1e-20)):.0f} dB is silent")
