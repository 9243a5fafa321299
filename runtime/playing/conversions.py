"""The chains from audio to audio that a microphone's blocks go through, and whom a conversion is to sound like.

`LIVE` names the chains. Of a bundle that converts to somebody's voice, `target_of` makes the inputs that say whose.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from runtime.bundle.store import Bundle, BundleError
from runtime.engines import AUTO, Execution
from runtime.playing.player import Constants, Player
from runtime.playing.sizes import open_sized
from runtime.speech.features import LocalFeatures
from runtime.speech.mel import Mel
from runtime.speech.resampling import Resampler
from runtime.speech.target import target_embedding


class LiveChain(Protocol):
    """Audio in, audio out, both at `sample_rate`, in blocks of any size; output comes about `chunk` samples at once."""

    sample_rate: int
    chunk: int

    @property
    def latency(self) -> dict[str, float]:
        """Milliseconds by part that no speed can remove."""
        ...

    def push(self, samples: np.ndarray) -> np.ndarray: ...

    def flush(self) -> np.ndarray: ...

    def reset(self) -> None: ...


class FeatureChain:
    """Audio -> features -> a streaming component -> audio.

    With the mel of a vocoder it says the same again in the vocoder's voice; with `constants`, a target's embedding, in
    that of the target. `sample_rate`: the device's; the chain resamples where the component has another. Raises
    StreamError for a player that does not stream.
    """

    def __init__(self, player: Player, features: LocalFeatures, sample_rate: int, constants: Constants = None) -> None:
        self.sample_rate, self._time, self._features = sample_rate, player.time, features
        self._player = player.stream(constants)
        self.chunk = math.ceil(self._player.form.chunk * features.hop_length * sample_rate / features.sample_rate)
        self._inwards = Resampler(sample_rate, features.sample_rate)
        self._frames = features.stream()
        self._outwards = Resampler(player.time.sample_rate, sample_rate)

    def push(self, samples: np.ndarray) -> np.ndarray:
        return self._outwards.push(self._played(self._frames.push(self._inwards.push(samples))))

    def flush(self) -> np.ndarray:
        rest = self._played(self._frames.push(self._inwards.flush()))
        last = self._played(self._frames.flush())
        end = self._player.flush()[self._time.output].reshape(-1)
        return self._outwards.push(np.concatenate([rest, last, end]), last=True)

    def reset(self) -> None:
        for part in (self._inwards, self._frames, self._player, self._outwards):
            part.reset()

    @property
    def latency(self) -> dict[str, float]:
        """Milliseconds by part that no speed can remove."""
        form, rate = self._player.form, self._features.sample_rate
        frame = 1e3 * self._features.hop_length / rate
        return {
            "resampling": 1e3 * (self._inwards.delay() + self._outwards.delay()),
            "rest of the STFT window": 1e3 * self._features.latency / rate,
            "chunk": form.chunk * frame,
            "lookahead": form.lookahead * frame,
        }

    def _played(self, frames: np.ndarray) -> np.ndarray:
        return self._player.push({self._time.input: frames[None]})[self._time.output].reshape(-1)


@dataclass(frozen=True)
class LiveFacts:
    """`opens` the chain; `says` what it does, to a user."""

    opens: Callable[[Player, LocalFeatures, int, Constants], LiveChain]
    says: str


LIVE = {
    "conversion": LiveFacts(FeatureChain, "conversion: audio, features, another voice's audio"),
    "copy_synthesis": LiveFacts(FeatureChain, "copy-synthesis: audio, mel, vocoder, audio"),
}


def live_kind(bundle: Bundle) -> str:
    """Returns the name of a bundle's chain: what takes only the mel that its own audio is judged in repeats it."""
    main = bundle.main
    repeats = isinstance(main.features, Mel) and not main.targets
    return "copy_synthesis" if repeats else "conversion"


def target_of(bundle: Bundle, recording: Path | None, execution: Execution = AUTO) -> Constants:
    """The inputs of a bundle's conversion that say whose voice it is to be, from a recording of that voice.

    None for a bundle that takes no target. Raises BundleError where it takes one and there is none, or the other way
    round, and AudioError for what is no recording.
    """
    targets = bundle.main.targets
    if recording is None and targets:
        raise BundleError(f"{bundle.path.name} speaks as somebody: pass --target REF.wav")
    if recording is None:
        return None
    if not targets:
        raise BundleError(f"{bundle.path.name} has one voice: leave out --target")
    return {name: _embedded(bundle, component, recording, execution) for name, component in targets.items()}


def _embedded(bundle: Bundle, component: str, recording: Path, execution: Execution) -> np.ndarray:
    record, encoder = bundle.component(component), open_sized(bundle, execution, component)
    (given,), (made,) = record.inputs, record.outputs
    return target_embedding(
        recording,
        record.features,
        given.default_shape[2],
        lambda windows: encoder.run({given.name: windows})[made.name],
    )
