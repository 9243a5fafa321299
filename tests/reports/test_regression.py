"""The statistics of a verdict, on noise that was recorded here (benchmarks/noise.py) and on planted steps."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from reports.regression import _welch, change_points, is_settled, ratio_test
from tests.conftest import ROOT

RECORDED = json.loads((ROOT / "benchmarks" / "recorded" / "pairs.json").read_text())
NOISE = np.array([math.log(pair["candidate"]["chunk"] / pair["champion"]["chunk"]) for pair in RECORDED["pairs"]])
MOST_PAIRS = 100  # what five minutes take


def verdict(slower: float, seed: int) -> str:
    """Of a candidate that is slower by a share, on consecutive recorded pairs from a random one on."""
    start = np.random.default_rng(seed).integers(len(NOISE))
    ratios = np.roll(NOISE, -start)[:MOST_PAIRS] + math.log1p(slower)
    for count in range(5, MOST_PAIRS):
        if is_settled(ratios[:count]):
            return ratio_test(ratios[:count]).verdict
    return ratio_test(ratios).verdict


def test_100_unchanged_repeats_raise_no_alarm():
    found = [verdict(0.0, seed) for seed in range(100)]
    assert "slower" not in found and "faster" not in found
    assert found.count("unchanged") >= 95


@pytest.mark.parametrize("slower", [0.05, 0.10, 0.25])
def test_5_percent_and_more_are_seen_every_time(slower):
    assert {verdict(slower, seed) for seed in range(100)} == {"slower"}


def test_the_verdict_is_the_formula():
    ratios = [0.05, 0.07, 0.06, 0.055, 0.065, 0.061, 0.4, 0.06, 0.062, -0.3]
    left = sorted(ratios)[2:-2]
    winsorized = [left[0]] * 2 + left + [left[-1]] * 2
    half = stats.t.ppf(0.99, 5) * np.std(winsorized, ddof=1) / (0.6 * math.sqrt(10))
    found = ratio_test(ratios)
    assert (found.verdict, found.ratio) == ("slower", pytest.approx(math.exp(stats.trim_mean(ratios, 0.2))))
    assert (found.low, found.high) == (
        pytest.approx(found.ratio * math.exp(-half)),
        pytest.approx(found.ratio * math.exp(half)),
    )
    assert ratio_test([-r for r in ratios]).verdict == "faster"
    assert ratio_test([r / 100 for r in ratios]).verdict == "unchanged"
    assert ratio_test([r / 3 for r in left]).verdict == "noisy", "tight, and about as far off as matters"


def test_too_noisy_is_a_verdict_of_its_own_and_says_what_could_be_seen():
    found = ratio_test([0.1, -0.2, 0.15, -0.1, -0.05])
    assert found.verdict == "noisy"
    assert str(found).startswith("too noisy to tell: -1.7 % ± ")
    assert not is_settled([0.1, -0.2, 0.15, -0.1, 0.05])
    assert not is_settled([0.0, 0.0001])


def test_what_is_beyond_doubt_is_not_waited_for():
    assert is_settled(np.random.default_rng(0).normal(math.log(1.25), 0.02, 8))


def test_welch_is_scipys():
    rng = np.random.default_rng(0)
    for _ in range(20):
        left, right = rng.normal(0, 1, rng.integers(3, 20)), rng.normal(0.5, 2, rng.integers(3, 20))
        assert _welch(left, right) == pytest.approx(stats.ttest_ind(left, right, equal_var=False).pvalue)


def test_steps_are_found_where_they_are_and_noise_is_none():
    rng = np.random.default_rng(1)
    series = np.concatenate([rng.normal(10, 0.1, 12), rng.normal(11, 0.1, 10), rng.normal(9, 0.1, 8)])
    assert [point.index for point in change_points(series)] == [12, 22]
    assert change_points(rng.normal(10, 0.5, 30)) == []
    (only,) = change_points([46.3] * 9 + [44.1] * 2)
    assert (only.index, only.before, only.after) == (9, pytest.approx(46.3), pytest.approx(44.1))
    assert change_points([1.0] * 30) == [] == change_points([1.0, 2.0])
