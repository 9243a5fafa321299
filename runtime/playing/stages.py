"""The stages of a conversion, one after another, on audio that comes in blocks.

`Frontend` runs every stage but the last, whose frames it gives. What comes out does not depend on how the audio was cut
into blocks. No engine is opened here: who calls says how a component is run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from runtime.bundle.conversion import (
    Context,
    ContextName,
    Conversion,
    FeatureStage,
    HarmonicStage,
    LatentStage,
    LocalStage,
    MatchStage,
    PitchStage,
    RetrieveStage,
    Stage,
    TrackingStage,
    VoicingStage,
    WindowedStage,
    taken_by,
)
from runtime.bundle.form import Pace
from runtime.bundle.store import BundleError, ComponentRecord
from runtime.errors import AudioError
from runtime.playing.latent_tracks import Latents
from runtime.playing.matching_tracks import Matched, MatchedContent, Retrieved
from runtime.playing.parts import Parts
from runtime.playing.pitch_tracks import Harmonic, Normalised, Pitched, Tracked, Voicing
from runtime.playing.tracks import Featured, Joined, Local, Track, Windowed, interpolated, positions
from runtime.speech.matching import Pool
from runtime.speech.metrics import snr_db
from runtime.speech.resampling import PROMPT, Resampler
from runtime.speech.spectrum import Pitch

Constants = Mapping[str, np.ndarray] | None  # inputs without time, by name


@dataclass(frozen=True)
class Target:
    """Whose voice a conversion is to be: `constants`, inputs of its components, or a `pool` of frames."""

    constants: Constants = None
    pool: Pool | None = None

    def of(self, component: ComponentRecord) -> dict[str, np.ndarray]:
        """Those of the constants that a component takes."""
        return {name: (self.constants or {})[name] for name in component.encoders}


NOBODY = Target()


class _Running:
    """Stages that run on audio at `sample_rate`: their tracks by name, each fed at its own rate."""

    def __init__(self, tracks: Mapping[str, Track], sample_rate: int, quality: str) -> None:
        self.tracks = tracks
        self.features = [track for track in tracks.values() if isinstance(track, Featured)]
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

    def forget(self, last: Joined, end: int) -> None:
        """Drops the frames that no stage needs any more, of the last ones those before `end`."""
        for track in self.tracks.values():
            takers = [taker for taker in self.tracks.values() if track in taker.sources]
            track.frames.forget(min([taker.needs(track) for taker in takers] + [end] * (track in last.sources)))

    def _advance(self, audio: Mapping[int, np.ndarray]) -> None:
        for features in self.features:
            features.push(audio.get(features.features.sample_rate, np.zeros(0, np.float32)))
        for track in self.tracks.values():
            track.advance()


class Frontend:
    """Every stage of a conversion but its last, on audio at `sample_rate` in blocks of any size.

    `parts` run its components. `pitch_shift`: semitones on top of the way from the source's pitch to the target's.
    `quality`: of the resampling. Raises BundleError for a target of another kind than the conversion takes.
    """

    def __init__(
        self,
        conversion: Conversion,
        parts: Parts,
        target: Target,
        sample_rate: int,
        context: ContextName = "offline",
        pitch_shift: float = 0.0,
        quality: str = PROMPT,
    ) -> None:
        if (conversion.matching is None) != (target.pool is None):
            raise BundleError("a pool of a target's frames is for a conversion that matches frames")
        if pitch_shift and not conversion.takes_pitch:
            raise BundleError("this conversion takes no pitch: leave out --pitch")
        self.sample_rate = sample_rate
        tracks: dict[str, Track] = {}
        for stage in conversion.stages[:-1]:
            sources = [tracks[name] for name in taken_by(stage)]
            tracks[stage.name] = _track_of(stage, sources, parts, target.pool, context, pitch_shift)
        last = conversion.last
        self._last = Joined(last.name, [tracks[name] for name in last.takes], last.noise_rows)
        self._running = _Running(tracks, sample_rate, quality)
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
    def latents(self) -> Latents | None:
        """The controls of its latents; None for a conversion that has none."""
        return next((track for track in self._running.tracks.values() if isinstance(track, Latents)), None)

    @property
    def pitch(self) -> float | None:
        """Hz of the newest frame, 0 where it is unvoiced; None for a conversion that takes no pitch."""
        return None if self._pitch is None else self._pitch.newest

    @property
    def voiced_seconds(self) -> float | None:
        """Seconds in which there was a voice; None for a conversion that takes no pitch."""
        return None if self._pitch is None else self._pitch.positive * self._pitch.block_seconds

    @property
    def _pitch(self) -> Featured | Tracked | Voicing | None:
        for track in self._running.tracks.values():
            if isinstance(track, Tracked | Voicing):
                return track
            if isinstance(track, Featured) and isinstance(track.features, Pitch):
                return track
        return None

    @property
    def latency(self) -> dict[str, float]:
        """Milliseconds by part, on the path that takes longest."""
        path: list[Track] = []
        slowest: Track | None = self._slowest
        while slowest is not None:
            path.append(slowest)
            slowest = slowest.slowest
        delays = [resampler.delay() for resampler in self._running.resamplers.values()]
        parts = {"resampling": max(delays, default=0.0)}
        for track in reversed(path):
            parts |= track.latency
        return {name: 1e3 * seconds for name, seconds in parts.items()}

    @property
    def block_seconds(self) -> float:
        """Seconds of audio after which frames come out: the longest chunk of any stage."""
        return max(track.block_seconds for track in self._running.tracks.values())

    @property
    def paces(self) -> tuple[Pace, ...]:
        """Of the components in a row that the frames come of last."""
        return self._slowest.paces

    @property
    def is_even(self) -> bool:
        """Whether frames come one by one but for `paces`: no other stage holds them back for a chunk."""
        return all(
            track.paces or track.block_seconds <= track.clock.hop_length / track.clock.sample_rate
            for track in self._running.tracks.values()
        )

    @property
    def _slowest(self) -> Track:
        return max(self._last.sources, key=lambda source: source.waits())

    def _new_frames(self) -> np.ndarray:
        start, self.frames = self.frames, self._last.end
        fresh = self._last.taken(start, self.frames) if self.frames > start else self._last.none()
        self._running.forget(self._last, self.frames)
        return fresh[None]


def window_costs(conversion: Conversion, parts: Parts, samples: np.ndarray, sample_rate: int) -> Conversion:
    """The same conversion, its windowed stages with what their windows cost on samples (N,): live as it is, without a
    future, and with twice as much of it.

    Stages after the last windowed one are not run, and those after one that matches frames are left alone.
    """
    tracks: dict[str, Track] = {}
    windowed = [index for index, stage in enumerate(conversion.stages) if isinstance(stage, WindowedStage)]
    for stage in conversion.stages[: max(windowed, default=-1) + 1]:
        if isinstance(stage, MatchStage):
            break
        sources = [tracks[name] for name in taken_by(stage)]
        tracks[stage.name] = _track_of(stage, sources, parts, None, "offline", 0.0)
    running = _Running(tracks, sample_rate, "VHQ")
    running.push(samples)
    running.flush()
    stages = [
        replace(stage, costs_db=_costs_db(stage, tracks[stage.name], parts))
        if isinstance(stage, WindowedStage) and stage.name in tracks
        else stage
        for stage in conversion.stages
    ]
    return replace(conversion, stages=tuple(stages))


def _costs_db(stage: WindowedStage, offline: Track, parts: Parts) -> dict[str, float]:
    live, costs = stage.contexts["live"], dict[str, float]()
    reference = offline.frames.taken(0, offline.frames.end)
    for future in sorted({0, live.future, 2 * live.future}):
        past = live.past + live.future - future
        if past < 0 or past % stage.frames_per_output:
            continue
        context = Context(past, live.chunk, future)
        asked: dict[ContextName, Context] = {"offline": context, "live": context}
        track = Windowed(replace(stage, contexts=asked), offline.sources, parts.run, "live")
        track.advance()
        costs[str(context)] = snr_db(reference.ravel(), track.frames.taken(0, track.frames.end).ravel())
    return costs


def pool_of(conversion: Conversion, parts: Parts, recordings: Iterable[Iterable[np.ndarray]], sample_rate: int) -> Pool:
    """Makes the pool of a target's recordings, each in blocks at `sample_rate`.

    A frame of the mel that the conversion gives goes with the content and the pitch at its moment. Where it gives
    content, that is all. Raises BundleError for a conversion that matches no frames.
    """
    matching = conversion.matching
    if matching is None:
        raise BundleError("only a conversion that matches frames takes a pool of them")
    tracks: dict[str, Track] = {} if matching.mel is None else {"": Featured(FeatureStage("", matching.mel))}
    for stage in conversion.stages[: conversion.stages.index(matching)]:
        sources = [tracks[name] for name in taken_by(stage)]
        tracks[stage.name] = _track_of(stage, sources, parts, None, "offline", 0.0)
    running, pieces = _Running(tracks, sample_rate, "VHQ"), list[dict[str, np.ndarray]]()
    for blocks in recordings:
        running.reset()
        for block in blocks:
            running.push(block)
        running.flush()
        arrays = _pooled(matching, tracks)
        if arrays:
            pieces.append({name: array[:: matching.every] for name, array in arrays.items()})
    if not pieces:
        raise AudioError("the target's recordings hold no whole frame")
    joined = {name: np.ascontiguousarray(np.concatenate([piece[name] for piece in pieces])) for name in pieces[0]}
    return Pool(**joined, is_centred=matching.centred)


def _pooled(matching: MatchStage, tracks: Mapping[str, Track]) -> dict[str, np.ndarray]:
    """The arrays of a pool that one recording gives, by name; none where it holds no whole frame."""
    content = tracks[matching.content]
    if not content.frames.end:
        return {}
    rows = content.frames.taken(0, content.frames.end).T
    if matching.mel is None or matching.pitch is None or matching.level is None:
        return {"content": rows.astype(np.float16)}  # as it is kept
    mel, pitch, level = (tracks[name].frames for name in ("", matching.pitch, matching.level))
    count = min(mel.end, pitch.end, level.end)
    if not count:
        return {}
    rows = interpolated(rows, *positions(content.clock, tracks[""].clock, 0, count)).astype(np.float16)
    rows_of = {name: frames.taken(0, count)[0] for name, frames in (("pitch", pitch), ("level", level))}
    return {"content": rows, "mel": mel.taken(0, count).T, **rows_of}


def _track_of(
    stage: Stage, sources: Sequence[Track], parts: Parts, pool: Pool | None, context: ContextName, pitch_shift: float
) -> Track:
    """A stage that runs. Raises BundleError where what it takes does not fit together."""
    if isinstance(stage, FeatureStage):
        return Featured(stage)
    if isinstance(stage, WindowedStage):
        return Windowed(stage, sources, parts.run, context)
    if isinstance(stage, LocalStage):
        return Local(stage, sources, parts.stream(stage.component))
    if isinstance(stage, TrackingStage):
        return Tracked(stage, sources[0])
    if isinstance(stage, VoicingStage):
        return Voicing(stage, sources[0])
    if isinstance(stage, PitchStage):
        return (Normalised if stage.gives == "normalised" else Pitched)(stage, sources[0], pitch_shift)
    if isinstance(stage, HarmonicStage):
        return Harmonic(stage, sources[0])
    if isinstance(stage, LatentStage):
        return Latents(stage, sources[0])
    if isinstance(stage, RetrieveStage):
        return Retrieved(stage, sources, parts.index)
    assert pool is not None
    if stage.mel is None:
        return MatchedContent(stage, sources, pool)
    return Matched(stage, stage.mel, sources, pool, pitch_shift)
