"""Glow-TTS: text -> a normal distribution per symbol and how long each lasts -> sampled prior -> flow -> mel.

What is between the components is here, in numpy: whole durations, the prior, and the frames of a mel side by side in
the columns that the flow works on (Kim et al. 2020, section 3; `GlowTTS.inference` of coqui-tts).
"""

from __future__ import annotations

import numpy as np

from runtime.bundle.voice import VoiceRecord
from runtime.playing.chains import Request, Run, Utterance, whole_durations


def speak(record: VoiceRecord, run: Run, request: Request) -> Utterance:
    """ids (T,) -> mel (1, n_mels, frames); frames that fill no column are left out, as upstream does.

    Noise is drawn in float32 from `request.seed`. Raises TextError where the durations that come out are no durations.
    """
    ids = request.ids[None].astype(np.int32)
    speaker = {} if request.speaker is None else {"speaker": request.speaker.astype(np.float32)[None, :, None]}
    encoded = run("encoder", {"ids": ids, "text_mask": np.ones((1, 1, ids.shape[1]), np.float32), **speaker})
    durations = request.durations
    if durations is None:
        durations = whole_frames(encoded["log_durations"].ravel(), record.length_scale / request.pace)
    mean, log_scale = (np.repeat(encoded[name], durations, axis=2) for name in ("mean", "log_scale"))
    noise_scale = record.noise_scale if request.noise_scale is None else request.noise_scale
    noise = np.random.default_rng(request.seed).standard_normal(mean.shape, np.float32)
    prior = squeezed(mean + noise * np.exp(log_scale) * np.float32(noise_scale), record.squeeze)
    frame_mask = np.ones((1, 1, prior.shape[2]), np.float32)
    mel = run("decoder", {"prior": prior, "frame_mask": frame_mask, **speaker})["mel"]
    return Utterance(unsqueezed(mel, record.squeeze), {}, durations)


def whole_frames(log_durations: np.ndarray, length_scale: float) -> np.ndarray:
    """log of 1 + durations (T,) -> (T,) int64: scaled, rounded up, at least one."""
    with np.errstate(over="ignore"):
        lengths = np.ceil((np.exp(log_durations.astype(np.float32)) - np.float32(1)) * np.float32(length_scale))
    return whole_durations(np.maximum(lengths, 1))


def squeezed(frames: np.ndarray, by: int) -> np.ndarray:
    """frames (1, C, T) -> (1, by C, T // by): neighbours one below the other."""
    columns = frames.shape[2] // by
    pairs = frames[:, :, : columns * by].reshape(1, frames.shape[1], columns, by)
    return np.ascontiguousarray(pairs.transpose(0, 3, 1, 2).reshape(1, -1, columns))


def unsqueezed(columns: np.ndarray, by: int) -> np.ndarray:
    """The inverse of `squeezed`."""
    pairs = columns.reshape(1, by, columns.shape[1] // by, columns.shape[2])
    return np.ascontiguousarray(pairs.transpose(0, 2, 3, 1).reshape(1, pairs.shape[2], -1))
