"""The melody that a live voice reads: its rows beside the mel, however the audio comes."""

import math

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from runtime.bundle.conversion import Conversion, FeatureStage, LocalStage, PitchStage, TrackingStage, clock_of
from runtime.playing.parts import Parts
from runtime.playing.stages import NOBODY, Frontend
from runtime.speech.mel import Mel
from runtime.speech.melody import Melody, PitchTracker
from runtime.speech.resampling import PROMPT, resampled
from runtime.speech.spectrum import Pitch, PitchCandidates
from tests.runtime.playing.test_stages import pushed, ragged, speech

RATE = 22050
MEL = Mel(sample_rate=RATE, n_fft=1024, win_length=1024, hop_length=256, n_mels=8, framing="inset", signal_norm=False)
YIN, CANDIDATES = Pitch(RATE, 768, 256, threshold=0.3), PitchCandidates()
PITCHES = {"yin": (FeatureStage("pitch", YIN),),
           "tracked": (FeatureStage("candidates", CANDIDATES), TrackingStage("pitch", "candidates"))}  # fmt: skip


def hertz_of(samples, name):
    if name == "yin":
        return YIN.of(samples)[0]
    return PitchTracker(RATE / 256).push(CANDIDATES.of(samples))


def conversion(name="tracked"):
    return Conversion(
        (
            FeatureStage("mel", MEL),
            *PITCHES[name],
            PitchStage("melody", "pitch", "normalised"),
            LocalStage("converter", "converter", ("mel", "melody")),
        )
    )


def frontend_at(rate, semitones=0.0, name="tracked"):
    return Frontend(conversion(name), Parts(None), NOBODY, rate, "live", semitones)


@pytest.mark.parametrize("seconds", [0.3, 1.0, 3.017])
def test_blocks_of_any_size_give_the_same_rows_bit_for_bit(seconds):
    frontend, samples = frontend_at(16000), speech(seconds)
    at_once = pushed(frontend, samples, iter([len(samples)]))
    for seed in range(2):
        frontend.reset()
        np.testing.assert_array_equal(pushed(frontend, samples, ragged(seed)), at_once)


@pytest.mark.parametrize(("name", "semitones"), [("tracked", 0.0), ("tracked", -5.0), ("yin", 0.0)])
def test_they_are_what_whole_audio_gives(name, semitones):
    samples = speech(2.0)
    at_rate = resampled(samples, 16000, RATE, PROMPT)
    hertz = hertz_of(at_rate, name)
    rows = Melody(RATE / 256, semitones).push(hertz)
    frontend = frontend_at(16000, semitones, name)
    made = pushed(frontend, samples, ragged(1))[0]
    np.testing.assert_array_equal(made, np.concatenate([MEL.of(at_rate), rows])[:, : made.shape[1]])
    assert 0 < (hertz > 0).mean() < 1
    assert frontend.voiced_seconds == pytest.approx((hertz > 0).sum() * 256 / RATE)
    assert frontend.pitch == hertz[-1], "the meter shows Hz"


def test_a_frame_of_the_mel_and_of_the_pitch_stand_for_one_moment():
    """The middle of a tone is the same frame in both."""
    assert clock_of(MEL) == clock_of(YIN) == clock_of(CANDIDATES)
    samples = np.zeros(22050, np.float32)
    samples[5000:15000] = np.sin(2 * np.pi * 220 / RATE * np.arange(10000))
    loudness, hertz = MEL.of(samples).max(axis=0), hertz_of(samples, "tracked")
    middles = [np.flatnonzero(is_on).mean() for is_on in (loudness > loudness.max() - 20, hertz > 0)]
    assert abs(middles[0] - middles[1]) <= 1
    assert clock_of(MEL).moment(round(middles[0])) == pytest.approx(10000 / RATE, abs=0.012)


def test_a_value_that_is_not_known_is_refused():
    """As a reader refuses `normalised` who does not know it: so the schema keeps its number."""
    with pytest.raises(ValidationError, match="gives"):
        TypeAdapter(PitchStage).validate_python({"name": "melody", "takes": "pitch", "gives": "whispered"})


def test_a_shift_is_for_what_takes_a_pitch():
    plain, higher = (frontend_at(16000, shift) for shift in (0.0, 12.0))
    samples = speech(1.0)
    one, other = (pushed(frontend, samples, ragged(0))[0] for frontend in (plain, higher))
    voiced = one[-1] == 1
    np.testing.assert_allclose(other[-2] - one[-2], math.log(2) * voiced, atol=1e-6)
