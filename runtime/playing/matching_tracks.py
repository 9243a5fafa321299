"""Tracks of content that is drawn towards a voice: by its retrieval index, or by frames of a target."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from runtime.bundle.conversion import MatchStage, RetrieveStage, clock_of
from runtime.bundle.store import BundleError
from runtime.playing.parts import INDEX
from runtime.playing.tracks import Mapped, Track, interpolated, positions
from runtime.speech.bark import Bark, shifted_bark
from runtime.speech.frames import HeldFrames
from runtime.speech.matching import PitchShift, Pool, RunningMean, Softener, nearest, nearest_content
from runtime.speech.mel import Mel, shifted_mel


class Retrieved(Mapped):
    """Content drawn towards a retrieval index, frame by frame: a product of several rows may sum in another order."""

    def __init__(self, stage: RetrieveStage, sources: Sequence[Track], index: Mapping[str, np.ndarray]) -> None:
        self._stage = stage
        self._vectors, self._centroids, self._ends = (index[name] for name in INDEX)
        super().__init__(stage, sources)

    def reset(self) -> None:
        super().reset()
        self._last: tuple[np.ndarray, np.ndarray] | None = None  # content repeats at its own rate

    def _mapped(self, *frames: np.ndarray) -> np.ndarray:
        content, stage = frames[0], self._stage
        self.channels = len(content)
        if len(content) != self._vectors.shape[1]:
            raise BundleError(f"the index is of {self._vectors.shape[1]} channels, the content has {len(content)}")
        found = np.stack([self._found(column) for column in content.T], axis=1)
        share = np.full(content.shape[1], stage.share, np.float32)
        if stage.pitch:
            share = np.where(frames[1][0] > 0, share, share * np.float32(stage.protected))
        return content * (1 - share) + found * share

    def _found(self, query: np.ndarray) -> np.ndarray:
        if self._last is None or not np.array_equal(self._last[0], query):
            number = int(_distances(self._centroids, query).argmin())
            rows = self._vectors[self._ends[number - 1] if number else 0 : self._ends[number]]
            self._last = query.copy(), _weighed(rows, query, self._stage.neighbours)
        return self._last[1]


def _distances(rows: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Squared, to each row: (N,)."""
    return ((rows - query) ** 2).sum(axis=1)


def _weighed(rows: np.ndarray, query: np.ndarray, neighbours: int) -> np.ndarray:
    """The mean of the rows nearest to a query, by weight 1 / d^4; the query itself where there are none."""
    if not len(rows):
        return query
    distances = _distances(rows, query)
    nearest_rows = np.argsort(distances, kind="stable")[:neighbours]
    weights = 1 / np.maximum(distances[nearest_rows].astype(np.float64), 1e-9) ** 2
    return ((weights / weights.sum()) @ rows[nearest_rows]).astype(np.float32)


class Matched(Track):
    """In blocks of one chunk of the content, however the audio came: a product of more rows may sum in another order,
    and another neighbour is another sound."""

    def __init__(
        self, stage: MatchStage, mel: Mel | Bark, sources: Sequence[Track], pool: Pool, pitch_shift: float
    ) -> None:
        self._stage, self._mel, self._pool = stage, mel, pool
        self.sources, self.channels, self.clock = tuple(sources), mel.channels, clock_of(mel)
        content, pitch, level = self.sources
        if not pitch.clock == level.clock == self.clock:
            raise BundleError(f"stage {stage.name}: its pitch, level and mel are on different clocks")
        bands = None if pool.mel is None else pool.mel.shape[1]
        if bands != mel.channels:
            raise BundleError(f"the target's frames have {bands or 'no'} bands, the vocoder takes {mel.channels}")
        self._block = _chunk_of(content)
        per_second = self.clock.sample_rate / self.clock.hop_length
        self._mean = RunningMean(pool.mean, content.clock.sample_rate / content.clock.hop_length)
        self._shift = PitchShift(pool.median_log_pitch, per_second, pitch_shift)
        self._softener = Softener(pool.speech_level, per_second)
        super().__init__()

    def reset(self) -> None:
        super().reset()
        self._mean.reset()
        self._shift.reset()
        self._softener.reset()
        self._centred = HeldFrames(axis=0)  # the content, without its running mean where it is compared so
        self._blocks = 0

    def needs(self, source: Track) -> int:
        return self._centred.end if source is self.sources[0] else self.frames.end

    def advance(self) -> None:
        content, pitch, level = self.sources
        while True:
            block_end = (self._blocks + 1) * self._block
            start, stop = self._centred.end, min(block_end, content.frames.end)
            is_last = content.has_ended and stop < block_end
            if stop < block_end and not is_last:
                return
            last = self._frames_until(stop, is_last)
            if min(pitch.frames.end, level.frames.end) < last or (is_last and not pitch.has_ended):
                return
            if start < stop:
                block = content.frames.taken(start, stop).T
                self._centred.append(block - self._mean.push(block) if self._stage.centred else block)
            if self.frames.end < last:
                self.frames.append(self._matched(self.frames.end, last))
                (needed,), _ = positions(content.clock, self.clock, last, last + 1)
                self._centred.forget(min(int(needed), self._centred.end - 1))
            self._blocks += 1
            if is_last:
                self.has_ended = True
                return

    def _frames_until(self, stop: int, is_last: bool) -> int:
        """The frames that content up to its frame `stop` is enough for."""
        content, pitch, level = self.sources
        if is_last:
            return min(pitch.frames.end, level.frames.end)
        seconds = content.clock.moment(stop - 1)
        return max(0, math.floor((seconds * self.clock.sample_rate - self.clock.offset) / self.clock.hop_length))

    def _matched(self, start: int, stop: int) -> np.ndarray:
        stage = self._stage
        pitch, level = (track.frames.taken(start, stop)[0] for track in self.sources[1:])
        before, share = positions(self.sources[0].clock, self.clock, start, stop)
        first = min(int(before[0]), self._centred.end - 1)
        content = interpolated(self._centred.taken(first, self._centred.end), before - first, share)
        log_pitch = self._shift.push(pitch)
        chosen = nearest(self._pool, content, log_pitch, stage.neighbours, stage.shortlist, stage.pitch_weight)
        arrays = self._pool.arrays
        mel = arrays["mel"][chosen].mean(axis=1, dtype=np.float32).T
        softer = self._softener.push(level, arrays["level"][chosen].mean(axis=1))
        if isinstance(self._mel, Bark):
            return shifted_bark(mel, softer, log_pitch)
        return shifted_mel(mel, self._mel, softer)

    @property
    def latency(self) -> dict[str, float]:
        # that it lies before, up to a frame of its own early (`_frames_until`)
        seconds = sum(clock.hop_length / clock.sample_rate for clock in (self.sources[0].clock, self.clock))
        return {f"{self._stage.name}, next frame of content": seconds}


class MatchedContent(Track):
    """Content of which each frame is the mean of the target's nearest; in the blocks of `Matched`, for its reason."""

    def __init__(self, stage: MatchStage, sources: Sequence[Track], pool: Pool) -> None:
        (content,) = self.sources = tuple(sources)
        if pool.mel is not None:
            raise BundleError(f"stage {stage.name} matches content alone, the target's frames are of a mel")
        self._stage, self._pool, self.clock = stage, pool, content.clock
        self.channels, self._block = pool.content.shape[1], _chunk_of(content)
        self._mean = RunningMean(pool.mean, self.clock.sample_rate / self.clock.hop_length)
        super().__init__()

    def reset(self) -> None:
        super().reset()
        self._mean.reset()

    def needs(self, source: Track) -> int:
        return self.frames.end

    def advance(self) -> None:
        (content,) = self.sources
        while not self.has_ended:
            start, stop = self.frames.end, min(self.frames.end + self._block, content.frames.end)
            if stop - start < self._block and not content.has_ended:
                return
            if start < stop:
                block = content.frames.taken(start, stop).T
                compared = block - self._mean.push(block) if self._stage.centred else block
                chosen = nearest_content(self._pool, compared, self._stage.neighbours)
                self.frames.append(self._pool.content[chosen].mean(axis=1, dtype=np.float32).T)
            self.has_ended = content.has_ended and stop == content.frames.end

    @property
    def latency(self) -> dict[str, float]:
        return {}


def _chunk_of(content: Track) -> int:
    """Frames that a track gives at once."""
    return max(1, round(content.block_seconds * content.clock.sample_rate / content.clock.hop_length))
