"""The melody of speech: which of the periods that fit is the pitch, and log F0 less a running mean of itself."""

from __future__ import annotations

import math

import numpy as np

MEMORY_SECONDS = 20.0  # of voiced speech, after which a frame counts 1/e in the mean: another speaker is followed
_OCTAVE = 12.0  # semitones

# What a tracker's path costs, in units of a dip's depth; chosen on 16 readers of LibriSpeech train-clean-100.
UNVOICED = 0.45  # a frame
SWITCH = 0.1  # from voiced to unvoiced or back
JUMP = 0.6  # an e-fold from frame to frame
LOW = 0.05  # an e-fold below `TOP_HZ`: of a period and its double, which fit as well, the period
AWAY = 0.2  # an e-fold from the speaker's register
TOP_HZ = 800.0
SURE, SURE_FRAMES = 0.15, 10  # the depth of a dip that is trusted about the register; how many must have been
REGISTER_SECONDS = 5.0  # of such frames, after which one counts 1/e


class Melody:
    """Log F0 around its running mean, frame by frame, however the frames come.

    The mean is over the voiced frames up to and with this one, each weighing exp(-1 / (20 s * frame_rate)) less for
    every voiced one after it: the first voiced frame gives 0. `frame_rate`: frames a second; `semitones` are added.
    """

    def __init__(self, frame_rate: float, semitones: float = 0.0) -> None:
        self._kept = math.exp(-1.0 / (MEMORY_SECONDS * frame_rate))
        self._shift = semitones * math.log(2.0) / _OCTAVE
        self.reset()

    def reset(self) -> None:
        """Begins anew: the next voiced frame is the first."""
        self._sum = self._weight = 0.0  # of ln F0, in float64: one by one, as a sum in another order is another mean

    def push(self, hertz: np.ndarray) -> np.ndarray:
        """hertz (n,), 0 where unvoiced -> (2, n) float32: normalised ln F0, 0 where unvoiced, and 1 where voiced."""
        rows = np.zeros((2, len(hertz)), np.float32)
        for index in np.flatnonzero(hertz > 0):
            log_pitch = math.log(hertz[index])
            self._sum = self._kept * self._sum + log_pitch
            self._weight = self._kept * self._weight + 1.0
            rows[:, index] = log_pitch - self._sum / self._weight + self._shift, 1.0
        return rows


class PitchTracker:
    """The pitch among candidates, as they come: the end of the path through all frames so far that costs least.

    Dynamic programming over candidates of each frame and being unvoiced (Talkin 1995, RAPT), without looking back: what
    was said of a frame stays. A path pays for shallow dips, jumps, low pitch, and for being far from the register of
    the speaker, a running mean over frames whose dip leaves no doubt. `frame_rate`: frames a second.
    """

    def __init__(self, frame_rate: float) -> None:
        self._kept = math.exp(-1.0 / (REGISTER_SECONDS * frame_rate))
        self.reset()

    def reset(self) -> None:
        """Begins anew: the next frame is the first."""
        self._sum = self._weight = 0.0  # of ln F0 where it is sure
        self._unvoiced = 0.0  # what the cheapest path costs that ends unvoiced
        self._logs: list[float] = []  # ln F0 of the last frame's candidates,
        self._costs: list[float] = []  # and what the cheapest paths to them cost

    def push(self, candidates: np.ndarray) -> np.ndarray:
        """candidates (2 count, n): frequencies in Hz, 0 for none, and depths of dips -> hertz (n,) float32, 0 where
        unvoiced."""
        count = len(candidates) // 2
        hertz = np.zeros(candidates.shape[1], np.float32)
        for index, column in enumerate(candidates.T.tolist()):
            hertz[index] = self._next([(f, depth) for f, depth in zip(column[:count], column[count:]) if f > 0])
        return hertz

    def _next(self, candidates: list[tuple[float, float]]) -> float:
        is_known = self._weight > SURE_FRAMES
        register = self._sum / self._weight if is_known else 0.0
        cheapest = min(self._costs, default=math.inf)
        logs, costs = [math.log(f) for f, _ in candidates], list[float]()
        for log_pitch, (_, depth) in zip(logs, candidates):
            own = depth + LOW * (math.log(TOP_HZ) - log_pitch) + (AWAY * abs(log_pitch - register) if is_known else 0.0)
            steps = (cost + JUMP * abs(log_pitch - before) for before, cost in zip(self._logs, self._costs))
            costs.append(own + min([self._unvoiced + SWITCH, *steps]))
        unvoiced = min(self._unvoiced, cheapest + SWITCH) + UNVOICED
        best = min(costs, default=math.inf)
        base = min(best, unvoiced)  # so that the sums stay small
        self._unvoiced, self._logs, self._costs = unvoiced - base, logs, [cost - base for cost in costs]
        if best > unvoiced:
            return 0.0
        chosen = costs.index(best)
        if candidates[chosen][1] < SURE:
            self._sum = self._kept * self._sum + logs[chosen]
            self._weight = self._kept * self._weight + 1.0
        return candidates[chosen][0]
