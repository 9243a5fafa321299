"""Bands and windows are those of librosa and scipy, to the last bit: checkpoints were trained on them."""

import numpy as np
import pytest

from runtime.speech.frames import cosine_window
from runtime.speech.mel_bands import mel_bands


@pytest.mark.parametrize(
    ("sample_rate", "n_fft", "n_mels", "fmin", "fmax"),
    [
        (22050, 1024, 80, 0.0, 8000.0),
        (22050, 1024, 80, 50.0, 7600.0),
        (16000, 400, 40, 0.0, None),
        (48000, 2048, 100, 1200.0, None),
    ],
)
def test_bands_are_librosa_s(sample_rate, n_fft, n_mels, fmin, fmax):
    import librosa

    expected = librosa.filters.mel(sr=sample_rate, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax)
    bands = mel_bands(sample_rate, n_fft, n_mels, fmin, fmax)
    assert bands.dtype == np.float32 and np.array_equal(bands, expected)


def test_bands_of_htk_are_librosa_s_without_norm():
    import librosa

    edges = librosa.mel_frequencies(66, fmin=0.0, fmax=8000.0, htk=True)
    with_norm = librosa.filters.mel(sr=16000, n_fft=512, n_mels=64, htk=True)  # none: librosa compiles itself for 12 s
    expected = with_norm * ((edges[2:] - edges[:-2]) / 2)[:, None]
    np.testing.assert_allclose(mel_bands(16000, 512, 64, htk=True), expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("name", ["hann", "hamming"])
@pytest.mark.parametrize(("n_fft", "win_length"), [(400, 400), (1024, 800), (512, 441)])
def test_windows_are_scipy_s(name, n_fft, win_length):
    from scipy.signal import get_window

    start = (n_fft - win_length) // 2
    window = cosine_window(n_fft, win_length, name)
    assert np.array_equal(window[start : start + win_length], get_window(name, win_length).astype(np.float32))
    assert not window[:start].any() and not window[start + win_length :].any()
