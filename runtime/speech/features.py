"""What a component is given of audio, and what its own audio is judged in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from runtime.errors import StreamError
from runtime.speech.bands import LogBands
from runtime.speech.bark import Bark
from runtime.speech.excitation import Excitation
from runtime.speech.frames import one_channel, require_counts
from runtime.speech.mel import Mel
from runtime.speech.speaker import SpeakerMel
from runtime.speech.spectrum import Level, Linear, Pitch, PitchCandidates


@dataclass(frozen=True)
class Samples:
    """The audio itself: a frame is `hop_length` samples; what does not fill one at the end is left out."""

    sample_rate: int
    hop_length: int = 1
    kind: Literal["samples"] = "samples"

    def __post_init__(self) -> None:
        require_counts(self, "sample_rate", "hop_length")

    @property
    def channels(self) -> int:
        return 1

    @property
    def latency(self) -> int:
        """Samples after the end of its hop that a frame waits for."""
        return 0

    @property
    def unit(self) -> str:
        return "amplitude, full scale 1.0"

    def of(self, samples: np.ndarray) -> np.ndarray:
        """samples (N,) -> (1, N) float32. Raises AudioError for several channels."""
        return self.stream().push(samples)

    def stream(self) -> StreamingSamples:
        """Begins audio that arrives in blocks."""
        return StreamingSamples(self.hop_length)


class StreamingSamples:
    """Samples that pass through in whole frames, with the calls of `StreamingFrames`."""

    def __init__(self, hop_length: int = 1) -> None:
        self._hop = hop_length
        self.reset()

    def reset(self) -> None:
        self._ended, self._waiting = False, np.zeros(0, np.float32)
        self.frames = 0

    def push(self, samples: np.ndarray) -> np.ndarray:
        """samples (n,) -> (1, m): those of every frame that is complete."""
        if self._ended:
            raise StreamError("the audio has ended: reset() begins anew")
        samples = np.concatenate([self._waiting, one_channel(samples)])
        frames = len(samples) // self._hop
        self.frames += frames
        complete, self._waiting = np.split(samples, [frames * self._hop])
        return complete[None]

    def flush(self) -> np.ndarray:
        self._ended = True
        return np.zeros((1, 0), np.float32)


# Along time, as a component takes them block by block: each has `of`, `stream`, `sample_rate`, `hop_length` (samples
# per frame), `channels`, `latency` and `unit`.
LocalFeatures = Mel | Linear | Level | LogBands | Excitation | Bark | Pitch | PitchCandidates | Samples
# What a component's input is made of; a speaker encoder's is made of a whole recording.
Features = Annotated[LocalFeatures | SpeakerMel, Field(discriminator="kind")]


@dataclass(frozen=True)
class Sound:
    """The audio that a component makes: its rate, and the mel in which it is compared with the reference."""

    sample_rate: int
    mel: Mel
