"""FastSpeech 2 and its kin: text -> hidden states and how long each lasts -> repeated along time -> mel.

The length regulator between the two components is here, in numpy (Ren et al. 2021, arXiv 2006.04558, section 2.2;
`ForwardTTS.format_durations` of coqui-tts).
"""

from __future__ import annotations

import numpy as np

from runtime.bundle.voice import VoiceRecord
from runtime.playing.chains import Request, Run, Utterance, whole_durations


def speak(record: VoiceRecord, run: Run, request: Request) -> Utterance:
    """ids (T,) -> mel (1, n_mels, frames). Raises TextError where the durations that come out are no durations."""
    ids = request.ids[None].astype(np.int32)
    speaker = {} if request.speaker is None else {"speaker": request.speaker.astype(np.float32)[None, :, None]}
    shift = np.array([getattr(request, kind) for kind in record.prosody], np.float32)[None, :, None]
    text_mask = np.ones((1, 1, ids.shape[1]), np.float32)
    encoded = run("encoder", {"ids": ids, "text_mask": text_mask, "shift": shift, **speaker})
    durations = request.durations
    if durations is None:
        durations = whole_frames(encoded["log_durations"].ravel(), record.length_scale / request.pace)
    expanded = np.repeat(encoded["hidden"], durations, axis=2)
    frame_mask = np.ones((1, 1, expanded.shape[2]), np.float32)
    mel = run("decoder", {"expanded": expanded, "frame_mask": frame_mask})["mel"]
    return Utterance(mel, {}, durations)


def whole_frames(log_durations: np.ndarray, length_scale: float) -> np.ndarray:
    """log of 1 + durations (T,) -> (T,) int64: scaled, at least one, rounded to the nearest, a half to the even."""
    with np.errstate(over="ignore"):
        lengths = (np.exp(log_durations.astype(np.float32)) - np.float32(1)) * np.float32(length_scale)
    return whole_durations(np.round(np.maximum(lengths, 1)))
