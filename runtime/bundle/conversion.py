"""A conversion: the components of a bundle as a chain of stages from audio to audio in another voice.

A stage gives frames on a clock of its own; what takes frames of several stages has them aligned by their clocks
(runtime/playing/conversions.py plays the chain, live and from files alike).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Literal, get_args

import numpy as np
from pydantic import Field

from runtime.machine.checked import Count, Name, Size
from runtime.speech.bark import Bark
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
    return Clock(features.sample_rate, features.hop_length, features.middle - features.border)


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

    def __str__(self) -> str:
        return f"{self.past}/{self.chunk}/{self.future}"


ContextName = Literal["offline", "live"]


@dataclass(frozen=True)
class WindowedStage:
    """A component that is not local in time, as self-attention is not: approximate, in overlapping windows.

    `takes`: the stages whose frames it is given, (1, channels, frames), their channels one below another;
    `frames_per_output`: of them for one of its own. `fill`: what stands for frames before the audio and after it.
    `contexts`: of a file, which is there as a whole, and live, where the future is waited for. `costs_db`:
    past/chunk/future -> SNR of its frames on real speech, in float32, to those in the context of a file.
    """

    name: Name
    component: Name
    takes: tuple[Name, ...]
    contexts: dict[ContextName, Context]
    frames_per_output: Count = 1
    fill: float = 0.0
    costs_db: dict[str, float] = field(default_factory=dict)
    kind: Literal["windowed"] = "windowed"

    def __post_init__(self) -> None:
        for name in get_args(ContextName):
            context = self.contexts.get(name)
            if context is None or any(count % self.frames_per_output for count in (context.past, context.chunk)):
                raise ValueError(f"stage {self.name}: its context {name} is missing, or ends within a frame of its own")


@dataclass(frozen=True)
class MatchStage:
    """Replaces each frame by the mean of those of a target whose content is nearest: k nearest neighbours by cosine.

    Baas, van Niekerk and Kamper 2023 (arXiv 2305.18975, kNN-VC). `content`: the stage that is compared. Without a `mel`
    the mean is of the target's content itself, on the same clock, as in the paper. With one the content is interpolated
    to the clock of `mel`, a vocoder's features, in which the target's frames are given, and `pitch`, in Hz, and `level`
    are stages on that clock: features that have a pitch of their own are given the source's, moved to the target's;
    matched frames are made softer where the source is further below its speech than they are below theirs,
    and of the `shortlist` of frames nearest in content those `neighbours` are taken that cost least, `pitch_weight`
    being the cosine that a semitone costs. `centred`: both sides are compared without their speaker's mean. `every`: of
    the target's frames only every so many are kept.
    """

    name: Name
    content: Name
    mel: Annotated[Mel | Bark, Field(discriminator="kind")] | None = None
    pitch: Name | None = None
    level: Name | None = None
    neighbours: Count = 4
    shortlist: Count = 32
    pitch_weight: float = 0.02
    every: Count = 1
    centred: bool = True
    kind: Literal["match"] = "match"

    def __post_init__(self) -> None:
        if len({part is None for part in (self.mel, self.pitch, self.level)}) > 1:
            raise ValueError(f"stage {self.name}: a mel, a pitch and a level go together")


PITCH_BINS = 255
_BIN_LOWEST, _BIN_HIGHEST = 50.0, 1100.0  # Hz
_MOST_FRAMES, _LARGEST_OFFSET = 10_000, 1e6  # of a pitch in a second; samples


@dataclass(frozen=True)
class PitchStage:
    """The source's pitch as a model reads it, so many semitones higher as the user asks for.

    `takes`: a stage of `Pitch`, tracking or voicing. `gives`: `hertz`, 0 where unvoiced; `bins`: 1 where unvoiced or
    at 50 Hz and below, to 255 at 1100 Hz and above, evenly in mel (RVC's f0_coarse; mel = 1127 ln(1 + f / 700));
    `normalised`, two rows: ln F0 less its running mean (runtime/speech/melody.py), 0 where unvoiced, and 1 where
    voiced.
    """

    name: Name
    takes: Name
    gives: Literal["hertz", "bins", "normalised"] = "hertz"
    kind: Literal["pitch"] = "pitch"


@dataclass(frozen=True)
class TrackingStage:
    """The pitch among the periods that each window may have, in Hz and 0 where it is unvoiced.

    `takes`: a stage of `PitchCandidates`; runtime/speech/melody.py says how it chooses.
    """

    name: Name
    takes: Name
    kind: Literal["tracking"] = "tracking"


@dataclass(frozen=True)
class VoicingStage:
    """The pitch that a component detects, in Hz and 0 where it is unvoiced, on the clock of what takes it.

    `takes`: a stage of two rows, the frequency in Hz and the confidence that it is voiced. A frame whose confidence is
    below `threshold` is unvoiced. Between two voiced frames the frequency is interpolated linearly, else a moment has
    what its nearest frame has.
    """

    name: Name
    takes: Name
    clock: Clock
    threshold: float = 0.5
    kind: Literal["voicing"] = "voicing"

    def __post_init__(self) -> None:
        clock = self.clock
        if clock.sample_rate > _MOST_FRAMES * clock.hop_length or not abs(clock.offset) <= _LARGEST_OFFSET:
            raise ValueError(f"stage {self.name}: its clock has more than {_MOST_FRAMES} frames a second, or no offset")


@dataclass(frozen=True)
class HarmonicStage:
    """The excitation of a decoder with a harmonic source: a sine at the pitch, whose phase goes on, and noise.

    `takes`: a stage of pitch in hertz. A frame is `samples` of the excitation at `sample_rate`, one below another. A
    voiced one is `amplitude` times the sine and `noise` times a standard normal, an unvoiced one a third of `amplitude`
    times that (Wang, Takaki and Yamagishi 2019, arXiv 1904.12088; SineGen of RVC).
    """

    name: Name
    takes: Name
    sample_rate: Count
    samples: Count
    amplitude: float = 0.1
    noise: float = 0.003
    kind: Literal["harmonic"] = "harmonic"


@dataclass(frozen=True)
class RetrieveStage:
    """Content drawn towards that which a voice was trained on: `share` of the mean of the `neighbours` nearest vectors
    of a retrieval index, by the inverse square of their squared distance, among those of the nearest centroid.

    `takes`: the stage of the content; `pitch`: one of pitch in hertz, where there is a voice; elsewhere only
    `protected` of `share` is taken, so that consonants stay (vc of RVC's pipeline). The index lies in the bundle.
    """

    name: Name
    takes: Name
    pitch: str = ""
    neighbours: Count = 8
    share: float = 0.75
    protected: float = 0.33
    kind: Literal["retrieve"] = "retrieve"


@dataclass(frozen=True)
class LatentStage:
    """The latents of a component, each times a scale and plus a bias that a user chooses and may change as audio comes.

    `takes`: a stage of latents, one a row.
    """

    name: Name
    takes: Name
    kind: Literal["latent"] = "latent"


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


Stage = Annotated[
    FeatureStage
    | WindowedStage
    | MatchStage
    | TrackingStage
    | VoicingStage
    | PitchStage
    | HarmonicStage
    | RetrieveStage
    | LatentStage
    | LocalStage,
    Field(discriminator="kind"),
]
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
    def takes_pitch(self) -> bool:
        """Whether a shift of the pitch has an effect."""
        matching = self.matching
        has_pitch = matching is not None and matching.pitch is not None
        return has_pitch or any(isinstance(stage, PitchStage) for stage in self.stages)

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
        return [name for name in (stage.content, stage.pitch, stage.level) if name is not None]
    if isinstance(stage, RetrieveStage):
        return [stage.takes, *([stage.pitch] if stage.pitch else [])]
    if isinstance(stage, TrackingStage | VoicingStage | PitchStage | HarmonicStage | LatentStage):
        return [stage.takes]
    return [] if isinstance(stage, FeatureStage) else list(stage.takes)


def pitch_bins(hertz: np.ndarray) -> np.ndarray:
    """hertz (…) -> bins (…) float32, as `PitchStage` gives them."""
    lowest, highest = (1127 * math.log(1 + edge / 700) for edge in (_BIN_LOWEST, _BIN_HIGHEST))
    scaled = (1127 * np.log1p(hertz.astype(np.float64) / 700) - lowest) * (PITCH_BINS - 1) / (highest - lowest) + 1
    return np.rint(np.clip(scaled, 1, PITCH_BINS)).astype(np.float32)
