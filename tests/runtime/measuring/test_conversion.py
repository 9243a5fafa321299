"""What is measured of a converted recording, on signals whose pitch, level and words are known."""

import math

import numpy as np
import pytest

from runtime.errors import AudioError
from runtime.measuring.conversion import analysed, f0_correlation, judged, level_db, register, silences
from runtime.measuring.listening import NOBODY_LISTENS, RATE, Listeners, compared, edit_distance, error_rate


def voiced(f0):
    """f0 (N,) Hz -> a sound of ten harmonics."""
    phase = 2 * np.pi * np.cumsum(f0) / RATE
    return sum(np.sin(k * phase) / k for k in range(1, 11)).astype(np.float32) / 5


def gliding(low, high, seconds=1.0):
    return voiced(np.geomspace(low, high, round(seconds * RATE)))


def result(source, target, output, listeners=NOBODY_LISTENS, **options):
    sides = [analysed(samples, listeners, **options) for samples in (source, target, output)]
    return judged("one", "other", "live", *sides)


def test_an_octave_higher_has_the_melody_and_a_register_of_twelve_semitones():
    up = result(gliding(100, 140), gliding(100, 140), gliding(200, 280))
    assert up.f0_correlation > 0.99 and up.register == pytest.approx(12, abs=0.1)
    assert result(gliding(100, 140), gliding(100, 140), gliding(140, 100)).f0_correlation < -0.99
    assert (up.similarity_to_target, up.similarity_to_source, up.readings) == (None, None, ())


def test_an_output_without_a_voice_has_no_pitch_to_compare():
    whisper = np.random.default_rng(0).standard_normal(RATE).astype(np.float32) / 20
    none = result(gliding(100, 140), gliding(100, 140), whisper)
    assert math.isnan(none.f0_correlation) and math.isnan(none.register), "and no number meets no limit"
    steady = np.full(100, 100.0)
    assert math.isnan(f0_correlation(steady, steady)), "no melody"
    assert math.isnan(register(steady[:5], steady))


def test_silence_has_a_level_and_a_room_s_noise_one_of_60_db():
    levels = {metric: level_db(samples) for metric, samples in silences(22050).values()}
    assert levels["silence_db"] == -120 and levels["room_db"] == pytest.approx(-60, abs=0.1)
    assert level_db(np.full(1000, 0.1, np.float32)) == pytest.approx(-20)


def test_similarities_are_cosines_and_without_speech_no_number():
    def embed(samples):
        if not samples.any():
            raise AudioError("silent")
        return np.array([1.0, samples[0]])

    tones = [np.full(RATE, value, np.float32) for value in (1.0, -1.0, 1.0)]
    same = result(*tones, Listeners(embed=embed))
    assert (same.similarity_to_source, same.similarity_to_target) == (pytest.approx(1), pytest.approx(0))
    assert same.similarity_unconverted == pytest.approx(0)
    assert math.isnan(result(*tones[:2], 0 * tones[0], Listeners(embed=embed)).similarity_to_target)


def test_a_transcript_stands_for_what_would_be_read_in_the_source():
    class Deaf:
        def read(self, samples, sample_rate):
            return "nothing at all"

    listeners = Listeners({"deaf": Deaf()})
    source = analysed(gliding(100, 140), listeners, transcript="Nothing, at all?")
    output = analysed(gliding(100, 140), listeners)
    assert judged("one", "other", "live", source, source, output).readings[0].word_errors == 0
    source = analysed(gliding(100, 140), listeners, transcript="Something else!")
    assert judged("one", "other", "live", source, source, output).readings[0].word_errors == 3


@pytest.mark.parametrize(
    ("reference", "text", "errors"),
    [("a b c", "a b c", 0), ("a b c", "", 3), ("", "a b", 2), ("a b c d", "b c d", 1), ("a b c", "c b a", 2)],
)
def test_errors_are_the_fewest_words_replaced_left_out_or_added(reference, text, errors):
    assert edit_distance(reference.split(), text.split()) == errors


def test_a_rate_is_of_all_words_together_and_of_none_where_there_are_none():
    read = [(compared("one", "a b c d e f g h", "a b c d e f g h"),), (compared("one", "a b", "c d"),)]
    assert error_rate(read, 0, "word") == 2 / 10
    assert error_rate(read, 1, "word") is None, "there is no second reader"
    assert error_rate([(compared("one", "", "a"),)], 0, "word") is None
