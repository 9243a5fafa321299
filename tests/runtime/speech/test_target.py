"""A target's embedding: which windows of a recording are embedded."""

import numpy as np
import pytest

from runtime.errors import AudioError
from runtime.speech.features import Samples
from runtime.speech.speaker import SpeakerMel
from runtime.speech.target import target_embedding, trimmed


def windows_of(count, length):
    """The first value of each window of so many samples, numbered from 1."""
    seen = []

    def encoder(windows):
        seen.append(windows)
        return windows.mean(axis=(1, 2), keepdims=True)

    made = target_embedding(np.arange(1, count + 1, dtype=np.float32), Samples(16000), length, encoder)
    (windows,) = seen
    np.testing.assert_allclose(made, windows.mean(axis=(1, 2), keepdims=True).mean(axis=0, keepdims=True))
    assert windows.shape[1:] == (1, length)
    return windows[:, 0]


def test_windows_overlap_by_half_and_the_last_one_ends_with_the_recording(monkeypatch):
    monkeypatch.setattr("runtime.speech.target.trimmed", lambda samples: samples)
    assert windows_of(10, 4)[:, 0].tolist() == [1, 3, 5, 7]
    assert windows_of(11, 4)[:, 0].tolist() == [1, 3, 5, 7, 8]
    assert windows_of(4, 4).tolist() == [[1, 2, 3, 4]]
    assert windows_of(3, 4).tolist() == [[1, 2, 3, 1]], "too short a recording begins anew"


def test_a_speaker_encoder_s_mean_has_length_1():
    samples = np.random.default_rng(0).standard_normal(40000).astype(np.float32) / 10
    features = SpeakerMel(trims_silence=False)
    made = target_embedding(samples, features, 40, lambda windows: windows[:, 0, :5, None])
    assert made.shape == (1, 5, 1) and np.linalg.norm(made) == pytest.approx(1)


def test_there_must_be_features():
    with pytest.raises(AudioError, match="takes features"):
        target_embedding(np.ones(9, np.float32), None, 4, lambda windows: windows)


def with_silent_ends(seed):
    random = np.random.default_rng(seed)
    envelope = np.repeat(10 ** random.uniform(-3, 0, 30), random.integers(300, 3000))
    return (envelope * random.standard_normal(len(envelope))).astype(np.float32)


def trimmed_by_definition(samples):
    """Frame by frame: what is within 20 dB of the loudest."""
    padded = np.pad(samples.astype(np.float64), 1024)
    levels = [np.mean(padded[at : at + 2048] ** 2) for at in range(0, len(samples) + 1, 512)]
    loud = [frame for frame, level in enumerate(levels) if level > max(levels) / 100]
    return samples[loud[0] * 512 : (loud[-1] + 1) * 512]


@pytest.mark.parametrize("seed", range(4))
def test_silent_ends_are_cut(seed):
    samples = with_silent_ends(seed)
    expected = trimmed_by_definition(samples)
    assert len(expected) < len(samples)
    np.testing.assert_array_equal(trimmed(samples), expected)
    silence = np.zeros(5000, np.float32)
    np.testing.assert_array_equal(trimmed(silence), silence)


@pytest.mark.proof  # librosa compiles itself for a quarter of a minute in a fresh environment
@pytest.mark.parametrize("seed", range(4))
def test_silent_ends_are_cut_as_librosa_cuts_them(seed):
    import librosa

    samples = with_silent_ends(seed)
    expected, _ = librosa.effects.trim(samples, top_db=20)
    np.testing.assert_array_equal(trimmed(samples), expected)
    np.testing.assert_array_equal(trimmed_by_definition(samples), expected)
