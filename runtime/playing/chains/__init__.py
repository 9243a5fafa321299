"""How the components of a voice hang together, by kind of acoustic model: a table `name -> module`.

A chain is a module with `speak(record, run, request) -> Utterance`: from symbols to what the voice's last component
takes, which alone streams. `run` calls a component by name.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from runtime.errors import TextError
from runtime.speech.mel import rescaled_mel

if TYPE_CHECKING:
    from runtime.bundle.voice import ChainName, VoiceRecord

CHAINS: dict[ChainName, str] = {
    "attention": "runtime.playing.chains.attention",
    "flow_mel": "runtime.playing.chains.flow_mel",
    "flow_prior": "runtime.playing.chains.flow_prior",
    "length_regulator": "runtime.playing.chains.length_regulator",
}
LONGEST_SYMBOL = 2000  # frames; a prediction beyond it is a model out of its depth, not speech


def whole_durations(lengths: np.ndarray) -> np.ndarray:
    """Frames of each symbol (T,) as int64. Raises TextError for what is no duration of speech."""
    if not np.isfinite(lengths).all() or lengths.max(initial=0) > LONGEST_SYMBOL:
        raise TextError(
            f"the voice makes a symbol last {lengths.max(initial=0):g} frames: its duration predictor is out of range"
        )
    return lengths.astype(np.int64)


class Run(Protocol):
    """A component by name, its inputs by name."""

    def __call__(self, component: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]: ...


@dataclass(frozen=True)
class Utterance:
    """What the last component is to make audio of: `frames` along its time, `constants` beside them. `durations` (T,):
    frames of each symbol."""

    frames: np.ndarray
    constants: Mapping[str, np.ndarray] = field(default_factory=dict)
    durations: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))


@dataclass(frozen=True)
class Request:
    """What to say: `ids` (T,); `seed` of the noise; embeddings (D,) where the voice is conditioned on them. `pace`: 2
    is twice as fast. `durations` (T,): instead of predicted ones. `noise_scale`, `duration_noise_scale`: instead of
    the voice's own; 0 makes speech that does not vary. `pitch`, `energy`: added to what is predicted, in the standard
    deviations of the voice's speaker, where it predicts them."""

    ids: np.ndarray
    seed: int = 0
    speaker: np.ndarray | None = None
    language: np.ndarray | None = None
    pace: float = 1.0
    durations: np.ndarray | None = None
    noise_scale: float | None = None
    duration_noise_scale: float | None = None
    pitch: float = 0.0
    energy: float = 0.0


class Chain(Protocol):
    def speak(self, record: VoiceRecord, run: Run, request: Request) -> Utterance: ...


def utter(record: VoiceRecord, run: Run, request: Request) -> Utterance:
    """Runs the voice's chain; gives a mel in the scale of the vocoder that is to play it.

    Raises KeyError for a chain that this voxport does not have, what the chain raises, and what `run` does.
    """
    module: Chain = importlib.import_module(CHAINS[record.chain])
    utterance = module.speak(record, run, request)
    if record.acoustic is None or record.features is None:
        return utterance
    return replace(utterance, frames=rescaled_mel(utterance.frames, record.acoustic, record.features))
