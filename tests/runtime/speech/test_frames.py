import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.errors import AudioError, StreamError
from runtime.speech.clips import clip_paths, read_clip
from runtime.speech.frames import HeldFrames
from runtime.speech.mel import Mel
from runtime.speech.resampling import Resampler

SETTINGS = {
    "coqui": Mel(),
    "pre-emphasis": Mel(preemphasis=0.97),
    "constant border": Mel(pad_mode="constant"),
    "hifigan": Mel(framing="inset", log_base=float(np.e), gain=1.0, signal_norm=False, magnitude_floor=1e-9),
    "short window": Mel(sample_rate=16000, n_fft=800, win_length=800, hop_length=200, n_mels=40),
    "hop over window": Mel(n_fft=256, win_length=256, hop_length=300),
}


def blocks(samples, sizes):
    at = 0
    for size in sizes:
        yield samples[at : at + size]
        at += size
    yield samples[at:]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(SETTINGS)),
    st.lists(st.integers(0, 3000), max_size=12),
    st.integers(513, 9000),
)
def test_streamed_mel_frames_equal_offline_ones(name, sizes, length):
    mel = SETTINGS[name].stream()
    samples = np.random.default_rng(length).standard_normal(length).astype(np.float32)
    offline = SETTINGS[name].of(samples)
    frames = [mel.push(block) for block in blocks(samples, sizes)] + [mel.flush(), mel.flush()]
    streamed = np.concatenate(frames, 1)
    np.testing.assert_array_equal(streamed, offline)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 3), st.booleans(), st.lists(st.tuples(st.integers(0, 40), st.integers(0, 60)), max_size=30))
def test_held_frames_are_a_list_whose_start_is_dropped(size, is_rows, pushes):
    axis = 0 if is_rows else 1
    held, whole, kept = HeldFrames(axis, size), np.zeros((0, 2), np.float32), 0
    for count, kept_at_most in pushes:
        block = np.arange(len(whole), len(whole) + count, dtype=np.float32)[:, None] * [1, -1]
        whole = np.concatenate([whole, block]).astype(np.float32)
        held.append((block if is_rows else block.T).astype(np.float32))
        assert held.end == len(whole) // size
        kept = min(max(kept, held.end - kept_at_most), held.end)
        held.forget(kept)
        wanted = whole[kept * size : held.end * size]
        np.testing.assert_array_equal(held.taken(kept, held.end), wanted if is_rows else wanted.T)


def test_held_frames_need_no_more_memory_than_their_longest_stretch():
    held, buffers = HeldFrames(), list[np.ndarray]()
    for number in range(300):
        held.append(np.full(100, number, np.float32))
        held.forget(held.end - 250)
        buffers.append(held._buffer)
    assert all(buffer is buffers[5] for buffer in buffers[5:]) and len(buffers[5]) < 2 * 350


def test_on_speech_in_the_blocks_of_a_device_and_again_after_a_reset():
    features = SETTINGS["hifigan"]
    samples = read_clip(clip_paths()[0], 22050, 256)
    offline, mel = features.of(samples), features.stream()
    for _ in range(2):
        frames = [mel.push(block) for block in blocks(samples, [128] * (len(samples) // 128))] + [mel.flush()]
        np.testing.assert_array_equal(np.concatenate(frames, 1), offline)
        mel.reset()


def test_a_frame_comes_out_as_soon_as_its_window_is_there():
    features = SETTINGS["hifigan"]
    mel, got = features.stream(), 0
    for count in range(1, 40):
        got += mel.push(np.zeros(256, np.float32)).shape[1]
        assert got == max(0, (count * 256 + features.border - features.n_fft) // 256 + 1)


def test_too_short_audio_and_a_push_after_the_end_are_sentences():
    mel = Mel().stream()
    mel.push(np.zeros(100, np.float32))
    with pytest.raises(AudioError, match="100 samples are too short"):
        mel.flush()
    with pytest.raises(StreamError, match="reset"):
        mel.push(np.zeros(100, np.float32))
    with pytest.raises(AudioError, match="one channel"):
        Mel().stream().push(np.zeros((2, 10)))


@pytest.mark.parametrize("rates", [(48000, 22050), (22050, 48000), (44100, 16000)])
def test_resampling_in_blocks_has_no_seams(rates):
    samples = np.random.default_rng(0).standard_normal(20_000).astype(np.float32)
    whole = soxr.resample(samples, *rates, quality="HQ")
    resampler = Resampler(*rates)
    for _ in range(2):
        parts = [resampler.push(block) for block in blocks(samples, [128] * 100)] + [resampler.flush()]
        streamed = np.concatenate(parts)
        assert len(streamed) == len(whole)
        assert np.abs(streamed - whole).max() < 1e-4
        resampler.reset()
    assert np.array_equal(Resampler(16000, 16000).push(samples), samples)


def test_the_delay_of_resampling_is_known():
    resampler = Resampler(48000, 22050)
    got = sum(len(resampler.push(np.zeros(256, np.float32))) for _ in range(100))
    assert 0 < 100 * 256 / 48000 - got / 22050 <= resampler.delay(256) + 1e-9
    assert Resampler(22050, 22050).delay() == 0
