"""VITS: text -> a normal distribution per symbol and how long each lasts -> sampled prior -> flow -> latents.

What is between the components is here, in numpy: how durations become whole frames, how statistics are repeated along
time, where noise comes in (Kim et al. 2021, section 2.2; `Vits.inference` of coqui-tts).
"""

from __future__ import annotations

import numpy as np

from runtime.bundle.voice import VoiceRecord
from runtime.playing.chains import Request, Run, Utterance, whole_durations


def speak(record: VoiceRecord, run: Run, request: Request) -> Utterance:
    """ids (T,) -> latents (1, C, frames). Noise is drawn in float32 from `request.seed`: durations first.

    Raises TextError where the durations that come out are no durations.
    """
    ids = request.ids[None].astype(np.int32)
    text_mask = np.ones((1, 1, ids.shape[1]), np.float32)
    speaker = {} if request.speaker is None else {"speaker": request.speaker.astype(np.float32)[None, :, None]}
    language = {} if request.language is None else {"language": request.language.astype(np.float32)[None, :, None]}
    random = np.random.default_rng(request.seed)

    encoded = run("text_encoder", {"ids": ids, "text_mask": text_mask, **language})
    duration_noise = random.standard_normal((1, 2, ids.shape[1]), np.float32)
    if request.durations is None:
        scale = record.duration_noise_scale if request.duration_noise_scale is None else request.duration_noise_scale
        inputs = {"hidden": encoded["hidden"], "text_mask": text_mask, "noise": duration_noise * np.float32(scale)}
        log_durations = run("duration_predictor", {**inputs, **speaker, **language})["log_durations"]
        durations = whole_frames(log_durations.ravel(), record.length_scale / request.pace)
    else:
        durations = request.durations
    mean, log_scale = (np.repeat(encoded[name], durations, axis=2) for name in ("mean", "log_scale"))
    noise_scale = record.noise_scale if request.noise_scale is None else request.noise_scale
    noise = random.standard_normal(mean.shape, np.float32)
    prior = mean + noise * np.exp(log_scale) * np.float32(noise_scale)
    frame_mask = np.ones((1, 1, prior.shape[2]), np.float32)
    latents = run("flow", {"prior": prior, "frame_mask": frame_mask, **speaker})["latents"]
    return Utterance(latents, speaker, durations)


def whole_frames(log_durations: np.ndarray, length_scale: float) -> np.ndarray:
    """log_durations (T,) -> (T,) int64: exp, scaled, rounded up; at least one frame in all."""
    with np.errstate(over="ignore"):
        lengths = np.ceil(np.exp(log_durations.astype(np.float32)) * np.float32(length_scale))
    durations = whole_durations(lengths)
    if not durations.sum():
        durations[-1] = 1
    return durations
