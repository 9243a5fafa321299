"""Whom a conversion is to sound like: what a target's encoder makes of a recording."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from runtime.errors import AudioError
from runtime.speech.clips import read_clip
from runtime.speech.features import Features
from runtime.speech.speaker import SpeakerMel


def target_embedding(
    recording: Path, features: Features | None, length: int, encoder: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Returns what an encoder, (windows, channels, length) -> (windows, …), makes of a recording: (1, …), the mean.

    The windows are `length` frames one after another, what does not fill one is left out; a recording of fewer begins
    anew. Raises AudioError for what is no recording, and features that are not local in time.
    """
    if features is None or isinstance(features, SpeakerMel):
        raise AudioError("a target's encoder takes features that are local in time")
    frames = features.of(read_clip(recording, features.sample_rate, features.hop_length))
    count = max(frames.shape[1] // length, 1)
    looped = np.take(frames, np.arange(count * length) % frames.shape[1], axis=1)
    windows = np.ascontiguousarray(looped.reshape(len(frames), count, length).swapaxes(0, 1))
    return encoder(windows).mean(axis=0, keepdims=True)
