"""Recordings block by block: the same samples as at once, and memory that does not grow with them."""

import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given
from hypothesis import strategies as st

import runtime.speech.recordings
from runtime.errors import AudioError
from runtime.speech.recordings import Padded, audio_blocks, in_blocks, read_audio, wav_file, write_wav
from tests.conftest import ROOT

FILES = {
    "44.1 kHz stereo": (44100, 2, "WAV", "PCM_16"),
    "48 kHz float": (48000, 1, "WAV", "FLOAT"),
    "8 kHz": (8000, 1, "WAV", "PCM_16"),
    "the same rate": (22050, 1, "WAV", "PCM_16"),
    "11.025 kHz, six channels": (11025, 6, "WAV", "PCM_24"),
    "RF64": (44100, 1, "RF64", "PCM_16"),
    "FLAC": (44100, 2, "FLAC", "PCM_16"),
    "Ogg Vorbis": (44100, 1, "OGG", "VORBIS"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_recording_in_blocks_is_the_recording_at_once_on_every_sample(tmp_path, name):
    rate, channels, container, subtype = FILES[name]
    samples = np.random.default_rng(1).normal(0, 0.1, (round(3.3 * rate), channels)).astype(np.float32)
    soundfile.write(tmp_path / "in", samples, rate, format=container, subtype=subtype)
    whole = soundfile.read(tmp_path / "in", dtype="float32", always_2d=True)[0].mean(axis=1)
    if rate != 22050:
        whole = soxr.resample(whole, rate, 22050, quality="VHQ")
    blocks = list(audio_blocks(tmp_path / "in", 22050))
    assert len(blocks) > 3 and max(map(len, blocks)) < 2 * 22050
    np.testing.assert_array_equal(np.concatenate(blocks), whole)
    np.testing.assert_array_equal(read_audio(tmp_path / "in", 22050), whole)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_sample_that_is_not_finite_is_a_sentence_with_its_time(tmp_path, value):
    samples = np.zeros(22050 * 5, np.float32)
    samples[round(3.5 * 22050)] = value
    soundfile.write(tmp_path / "in.wav", samples, 22050, subtype="FLOAT")
    blocks = audio_blocks(tmp_path / "in.wav", 22050)
    assert sum(len(next(blocks)) for _ in range(3)) == 3 * 22050, "what comes before it was given"
    with pytest.raises(AudioError, match=r"not finite, at 3\.500 s"):
        next(blocks)


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


def test_a_wav_in_blocks_has_the_bytes_of_one_that_is_written_at_once(tmp_path):
    samples = np.random.default_rng(0).normal(0, 0.4, 70_001).astype(np.float32)
    soundfile.write(tmp_path / "once.wav", np.clip(samples, -1, 1), 22050, subtype="PCM_16")
    with wav_file(tmp_path / "blocks.wav", 22050) as write:
        for part in np.array_split(samples, 13):
            write(part)
        assert not (tmp_path / "blocks.wav").exists(), "it appears when it is whole"
    assert (tmp_path / "blocks.wav").read_bytes() == (tmp_path / "once.wav").read_bytes()


@pytest.mark.parametrize("error", [KeyboardInterrupt, AudioError, ZeroDivisionError])
def test_after_an_error_there_is_no_part_of_a_wav_and_the_old_one_stays(tmp_path, error):
    write_wav(tmp_path / "out.wav", np.zeros(10), 22050)
    before = (tmp_path / "out.wav").read_bytes()

    def fail():
        with wav_file(tmp_path / "out.wav", 22050) as write:
            write(np.ones(1000, np.float32))
            raise error

    with pytest.raises(error):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["out.wav"]
    assert (tmp_path / "out.wav").read_bytes() == before


def test_more_than_a_wav_file_can_hold_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(runtime.speech.recordings, "_WAV_BYTES", 2000)
    with pytest.raises(AudioError, match="a WAV file at 22050 Hz holds no more than"):
        write_wav(tmp_path / "out.wav", np.zeros(1001), 22050)
    assert not list(tmp_path.iterdir())


def test_a_disk_without_room_is_a_sentence_and_leaves_nothing(tmp_path):
    """A limit on the size of a file stands for the full disk: libsndfile cannot tell them apart."""
    program = (
        "import numpy as np; from pathlib import Path; from runtime.errors import MachineError\n"
        "from runtime.speech.recordings import write_wav\n"
        "try: write_wav(Path('out.wav'), np.zeros(200_000), 22050)\n"
        "except MachineError as error: print(error)"
    )

    def limited():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    environment = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, preexec_fn=limited,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.startswith("out.wav could not be written whole: "), done.stderr
    assert done.stderr == ""
    assert not list(tmp_path.iterdir())


BLOCKS = st.lists(st.integers(0, 40), max_size=12)


@given(BLOCKS, st.integers(1, 30))
def test_samples_in_other_blocks_are_the_same_samples(sizes, size):
    samples = np.arange(sum(sizes), dtype=np.float32)
    blocks = list(in_blocks(np.split(samples, np.cumsum(sizes)[:-1]) if sizes else [], size))
    np.testing.assert_array_equal(np.concatenate([samples[:0], *blocks]), samples)
    assert all(len(block) == size for block in blocks[:-1])


@given(BLOCKS, st.fractions(1, 50, max_denominator=9), st.integers(0, 300))
def test_silence_follows_what_is_too_short_or_ends_within_a_frame_and_nothing_else(sizes, frame, least):
    samples = np.arange(1, sum(sizes) + 1, dtype=np.float32)
    recording = Padded(np.split(samples, np.cumsum(sizes)[:-1]) if sizes else [], frame, least)
    padded = np.concatenate([samples[:0], *recording])
    assert (recording.count, recording.is_short) == (len(samples), len(samples) < least)
    np.testing.assert_array_equal(padded, np.pad(samples, (0, len(padded) - len(samples))))
    frames = -(-len(samples) // frame)
    assert max(frames * frame, least) <= len(padded) < max(frames * frame, least) + 1


@pytest.mark.parametrize(
    ("scale", "told"), [(1, ""), (3, ""), (40, "up to 12, and full scale is 1"), (32768, "integers stored as floats")]
)
def test_samples_far_beyond_full_scale_are_told(tmp_path, recwarn, scale, told):
    soundfile.write(tmp_path / "a.wav", scale * 0.3 * np.sin(np.arange(3000) * 0.1), 22050, subtype="FLOAT")
    read_audio(tmp_path / "a.wav", 22050)
    messages = [str(warning.message) for warning in recwarn]
    assert [told in message for message in messages] == [True] * bool(told)


@pytest.mark.parametrize(
    ("right", "told"), [(-1.0, True), (-0.9, True), (-0.5, False), (0.0, False), (1.0, False)], ids=str
)
def test_channels_that_cancel_each_other_are_told(tmp_path, recwarn, right, told):
    left = 0.3 * np.sin(np.arange(3000) * 0.1)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right * left], 1), 22050)
    assert np.abs(read_audio(tmp_path / "a.wav", 22050)).max() <= 0.3 * (1 + right) / 2 + 1e-2
    assert ["cancel each other" in str(warning.message) for warning in recwarn] == [True] * told


def test_silence_cancels_nothing(tmp_path, recwarn):
    soundfile.write(tmp_path / "a.wav", np.zeros((3000, 2)), 22050)
    read_audio(tmp_path / "a.wav", 22050)
    assert not recwarn.list
