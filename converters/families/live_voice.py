"""A live voice: anybody's speech in the voice that the weights were trained on, causal but for a few frames.

Components `converter` (a speaker's mel and melody to the voice's mel) and `generator` (that to audio) are local in time
and exact, chunk by chunk (converters/upstream/live_voice.py has the networks). What is not the speaker's own register
is in the melody: log F0 around its running mean.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from torch import nn

from checkpoints import CheckpointError
from checkpoints.coqui_audio import mel_settings
from checkpoints.load import LoadedCheckpoint
from converters.component import Component
from converters.options import ConversionError, Shape
from converters.parts import along_time, known_settings, pitch_stages, time_axis, vocoder_component
from converters.upstream.live_voice import ConverterSettings, GeneratorSettings, LiveVoice
from runtime.bundle.conversion import Conversion, FeatureStage, LocalStage, PitchStage, clock_of
from runtime.bundle.spec import TensorSpec
from runtime.errors import AudioError
from runtime.speech.mel import Mel
from runtime.speech.spectrum import PitchCandidates

MELODY = 2  # rows below the mel: normalised log F0, and whether it is voiced
Settings = TypeVar("Settings")


class Voice(LiveVoice):
    """Both networks with the features that they were trained on."""

    def __init__(
        self, converter: ConverterSettings, generator: GeneratorSettings, mel: Mel, pitch: PitchCandidates
    ) -> None:
        super().__init__(converter, generator)
        self.mel, self.pitch = mel, pitch


def load(checkpoint: LoadedCheckpoint) -> nn.Module:
    """The networks with their weights in eval mode.

    Raises CheckpointError where the parts of the config do not fit each other or the weights.
    """
    module = Voice(
        _section(checkpoint, "converter", ConverterSettings),
        _section(checkpoint, "generator", GeneratorSettings),
        mel_settings(checkpoint.audio, checkpoint.stats),
        _pitch(checkpoint),
    )
    _check(checkpoint.name, module)
    module.load_state_dict(checkpoint.weights_for(module, ("",)))
    return module.eval().requires_grad_(False)


def components(module: nn.Module, checkpoint: LoadedCheckpoint, shape: Shape) -> list[Component]:
    """`converter`: speech (1, mels + 2, T) -> mel (1, mels, T); `generator`: that -> audio (1, 1, hop_length * T)."""
    assert isinstance(module, Voice)
    mel, frames = module.mel, time_axis(shape)
    speech = TensorSpec("speech", (1, mel.n_mels + MELODY, frames), "float32", f"{mel.unit}; ln F0, voiced")
    return [
        along_time(
            module.converter, "converter", (speech,), TensorSpec("mel", (1, mel.n_mels, frames), "float32", mel.unit),
            "Converter.forward of voxport's live voice", mel.sample_rate, hop_length=mel.hop_length,
        ),
        dataclasses.replace(
            vocoder_component(module.generator, "CausalGenerator.forward of voxport's live voice", mel, shape),
            features=None,  # it plays the converter's mel
        ),
    ]  # fmt: skip


def conversion(module: nn.Module, parts: Mapping[str, Component]) -> Conversion:
    """How the networks convert; `parts.pitch` detects the pitch in the tracker's place.

    Raises ConversionError for other parts.
    """
    assert isinstance(module, Voice)
    others = sorted(set(parts) - {"pitch"})
    if others:
        raise ConversionError(f"family live_voice has networks of its own: leave out model.parts.{others[0]}")
    return Conversion(
        (
            FeatureStage("mel", module.mel),
            *pitch_stages(module.pitch, parts.get("pitch")),
            PitchStage("melody", "pitch", "normalised"),
            LocalStage("converter", "converter", ("mel", "melody")),
            LocalStage("generator", "generator", ("converter",)),
        )
    )


# ---------------------------------------------------------------------------------------------------- the config


def _section(checkpoint: LoadedCheckpoint, name: str, kind: type[Settings]) -> Settings:
    section = checkpoint.config.get(name)
    if not isinstance(section, Mapping):
        raise CheckpointError(
            f"checkpoint {checkpoint.name} is no live voice: its config has sections `audio`, `converter`, "
            f"`generator` and `pitch`, and here {name} is missing"
        )
    return known_settings(kind, section)


def _pitch(checkpoint: LoadedCheckpoint) -> PitchCandidates:
    """Candidates of YIN on the clock of the mel."""
    mel = mel_settings(checkpoint.audio, checkpoint.stats)
    values: dict[str, Any] = dataclasses.asdict(_section(checkpoint, "pitch", PitchSettings))
    try:
        return PitchCandidates(mel.sample_rate, hop_length=mel.hop_length, **values)
    except AudioError as error:
        raise CheckpointError(f"checkpoint {checkpoint.name}: its pitch does not fit its audio: {error}") from error


@dataclasses.dataclass(frozen=True)
class PitchSettings:
    """Of `PitchCandidates`: a window of `n_fft` samples, `fmin` to `fmax` in Hz, the `threshold` of a dip, and how many
    dips are looked at."""

    n_fft: int = 768
    fmin: float = 65.0
    fmax: float = 800.0
    threshold: float = 0.5
    count: int = 5


def _check(name: str, module: Voice) -> None:
    """Raises CheckpointError where the networks and features do not fit each other."""
    converter, generator, mel = module.converter.settings, module.generator.settings, module.mel
    hop = generator.hop_length
    if hop != mel.hop_length:
        raise CheckpointError(
            f"checkpoint {name}: the generator makes {hop} samples of a frame, its audio config says hop_length "
            f"{mel.hop_length}"
        )
    bands = {"converter": converter.bands, "generator": generator.bands, "audio": mel.n_mels}
    if len(set(bands.values())) > 1:
        said = ", ".join(f"{part} {count}" for part, count in bands.items())
        raise CheckpointError(f"checkpoint {name}: its parts have mels of different bands: {said}")
    if not 0 <= converter.lookahead < converter.kernel:
        raise CheckpointError(
            f"checkpoint {name}: the converter's first layer of kernel {converter.kernel} cannot see "
            f"{converter.lookahead} frames ahead"
        )
    if clock_of(module.pitch) != clock_of(mel):
        raise CheckpointError(
            f"checkpoint {name}: frames of its pitch (windows of {module.pitch.n_fft}) and of its mel (framing "
            f"{mel.framing!r}) stand for different moments"
        )
