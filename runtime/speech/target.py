"""Whom a conversion is to sound like: what a target's encoder makes of a recording."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from runtime.errors import AudioError
from runtime.speech.features import Features
from runtime.speech.speaker import SpeakerMel

_SHORTEST = 2.0  # seconds
_SILENT_DB = -60.0


def target_embedding(
    samples: np.ndarray, features: Features | None, length: int, encoder: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Returns what an encoder, (windows, channels, length) -> (windows, …), makes of a recording: (1, …), the mean.

    samples (N,) at the features' rate. The windows are `length` frames one after another, what does not fill one is
    left out; a recording of fewer begins anew. Raises AudioError for features that are not local in time.
    """
    if features is None or isinstance(features, SpeakerMel):
        raise AudioError("a target's encoder takes features that are local in time")
    frames = features.of(samples)
    count = max(frames.shape[1] // length, 1)
    looped = np.take(frames, np.arange(count * length) % frames.shape[1], axis=1)
    windows = np.ascontiguousarray(looped.reshape(len(frames), count, length).swapaxes(0, 1))
    return encoder(windows).mean(axis=0, keepdims=True)


def check_speech(samples: np.ndarray, sample_rate: int) -> None:
    """Raises AudioError for samples (N,) of a target that are too few or silent."""
    seconds = len(samples) / sample_rate
    if seconds < _SHORTEST:
        raise AudioError(f"a target of {seconds:.1f} s is too short: it takes {_SHORTEST:g} s, better ten")
    power = float(np.mean(samples.astype(np.float64) ** 2))
    if power < 10 ** (_SILENT_DB / 10):
        raise AudioError(f"a target of {10 * np.log10(max(power, 1e-20)):.0f} dB is silent")
