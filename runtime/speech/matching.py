"""A target's pool, frames of content with the mel and the pitch that they had, and which are nearest to a source's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from runtime.errors import AudioError

SEMITONES = 12 / np.log(2)  # of a difference of natural logarithms
_FARTHEST = 6.0  # semitones beyond which a pitch is no worse; what voiced and unvoiced are apart
_SHORTEST = 2.0  # seconds of speech that a pool needs
_SHORTEST_VECTOR = np.float32(1e-9)  # of what has no direction


ARRAYS = ("content", "mel", "pitch", "level")  # of a pool


@dataclass(frozen=True)
class Pool:
    """A target's frames: `content` (N, D), and where that is not what is played `mel` (N, bands) in a vocoder's scale,
    `pitch` (N,) in Hz, 0 unvoiced, and `level` (N,) in dB. `is_centred`: compared without the speaker's mean.

    The content may be of half precision, as it is kept: then the pool is the same whether it was kept or not.
    """

    content: np.ndarray
    mel: np.ndarray | None = None
    pitch: np.ndarray | None = None
    level: np.ndarray | None = None
    is_centred: bool = True

    def __post_init__(self) -> None:
        count = len(self.content)
        arrays = self.arrays
        axes = {"content": 2, "mel": 2, "pitch": 1, "level": 1}
        fits = all(array.ndim == axes[name] and len(array) == count for name, array in arrays.items())
        if not fits or not count or len(arrays) not in (1, len(ARRAYS)):
            raise AudioError(f"a target's {', '.join(ARRAYS)} do not hold the same frames")
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise AudioError(f"a target's {name} holds numbers that are not finite")

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Those that there are, by name."""
        named = {name: getattr(self, name) for name in ARRAYS}
        return {name: array for name, array in named.items() if array is not None}

    @cached_property
    def mean(self) -> np.ndarray:
        """(D,): what a speaker adds to all content, near enough; both sides are compared without theirs."""
        return self.content.mean(axis=0, dtype=np.float64).astype(np.float32)

    @cached_property
    def directions(self) -> np.ndarray:
        """(N, D) float32: the content, without its mean where it is compared so, each frame of length 1."""
        directions = self.content - self.mean if self.is_centred else self.content.astype(np.float32)
        directions /= np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), _SHORTEST_VECTOR)
        return directions

    @cached_property
    def log_pitch(self) -> np.ndarray:
        """(N,): natural logarithm of Hz, not a number where unvoiced. Raises AudioError where there is no pitch."""
        return _log(self._required(self.pitch))

    @cached_property
    def median_log_pitch(self) -> float:
        """Of what is voiced; that of 150 Hz where nothing is."""
        voiced = self.log_pitch[self._required(self.pitch) > 0]
        return float(np.median(voiced)) if len(voiced) else float(np.log(150.0))

    @cached_property
    def speech_level(self) -> float:
        """The level of its speech, dB."""
        return float(SpeechLevel(0.0, 0.0).push(self._required(self.level))[-1])

    def _required(self, array: np.ndarray | None) -> np.ndarray:
        if array is None:
            raise AudioError("a target of content alone has no pitch and no level")
        return array


class SpeechLevel:
    """The level of speech among silence: a running mean of levels in dB, each as heavy as its power.

    It begins as if `frames` frames of `first` dB had come before.
    """

    def __init__(self, first: float, frames: float) -> None:
        self._first, self._frames = first, frames
        self.reset()

    def reset(self) -> None:
        self._power = self._frames * 10 ** (self._first / 10)
        self._sum = self._power * self._first

    def push(self, levels: np.ndarray) -> np.ndarray:
        """levels (n,) in dB -> the mean up to and with each of them, (n,) float32."""
        powers = 10 ** (levels.astype(np.float64) / 10)
        power, total = self._power + np.cumsum(powers), self._sum + np.cumsum(powers * levels)
        if len(levels):
            self._power, self._sum = float(power[-1]), float(total[-1])
        return (total / power).astype(np.float32)


class Softener:
    """How many dB softer matched frames are to be: a source's silence stays silent, whatever frames it is nearest to.

    A matched frame is at most `SLACK_DB` further above the level of the target's speech than the source is above that
    of its own; before there was any, that is taken for `TYPICAL_DB`, as speech into a microphone is.
    """

    SLACK_DB, TYPICAL_DB = 6.0, -26.0

    def __init__(self, target: float, frames_per_second: float) -> None:
        self._target, self._source = target, SpeechLevel(self.TYPICAL_DB, frames_per_second)

    def reset(self) -> None:
        self._source.reset()

    def push(self, source: np.ndarray, matched: np.ndarray) -> np.ndarray:
        """Levels (n,) in dB of the source and of what was matched -> what is added to the latter, at most 0."""
        most = self._target + source - self._source.push(source) + self.SLACK_DB
        return np.minimum(most - matched, 0.0).astype(np.float32)


class RunningMean:
    """A mean over all that came so far, beginning as if `weight` frames of `first` had come before."""

    def __init__(self, first: np.ndarray | float, weight: float) -> None:
        self._first, self._weight = np.asarray(first, np.float64), weight
        self.reset()

    def reset(self) -> None:
        self._sum, self._count = self._first * self._weight, self._weight

    def push(self, rows: np.ndarray) -> np.ndarray:
        """rows (n, …) -> the mean up to and with each of them, (n, …) float32."""
        counts = self._count + np.arange(1, len(rows) + 1)
        sums = self._sum + np.cumsum(rows, axis=0, dtype=np.float64)
        if len(rows):
            self._sum, self._count = sums[-1], float(counts[-1])
        return (sums / counts.reshape(-1, *(1,) * (sums.ndim - 1))).astype(np.float32)


def nearest(
    pool: Pool, content: np.ndarray, log_pitch: np.ndarray, neighbours: int, shortlist: int, pitch_weight: float
) -> np.ndarray:
    """The indices (n, neighbours) of the pool's frames that cost least.

    content (n, D), as the pool's is compared; log_pitch (n,) as the target would have it, not a number where unvoiced.
    """
    cosines = _directions(content) @ pool.directions.T
    shortlist, neighbours = min(shortlist, len(pool.content)), min(neighbours, len(pool.content))
    near = np.argpartition(cosines, -shortlist, axis=1)[:, -shortlist:]
    theirs = pool.log_pitch[near]
    apart = np.minimum(np.abs(theirs - log_pitch[:, None]) * SEMITONES, _FARTHEST)
    is_alike = np.isnan(theirs) & np.isnan(log_pitch)[:, None]
    apart = np.where(is_alike, 0.0, np.where(np.isnan(apart), _FARTHEST, apart))
    costs = pitch_weight * apart - np.take_along_axis(cosines, near, axis=1)
    best = np.argpartition(costs, neighbours - 1, axis=1)[:, :neighbours]
    return np.sort(np.take_along_axis(near, best, axis=1), axis=1)  # a sum of them is the same in any order then


def nearest_content(pool: Pool, content: np.ndarray, neighbours: int) -> np.ndarray:
    """The indices (n, neighbours) of the pool's frames whose content has the largest cosine to content (n, D)."""
    cosines = _directions(content) @ pool.directions.T
    neighbours = min(neighbours, len(pool.content))
    return np.sort(np.argpartition(cosines, -neighbours, axis=1)[:, -neighbours:], axis=1)


def check_pool(pool: Pool, seconds: float) -> None:
    """Raises AudioError for a target of too little speech."""
    if seconds < _SHORTEST:
        raise AudioError(f"a target of {seconds:.1f} s is too short: it takes {_SHORTEST:g} s, better ten minutes")
    voiced = seconds if pool.pitch is None else float((pool.pitch > 0).mean()) * seconds
    if voiced < _SHORTEST / 8:
        raise AudioError(f"in {seconds:.1f} s of the target there is hardly a voice ({voiced:.1f} s voiced)")


def _directions(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _SHORTEST_VECTOR)


def _log(hertz: np.ndarray) -> np.ndarray:
    return np.where(hertz > 0, np.log(np.maximum(hertz, 1e-9)), np.nan).astype(np.float32)


class PitchShift:
    """A source's pitch as a target would speak it: shifted by the distance of their means, in semitones `extra` more.

    The source's is a running mean over what was voiced; it begins at the target's own, with the weight of a second, so
    that the first words are not thrown about.
    """

    def __init__(self, target: float, frames_per_second: float, extra: float = 0.0) -> None:
        self._target, self._extra = target, extra / SEMITONES
        self._mean = RunningMean(target, frames_per_second / 4)

    def reset(self) -> None:
        self._mean.reset()

    def push(self, hertz: np.ndarray) -> np.ndarray:
        """hertz (n,), 0 where unvoiced -> (n,) natural logarithms, not a number where unvoiced."""
        logs, is_voiced = _log(hertz), hertz > 0
        logs[is_voiced] += self._target + self._extra - self._mean.push(logs[is_voiced])
        return logs
