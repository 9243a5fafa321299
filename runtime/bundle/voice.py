"""A voice: the components of a bundle as a chain from symbols to audio."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from runtime.speech.mel import Mel
from runtime.speech.text import TextSettings

VOICE_TABLES = "voice.npz"


@dataclass(frozen=True)
class Attending:
    """How a decoder that attends to its text is run step by step (runtime/playing/chains/attention.py).

    `rows` of each symbol that a step hands to the next begin with zeros, with 1 at the `first` symbol, or `ahead` there
    (and nearly 0 after it); `last_state`: what the last of `state_channels` begins with, else zero like all others.
    `dropout`: channels of the prenet where it stays on; `text_dropout`: of the encoder's. `window`: symbols before and
    after the last one that may be attended to. `silence`: frames at the end without a band above it are cut off.
    """

    frames_per_step: int
    state_channels: int
    rows: tuple[str, ...]
    last_state: float | None = None
    stop_threshold: float = 0.5
    least_steps: int = 1
    most_steps: int = 10000
    dropout: int = 0
    text_dropout: int = 0
    window: tuple[int, int] | None = None
    silence: float | None = None

    @property
    def row(self) -> int:
        """The one that says where the last step attended to."""
        return self.rows.index("ahead") if "ahead" in self.rows else 0


ChainName = Literal["attention", "flow_mel", "flow_prior", "length_regulator"]  # of runtime/playing/chains


@dataclass(frozen=True)
class VoiceRecord:
    """How the components of a bundle speak, in the manifest. `chain`: of runtime/chains; its last component is `last`.

    `features`: the mel that `last` takes, None where its frames are no mel; `acoustic`: how the chain's mel is scaled
    where its vocoder (`last`) takes another scale. `prosody`: of pitch and energy, what can be shifted. `attending`: of
    a chain of steps. `squeeze`: frames that a flow takes as one column. `noise_scale`, `duration_noise_scale`,
    `length_scale` and `channels` are the chain's. `speakers` and `languages`: name -> row of the tables in voice.npz;
    `embedding_channels`: of the speaker embedding that the voice takes instead, `speaker_encoder`: the component that
    makes it of a recording.
    """

    chain: ChainName
    text: TextSettings
    sample_rate: int
    samples_per_frame: int
    features: Mel | None
    channels: int
    noise_scale: float = 0.0
    duration_noise_scale: float = 0.0
    length_scale: float = 1.0
    speakers: dict[str, int] = field(default_factory=dict)
    languages: dict[str, int] = field(default_factory=dict)
    embedding_channels: int = 0
    prosody: tuple[str, ...] = ()
    last: str = "decoder"
    acoustic: Mel | None = None
    squeeze: int = 1
    attending: Attending | None = None
    speaker_encoder: str = ""
