"""Recordings block by block: the same samples as at once, and memory that does not grow with them."""

import numpy as np
import pytest
import soundfile

from runtime.audio import AudioError
from runtime.recordings import read_audio, write_wav


def test_any_rate_and_any_number_of_channels_are_read(tmp_path):
    rate = 48000
    tone = np.sin(2 * np.pi * 440 * np.arange(rate) / rate).astype(np.float32) * 0.5
    soundfile.write(tmp_path / "stereo.flac", np.stack([tone, tone], 1), rate)
    mono = read_audio(tmp_path / "stereo.flac", 22050)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(22050) / 22050)
    assert len(mono) == 22050
    np.testing.assert_allclose(mono[2000:-2000], expected[2000:-2000], atol=1e-3)


def test_what_is_no_audio_is_a_sentence(tmp_path):
    (tmp_path / "text.wav").write_text("no audio at all")
    with pytest.raises(AudioError, match="cannot be read as audio"):
        read_audio(tmp_path / "text.wav", 22050)
    with pytest.raises(AudioError, match="there is no audio file"):
        read_audio(tmp_path / "absent.wav", 22050)
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 22050)
    with pytest.raises(AudioError, match="holds no samples"):
        read_audio(tmp_path / "empty.wav", 22050)


def test_a_wav_is_clipped_not_wrapped_and_appears_whole(tmp_path):
    write_wav(tmp_path / "loud.wav", np.array([0.0, 2.0, -2.0]), 22050)
    samples, rate = soundfile.read(tmp_path / "loud.wav")
    assert rate == 22050
    np.testing.assert_allclose(samples, [0, 1, -1], atol=1e-4)
    assert [path.name for path in tmp_path.iterdir()] == ["loud.wav"]
