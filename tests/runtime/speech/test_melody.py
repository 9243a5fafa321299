"""Log F0 around its running mean, against the definition written plainly, and the pitch that is chosen of several."""

import math

import numpy as np
import pytest

from runtime.speech.melody import MEMORY_SECONDS, Melody, PitchTracker

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


def spoken(count=300, seed=0):
    """Candidates of a voice around 150 Hz, its period's double beside it and in a third of the frames the deeper dip;
    every tenth stretch of ten frames is noise, whose dips are shallow."""
    random = np.random.default_rng(seed)
    hertz = 150 * np.exp(0.2 * np.sin(np.arange(count) / 20))
    rows = np.stack([hertz, hertz / 2, np.full(count, 0.1), np.where(random.random(count) < 1 / 3, 0.07, 0.16)])
    noise = np.arange(count) // 10 % 10 == 9
    rows[:2, noise] = np.sort(random.uniform(65, 800, (2, noise.sum())), axis=0)[::-1]
    rows[2:, noise] = random.uniform(0.45, 0.5, (2, noise.sum()))
    return rows.astype(np.float32), np.where(noise, 0, hertz)


def test_a_tracker_takes_the_period_and_not_its_double_where_that_is_deeper():
    candidates, hertz = spoken()
    deepest = np.take_along_axis(candidates[:2], candidates[2:].argmin(axis=0)[None], axis=0)[0]
    assert (np.abs(deepest / np.maximum(hertz, 1) - 1) > 0.2).mean() > 0.3, "the deepest dip is no answer"
    tracked = PitchTracker(RATE).push(candidates)
    assert (tracked[hertz == 0] == 0).all()
    np.testing.assert_allclose(tracked[hertz > 0], hertz[hertz > 0], rtol=1e-6)


def test_what_a_tracker_said_stays_however_the_frames_come():
    candidates, _ = spoken(seed=1)
    at_once, tracker = PitchTracker(RATE).push(candidates), PitchTracker(RATE)
    for size in (1, 7, 64):
        tracker.reset()
        blocks = [tracker.push(candidates[:, at : at + size]) for at in range(0, candidates.shape[1], size)]
        np.testing.assert_array_equal(np.concatenate(blocks), at_once)
    assert len(tracker.push(candidates[:, :0])) == 0
    assert not PitchTracker(RATE).push(np.array([[0.0, 0.0, 1.0, 1.0]] * 5, np.float32).T).any()


def test_a_tracker_stays_in_the_register_that_it_knows():
    """Of two dips as deep as each other, that of the speaker who spoke before."""
    speaker = np.tile(np.array([[220.0, 0.0, 0.05, 1.0]], np.float32).T, 60)
    pause = np.tile(np.array([[0.0, 0.0, 1.0, 1.0]], np.float32).T, 20)
    either = np.tile(np.array([[700.0, 215.0, 0.2, 0.2]], np.float32).T, 10)
    assert (PitchTracker(RATE).push(np.hstack([speaker, pause, either]))[80:] == 215).all()
    assert (PitchTracker(RATE).push(either) == 700).all(), "of a speaker who is not known, the shorter period"
