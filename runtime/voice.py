"""A voice: the components of a bundle as a chain from symbols to audio."""

from __future__ import annotations

from dataclasses import dataclass, field

from runtime.audio import MelSettings
from runtime.text import TextSettings

VOICE_TABLES = "voice.npz"


@dataclass(frozen=True)
class VoiceRecord:
    """In the manifest: how the components of a bundle speak. `chain`: of runtime/chains; its last component is `last`.

    `features`: what its audio is judged in; `acoustic`: how the chain's mel is scaled where its vocoder (`last`) takes
    another scale. `prosody`: of pitch and energy, what can be shifted. `noise_scale`, `duration_noise_scale`,
    `length_scale` and `channels` are the chain's. `speakers` and `languages`: name -> row of the tables in voice.npz;
    `embedding_channels`: of the speaker embedding that the voice takes instead.
    """

    chain: str
    text: TextSettings
    sample_rate: int
    samples_per_frame: int
    features: MelSettings
    channels: int
    noise_scale: float = 0.0
    duration_noise_scale: float = 0.0
    length_scale: float = 1.0
    speakers: dict[str, int] = field(default_factory=dict)
    languages: dict[str, int] = field(default_factory=dict)
    embedding_channels: int = 0
    prosody: tuple[str, ...] = ()
    last: str = "decoder"
    acoustic: MelSettings | None = None
