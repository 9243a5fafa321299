"""The `audio` section of a Coqui config in the runtime's terms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from runtime.errors import AudioError
from runtime.speech.mel import Mel


def mel_settings(audio: Mapping[str, Any] | None, stats: Mapping[str, Any] | None = None) -> Mel:
    """Reads the mel's settings from the `audio` section of a Coqui config and its mean-variance statistics, if any.

    Raises AudioError where there is no such section, or it asks for something that is not a mel spectrogram of this
    kind. What a section leaves out has Coqui's defaults.
    """
    if not audio:
        raise AudioError(
            "the config has no `audio` section, and nothing else says what spectrogram the network takes: add "
            "sample_rate, fft_size, win_length, hop_length, num_mels, mel_fmin, mel_fmax, log_func, spec_gain and "
            "signal_norm as it was trained"
        )
    framing = audio.get("framing", "centered")
    hifigan = framing == "hifigan"  # what the catalogue calls it; the runtime names no family

    def number(name: str, default: float) -> float:
        value = audio.get(name)
        if isinstance(value, str) and value.isascii() and value.replace(".", "", 1).isdecimal():
            value = float(value)  # written with quotes
        if value is None or (isinstance(value, int | float) and math.isfinite(value)):
            return default if value is None else float(value)
        raise AudioError(f"audio setting {name} is {str(value)[:80]!r}, which is no number")

    def count(name: str, default: int) -> int:
        return int(number(name, default)) or default

    if stats is None and audio.get("mel_mean") is not None:
        stats = audio  # other trainers' are part of their settings (checkpoints/layouts)
    sample_rate = count("sample_rate", 22050)
    hop, window = count("hop_length", 0), count("win_length", 0)
    shift, length = number("frame_shift_ms", 0), number("frame_length_ms", 0)
    if not (hop and window) and shift and length:
        window = int(length / 1000 * sample_rate)
        hop = int(window / (length / shift))
    if audio.get("stats_path") and audio.get("signal_norm", True) and stats is None:
        raise AudioError(
            f"the config normalises by statistics in {audio['stats_path']!r}, which is not beside the checkpoint"
        )
    if not audio.get("do_amp_to_db_mel", True):
        raise AudioError("the config asks for a linear mel spectrogram (do_amp_to_db_mel: false)")
    fmax = None if audio.get("mel_fmax") is None else number("mel_fmax", 0.0)
    if fmax is not None and fmax > sample_rate / 2:
        raise AudioError(
            f"mel_fmax {fmax:g} Hz is above half of sample_rate {sample_rate} Hz, where there is no sound: one of the "
            "two is not what the network was trained with"
        )
    return Mel(
        sample_rate=sample_rate,
        n_fft=count("fft_size", 1024),
        win_length=window or 1024,
        hop_length=hop or 256,
        n_mels=count("num_mels", 80),
        fmin=number("mel_fmin", 0.0),
        fmax=fmax,
        framing="inset" if hifigan else framing,
        pad_mode=audio.get("stft_pad_mode") or "reflect",
        preemphasis=number("preemphasis", 0.0),
        log_base=10.0 if audio.get("log_func", "np.log10") == "np.log10" else math.e,
        gain=number("spec_gain", 20.0),
        # HiFi-GAN's own recipe: sqrt(re^2 + im^2 + 1e-9), then log(max(., 1e-5)) (jik876/hifi-gan meldataset.py)
        amplitude_floor=number("amplitude_floor", 1e-5 if hifigan else 1e-8),
        magnitude_floor=number("magnitude_floor", 1e-9 if hifigan else 0.0),
        signal_norm=bool(audio.get("signal_norm", True)),
        min_level_db=number("min_level_db", -100.0) or -100.0,
        ref_level_db=number("ref_level_db", 0.0 if "ref_level_db" in audio else 20.0),
        symmetric_norm=bool(audio.get("symmetric_norm", True)),
        max_norm=number("max_norm", 4.0),
        clip_norm=bool(audio.get("clip_norm", True)),
        mean=None if stats is None else tuple(float(value) for value in stats["mel_mean"]),
        std=None if stats is None else tuple(float(value) for value in stats["mel_std"]),
    )
