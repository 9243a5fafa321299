"""Tracks of the pitch: the likeliest candidate, voiced where a detector is sure, as a model reads it, and as the
excitation of a decoder."""

from __future__ import annotations

import math

import numpy as np

from runtime.bundle.conversion import HarmonicStage, PitchStage, TrackingStage, VoicingStage, pitch_bins
from runtime.bundle.store import BundleError
from runtime.playing.tracks import Mapped, Track, positions
from runtime.speech.melody import Melody, PitchTracker
from runtime.speech.noise import noise_of


class Tracked(Mapped):
    """The pitch among candidates: Hz, 0 where it is unvoiced."""

    def __init__(self, stage: TrackingStage, source: Track) -> None:
        if source.channels % 2:
            raise BundleError(f"stage {stage.name} takes frequencies and as many depths, not {source.channels} rows")
        self._tracker = PitchTracker(source.clock.sample_rate / source.clock.hop_length)
        super().__init__(stage, [source])

    def reset(self) -> None:
        super().reset()
        self._tracker.reset()
        self.newest = 0.0  # Hz of the last frame
        self.positive = 0  # frames that are voiced

    def _mapped(self, *frames: np.ndarray) -> np.ndarray:
        hertz = self._tracker.push(frames[0])
        self.newest = float(hertz[-1])
        self.positive += int((hertz > 0).sum())
        return hertz[None]


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


class Pitched(Mapped):
    """The pitch, shifted by so many semitones, in hertz or bins."""

    def __init__(self, stage: PitchStage, source: Track, semitones: float) -> None:
        self._ratio, self._is_binned = np.float32(2 ** (semitones / 12)), stage.gives == "bins"
        super().__init__(stage, [source])

    def _mapped(self, *frames: np.ndarray) -> np.ndarray:
        shifted = frames[0] * self._ratio
        return pitch_bins(shifted) if self._is_binned else shifted


class Normalised(Mapped):
    """The pitch without its register, shifted by so many semitones, and whether there is one."""

    channels = 2

    def __init__(self, stage: PitchStage, source: Track, semitones: float) -> None:
        self._melody = Melody(source.clock.sample_rate / source.clock.hop_length, semitones)
        super().__init__(stage, [source])

    def reset(self) -> None:
        super().reset()
        self._melody.reset()

    def _mapped(self, *frames: np.ndarray) -> np.ndarray:
        return self._melody.push(frames[0][0])


class Harmonic(Mapped):
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
