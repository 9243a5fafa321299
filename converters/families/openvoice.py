"""OpenVoice's tone colour converter (Qin et al. 2023, arXiv 2312.01479), versions 1 and 2: the same words, rhythm and
melody in another voice.

Components `encoder` (spectrum to latents), `flow` (out of the source's voice, into the target's) and `decoder` are
local in time, `reference_encoder` says whose voice a recording is. Together they see 109 frames on each side,
1.27 s: exact in files, and live with a bounded lookahead (`stream=lowlat`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from checkpoints import CheckpointError
from checkpoints.load import LoadedCheckpoint
from converters.component import Component
from converters.options import ConversionError, Shape
from converters.parts import along_time, embedding, known_settings, time_axis
from converters.upstream.coqui import import_coqui
from converters.upstream.layers import (
    Couplings,
    draw_couplings,
    fold_condition,
    fold_speaker,
    remove_weight_norm,
    wavenet,
)
from runtime.bundle.conversion import Conversion, FeatureStage, LocalStage
from runtime.bundle.spec import Dim, TensorSpec
from runtime.speech.features import Sound
from runtime.speech.mel import Mel
from runtime.speech.spectrum import Linear

WINDOW = 512  # frames of a reference, six seconds: upstream takes some ten seconds at once, and the mean of such pieces
REFERENCE_SIZES = (1, 4)


@dataclass(frozen=True)
class OpenVoiceSettings:
    """The config's settings as far as conversion reads them; defaults of OpenVoice's SynthesizerTrn."""

    sampling_rate: int = 22050
    filter_length: int = 1024
    hop_length: int = 256
    win_length: int = 1024
    inter_channels: int = 192
    hidden_channels: int = 192
    resblock: str = "1"
    resblock_kernel_sizes: tuple[int, ...] = (3, 7, 11)
    resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 3, 5),) * 3
    upsample_rates: tuple[int, ...] = (8, 8, 2, 2)
    upsample_initial_channel: int = 512
    upsample_kernel_sizes: tuple[int, ...] = (16, 16, 4, 4)
    gin_channels: int = 256
    zero_g: bool = False
    tau: float = 0.3

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> OpenVoiceSettings:
        """Of OpenVoice's own config (`data`, `model`) or coqui-tts's (`audio`, `model_args`)."""
        if "model_args" not in config:
            return known_settings(cls, {**_section(config, "data"), **_section(config, "model")})
        audio = _section(config, "audio")
        names = {"input_sample_rate": "sampling_rate", "fft_size": "filter_length"}
        renamed = {names.get(name, name): value for name, value in audio.items()}
        return known_settings(cls, {"zero_g": True, **renamed, **_section(config, "model_args")})

    @property
    def spectrum(self) -> Linear:
        return Linear(self.sampling_rate, self.filter_length, self.win_length, self.hop_length)


class OpenVoice(nn.Module):
    """The parts that conversion runs, under upstream's names, so that its checkpoints load."""

    def __init__(self, settings: OpenVoiceSettings) -> None:
        super().__init__()
        self.settings = settings
        networks = import_coqui("TTS.tts.layers.vits.networks")
        upstream = import_coqui("TTS.vc.models.openvoice")
        bins, hidden, speaker = settings.spectrum.channels, settings.hidden_channels, settings.gin_channels
        self.enc_q = networks.PosteriorEncoder(
            bins, settings.inter_channels, hidden, kernel_size=5, dilation_rate=1, num_layers=16, cond_channels=speaker
        )
        self.flow = upstream.ResidualCouplingBlock(
            settings.inter_channels, hidden, kernel_size=5, dilation_rate=1, n_layers=4, gin_channels=speaker
        )
        self.dec = upstream.Generator(
            settings.inter_channels, settings.resblock, settings.resblock_kernel_sizes,
            settings.resblock_dilation_sizes, settings.upsample_rates, settings.upsample_initial_channel,
            settings.upsample_kernel_sizes, gin_channels=speaker,
        )  # fmt: skip
        self.ref_enc = upstream.ReferenceEncoder(bins, speaker)
        remove_weight_norm(self)


def load(checkpoint: LoadedCheckpoint) -> nn.Module:
    """The converter with its weights in eval mode; what only speakers of zeros would add (`zero_g`) is in the biases.

    Raises CheckpointError where config and weights do not fit.
    """
    try:
        module = OpenVoice(OpenVoiceSettings.of(checkpoint.config))
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"checkpoint {checkpoint.name}: its config does not fit: {error}") from error
    module.load_state_dict(checkpoint.weights_for(module, ("",)))
    if checkpoint.located.is_random:
        draw_couplings(module.flow)
    if module.settings.zero_g:
        fold_condition(module.enc_q.enc)
        fold_speaker(module.dec)
    module.flow = Couplings(module.flow)
    return module.eval().requires_grad_(False)


def components(module: nn.Module, checkpoint: LoadedCheckpoint, shape: Shape) -> list[Component]:
    """`encoder`, `flow`, `decoder` along time, and `reference_encoder` of windows of a recording."""
    assert isinstance(module, OpenVoice)
    settings = module.settings
    speaker, zeroed = settings.gin_channels, settings.zero_g
    spectrum, channels = settings.spectrum, settings.inter_channels
    frames, rate, hop = time_axis(shape), settings.sampling_rate, settings.hop_length
    mel = Mel(sample_rate=rate, n_fft=settings.filter_length, win_length=settings.win_length, hop_length=hop)
    source, target = embedding("source", speaker), embedding("target", speaker)
    encoded = TensorSpec("encoded", (1, channels, frames), "float32", "latents in the source's voice")
    converted = TensorSpec("converted", (1, channels, frames), "float32", "latents in the target's voice")
    windows = Dim(1, 64, 2)
    reference = ReferenceEncoder(module)
    return [
        along_time(
            Encoder(module),
            "encoder",
            (
                TensorSpec("spectrum", (1, spectrum.channels + channels, frames), "float32", "amplitude, then noise"),
                *(() if zeroed else source),
            ),
            encoded,
            "PosteriorEncoder.forward of coqui-tts's OpenVoice",
            rate,
            hop_length=hop,
            sources={} if zeroed else {"source": "reference_encoder"},
        ),
        along_time(
            Flow(module),
            "flow",
            (encoded, *source, *target),
            converted,
            "ResidualCouplingBlock.forward of coqui-tts's OpenVoice with the source, then in reverse with the target",
            rate,
            hop_length=hop,
            sources={"source": "reference_encoder"},
            targets={"target": "reference_encoder"},
        ),
        along_time(
            Decoder(module),
            "decoder",
            (converted, *(() if zeroed else target)),
            TensorSpec("audio", (1, 1, time_axis(shape, hop)), "float32", "amplitude, full scale 1.0"),
            "Generator.forward of coqui-tts's OpenVoice",
            rate,
            samples_per_frame=hop,
            sound=Sound(rate, mel),
            targets={} if zeroed else {"target": "reference_encoder"},
        ),
        Component(
            name="reference_encoder",
            module=reference,
            inputs=(TensorSpec("windows", (windows, spectrum.channels, WINDOW), "float32", spectrum.unit),),
            outputs=(TensorSpec("voices", (windows, speaker, 1), "float32", "embedding"),),
            example=lambda: {
                "windows": torch.rand(2, spectrum.channels, WINDOW, generator=torch.Generator().manual_seed(0))
            },
            computes="ReferenceEncoder.forward of coqui-tts's OpenVoice, over a window",
            features=spectrum,
            sizes=REFERENCE_SIZES,
        ),
    ]


def conversion(module: nn.Module, parts: Mapping[str, Component]) -> Conversion:
    """How the components convert. Raises ConversionError for parts: it needs none."""
    assert isinstance(module, OpenVoice)
    if parts:
        raise ConversionError(f"family openvoice has a decoder of its own: leave out model.parts.{min(parts)}")
    return Conversion(
        (
            FeatureStage("spectrum", module.settings.spectrum),
            LocalStage("encoder", "encoder", ("spectrum",), noise_rows=module.settings.inter_channels),
            LocalStage("flow", "flow", ("encoder",)),
            LocalStage("decoder", "decoder", ("flow",)),
        ),
        target="embedding",
    )


# ---------------------------------------------------------------------------------------------------- components


class Encoder(nn.Module):
    def __init__(self, model: OpenVoice) -> None:
        super().__init__()
        self.encoder, self.bins, self.tau = model.enc_q, model.settings.spectrum.channels, model.settings.tau

    def forward(self, spectrum: Tensor, source: Tensor | None = None) -> Tensor:
        """spectrum and below it noise (1, bins + C, T), source (1, D, 1) -> latents (1, C, T)."""
        hidden = wavenet(self.encoder.enc, self.encoder.pre(spectrum[:, : self.bins]), None, source)
        statistics, channels = self.encoder.proj(hidden), spectrum.shape[1] - self.bins
        mean, log_scale = statistics[:, :channels], statistics[:, channels:]
        return mean + spectrum[:, self.bins :] * self.tau * torch.exp(log_scale)


class Flow(nn.Module):
    def __init__(self, model: OpenVoice) -> None:
        super().__init__()
        self.couplings = model.flow

    def forward(self, encoded: Tensor, source: Tensor, target: Tensor) -> Tensor:
        """encoded (1, C, T), source and target (1, D, 1) -> converted (1, C, T)."""
        return self.couplings(self.couplings(encoded, source), target, reverse=True)


class Decoder(nn.Module):
    def __init__(self, model: OpenVoice) -> None:
        super().__init__()
        self.generator = model.dec

    def forward(self, converted: Tensor, target: Tensor | None = None) -> Tensor:
        """converted (1, C, T), target (1, D, 1) -> samples (1, 1, hop_length * T)."""
        return self.generator(converted, g=target)


class ReferenceEncoder(nn.Module):
    """Upstream's, its recurrent layer as the few steps that a window takes: as a layer it would be a loop."""

    def __init__(self, model: OpenVoice) -> None:
        super().__init__()
        self.encoder = model.ref_enc

    def forward(self, windows: Tensor) -> Tensor:
        """windows (N, bins, WINDOW) -> voices (N, D, 1)."""
        maps = self.encoder.layernorm(windows.transpose(1, 2)).unsqueeze(1)
        for layer in self.encoder.convs:
            maps = F.relu(layer(maps))
        steps = maps.transpose(1, 2).flatten(2)
        return self.encoder.proj(_last_state(self.encoder.gru, steps)).unsqueeze(2)


def _last_state(layer: Any, steps: Tensor) -> Tensor:
    """The state (N, D) of a recurrent layer after steps (N, T, channels), from zeros (nn.GRU's formula)."""
    given = F.linear(steps, layer.weight_ih_l0, layer.bias_ih_l0)
    state = torch.zeros_like(given[:, 0, : layer.hidden_size])
    for step in range(steps.shape[1]):
        kept = F.linear(state, layer.weight_hh_l0, layer.bias_hh_l0)
        (reset, update, new), (from_reset, from_update, from_new) = (
            part.chunk(3, dim=1) for part in (given[:, step], kept)
        )
        gate = torch.sigmoid(update + from_update)
        state = (1 - gate) * torch.tanh(new + torch.sigmoid(reset + from_reset) * from_new) + gate * state
    return state


# ---------------------------------------------------------------------------------------------------- descriptions


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = config.get(name)
    return section if isinstance(section, Mapping) else {}
