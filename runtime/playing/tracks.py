"""Tracks: stages of a conversion that run, each giving frames on a clock of its own as they can be made."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from runtime.bundle.conversion import (
    Clock,
    ContextName,
    FeatureStage,
    HarmonicStage,
    LocalStage,
    MatchStage,
    PitchStage,
    RetrieveStage,
    Stage,
    VoicingStage,
    WindowedStage,
    clock_of,
    pitch_bins,
)
from runtime.bundle.store import BundleError
from runtime.errors import StreamError
from runtime.speech.features import Samples
from runtime.speech.frames import HeldFrames
from runtime.speech.matching import PitchShift, Pool, RunningMean, Softener, nearest, nearest_content
from runtime.speech.mel import Mel, shifted_mel
from runtime.speech.noise import noise_of

Run = Callable[[str, np.ndarray], np.ndarray]  # a component by name, its input -> its output


class FrameStream(Protocol):
    """A component that is local in time, frames (1, channels, n) in and out, in blocks of any size.

    `channels` of a frame that it gives; `chunk`: frames that it takes at once, after the `lookahead` it waits for.
    """

    channels: int
    chunk: int
    lookahead: int

    def push(self, frames: np.ndarray) -> np.ndarray: ...

    def flush(self) -> np.ndarray: ...

    def reset(self) -> None: ...


class Collected:
    """A `FrameStream` of what takes an utterance at once: all of it comes at the end."""

    chunk = lookahead = 0

    def __init__(self, play: Callable[[np.ndarray], np.ndarray], channels: int) -> None:
        self._play, self.channels = play, channels
        self.reset()

    def reset(self) -> None:
        self._blocks: list[np.ndarray] = []

    def push(self, frames: np.ndarray) -> np.ndarray:
        self._blocks.append(frames)
        return np.zeros((1, self.channels, 0), np.float32)

    def flush(self) -> np.ndarray:
        frames = np.concatenate(self._blocks, axis=2)
        return self._play(frames) if frames.shape[2] else self.push(frames)


INDEX = ("vectors", "centroids", "ends")  # arrays of a retrieval index: (N, D), (L, D), (L,)


def checked_index(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of a retrieval index. Raises BundleError where one is missing or does not fit the others."""
    try:
        vectors, centroids, ends = (arrays[f"index_{name}"] for name in INDEX)
        fits = vectors.ndim == centroids.ndim == 2 and vectors.shape[1] == centroids.shape[1]
        rises = ends.shape == (len(centroids),) and bool((np.diff(ends, prepend=0) >= 0).all())
        if not fits or not rises or ends[-1] != len(vectors):
            raise ValueError("its arrays do not fit each other")
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise BundleError(f"the bundle's retrieval index is damaged: {error}") from error
    return dict(zip(INDEX, (vectors, centroids, ends)))


def _streams_nothing(component: str) -> FrameStream:
    raise StreamError(f"component {component} is not streamed here")


@dataclass(frozen=True)
class Parts:
    """How a conversion's components are run: `run` those that take windows, `stream` those that are local in time.

    `index`: arrays of the retrieval index, where there is one (`retrieval_index`).
    """

    run: Run
    stream: Callable[[str], FrameStream] = _streams_nothing
    index: Mapping[str, np.ndarray] = field(default_factory=dict)


class Track:
    """A stage that runs: `frames` (channels, n) of it as long as they are needed, on its `clock`."""

    clock: Clock
    sources: tuple[Track, ...] = ()
    channels: int = 1
    positions: int = 1  # of a frame: many where it is samples

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.frames = HeldFrames(axis=1, size=self.positions)
        self.has_ended = False

    def advance(self) -> None:
        """Makes every frame that can be made."""

    def needs(self, source: Track) -> int:
        """The first frame of a source that is still needed."""
        raise NotImplementedError

    def none(self) -> np.ndarray:
        return np.zeros((self.channels, 0), np.float32)

    @property
    def latency(self) -> dict[str, float]:
        """Seconds by part that its frames come later than its sources' do."""
        raise NotImplementedError

    @property
    def block_seconds(self) -> float:
        """Seconds of audio after which frames come."""
        return self.clock.hop_length / self.clock.sample_rate

    def waits(self) -> float:
        """Seconds from a moment until its frame is there."""
        return sum(self.latency.values()) + max((source.waits() for source in self.sources), default=0.0)


class Joined:
    """Frames of several tracks on one clock, their channels one below another, then rows of noise.

    Raises BundleError for tracks on different clocks.
    """

    def __init__(self, stage: str, sources: Sequence[Track], noise_rows: int = 0) -> None:
        first = sources[0]
        if any((one.clock, one.positions) != (first.clock, first.positions) for one in sources):
            raise BundleError(f"stage {stage}: what it takes is on different clocks")
        self.sources, self._noise_rows = tuple(sources), noise_rows
        self.clock, self.positions = first.clock, first.positions

    @property
    def end(self) -> int:
        return min(source.frames.end for source in self.sources)

    @property
    def has_ended(self) -> bool:
        return all(source.has_ended for source in self.sources)

    @property
    def channels(self) -> int:
        return sum(source.channels for source in self.sources) + self._noise_rows

    def taken(self, start: int, stop: int) -> np.ndarray:
        """A copy of the frames [start, stop): (channels, n)."""
        rows = [source.frames.taken(start, stop) for source in self.sources]
        if self._noise_rows:
            rows.append(noise_of(self._noise_rows, start, stop))
        return rows[0] if len(rows) == 1 else np.concatenate(rows)

    def none(self) -> np.ndarray:
        return np.zeros((self.channels, 0), np.float32)


class Featured(Track):
    def __init__(self, stage: FeatureStage) -> None:
        self.name, self.features, self.clock = stage.name, stage.features, clock_of(stage.features)
        self.channels, self._stream = stage.features.channels, stage.features.stream()
        self.positions = stage.features.hop_length if isinstance(stage.features, Samples) else 1
        super().__init__()

    def reset(self) -> None:
        super().reset()
        self._stream.reset()
        self.newest = 0.0  # value of the last frame's first channel
        self.positive = 0  # frames in which that was above 0

    def push(self, samples: np.ndarray) -> None:
        if self.has_ended:
            return
        frames = self._stream.push(samples)
        if frames.shape[1]:
            self.newest = float(frames[0, -1])
            self.positive += int((frames[0] > 0).sum())
        self.frames.append(frames)

    def flush(self) -> None:
        self.frames.append(self._stream.flush())
        self.has_ended = True

    @property
    def latency(self) -> dict[str, float]:
        return {"rest of the STFT window": self.features.latency / self.features.sample_rate}


class Windowed(Track):
    def __init__(self, stage: WindowedStage, sources: Sequence[Track], run: Run, context: ContextName) -> None:
        self._stage, self._context, self._run = stage, stage.contexts[context], run
        self._taken, self.sources = Joined(stage.name, sources), tuple(sources)
        taken = self._taken.clock
        self.clock = Clock(taken.sample_rate, taken.hop_length * stage.frames_per_output, taken.offset)
        super().__init__()

    def reset(self) -> None:
        super().reset()
        self._start = 0  # of the next chunk, in frames of the source

    def needs(self, source: Track) -> int:
        return max(self._start - self._context.past, 0)

    def advance(self) -> None:
        taken, context = self._taken, self._context
        while not self.has_ended:
            missing = self._start + context.chunk + context.future - taken.end
            if taken.has_ended and self._start >= taken.end:
                self.has_ended = True
            elif missing <= 0 or taken.has_ended:
                self.frames.append(self._called())
                self._start += context.chunk
            else:
                return

    def _called(self) -> np.ndarray:
        """The frames of one chunk, fewer where the audio ends in it."""
        taken, context, per = self._taken, self._context, self._stage.frames_per_output
        first, last = self._start - context.past, self._start + context.chunk + context.future
        here, end = max(first, 0), min(last, taken.end)
        window = np.full((taken.channels, context.frames * taken.positions), self._stage.fill, np.float32)
        window[:, (here - first) * taken.positions : (end - first) * taken.positions] = taken.taken(here, end)
        output = self._run(self._stage.component, window[None])
        count = min(context.chunk, taken.end - self._start)
        frames = output[0, :, context.past // per : context.past // per + -(-count // per)]
        self.channels = len(frames)
        return frames

    @property
    def latency(self) -> dict[str, float]:
        frame = self._taken.clock.hop_length / self.clock.sample_rate
        return {
            f"{self._stage.name}, future": self._context.future * frame,
            f"{self._stage.name}, chunk": self._context.chunk * frame,
        }

    @property
    def block_seconds(self) -> float:
        return self._context.chunk * self._taken.clock.hop_length / self.clock.sample_rate


class Local(Track):
    """Frames of frames, by a component that is local in time."""

    def __init__(self, stage: LocalStage, sources: Sequence[Track], stream: FrameStream) -> None:
        self._name, self._stream, self.sources = stage.name, stream, tuple(sources)
        self._given, self.channels = Joined(stage.name, sources, stage.noise_rows), stream.channels
        self.clock = self._given.clock
        super().__init__()

    def reset(self) -> None:
        super().reset()
        self._stream.reset()
        self._pushed = 0

    def needs(self, source: Track) -> int:
        return self._pushed

    def advance(self) -> None:
        end = self._given.end
        if end > self._pushed:
            self.frames.append(self._stream.push(self._given.taken(self._pushed, end)[None])[0])
            self._pushed = end
        if self._given.has_ended and not self.has_ended:
            self.frames.append(self._stream.flush()[0])
            self.has_ended = True

    @property
    def latency(self) -> dict[str, float]:
        frame = self.clock.hop_length / self.clock.sample_rate
        return {
            f"{self._name}, lookahead": self._stream.lookahead * frame,
            f"{self._name}, chunk": self._stream.chunk * frame,
        }

    @property
    def block_seconds(self) -> float:
        return max(self._stream.chunk, 1) * self.clock.hop_length / self.clock.sample_rate


class Voicing(Track):
    """The pitch that a component detects, on another clock: Hz, 0 where it is unvoiced."""

    def __init__(self, stage: VoicingStage, source: Track) -> None:
        if source.channels != 2:
            raise BundleError(f"stage {stage.name} takes a frequency and a confidence, not {source.channels} rows")
        self._stage, self.sources, self.clock = stage, (source,), stage.clock
        super().__init__()

    def reset(self) -> None:
        super().reset()
        self.newest = 0.0  # Hz of the last frame
        self.positive = 0  # frames that are voiced

    def needs(self, source: Track) -> int:
        (before,), _ = positions(source.clock, self.clock, self.frames.end, self.frames.end + 1)
        return min(int(before), max(source.frames.end - 1, 0))

    def advance(self) -> None:
        (source,) = self.sources
        # while the audio goes on, a frame waits for the one after it; the last one is held for a hop
        known = source.frames.end - (not source.has_ended)
        start, stop = self.frames.end, self._frames_before(known)
        if stop > start:
            self.frames.append(self._detected(start, stop))
        self.has_ended = source.has_ended

    def _frames_before(self, position: int) -> int:
        """The frames whose moment is before a frame of the source."""
        (source,) = self.sources
        seconds = source.clock.moment(position)
        count = max(0, math.ceil((seconds * self.clock.sample_rate - self.clock.offset) / self.clock.hop_length) + 1)
        while count > self.frames.end and positions(source.clock, self.clock, count - 1, count)[0][0] >= position:
            count -= 1
        return count

    def _detected(self, start: int, stop: int) -> np.ndarray:
        (source,) = self.sources
        before, share = positions(source.clock, self.clock, start, stop)
        first, last = int(before[0]), source.frames.end - 1
        hertz, confidence = source.frames.taken(first, last + 1)
        hertz = np.where(confidence >= self._stage.threshold, hertz, np.float32(0))
        here, after = hertz[before - first], hertz[np.minimum(before + 1, last) - first]
        between, nearest_one = here * (1 - share) + after * share, np.where(share < 0.5, here, after)
        pitch = np.where((here > 0) & (after > 0), between, nearest_one)
        self.newest = float(pitch[-1])
        self.positive += int((pitch > 0).sum())
        return pitch[None]

    @property
    def latency(self) -> dict[str, float]:
        source = self.sources[0].clock
        return {f"{self._stage.name}, next frame": source.hop_length / source.sample_rate}


class _Mapped(Track):
    """A frame of the frames of other tracks at its moment, made on the host."""

    def __init__(self, stage: Stage, sources: Sequence[Track]) -> None:
        if any(source.clock != sources[0].clock for source in sources):
            raise BundleError(f"stage {stage.name}: what it takes is on different clocks")
        self.sources, self.clock = tuple(sources), sources[0].clock
        super().__init__()

    def needs(self, source: Track) -> int:
        return self.frames.end

    def advance(self) -> None:
        start, end = self.frames.end, min(source.frames.end for source in self.sources)
        if end > start:
            self.frames.append(self._mapped(*(source.frames.taken(start, end) for source in self.sources)))
        self.has_ended = all(source.has_ended for source in self.sources)

    def _mapped(self, *frames: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    @property
    def latency(self) -> dict[str, float]:
        return {}


class Pitched(_Mapped):
    """The pitch, shifted by so many semitones, in hertz or bins."""

    def __init__(self, stage: PitchStage, source: Track, semitones: float) -> None:
        self._ratio, self._is_binned = np.float32(2 ** (semitones / 12)), stage.gives == "bins"
        super().__init__(stage, [source])

    def _mapped(self, *frames: np.ndarray) -> np.ndarray:
        shifted = frames[0] * self._ratio
        return pitch_bins(shifted) if self._is_binned else shifted


class Harmonic(_Mapped):
    """A sine at a pitch, whose phase goes on from frame to frame, and noise."""

    def __init__(self, stage: HarmonicStage, source: Track) -> None:
        self._stage, self.channels = stage, stage.samples
        super().__init__(stage, [source])

    def reset(self) -> None:
        super().reset()
        self._phase = 0.0  # turns at the end of what came

    def _mapped(self, *frames: np.ndarray) -> np.ndarray:
        (pitch,), stage, start = frames, self._stage, self.frames.end
        turns = pitch[0].astype(np.float64) / stage.sample_rate  # of a sample
        phases = np.empty(len(turns))
        for index, turn in enumerate(turns):  # one by one: a sum in another order is another phase
            phases[index] = self._phase
            self._phase = (self._phase + turn * stage.samples) % 1.0
        samples = np.arange(1, stage.samples + 1)[:, None]
        voiced = pitch > 0
        sine = stage.amplitude * np.sin(2 * np.pi * (phases + samples * turns)) * voiced
        amount = np.where(voiced, stage.noise, stage.amplitude / 3)
        return (sine + amount * noise_of(stage.samples, start, start + len(turns))).astype(np.float32)


class Retrieved(_Mapped):
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

    def __init__(self, stage: MatchStage, mel: Mel, sources: Sequence[Track], pool: Pool, pitch_shift: float) -> None:
        self._stage, self._mel, self._pool = stage, mel, pool
        self.sources, self.channels, self.clock = tuple(sources), mel.n_mels, clock_of(mel)
        content, pitch, level = self.sources
        if not pitch.clock == level.clock == self.clock:
            raise BundleError(f"stage {stage.name}: its pitch, level and mel are on different clocks")
        bands = None if pool.mel is None else pool.mel.shape[1]
        if bands != mel.n_mels:
            raise BundleError(f"the target's frames have {bands or 'no'} bands, the vocoder takes {mel.n_mels}")
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
        chosen = nearest(
            self._pool, content, self._shift.push(pitch), stage.neighbours, stage.shortlist, stage.pitch_weight
        )
        arrays = self._pool.arrays
        mel = arrays["mel"][chosen].mean(axis=1, dtype=np.float32).T
        softer = self._softener.push(level, arrays["level"][chosen].mean(axis=1))
        return shifted_mel(mel, self._mel, softer)

    @property
    def latency(self) -> dict[str, float]:
        content = self.sources[0].clock
        return {f"{self._stage.name}, next frame of content": content.hop_length / content.sample_rate}


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


def interpolated(rows: np.ndarray, before: np.ndarray, share: np.ndarray) -> np.ndarray:
    """rows (n, D) at places between two of them, `share` of the way from row `before` to the next; the last goes on."""
    before, after = np.minimum(before, len(rows) - 1), np.minimum(before + 1, len(rows) - 1)
    return rows[before] * (1 - share[:, None]) + rows[after] * share[:, None]


def positions(of: Clock, onto: Clock, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the frames [start, stop) of one clock lie among another's: after which of them, and how far."""
    seconds = (np.arange(start, stop) * onto.hop_length + onto.offset) / onto.sample_rate
    positions = np.maximum((seconds * of.sample_rate - of.offset) / of.hop_length, 0.0)
    before = np.floor(positions).astype(np.int64)
    return before, (positions - before).astype(np.float32)


def track_of(
    stage: Stage, sources: Sequence[Track], parts: Parts, pool: Pool | None, context: ContextName, pitch_shift: float
) -> Track:
    """A stage that runs. Raises BundleError where what it takes does not fit together."""
    if isinstance(stage, FeatureStage):
        return Featured(stage)
    if isinstance(stage, WindowedStage):
        return Windowed(stage, sources, parts.run, context)
    if isinstance(stage, LocalStage):
        return Local(stage, sources, parts.stream(stage.component))
    if isinstance(stage, VoicingStage):
        return Voicing(stage, sources[0])
    if isinstance(stage, PitchStage):
        return Pitched(stage, sources[0], pitch_shift)
    if isinstance(stage, HarmonicStage):
        return Harmonic(stage, sources[0])
    if isinstance(stage, RetrieveStage):
        return Retrieved(stage, sources, parts.index)
    assert pool is not None
    if stage.mel is None:
        return MatchedContent(stage, sources, pool)
    return Matched(stage, stage.mel, sources, pool, pitch_shift)
