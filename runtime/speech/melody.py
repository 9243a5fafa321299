"""The melody of speech without its register: log F0 less a running mean of itself."""

from __future__ import annotations

import math

import numpy as np

MEMORY_SECONDS = 20.0  # of voiced speech, after which a frame counts 1/e in the mean: another speaker is followed
_OCTAVE = 12.0  # semitones


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
