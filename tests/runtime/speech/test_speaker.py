"""What stands around a speaker encoder: level, silence, windows, features, against librosa and plain definitions."""

import librosa
import numpy as np
import pytest
import torch

from benchmarks.speakers import equal_error_rate
from runtime.errors import AudioError
from runtime.speech.clips import clip_paths
from runtime.speech.mel import Mel
from runtime.speech.recordings import read_audio
from runtime.speech.speaker import (
    ONE_SPEAKER,
    SpeakerMel,
    cosine,
    least_agreement,
    partial_starts,
    partials,
    prepared,
    speaker_mel,
    utterance_embedding,
    windows,
)
from runtime.speech.voiced import voiced, voiced_blocks

SETTINGS = SpeakerMel()


@pytest.fixture(scope="module")
def speech():
    return read_audio(clip_paths()[0], 16000)


def test_features_are_those_of_librosa_s_filters(speech):
    window = torch.hann_window(400, dtype=torch.float64)
    samples = torch.from_numpy(speech.astype(np.float64))
    spectrum = torch.stft(samples, 400, 160, window=window, pad_mode="constant", return_complex=True).abs().numpy()
    expected = (librosa.filters.mel(sr=16000, n_fft=400, n_mels=40) @ spectrum**2).T
    np.testing.assert_allclose(speaker_mel(speech, SETTINGS), expected, rtol=1e-3, atol=1e-6 * expected.max())


@pytest.mark.proof  # librosa compiles itself for a quarter of a minute in a fresh environment
def test_features_are_librosa_s(speech):
    expected = librosa.feature.melspectrogram(y=speech, sr=16000, n_fft=400, hop_length=160, n_mels=40).T
    np.testing.assert_allclose(speaker_mel(speech, SETTINGS), expected, rtol=1e-3, atol=1e-6 * expected.max())


def test_quiet_speech_is_raised_and_loud_speech_is_left(speech):
    free = SpeakerMel(trims_silence=False)
    quiet = speech * 0.01
    level = 10 * np.log10(np.mean(prepared(quiet, free).astype(np.float64) ** 2))
    assert level == pytest.approx(-30, abs=0.01)
    loud = speech / np.abs(speech).max()
    np.testing.assert_array_equal(prepared(loud, free), loud)


def test_long_silences_go_and_short_ones_stay(speech):
    gap = np.zeros(16000 * 2, np.float32)
    without = voiced(np.concatenate([speech, speech]), 16000)
    assert abs(len(voiced(np.concatenate([speech, gap, speech]), 16000)) - len(without)) < 16000 * 0.6
    assert len(without) > 0.5 * 2 * len(speech)


def test_a_rate_that_the_detector_of_speech_does_not_hear_is_a_sentence(speech):
    with pytest.raises(AudioError, match="hears audio of 8000, 16000, 32000, 48000 Hz, not of 22050: resample it"):
        voiced(speech, 22050)
    assert len(voiced(speech, 32000))


@pytest.mark.parametrize(
    ("samples", "starts"),
    [
        (100, [0]),
        (160 * 160, [0]),
        (160 * 199, [0]),
        (160 * 200, [0, 80]),
        (160 * 240, [0, 80]),
        (160 * 400, [0, 80, 160, 240]),
    ],
)
def test_windows_overlap_by_half_and_a_mostly_empty_last_one_is_left_out(samples, starts):
    """160 frames of 160 samples; the last window counts when 120 of its frames are there."""
    assert partial_starts(samples, SETTINGS) == starts


def test_partials_are_windows_of_the_features(speech):
    windows = partials(speech, SETTINGS)
    trimmed = prepared(speech, SETTINGS)
    starts = partial_starts(len(trimmed), SETTINGS)
    assert windows.shape == (len(starts), 160, 40)
    frames = speaker_mel(np.pad(trimmed, (0, 16000)), SETTINGS)
    np.testing.assert_allclose(windows[1], frames[starts[1] : starts[1] + 160], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("size", [1, 777, 16000])
@pytest.mark.parametrize("name", ["plain", "spread", "htk", "log-mel"])
def test_windows_of_audio_in_blocks_are_those_of_audio_at_once(speech, name, size):
    settings = {
        "plain": SETTINGS,
        "spread": SpeakerMel(spread=10, partial_frames=250),
        "htk": SpeakerMel(htk=True, preemphasis=0.97, trims_silence=False),
        "log-mel": SpeakerMel(mel=Mel(sample_rate=16000, n_mels=40, hop_length=160, framing="inset")),
    }[name]
    audio = np.concatenate([speech, np.zeros(20_000, np.float32), speech])
    audio = audio[:9000] if size == 1 else audio
    blocks = [audio[at : at + size] for at in range(0, len(audio), size)]
    np.testing.assert_array_equal(np.stack(list(windows(lambda: blocks, settings))), partials(audio, settings))


def test_what_is_speech_does_not_depend_on_blocks(speech):
    audio = np.concatenate([speech, np.zeros(40_000, np.float32), speech * 0.1, speech])
    blocks = np.array_split(audio, 31)
    np.testing.assert_array_equal(np.concatenate(list(voiced_blocks(blocks, 16000))), voiced(audio, 16000))
    assert 0 < len(voiced(audio, 16000)) < len(audio)


def test_short_audio_is_padded_to_one_window(speech):
    few = partials(speech[8000:14000], SpeakerMel(trims_silence=False))
    assert few.shape == (1, 160, 40)
    spread = SpeakerMel(spread=10, partial_frames=250, trims_silence=False, level_dbfs=None)
    assert partials(speech[:16000], spread).shape == (10, 250, 40)


@pytest.mark.parametrize(
    ("samples", "sentence"),
    [
        (np.zeros(16000, np.float32), "is silent"),
        (np.full(16000, np.nan, np.float32), "not finite"),
        (np.zeros(0, np.float32), "one channel of audio"),
        (np.zeros((2, 100), np.float32), "one channel of audio"),
        (np.random.default_rng(0).standard_normal(200).astype(np.float32) * 0.1, "no speech"),
    ],
)
def test_audio_without_a_speaker_is_a_sentence(samples, sentence):
    with pytest.raises(AudioError, match=sentence):
        partials(samples, SETTINGS)


def test_the_utterance_s_embedding_is_the_mean_at_length_one():
    rows = np.eye(3, dtype=np.float32)[:2]
    np.testing.assert_allclose(utterance_embedding(rows), [2**-0.5, 2**-0.5, 0], rtol=1e-6)
    assert cosine(np.array([1.0, 0.0]), np.array([0.0, 2.0])) == 0.0


def test_equal_error_rate_is_where_the_two_errors_meet():
    assert equal_error_rate(np.array([0.8, 0.9]), np.array([0.1, 0.2]))[0] == 0.0
    rate, threshold = equal_error_rate(np.array([0.3, 0.7, 0.8, 0.9]), np.array([0.1, 0.2, 0.4, 0.75]))
    assert rate == 0.25
    assert 0.4 < threshold <= 0.75


def test_recordings_of_several_speakers_agree_less():
    random = np.random.default_rng(0)
    one, other = random.standard_normal((2, 32))

    def spoken(who, count):
        return who + 0.5 * random.standard_normal((count, 32))

    assert least_agreement(spoken(one, 17)) is None, "one piece"
    assert least_agreement(spoken(one, 60)) > ONE_SPEAKER
    assert least_agreement(np.concatenate([spoken(one, 40), spoken(other, 14)])) < ONE_SPEAKER
