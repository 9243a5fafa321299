"""Log F0 around its running mean, against the definition written plainly."""

import math

import numpy as np
import pytest

from runtime.speech.melody import MEMORY_SECONDS, Melody

RATE = 22050 / 256


def pitches(count, seed=0, around=150.0):
    """Hz; some two fifths are unvoiced."""
    random = np.random.default_rng(seed)
    hertz = around * np.exp(0.2 * random.standard_normal(count))
    return np.where(random.random(count) < 0.6, hertz, 0).astype(np.float32)


def plainly(hertz):
    """A weighted mean over all the voiced frames so far, of each anew."""
    logs, rows = [], np.zeros((2, len(hertz)))
    for index, value in enumerate(hertz):
        if value > 0:
            logs.append(math.log(value))
            weights = np.exp(-np.arange(len(logs))[::-1] / (MEMORY_SECONDS * RATE))
            rows[:, index] = logs[-1] - np.average(logs, weights=weights), 1
    return rows


def test_it_is_log_f0_less_the_weighted_mean_of_all_so_far():
    hertz = pitches(900)
    rows = Melody(RATE).push(hertz)
    assert rows.dtype == np.float32 and rows.shape == (2, 900)
    np.testing.assert_allclose(rows, plainly(hertz), atol=1e-6)
    np.testing.assert_array_equal(rows[1], hertz > 0)
    assert rows[0, np.flatnonzero(hertz)[0]] == 0 and not rows[0, hertz == 0].any()


@pytest.mark.parametrize("seed", range(3))
def test_blocks_of_any_size_give_the_same_bits_and_a_reset_begins_anew(seed):
    hertz, random, melody = pitches(2000, seed), np.random.default_rng(seed), Melody(RATE, 2.0)
    at_once = melody.push(hertz)
    melody.reset()
    pieces, at = [], 0
    while at < len(hertz):
        size = int(random.choice([0, 1, 2, 7, 300]))
        pieces.append(melody.push(hertz[at : at + size]))
        at += size
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), at_once)


def test_semitones_are_added_where_there_is_a_voice():
    hertz = pitches(200)
    plain, higher = Melody(RATE).push(hertz), Melody(RATE, 12.0).push(hertz)
    np.testing.assert_allclose(higher[0] - plain[0], math.log(2) * plain[1], atol=1e-6)


def test_another_speaker_is_followed():
    """After three times the memory of an octave higher, hardly anything of the first is left."""
    frames = round(3 * MEMORY_SECONDS * RATE)
    rows = Melody(RATE).push(np.repeat(np.float32([100, 200]), frames))
    assert rows[0, frames] > 0.9 * math.log(2) * math.exp(-1 / 1000) - 0.05
    assert 0 < rows[0, -1] < 1.1 * math.log(2) * math.exp(-3)
