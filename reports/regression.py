"""Statistics of a regression: the paired test of latency, and change points of a trend. Pure functions of numbers.

Latency: r = ln(candidate / champion) of each pair of fresh processes. Slower iff
mean(r) - t(1 - alpha, S - 1) * sd(r) / sqrt(S) > ln(1 + delta), faster symmetrically, unchanged iff the half-width (the
second term) is at most ln(1 + delta); else too noisy to tell.
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


@dataclass(frozen=True)
class RatioTest:
    """`ratio`: geometric mean of candidate / champion; `low`, `high`: one-sided bounds at 1 - alpha each; `spread`:
    standard deviation of ln(ratio) over pairs. `verdict`: `slower`, `faster`, `unchanged`, `noisy`."""

    pairs: int
    ratio: float
    low: float
    high: float
    spread: float
    delta: float
    verdict: str

    @property
    def half_width(self) -> float:
        """As a share of the champion's latency: what could have been seen beyond delta."""
        return math.sqrt(self.high / self.low) - 1

    def __str__(self) -> str:
        change = f"{100 * (self.ratio - 1):+.1f} % ± {100 * self.half_width:.1f} % over {self.pairs} pairs"
        return {"noisy": f"too noisy to tell: {change}"}.get(self.verdict, f"{self.verdict}: {change}")


def ratio_test(ratios: Sequence[float], delta: float = DELTA, alpha: float = ALPHA) -> RatioTest:
    """ratios: ln(candidate / champion) of at least two pairs."""
    mean, half = _interval(ratios, alpha)
    limit = math.log1p(delta)
    if mean - half > limit:
        verdict = "slower"
    elif mean + half < -limit:
        verdict = "faster"
    else:
        verdict = "unchanged" if half <= limit else "noisy"
    spread = float(np.std(ratios, ddof=1))
    bounds = math.exp(mean - half), math.exp(mean + half)
    return RatioTest(len(ratios), math.exp(mean), *bounds, spread, delta, verdict)


def is_settled(ratios: Sequence[float], delta: float = DELTA, alpha: float = ALPHA, least: int = LEAST_PAIRS) -> bool:
    """Whether more pairs are not needed: the half-width is at most delta, or slower or faster is beyond doubt."""
    if len(ratios) < max(least, 2):
        return False
    limit = math.log1p(delta)
    if _interval(ratios, alpha)[1] <= limit:
        return True
    mean, half = _interval(ratios, _SURE)
    return abs(mean) - half > limit


def _interval(ratios: Sequence[float], alpha: float) -> tuple[float, float]:
    """(mean, half-width) of a one-sided bound."""
    count = len(ratios)
    half = special.stdtrit(count - 1, 1 - alpha) * np.std(ratios, ddof=1) / math.sqrt(count)
    return float(np.mean(ratios)), float(half)


@dataclass(frozen=True)
class ChangePoint:
    """`index`: the first value of the new level."""

    index: int
    before: float
    after: float


def change_points(values: Sequence[float], least: float = 0.03, alpha: float = 0.001) -> list[ChangePoint]:
    """Where a series steps to another level, in order.

    Divided where the energy distance between both sides is largest (E-divisive, arXiv 1306.4933), each part again, as
    long as Welch's t-test rejects equal means at `alpha` and they differ by the share `least` of the first.
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
