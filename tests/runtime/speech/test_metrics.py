import numpy as np
import pytest

from runtime.speech.clips import clip_paths, read_clip
from runtime.speech.mel import Mel
from runtime.speech.metrics import LengthError, agreement, log_mel_l1, snr_db, stoi, window_snr_db

RATE = 22050
SETTINGS = Mel(fmax=8000.0, log_base=float(np.e), gain=1.0, signal_norm=False, framing="inset")


@pytest.fixture(scope="module")
def speech():
    return read_clip(clip_paths()[0], RATE, 256).astype(np.float64)


@pytest.mark.parametrize("decibels", [20.0, 55.0, 100.0])
def test_snr_is_that_of_the_noise_put_in(speech, decibels):
    noise = np.random.default_rng(0).normal(size=len(speech))
    noise *= np.sqrt((speech**2).sum() / (noise**2).sum() / 10 ** (decibels / 10))
    assert snr_db(speech, speech + noise) == pytest.approx(decibels, abs=1e-6)


def test_equal_signals_are_at_the_bound_and_not_finite_ones_below_everything(speech):
    assert snr_db(speech, speech) == 200.0
    broken = speech.copy()
    broken[5] = np.nan
    result = agreement(speech, broken, SETTINGS)
    assert result.snr_db == -200.0
    assert result.log_mel_l1 == np.inf
    assert result.stoi == 0.0
    assert result.head_db == -200.0


def test_a_click_shows_in_its_own_window_only(speech):
    clicked = speech.copy()
    clicked[RATE : RATE + 20] += 0.05
    windows = window_snr_db(speech, clicked, RATE)
    at = RATE // round(0.05 * RATE)
    assert windows.argmin() == at
    assert np.delete(windows, at).min() == 200.0
    result = agreement(speech, clicked, SETTINGS)
    assert result.worst_window_at_s == pytest.approx(1.0, abs=0.051)
    assert result.head_db == result.tail_db == 200.0


def test_head_and_tail_are_the_first_and_last_50_ms(speech):
    output = speech.copy()
    output[:10] += 1e-3
    output[-10:] += 1e-2
    result = agreement(speech, output, SETTINGS)
    assert result.head_db < 60
    assert result.tail_db < 40


def test_silence_in_the_reference_does_not_divide_by_zero():
    reference = np.concatenate([np.sin(np.arange(RATE) * 0.1), np.zeros(RATE)])
    output = reference + 1e-6
    windows = window_snr_db(reference, output, RATE)
    assert np.isfinite(windows).all()
    # -40 dB of the clip's mean power (0.25) over an error of 1e-12
    assert windows[-2] == pytest.approx(10 * np.log10(0.25e-4 / 1e-12), abs=0.1)


def test_log_mel_l1_of_a_gain_is_its_logarithm(speech):
    loud = np.random.default_rng(0).normal(size=RATE) * 0.1
    assert log_mel_l1(loud, loud * 1.01, SETTINGS) == pytest.approx(np.log(1.01), rel=0.02)


def test_stoi_ranks_noise(speech):
    noise = np.random.default_rng(0).normal(size=len(speech)) * 0.05
    assert stoi(speech, speech, RATE) == pytest.approx(1.0, abs=1e-6)
    assert stoi(speech, speech + noise, RATE) < 0.95


def test_different_lengths_are_refused(speech):
    with pytest.raises(LengthError):
        snr_db(speech, speech[:-1])
