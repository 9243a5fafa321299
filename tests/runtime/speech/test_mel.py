import dataclasses
import math

import numpy as np
import pytest

from checkpoints.coqui_audio import mel_settings
from converters.upstream.coqui import import_coqui
from runtime.errors import AudioError
from runtime.speech.clips import clip_paths, read_clip
from runtime.speech.mel import Mel, rescaled_mel

COQUI = {
    "default": {},
    "natural log": {"log_func": "np.log", "spec_gain": 1.0, "signal_norm": False, "mel_fmax": 8000.0},
    "hifigan_v2": {
        "log_func": "np.log", "spec_gain": 1.0, "signal_norm": False, "mel_fmin": 0.0, "mel_fmax": 8000.0,
        "ref_level_db": 20, "preemphasis": 0.0, "num_mels": 80, "fft_size": 1024, "win_length": 1024, "hop_length": 256,
    },
    "preemphasis and one-sided range": {"preemphasis": 0.97, "symmetric_norm": False, "max_norm": 1.0},
    "unclipped": {"clip_norm": False, "ref_level_db": 0, "min_level_db": -80},
    "short window": {"fft_size": 2048, "win_length": 1100, "hop_length": 275, "num_mels": 40, "mel_fmin": 40.0},
    "constant padding": {"stft_pad_mode": "constant"},
}  # fmt: skip


def speech(sample_rate: int = 22050) -> np.ndarray:
    return read_clip(clip_paths()[0], sample_rate, 256)


def coqui_processor(**audio):
    config = import_coqui("TTS.config.shared_configs").BaseAudioConfig(do_trim_silence=False, **audio)
    return import_coqui("TTS.utils.audio.processor").AudioProcessor(config)


@pytest.mark.parametrize("name", COQUI)
def test_centered_mel_is_coqui_s_recipe_in_torch(name):
    """AudioProcessor.melspectrogram, with the defaults of BaseAudioConfig."""
    import librosa
    import torch

    audio = {
        "fft_size": 1024, "win_length": 1024, "hop_length": 256, "num_mels": 80, "mel_fmin": 0.0, "mel_fmax": None,
        "preemphasis": 0.0, "log_func": "np.log10", "spec_gain": 20.0, "signal_norm": True, "symmetric_norm": True,
        "min_level_db": -100, "ref_level_db": 20, "max_norm": 4.0, "clip_norm": True, "stft_pad_mode": "reflect",
        **COQUI[name],
    }  # fmt: skip
    samples = speech().astype(np.float64)
    samples[1:] -= audio["preemphasis"] * samples[:-1].copy()
    spectrum = torch.stft(
        torch.from_numpy(samples), audio["fft_size"], audio["hop_length"], audio["win_length"], return_complex=True,
        window=torch.hann_window(audio["win_length"], dtype=torch.float64), pad_mode=audio["stft_pad_mode"],
    ).abs().numpy()  # fmt: skip
    basis = librosa.filters.mel(
        sr=22050, n_fft=audio["fft_size"], n_mels=audio["num_mels"], fmin=audio["mel_fmin"], fmax=audio["mel_fmax"]
    )
    log = {"np.log": np.log, "np.log10": np.log10}[audio["log_func"]]
    expected = audio["spec_gain"] * log(np.maximum(1e-8, basis @ spectrum))
    if audio["signal_norm"]:
        share = (expected - audio["ref_level_db"] - audio["min_level_db"]) / -audio["min_level_db"]
        lowest, span = (-audio["max_norm"], 2) if audio["symmetric_norm"] else (0, 1)
        expected = span * audio["max_norm"] * share + lowest
        expected = np.clip(expected, lowest, audio["max_norm"]) if audio["clip_norm"] else expected
    actual = mel_settings({"sample_rate": 22050, **COQUI[name]}).of(speech())
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-4 * max(1.0, float(np.abs(expected).max())))


@pytest.mark.proof  # librosa compiles itself for a quarter of a minute in a fresh environment
@pytest.mark.parametrize("name", COQUI)
def test_centered_mel_equals_coquis_audio_processor(name):
    audio = COQUI[name]
    processor = coqui_processor(**audio)
    expected = processor.melspectrogram(speech())
    actual = mel_settings({"sample_rate": 22050, **audio}).of(speech())
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-4 * max(1.0, float(np.abs(expected).max())))


def test_mean_and_variance_statistics_are_taken_off():
    stats = {"mel_mean": np.linspace(-1, 1, 80), "mel_std": np.linspace(0.5, 2, 80)}
    plain = mel_settings({"sample_rate": 22050, "signal_norm": False}).of(speech())
    scaled = mel_settings({"sample_rate": 22050, "signal_norm": True, "stats_path": "s.npy"}, stats).of(speech())
    expected = (plain - stats["mel_mean"][:, None]) / stats["mel_std"][:, None]
    np.testing.assert_allclose(scaled, expected, rtol=0, atol=1e-4)


@pytest.mark.proof  # as above
def test_mean_and_variance_statistics_equal_coquis(tmp_path):
    plain = {"sample_rate": 22050, "signal_norm": True}
    rng = np.random.default_rng(0)
    stats = {"mel_mean": rng.normal(size=80), "mel_std": rng.uniform(0.5, 2, 80)}
    processor = coqui_processor(**plain)
    processor.setup_scaler(stats["mel_mean"], stats["mel_std"], np.zeros(513), np.ones(513))
    expected = processor.melspectrogram(speech())
    actual = mel_settings({**plain, "stats_path": "s.npy"}, stats).of(speech())
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-3)


def test_missing_statistics_are_a_sentence():
    with pytest.raises(AudioError, match="scale_stats"):
        mel_settings({"stats_path": "/trainer/scale_stats.npy"})


@pytest.mark.parametrize("audio", [{}, None])
def test_a_config_without_an_audio_section_is_a_sentence_and_no_guess(audio):
    with pytest.raises(AudioError, match="no `audio` section"):
        mel_settings(audio)


def test_bands_above_half_the_sample_rate_are_a_sentence():
    assert mel_settings({"sample_rate": 16000, "mel_fmax": 8000}).fmax == 8000
    with pytest.raises(AudioError, match="mel_fmax 12000 Hz is above half of sample_rate 16000 Hz"):
        mel_settings({"sample_rate": 16000, "mel_fmax": 12000})


def test_hifigan_framing_gives_one_frame_per_hop_and_centered_one_more():
    settings = mel_settings({**COQUI["hifigan_v2"], "sample_rate": 22050, "framing": "hifigan"})
    samples = speech()
    frames = len(samples) // 256
    assert settings.of(samples).shape == (80, frames)
    assert dataclasses.replace(settings, framing="centered").of(samples).shape == (80, frames + 1)


def test_hifigan_framing_equals_its_own_recipe_in_torch():
    """jik876/hifi-gan meldataset.py: reflect 384, no centring, sqrt(. + 1e-9), log of at least 1e-5."""
    import librosa
    import torch

    settings = mel_settings({**COQUI["hifigan_v2"], "sample_rate": 22050, "framing": "hifigan"})
    samples = torch.from_numpy(speech())[None]
    padded = torch.nn.functional.pad(samples[:, None], (384, 384), mode="reflect")[:, 0]
    spectrum = torch.stft(padded, 1024, 256, 1024, torch.hann_window(1024), center=False, return_complex=True)
    magnitude = torch.sqrt(spectrum.abs() ** 2 + 1e-9)
    basis = torch.from_numpy(librosa.filters.mel(sr=22050, n_fft=1024, n_mels=80, fmin=0, fmax=8000))
    expected = torch.log(torch.clamp(basis @ magnitude, min=1e-5))[0].numpy()
    np.testing.assert_allclose(settings.of(speech()), expected, rtol=0, atol=2e-4)


def test_audio_too_short_for_a_window_is_a_sentence():
    with pytest.raises(AudioError, match="too short"):
        Mel().of(np.zeros(100, np.float32))


SCALES = {
    "natural logarithm": Mel(signal_norm=False, log_base=math.e, gain=1.0),
    "decibels": Mel(signal_norm=False),
    "symmetric range": Mel(clip_norm=False),
    "range from 0": Mel(symmetric_norm=False, max_norm=1.0, clip_norm=False, min_level_db=-90.0),
    "statistics": Mel(mean=(-30.0,) * 80, std=(12.0,) * 80),
}


@pytest.mark.parametrize("source", SCALES)
@pytest.mark.parametrize("target", SCALES)
def test_a_mel_takes_the_scale_of_other_settings(source, target):
    samples = np.random.default_rng(0).standard_normal(22050).astype(np.float32) * 0.1
    one, other = SCALES[source], SCALES[target]
    rescaled = rescaled_mel(one.of(samples), one, other)
    np.testing.assert_allclose(rescaled, other.of(samples), atol=2e-4)


def test_a_mel_of_other_windows_has_no_scale():
    with pytest.raises(AudioError, match="hop_length is 256 here and 200 there"):
        rescaled_mel(np.zeros((1, 80, 3), np.float32), Mel(), Mel(hop_length=200))
    with pytest.raises(AudioError, match="fmax is 11025 here and 8000 there"):
        rescaled_mel(np.zeros((1, 80, 3), np.float32), Mel(), Mel(fmax=8000.0))
