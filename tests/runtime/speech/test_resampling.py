"""The resampling of live audio: what it keeps, what it rejects, and how long it waits."""

import numpy as np
import pytest

from runtime.speech.metrics import snr_db
from runtime.speech.resampling import PROMPT, Resampler, resampled

PAIRS = [(48000, 22050), (22050, 48000), (44100, 22050), (48000, 16000), (44100, 16000), (22050, 44100)]


def tone(frequency, rate, seconds=0.5):
    return np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate).astype(np.float32)


@pytest.mark.parametrize("rates", PAIRS, ids=str)
def test_what_a_voice_is_made_of_is_kept_at_its_time(rates):
    for share in (0.01, 0.1, 0.25, 0.4):
        frequency = share * min(rates)
        made, wanted = resampled(tone(frequency, rates[0]), *rates, PROMPT), tone(frequency, rates[1])
        assert len(made) == len(wanted)
        inside = slice(200, -200)  # before the audio and after it are zeros
        assert snr_db(wanted[inside], made[inside]) > 70


@pytest.mark.parametrize("rates", [pair for pair in PAIRS if pair[0] > pair[1]], ids=str)
def test_what_would_come_down_as_an_alias_is_rejected(rates):
    for share in (0.57, 0.7, 0.9):
        made = resampled(tone(share * rates[1], rates[0]), *rates, PROMPT)[200:-200]
        assert 20 * np.log10(np.abs(made).max()) < -75


@pytest.mark.parametrize("rates", PAIRS, ids=str)
def test_blocks_of_any_size_give_the_same_bits(rates):
    samples = np.random.default_rng(0).standard_normal(20011).astype(np.float32)
    whole = resampled(samples, *rates, PROMPT)
    for seed in range(2):
        random, at, resampler, pieces = np.random.default_rng(seed), 0, Resampler(*rates, PROMPT), []
        while at < len(samples):
            size = int(random.choice([0, 1, 3, 256, 5000]))
            pieces.append(resampler.push(samples[at : at + size]))
            at += size
        np.testing.assert_array_equal(np.concatenate([*pieces, resampler.flush()]), whole)
    assert len(whole) == round(len(samples) * rates[1] / rates[0])


def test_it_waits_for_little_more_than_a_millisecond_where_soxr_waits_for_forty():
    for rates in ((48000, 22050), (22050, 48000), (44100, 22050)):
        assert 0 < Resampler(*rates, PROMPT).delay() < 0.0012 < 0.03 < Resampler(*rates).delay()
    assert len(resampled(np.zeros(0, np.float32), 48000, 22050, PROMPT)) == 0
