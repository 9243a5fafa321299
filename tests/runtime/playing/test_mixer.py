"""A gate, one's own voice at a key, and meters around a live chain."""

import math

import numpy as np
import pytest

from runtime.errors import StreamError
from runtime.playing.mixer import HOLD_HOPS, LEAD_HOPS, Gate, Mixer, levels_db, meter

RATE, HOP = 16000, 160


class Late:
    """Gives its input again, twice as loud, in chunks, some samples later than it came."""

    sample_rate, chunk = RATE, 400

    def __init__(self, late=1200):
        self._late, self.latency = late, {"late": 75.0}
        self._held = np.zeros(0, np.float32)

    def push(self, samples):
        self._held = np.concatenate([self._held, samples])
        count = max((len(self._held) - self._late) // self.chunk * self.chunk, 0)
        out, self._held = self._held[:count], self._held[count:]
        return 2 * out

    def flush(self):
        return 2 * self._held

    def reset(self):
        self._held = np.zeros(0, np.float32)


def speech_and_pauses():
    """Two seconds each of hum at -60 dB, speech at -20, hum, speech: (samples, where speech is)."""
    random = np.random.default_rng(0)
    is_loud = np.repeat([False, True, False, True, False], 2 * RATE)
    samples = random.standard_normal(len(is_loud)) * np.where(is_loud, 0.1, 0.001)
    return samples.astype(np.float32), is_loud


def mixed(mixer, samples, seed=0):
    random, at, pieces = np.random.default_rng(seed), 0, []
    while at < len(samples):
        size = int(random.choice([1, 64, 160, 1000]))
        pieces.append(mixer.push(samples[at : at + size]))
        at += size
    return np.concatenate([*pieces, mixer.flush()])


def test_without_a_gate_it_is_the_chain():
    samples, _ = speech_and_pauses()
    np.testing.assert_array_equal(mixed(Mixer(Late()), samples), 2 * samples)


def test_silence_is_silent_and_no_sample_of_speech_is_lost():
    samples, is_loud = speech_and_pauses()
    heard = mixed(Mixer(Late(), Gate(RATE, -40)), samples)
    assert len(heard) == len(samples)
    np.testing.assert_array_equal(heard[is_loud], 2 * samples[is_loud])
    edges = np.flatnonzero(np.diff(is_loud.astype(int)))
    around = np.zeros(len(samples), bool)
    for edge in edges:
        around[max(edge - (LEAD_HOPS + 2) * HOP, 0) : edge + (HOLD_HOPS + LEAD_HOPS + 2) * HOP] = True
    assert not heard[~is_loud & ~around].any(), "what is softer is not heard at all"


def test_a_gate_does_not_depend_on_blocks():
    samples, _ = speech_and_pauses()
    first, *others = (mixed(Mixer(Late(), Gate(RATE, -40)), samples, seed) for seed in range(3))
    for other in others:
        np.testing.assert_array_equal(other, first)


def test_a_gate_between_its_thresholds_stays_as_it_is():
    """-43 dB opens nothing at -40, and shuts nothing that is open."""
    random = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    softly, loudly = random * 10 ** (-43 / 20), random * 10 ** (-30 / 20)
    gate = Gate(RATE, -40)
    gate.push(softly)
    assert not gate.is_open
    gate.push(loudly[: RATE // 10])
    assert gate.is_open
    gate.push(softly)
    assert gate.is_open


def test_a_gate_fades():
    samples, _ = speech_and_pauses()
    ones = np.ones(len(samples), np.float32)
    gate = Gate(RATE, -40)
    gate.push(samples)
    gains = gate.gains(0, len(ones))
    assert set(np.unique(gains[::HOP])) == {0.0, 1.0}
    assert np.abs(np.diff(gains)).max() <= 1.01 / HOP


def test_one_s_own_voice_comes_as_late_and_without_a_step():
    samples, _ = speech_and_pauses()
    smooth = np.sin(np.arange(len(samples)) / 40).astype(np.float32)
    mixer = Mixer(Late())
    pieces = []
    for at in range(0, len(smooth), 500):
        mixer.passes_through = 40_000 <= at < 90_000
        pieces.append(mixer.push(smooth[at : at + 500]))
    heard = np.concatenate([*pieces, mixer.flush()])
    np.testing.assert_array_equal(heard[:38_000], 2 * smooth[:38_000])
    np.testing.assert_allclose(heard[45_000:85_000], smooth[45_000:85_000], atol=1e-6)
    np.testing.assert_array_equal(heard[92_000:], 2 * smooth[92_000:])
    assert np.abs(np.diff(heard)).max() < 2 * np.abs(np.diff(smooth)).max() + 2 / HOP


def test_a_reset_begins_anew():
    samples, _ = speech_and_pauses()
    mixer = Mixer(Late(), Gate(RATE, -40))
    first = mixed(mixer, samples)
    mixer.push(samples[40_000:41_000])
    mixer.reset()
    np.testing.assert_array_equal(mixed(mixer, samples), first)


def test_nothing_is_kept_that_is_heard():
    mixer = Mixer(Late(), Gate(RATE, -40))
    for _ in range(200):
        mixer.push(np.zeros(1000, np.float32))
    assert mixer._input._buffer.size < 5000 and mixer._gate._states._buffer.size < 150


@pytest.mark.parametrize("level", [0.0, 3.0, -200.0, math.nan])
def test_a_gate_at_no_level_is_refused(level):
    with pytest.raises(StreamError, match="a gate opens between"):
        Gate(RATE, level)


def test_meters():
    np.testing.assert_allclose(levels_db(np.full(320, 0.1, np.float32), 160), [-20, -20], atol=1e-5)
    assert meter(0.0) == "||||||||||" and meter(-120.0) == ".........." and meter(-30.0) == "|||||....."
