"""Statistics of a regression: the paired test of latency, and change points of a trend. Pure functions of numbers.

Latency: r = ln(candidate / champion) of each of S pairs of fresh processes. Their mean is the 20 % trimmed one, its
half-width Yuen's: t(1 - alpha, h - 1) * sd_w / ((1 - 2 * 0.2) * sqrt(S)) with the winsorized standard deviation and h
the pairs that are left (R. Wilcox, Introduction to Robust Estimation and Hypothesis Testing, 4.3). On a shared machine
some pairs are three times off and most within 2 %: the plain mean needs three times as many. Every pair is kept.

Slower iff mean - half-width > ln(1 + delta), faster symmetrically; unchanged iff neither mean nor half-width is beyond
it; else too noisy to tell.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

DELTA = 0.02
ALPHA = 0.01
LEAST_PAIRS = 5
# At every look but the last: a verdict this sure is not waited for, and looking often costs no false alarms.
_SURE = 1e-5
_TRIM = 0.2


@dataclass(frozen=True)
class RatioTest:
    """`ratio`: trimmed geometric mean of candidate / champion; `low`, `high`: one-sided bounds at 1 - alpha each;
    `spread`: standard deviation of ln(ratio) over pairs. `verdict`: `slower`, `faster`, `unchanged`, `noisy`."""

    pairs: int
    ratio: float
    low: float
    high: float
    spread: float
    delta: float
    verdict: str

    @property
    def half_width(self) -> float:
        """Half the interval's width as a share of the champion's latency: what could have been seen beyond delta."""
        return math.sqrt(self.high / self.low) - 1

    def __str__(self) -> str:
        change = f"{100 * (self.ratio - 1):+.1f} % ± {100 * self.half_width:.1f} % over {self.pairs} pairs"
        return {"noisy": f"too noisy to tell: {change}"}.get(self.verdict, f"{self.verdict}: {change}")


def ratio_test(ratios: Sequence[float], delta: float = DELTA, alpha: float = ALPHA) -> RatioTest:
    """ratios: ln(candidate / champion) of at least two pairs."""
    mean, half = _interval(ratios, alpha)
    spread = float(np.std(ratios, ddof=1))
    bounds = math.exp(mean - half), math.exp(mean + half)
    return RatioTest(len(ratios), math.exp(mean), *bounds, spread, delta, _verdict(mean, half, delta))


def _verdict(mean: float, half: float, delta: float) -> str:
    limit = math.log1p(delta)
    if mean - half > limit:
        return "slower"
    if mean + half < -limit:
        return "faster"
    return "unchanged" if half <= limit and abs(mean) <= limit else "noisy"


def is_settled(ratios: Sequence[float], delta: float = DELTA, alpha: float = ALPHA, least: int = LEAST_PAIRS) -> bool:
    """Whether more pairs are not needed: the half-width is at most delta and there is a verdict, or slower or faster is
    beyond doubt."""
    if len(ratios) < max(least, 2):
        return False
    mean, half = _interval(ratios, alpha)
    if half <= math.log1p(delta) and _verdict(mean, half, delta) != "noisy":
        return True
    return _verdict(*_interval(ratios, _SURE), delta) in ("slower", "faster")


def _interval(ratios: Sequence[float], alpha: float) -> tuple[float, float]:
    """(trimmed mean, half-width of a one-sided bound on it)."""
    count = len(ratios)
    cut = int(_TRIM * count)
    ordered = np.sort(np.asarray(ratios, float))
    left = count - 2 * cut
    spread = float(np.clip(ordered, ordered[cut], ordered[count - cut - 1]).std(ddof=1))
    half = special.stdtrit(left - 1, 1 - alpha) * spread / (left / count * math.sqrt(count))
    return float(ordered[cut : count - cut].mean()), float(half)


@dataclass(frozen=True)
class ChangePoint:
    """`index`: the first value of the new level."""

    index: int
    before: float
    after: float


def change_points(values: Sequence[float], least: float = 0.03, alpha: float = 0.001) -> list[ChangePoint]:
    """Finds where a series steps to another level, in order.

    It is divided where the energy distance between both sides is largest (E-divisive, arXiv 1306.4933), each part
    again, as long as Welch's t-test rejects equal means at `alpha` and they differ by the share `least` of the first.
    """
    series = np.asarray(values, float)
    cuts = sorted(_cuts(series, 0, len(series), least, alpha))
    ends = [0, *cuts, len(series)]
    levels = [float(np.mean(series[start:stop])) for start, stop in itertools.pairwise(ends)]
    return [ChangePoint(cut, levels[i], levels[i + 1]) for i, cut in enumerate(cuts)]


def _cuts(series: np.ndarray, start: int, stop: int, least: float, alpha: float) -> list[int]:
    part = series[start:stop]
    candidates = range(2, len(part) - 1)
    if not candidates:
        return []
    cut = max(candidates, key=lambda at: _energy(part[:at], part[at:]))
    if not _differ(part[:cut], part[cut:], least, alpha):
        return []
    return [
        *_cuts(series, start, start + cut, least, alpha),
        start + cut,
        *_cuts(series, start + cut, stop, least, alpha),
    ]


def _energy(left: np.ndarray, right: np.ndarray) -> float:
    """Energy distance of two samples, weighted by their sizes."""
    between = np.abs(left[:, None] - right[None]).mean()
    within = [np.abs(side[:, None] - side[None]).sum() / (len(side) * (len(side) - 1)) for side in (left, right)]
    return float(len(left) * len(right) / (len(left) + len(right)) * (2 * between - sum(within)))


def _differ(left: np.ndarray, right: np.ndarray, least: float, alpha: float) -> bool:
    if abs(right.mean() - left.mean()) <= least * abs(left.mean()):
        return False
    if np.ptp(left) == 0 and np.ptp(right) == 0:  # what never varied has changed: no test is needed, or possible
        return True
    return _welch(left, right) < alpha


def _welch(left: np.ndarray, right: np.ndarray) -> float:
    """Two-sided p of equal means at unequal variances (scipy.stats has it too, and takes a second to import)."""
    shares = [float(side.var(ddof=1)) / len(side) for side in (left, right)]
    freedom = sum(shares) ** 2 / sum(share**2 / (len(side) - 1) for share, side in zip(shares, (left, right)))
    t = abs(float(left.mean() - right.mean())) / math.sqrt(sum(shares))
    return float(2 * special.stdtr(freedom, -t))
