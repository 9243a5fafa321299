import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from runtime.errors import AudioError, StreamError
from runtime.speech.bands import LogBands
from runtime.speech.bark import Bark
from runtime.speech.clips import clip_paths, read_clip
from runtime.speech.excitation import Excitation
from runtime.speech.features import Features, Samples
from runtime.speech.mel import Mel
from runtime.speech.speaker import SpeakerMel
from runtime.speech.spectrum import Level, Linear, Pitch, PitchCandidates

RATE = 22050
LOCAL = [
    LogBands(),
    Excitation(),
    Bark(),
    Mel(framing="inset"),
    Linear(),
    Linear(n_fft=1280, win_length=1280, hop_length=320, sample_rate=16000),
    Level(),
    Pitch(),
    PitchCandidates(),
    Samples(RATE),
]


def clip(seconds=2.0):
    return read_clip(clip_paths()[0], RATE, 256)[: int(seconds * RATE)]


@pytest.mark.parametrize("features", LOCAL, ids=lambda one: one.kind)
@pytest.mark.parametrize("block", [1000, 256, 77])
def test_streamed_features_equal_offline_ones_bit_for_bit(features, block):
    samples = clip(0.7)
    offline, stream = features.of(samples), features.stream()
    blocks = [stream.push(samples[at : at + block]) for at in range(0, len(samples), block)]
    np.testing.assert_array_equal(np.concatenate([*blocks, stream.flush()], axis=1), offline)
    assert (stream.frames, len(offline)) == (offline.shape[1], features.channels)
    with pytest.raises(StreamError):
        stream.push(samples)


@pytest.mark.parametrize("features", LOCAL, ids=lambda one: one.kind)
def test_a_frame_waits_for_as_much_audio_as_its_latency_says(features):
    """Audio beyond the latency changes no frame, audio within it does."""
    samples, frame = clip(), 40
    end = (frame + 1) * features.hop_length + features.latency
    before = features.of(samples)
    beyond, within = samples.copy(), samples.copy()
    beyond[end:] = 0.9
    within[end - max(features.latency, 1) :] += 0.5 * (-1.0) ** np.arange(len(samples) - end + max(features.latency, 1))
    np.testing.assert_array_equal(features.of(beyond)[:, : frame + 1], before[:, : frame + 1])
    assert (features.of(within)[:, frame] != before[:, frame]).any()


def test_a_linear_spectrum_is_that_of_vits():
    """Against torch.stft, called as the spectrogram_torch of VITS calls it."""
    torch = pytest.importorskip("torch")
    samples = clip(1.0)
    padded = torch.nn.functional.pad(torch.from_numpy(samples)[None, None], (384, 384), mode="reflect")[0]
    window = torch.hann_window(1024)
    spectrum = torch.stft(padded, 1024, 256, 1024, window, center=False, return_complex=True)
    expected = torch.sqrt(torch.abs(spectrum) ** 2 + 1e-6)[0].numpy()
    np.testing.assert_allclose(Linear().of(samples), expected, atol=2e-5)


def test_a_tone_is_in_the_band_of_its_frequency_in_every_window():
    features = LogBands()
    time = np.arange(16000) / 16000
    tone = features.of((0.5 * np.sin(2 * np.pi * 1000 * time)).astype(np.float32))
    assert tone.shape == (385, 16000 // 256 + 1) and tone[-1].all()
    frequencies = 46.875 * (2093.75 / 46.875) ** (np.arange(128) / 94)
    nearest = np.abs(frequencies - 1000).argmin()
    for row in range(3):
        assert abs(int(tone[128 * row : 128 * (row + 1), 30].argmax()) - nearest) <= 1
    silence = features.of(np.zeros(4000, np.float32))
    np.testing.assert_allclose(silence[:-1], np.log(1e-8), rtol=1e-6)
    assert not silence[-1].any()


def test_the_level_of_a_sine_is_that_of_its_root_mean_square():
    time = np.arange(RATE) / RATE
    level = Level().of((0.5 * np.sin(2 * np.pi * 441 * time)).astype(np.float32))
    np.testing.assert_allclose(level[0, 5:-5], 20 * np.log10(0.5 / np.sqrt(2)), atol=0.05)
    assert Level().of(np.zeros(RATE, np.float32)).max() == -100


@pytest.mark.parametrize("hertz", [80.0, 123.4, 220.0, 440.0, 700.0])
def test_pitch_is_that_of_a_tone_of_many_harmonics(hertz):
    time = np.arange(RATE) / RATE
    tone = sum(np.sin(2 * np.pi * hertz * n * time) / n for n in range(1, 8))
    pitch = Pitch().of((0.2 * tone).astype(np.float32))[0, 5:-5]
    np.testing.assert_allclose(pitch, hertz, rtol=0.005)


@pytest.mark.parametrize("hertz", [123.4, 220.0, 310.0])
def test_candidates_of_a_tone_are_its_period_and_its_multiples(hertz):
    time = np.arange(RATE) / RATE
    tone = sum(np.sin(2 * np.pi * hertz * n * time) / n for n in range(1, 8))
    rows = PitchCandidates().of((0.2 * tone).astype(np.float32))[:, 5:-5]
    frequencies, depths = rows[:5], rows[5:]
    multiples = hertz / np.arange(1, 1 + min(5, int(hertz / 65)))
    np.testing.assert_allclose(frequencies[: len(multiples)], multiples[:, None] + 0 * frequencies[:1], rtol=0.01)
    assert depths[: len(multiples)].max() < 0.1
    assert not frequencies[len(multiples) :].any() and (depths[len(multiples) :] == 1).all()
    silence = PitchCandidates().of(np.zeros(RATE, np.float32))
    assert not silence[:5].any() and (silence[5:] == 1).all()


def test_noise_and_silence_have_no_pitch():
    noise = 0.1 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    assert (Pitch().of(noise) == 0).mean() > 0.95
    assert not Pitch().of(np.zeros(RATE, np.float32)).any()


@pytest.mark.proof
def test_pitch_of_speech_agrees_with_librosa_s_yin_where_it_is_voiced():
    import librosa

    samples, features = clip(4.0), Pitch()
    ours = features.of(samples)[0]
    padded = np.pad(samples, features.border)
    theirs = librosa.yin(
        padded, fmin=65, fmax=800, sr=RATE, frame_length=1024, hop_length=256, center=False, trough_threshold=0.15
    )[: len(ours)]
    voiced = ours > 0
    assert 0.3 < voiced.mean() < 0.9
    assert (np.abs(np.log2(ours[voiced] / theirs[voiced])) < 0.03).mean() > 0.95


@pytest.mark.parametrize("features", [*LOCAL, SpeakerMel()], ids=lambda one: one.kind)
def test_features_survive_json_as_the_kind_that_they_are(features):
    adapter = TypeAdapter(Features)
    assert adapter.validate_json(adapter.dump_json(features)) == features


def test_features_of_no_kind_are_refused():
    with pytest.raises(ValidationError, match="kind"):
        TypeAdapter(Features).validate_python({"kind": "phonogram"})


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Linear(hop_length=0), "hop_length must be 1 to"),
        (lambda: Linear(win_length=2048), "win_length must be 1 to n_fft"),
        (lambda: Level(hop_length=2048), "hop_length 2048 is larger than n_fft"),
        (lambda: Pitch(fmin=30), "holds no two periods of 30 Hz"),
        (lambda: PitchCandidates(fmin=30), "holds no two periods of 30 Hz"),
        (lambda: PitchCandidates(count=0), "count must be 1 to 16 candidates, got 0"),
        (lambda: Pitch(fmax=9000), "cannot be tracked at 22050 Hz"),
        (lambda: LogBands(windows=()), "1 to 8 windows"),
        (lambda: LogBands(windows=(1 << 20,)), "of 2 to 16384 samples"),
        (lambda: LogBands(windows=(301, 1024)), "have no middle"),
        (lambda: LogBands(hop_length=2048), "less than two hops"),
        (lambda: LogBands(n_bands=10**6), "cannot lie between two frequencies"),
        (lambda: LogBands(fmax=9000.0), "none at 16000 Hz"),
        (lambda: Samples(0), "sample_rate must be 1"),
        (lambda: Linear().of(np.zeros(10, np.float32)), "10 samples are too short"),
        (lambda: Samples(RATE).of(np.zeros((2, 10), np.float32)), "one channel"),
    ],
)
def test_settings_and_audio_that_cannot_be_are_sentences(make, said):
    with pytest.raises(AudioError, match=said):
        make()
