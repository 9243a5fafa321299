"""Tracks: stages of a conversion that run, each giving frames on a clock of its own as they can be made."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from runtime.bundle.conversion import Clock, ContextName, FeatureStage, LocalStage, Stage, WindowedStage, clock_of
from runtime.bundle.form import Pace, waited
from runtime.bundle.store import BundleError
from runtime.playing.parts import FrameStream, Run
from runtime.speech.features import Samples
from runtime.speech.frames import HeldFrames
from runtime.speech.noise import noise_of


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

    @property
    def slowest(self) -> Track | None:
        """The source whose frames come last."""
        return max(self.sources, key=lambda source: source.waits(), default=None)

    @property
    def paces(self) -> tuple[Pace, ...]:
        """Of the components in a row on its clock that it ends, each of which takes what the one before gives."""
        return ()


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
    def paces(self) -> tuple[Pace, ...]:
        return () if self._stream.pace is None else (*paces_before(self.slowest), self._stream.pace)

    @property
    def latency(self) -> dict[str, float]:
        frame = self.clock.hop_length / self.clock.sample_rate
        lookahead, chunk = self._stream.lookahead, self._stream.chunk
        if self._stream.pace is not None:
            lookahead, chunk = waits_beyond(paces_before(self.slowest), self._stream.pace, lookahead)
        return {f"{self._name}, lookahead": lookahead * frame, f"{self._name}, chunk": chunk * frame}

    @property
    def block_seconds(self) -> float:
        return max(self._stream.chunk, 1) * self.clock.hop_length / self.clock.sample_rate


class Mapped(Track):
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

    @property
    def paces(self) -> tuple[Pace, ...]:
        return paces_before(self.slowest)

    def _mapped(self, *frames: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    @property
    def latency(self) -> dict[str, float]:
        return {}


def paces_before(source: Track | None) -> tuple[Pace, ...]:
    """The paces at which frames of a source come."""
    return () if source is None else source.paces


def waits_beyond(before: Sequence[Pace], pace: Pace, lookahead: int) -> tuple[int, int]:
    """(lookahead, chunk) in frames: what a component waits for beyond what those before it have waited for already.

    One of the same chunk takes at once what the one before it gives at once, and waits for nothing more.
    """
    first = 0 if not before else waited(before)
    beyond = max(waited([*before, pace]) - first, 0)
    return min(lookahead, beyond), beyond - min(lookahead, beyond)


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
