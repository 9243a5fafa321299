"""The stages of a conversion, one after another, on audio that comes in blocks.

`Frontend` runs every stage but the last, whose frames it gives. What comes out does not depend on how the audio was cut
into blocks. No engine is opened here: who calls says how a component is run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from runtime.bundle.conversion import (
    Clock,
    ContextName,
    Conversion,
    FeatureStage,
    MatchStage,
    Stage,
    WindowedStage,
    clock_of,
    taken_by,
)
from runtime.bundle.store import BundleError
from runtime.errors import AudioError
from runtime.speech.frames import HeldFrames
from runtime.speech.matching import PitchShift, Pool, RunningMean, Softener, nearest
from runtime.speech.mel import shifted_mel
from runtime.speech.resampling import Resampler
from runtime.speech.spectrum import Pitch

Run = Callable[[str, np.ndarray], np.ndarray]  # a component by name, its input -> its output
Constants = Mapping[str, np.ndarray] | None  # inputs without time, by name


@dataclass(frozen=True)
class Target:
    """Whose voice a conversion is to be: `constants`, inputs of its last component, or a `pool` of frames."""

    constants: Constants = None
    pool: Pool | None = None


NOBODY = Target()


class _Running:
    """Stages that run on audio at `sample_rate`: their tracks by name, each fed at its own rate."""

    def __init__(self, tracks: Mapping[str, _Track], sample_rate: int, quality: str) -> None:
        self.tracks = tracks
        self.features = [track for track in tracks.values() if isinstance(track, _Features)]
        rates = sorted({track.features.sample_rate for track in self.features})
        self.resamplers = {rate: Resampler(sample_rate, rate, quality) for rate in rates}

    def push(self, samples: np.ndarray) -> None:
        self._advance({rate: resampler.push(samples) for rate, resampler in self.resamplers.items()})

    def flush(self) -> None:
        self._advance({rate: resampler.flush() for rate, resampler in self.resamplers.items()})
        for track in self.features:
            track.flush()
        self._advance({})

    def reset(self) -> None:
        for resampler in self.resamplers.values():
            resampler.reset()
        for track in self.tracks.values():
            track.reset()

    def forget(self, last: _Track, end: int) -> None:
        """Drops the frames that no stage needs any more, of the last one those before `end`."""
        for track in self.tracks.values():
            takers = [taker for taker in self.tracks.values() if track in taker.sources]
            track.frames.forget(min([taker.needs(track) for taker in takers] + [end] * (track is last)))

    def _advance(self, audio: Mapping[int, np.ndarray]) -> None:
        for features in self.features:
            features.push(audio.get(features.features.sample_rate, np.zeros(0, np.float32)))
        for track in self.tracks.values():
            track.advance()


class Frontend:
    """Every stage of a conversion but its last, on audio at `sample_rate` in blocks of any size.

    `run` calls its components. `pitch_shift`: semitones on top of the way from the source's pitch to the target's.
    `quality`: of the resampling. Raises BundleError for a target of another kind than the conversion takes.
    """

    def __init__(
        self,
        conversion: Conversion,
        run: Run,
        target: Target,
        sample_rate: int,
        context: ContextName = "offline",
        pitch_shift: float = 0.0,
        quality: str = "HQ",
    ) -> None:
        if (conversion.matching is None) != (target.pool is None):
            raise BundleError("a pool of a target's frames is for a conversion that matches frames")
        if pitch_shift and conversion.matching is None:
            raise BundleError("this conversion takes no pitch: leave out --pitch")
        self.sample_rate = sample_rate
        tracks: dict[str, _Track] = {}
        for stage in conversion.stages[:-1]:
            sources = [tracks[name] for name in taken_by(stage)]
            tracks[stage.name] = _track(stage, sources, run, target, context, pitch_shift)
        (last,) = taken_by(conversion.stages[-1])
        self._running, self._last = _Running(tracks, sample_rate, quality), tracks[last]
        self.frames = 0  # given so far

    def push(self, samples: np.ndarray) -> np.ndarray:
        """samples (n,) -> (1, channels, frames): those that they complete."""
        self._running.push(samples)
        return self._new_frames()

    def flush(self) -> np.ndarray:
        """Returns the frames that are left at the end of the audio."""
        self._running.flush()
        return self._new_frames()

    def reset(self) -> None:
        self.frames = 0
        self._running.reset()

    @property
    def pitch(self) -> float | None:
        """Hz of the newest frame, 0 where it is unvoiced; None for a conversion that takes no pitch."""
        return None if self._pitch is None else self._pitch.newest

    @property
    def voiced_seconds(self) -> float | None:
        """Seconds in which there was a voice; None for a conversion that takes no pitch."""
        return None if self._pitch is None else self._pitch.positive * self._pitch.block_seconds

    @property
    def _pitch(self) -> _Features | None:
        return next((track for track in self._running.features if isinstance(track.features, Pitch)), None)

    @property
    def latency(self) -> dict[str, float]:
        """Milliseconds by part, on the path that takes longest."""
        path = [self._last]
        while path[-1].sources:
            path.append(max(path[-1].sources, key=lambda source: source.waits()))
        delays = [resampler.delay() for resampler in self._running.resamplers.values()]
        parts = {"resampling": max(delays, default=0.0)}
        for track in reversed(path):
            parts |= track.latency
        return {name: 1e3 * seconds for name, seconds in parts.items()}

    @property
    def block_seconds(self) -> float:
        """Seconds of audio after which frames come out: the longest chunk of any stage."""
        return max(track.block_seconds for track in self._running.tracks.values())

    def _new_frames(self) -> np.ndarray:
        start, self.frames = self.frames, self._last.frames.end
        fresh = self._last.frames.taken(start, self.frames) if self.frames > start else self._last.none()
        self._running.forget(self._last, self.frames)
        return fresh[None]


def pool_of(conversion: Conversion, run: Run, recordings: Iterable[Iterable[np.ndarray]], sample_rate: int) -> Pool:
    """Makes the pool of a target's recordings, each in blocks at `sample_rate`.

    A frame of the mel that the conversion gives goes with the content and the pitch at its moment. Raises BundleError
    for a conversion that matches no frames.
    """
    matching = conversion.matching
    if matching is None:
        raise BundleError("only a conversion that matches frames takes a pool of them")
    tracks: dict[str, _Track] = {"": _Features(FeatureStage("", matching.mel))}
    for stage in conversion.stages[: conversion.stages.index(matching)]:
        sources = [tracks[name] for name in taken_by(stage)]
        tracks[stage.name] = _track(stage, sources, run, NOBODY, "offline", 0.0)
    running, parts = _Running(tracks, sample_rate, "VHQ"), list[tuple[np.ndarray, ...]]()
    for blocks in recordings:
        running.reset()
        for block in blocks:
            running.push(block)
        running.flush()
        names = ("", matching.pitch, matching.level, matching.content)
        mel, pitch, level, content = (tracks[name].frames for name in names)
        count = min(mel.end, pitch.end, level.end) if content.end else 0
        if count:
            positions = _positions(tracks[matching.content].clock, tracks[""].clock, 0, count)
            rows = interpolated(content.taken(0, content.end).T, *positions).astype(np.float16)  # as it is kept
            arrays = (rows, mel.taken(0, count).T, pitch.taken(0, count)[0], level.taken(0, count)[0])
            parts.append(tuple(array[:: matching.every] for array in arrays))
    if not parts:
        raise AudioError("the target's recordings hold no whole frame")
    return Pool(*(np.ascontiguousarray(np.concatenate(arrays)) for arrays in zip(*parts)))


class _Track:
    """A stage that runs: `frames` (channels, n) of it as long as they are needed, on its `clock`."""

    clock: Clock
    sources: tuple[_Track, ...] = ()
    channels: int = 1

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.frames = HeldFrames(axis=1)
        self.has_ended = False

    def advance(self) -> None:
        """Makes every frame that can be made."""

    def needs(self, source: _Track) -> int:
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


class _Features(_Track):
    def __init__(self, stage: FeatureStage) -> None:
        self.name, self.features, self.clock = stage.name, stage.features, clock_of(stage.features)
        self.channels, self._stream = stage.features.channels, stage.features.stream()
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


class _Windowed(_Track):
    def __init__(self, stage: WindowedStage, source: _Track, run: Run, context: ContextName) -> None:
        self._stage, self._context, self._run, self.sources = stage, stage.contexts[context], run, (source,)
        self.clock = Clock(source.clock.sample_rate, source.clock.hop_length * stage.frames_per_output,
                           source.clock.offset)  # fmt: skip
        super().__init__()

    def reset(self) -> None:
        super().reset()
        self._start = 0  # of the next chunk, in frames of the source

    def needs(self, source: _Track) -> int:
        return max(self._start - self._context.past, 0)

    def advance(self) -> None:
        (source,), context = self.sources, self._context
        while not self.has_ended:
            missing = self._start + context.chunk + context.future - source.frames.end
            if source.has_ended and self._start >= source.frames.end:
                self.has_ended = True
            elif missing <= 0 or source.has_ended:
                self.frames.append(self._called())
                self._start += context.chunk
            else:
                return

    def _called(self) -> np.ndarray:
        """The frames of one chunk, fewer where the audio ends in it."""
        (source,), context, per = self.sources, self._context, self._stage.frames_per_output
        first, last = self._start - context.past, self._start + context.chunk + context.future
        here, end = max(first, 0), min(last, source.frames.end)
        window = np.full((source.channels, context.frames), self._stage.fill, np.float32)
        window[:, here - first : end - first] = source.frames.taken(here, end)
        output = self._run(self._stage.component, window[None])
        count = min(context.chunk, source.frames.end - self._start)
        frames = output[0, :, context.past // per : context.past // per + -(-count // per)]
        self.channels = len(frames)
        return frames

    @property
    def latency(self) -> dict[str, float]:
        frame = self.sources[0].clock.hop_length / self.clock.sample_rate
        return {
            f"{self._stage.name}, future": self._context.future * frame,
            f"{self._stage.name}, chunk": self._context.chunk * frame,
        }

    @property
    def block_seconds(self) -> float:
        return self._context.chunk * self.sources[0].clock.hop_length / self.clock.sample_rate


class _Matched(_Track):
    """In blocks of one chunk of the content, however the audio came: a product of more rows may sum in another order,
    and another neighbour is another sound."""

    def __init__(self, stage: MatchStage, sources: Sequence[_Track], pool: Pool, pitch_shift: float) -> None:
        self._stage, self._pool, self.sources, self.channels = stage, pool, tuple(sources), stage.mel.n_mels
        self.clock = clock_of(stage.mel)
        content, pitch, level = self.sources
        if not pitch.clock == level.clock == self.clock:
            raise BundleError(f"stage {stage.name}: its pitch, level and mel are on different clocks")
        if pool.mel.shape[1] != stage.mel.n_mels:
            bands = f"{pool.mel.shape[1]} bands, the vocoder takes {stage.mel.n_mels}"
            raise BundleError(f"the target's frames have {bands}")
        self._block = max(1, round(content.block_seconds * content.clock.sample_rate / content.clock.hop_length))
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
        self._centred = HeldFrames(axis=0)  # the content without its running mean
        self._blocks = 0

    def needs(self, source: _Track) -> int:
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
                self._centred.append(block - self._mean.push(block))
            if self.frames.end < last:
                self.frames.append(self._matched(self.frames.end, last))
                (needed,), _ = _positions(content.clock, self.clock, last, last + 1)
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
        before, share = _positions(self.sources[0].clock, self.clock, start, stop)
        first = min(int(before[0]), self._centred.end - 1)
        content = interpolated(self._centred.taken(first, self._centred.end), before - first, share)
        chosen = nearest(
            self._pool, content, self._shift.push(pitch), stage.neighbours, stage.shortlist, stage.pitch_weight
        )
        mel = self._pool.mel[chosen].mean(axis=1, dtype=np.float32).T
        softer = self._softener.push(level, self._pool.level[chosen].mean(axis=1))
        return shifted_mel(mel, stage.mel, softer)

    @property
    def latency(self) -> dict[str, float]:
        content = self.sources[0].clock
        return {f"{self._stage.name}, next frame of content": content.hop_length / content.sample_rate}


def interpolated(rows: np.ndarray, before: np.ndarray, share: np.ndarray) -> np.ndarray:
    """rows (n, D) at places between two of them, `share` of the way from row `before` to the next; the last goes on."""
    before, after = np.minimum(before, len(rows) - 1), np.minimum(before + 1, len(rows) - 1)
    return rows[before] * (1 - share[:, None]) + rows[after] * share[:, None]


def _positions(of: Clock, onto: Clock, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the frames [start, stop) of one clock lie among another's: after which of them, and how far."""
    seconds = (np.arange(start, stop) * onto.hop_length + onto.offset) / onto.sample_rate
    positions = np.maximum((seconds * of.sample_rate - of.offset) / of.hop_length, 0.0)
    before = np.floor(positions).astype(np.int64)
    return before, (positions - before).astype(np.float32)


def _track(
    stage: Stage, sources: list[_Track], run: Run, target: Target, context: ContextName, pitch_shift: float
) -> _Track:
    if isinstance(stage, FeatureStage):
        return _Features(stage)
    if isinstance(stage, WindowedStage):
        return _Windowed(stage, sources[0], run, context)
    if isinstance(stage, MatchStage):
        assert target.pool is not None
        return _Matched(stage, sources, target.pool, pitch_shift)
    raise BundleError(f"stage {stage.name} gives audio, and is not the last")
