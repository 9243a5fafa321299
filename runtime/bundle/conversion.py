"""A conversion: the components of a bundle as a chain of stages from audio to audio in another voice.

A stage gives frames on a clock of its own; what takes frames of several stages has them aligned by their clocks
(runtime/playing/conversions.py plays the chain, live and from files alike).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal, get_args

from pydantic import Field

from runtime.machine.checked import Count, Name, Size
from runtime.speech.features import LocalFeatures, Samples
from runtime.speech.mel import Mel


@dataclass(frozen=True)
class Clock:
    """Frame n of a stage stands for the moment (n * hop_length + offset) / sample_rate."""

    sample_rate: Count
    hop_length: Count
    offset: float = 0.0

    def moment(self, frame: int) -> float:
        """Seconds."""
        return (frame * self.hop_length + self.offset) / self.sample_rate


def clock_of(features: LocalFeatures) -> Clock:
    """The clock of features: a frame stands for the middle of its window, of samples for the middle of its hop."""
    if isinstance(features, Samples):
        return Clock(features.sample_rate, features.hop_length, features.hop_length / 2)
    return Clock(features.sample_rate, features.hop_length, features.n_fft / 2 - features.border)


@dataclass(frozen=True)
class FeatureStage:
    """Features of the audio that is converted."""

    name: Name
    features: LocalFeatures
    kind: Literal["features"] = "features"


@dataclass(frozen=True)
class Context:
    """What a component that is not local in time sees of a stage: `past` frames before and `future` frames after the
    `chunk` that it is asked for. All three together are what its artefact takes."""

    past: Size
    chunk: Count
    future: Size

    @property
    def frames(self) -> int:
        return self.past + self.chunk + self.future


ContextName = Literal["offline", "live"]


@dataclass(frozen=True)
class WindowedStage:
    """A component that is not local in time, as self-attention is not: approximate, in overlapping windows.

    `takes`: the stages whose frames it is given, (1, channels, frames), their channels one below another;
    `frames_per_output`: of them for one of its own. `fill`: what stands for frames before the audio and after it.
    `contexts`: of a file, which is there as a whole, and live, where the future is waited for.
    """

    name: Name
    component: Name
    takes: tuple[Name, ...]
    contexts: dict[ContextName, Context]
    frames_per_output: Count = 1
    fill: float = 0.0
    kind: Literal["windowed"] = "windowed"

    def __post_init__(self) -> None:
        for name in get_args(ContextName):
            context = self.contexts.get(name)
            if context is None or any(count % self.frames_per_output for count in (context.past, context.chunk)):
                raise ValueError(f"stage {self.name}: its context {name} is missing, or ends within a frame of its own")


@dataclass(frozen=True)
class MatchStage:
    """Replaces each frame by the mean of those of a target whose content is nearest: k nearest neighbours by cosine.

    Baas, van Niekerk and Kamper 2023 (arXiv 2305.18975, kNN-VC). `content`: the stage that is compared, interpolated
    to the clock of `mel`, in which the target's frames are given; `pitch`, `level`: stages of features on that clock.
    Matched frames are made softer where the source is further below its speech than they are below theirs. Of the
    `shortlist` of frames nearest in content those `neighbours` are taken that cost least, `pitch_weight` being the
    cosine that a semitone costs. `every`: of the target's frames only every so many are kept.
    """

    name: Name
    content: Name
    mel: Mel
    pitch: Name
    level: Name
    neighbours: Count = 4
    shortlist: Count = 32
    pitch_weight: float = 0.02
    every: Count = 1
    kind: Literal["match"] = "match"


@dataclass(frozen=True)
class LocalStage:
    """A component that is local in time; in the middle of a chain it gives a frame for each that it takes.

    `takes`: the stages of its input along time, on one clock, their channels one below another; then `noise_rows` rows
    of standard normal noise, which a frame has by its number, however the audio comes.
    """

    name: Name
    component: Name
    takes: tuple[Name, ...]
    noise_rows: Size = 0
    kind: Literal["local"] = "local"


Stage = Annotated[FeatureStage | WindowedStage | MatchStage | LocalStage, Field(discriminator="kind")]
TargetKind = Literal["built_in", "embedding", "pool"]


@dataclass(frozen=True)
class Conversion:
    """The stages in the order in which they run; the last one gives the audio. `target`: what says whose voice it is to
    be: nothing, an embedding, or a pool of frames."""

    stages: tuple[Stage, ...] = field(default_factory=tuple)
    target: TargetKind = "built_in"

    def __post_init__(self) -> None:
        known: set[str] = set()
        for stage in self.stages:
            missing = [name for name in taken_by(stage) if name not in known]
            if missing:
                raise ValueError(f"stage {stage.name} takes {missing[0]!r}, which no stage before it gives")
            if stage.name in known:
                raise ValueError(f"there are two stages {stage.name!r}")
            if isinstance(stage, WindowedStage | LocalStage) and not stage.takes:
                raise ValueError(f"stage {stage.name} takes frames of no stage")
            known.add(stage.name)
        if not self.stages or not isinstance(self.stages[-1], LocalStage):
            raise ValueError("its last stage gives no audio")

    @property
    def last(self) -> LocalStage:
        """The stage that gives the audio."""
        last = self.stages[-1]
        assert isinstance(last, LocalStage)
        return last

    @property
    def components(self) -> list[str]:
        """The components that it plays, in order."""
        return [stage.component for stage in self.stages if isinstance(stage, WindowedStage | LocalStage)]

    @property
    def sample_rate(self) -> int:
        """The highest rate of any features: what recordings are read at."""
        return max(stage.features.sample_rate for stage in self.stages if isinstance(stage, FeatureStage))

    @property
    def context_names(self) -> tuple[ContextName, ...]:
        """The contexts in which it gives different audio: one where no stage looks through a window."""
        is_windowed = any(isinstance(stage, WindowedStage) for stage in self.stages)
        return ("offline", "live") if is_windowed else ("offline",)

    @property
    def matching(self) -> MatchStage | None:
        return next((stage for stage in self.stages if isinstance(stage, MatchStage)), None)


def taken_by(stage: Stage) -> list[str]:
    """The stages that a stage takes frames of."""
    if isinstance(stage, MatchStage):
        return [stage.content, stage.pitch, stage.level]
    return [] if isinstance(stage, FeatureStage) else list(stage.takes)
