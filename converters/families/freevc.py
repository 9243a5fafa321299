"""FreeVC (Li, Tu and Xiao 2022, arXiv 2210.15418): what WavLM reads of speech, in another voice.

Components `content` (WavLM, all of its layers, in windows), `encoder` (content to latents), `flow` (into the target's
voice) and `decoder` are a chain, `speaker_encoder` says whose voice a recording is. The published freevc24 takes 16 kHz
and gives 24; its speaker encoder is Real-Time-Voice-Cloning's (`use_spk`), others have one of their own. As upstream,
audio is not normalised, though WavLM-Large was trained on audio that was.
"""

from __future__ import annotations

import math
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
from converters.upstream.layers import Couplings, draw_couplings, remove_weight_norm, wavenet
from converters.upstream.wavlm import CONTEXTS, HOP, SAMPLE_RATE, SAMPLES, WavLM, content_component, load_wavlm
from runtime.bundle.conversion import Conversion, FeatureStage, LocalStage, WindowedStage
from runtime.bundle.spec import Dim, TensorSpec
from runtime.speech.features import Sound
from runtime.speech.mel import Mel
from runtime.speech.speaker import SpeakerMel

PARTIAL = 128  # frames of a window of a target, SpeakerEncoder.embed_utterance
BATCHES = (1, 4)
# What TTS/vc/layers/freevc/speaker_encoder takes: 1.3 windows of 160 frames a second, no level, no silence cut within
GE2E = SpeakerMel(overlap=1 - 77 / 160, level_dbfs=None, trims_silence=False)
GE2E_HIDDEN, GE2E_EMBEDDING = 256, 256


@dataclass(frozen=True)
class FreeVCSettings:
    """The config's settings as far as conversion reads them; defaults of coqui-tts's FreeVCConfig."""

    input_sample_rate: int = 16000
    output_sample_rate: int = 24000
    filter_length: int = 1280
    hop_length: int = 320
    win_length: int = 1280
    n_mel_channels: int = 80
    mel_fmin: float = 0.0
    mel_fmax: float | None = None
    inter_channels: int = 192
    hidden_channels: int = 192
    resblock: str = "1"
    resblock_kernel_sizes: tuple[int, ...] = (3, 7, 11)
    resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 3, 5),) * 3
    upsample_rates: tuple[int, ...] = (10, 8, 2, 2)
    upsample_initial_channel: int = 512
    upsample_kernel_sizes: tuple[int, ...] = (16, 16, 4, 4)
    gin_channels: int = 256
    ssl_dim: int = 1024
    use_spk: bool = False

    def check(self) -> None:
        """Raises ValueError for what is not built as FreeVC is."""
        if (self.input_sample_rate, self.hop_length) != (SAMPLE_RATE, HOP):
            rate = f"{self.input_sample_rate} Hz in frames of {self.hop_length}"
            raise ValueError(f"it reads {rate}, WavLM {SAMPLE_RATE} Hz in frames of {HOP}")
        if self.frame * SAMPLE_RATE != HOP * self.output_sample_rate:
            made = f"{self.frame} samples a frame at {self.output_sample_rate} Hz"
            raise ValueError(f"it makes {made}, which are as long as no {HOP} at {SAMPLE_RATE} Hz")
        if self.use_spk and self.gin_channels != GE2E_EMBEDDING:
            raise ValueError(f"gin_channels is {self.gin_channels}, its speaker encoder gives {GE2E_EMBEDDING}")

    @property
    def frame(self) -> int:
        """Samples that the decoder makes of a frame."""
        return math.prod(self.upsample_rates)

    @property
    def mel(self) -> Mel:
        """The log-mel that a speaker encoder of its own reads (mel_spectrogram_torch of TTS/vc/layers/freevc)."""
        return Mel(
            sample_rate=self.input_sample_rate, n_fft=self.filter_length, win_length=self.win_length,
            hop_length=self.hop_length, n_mels=self.n_mel_channels, fmin=self.mel_fmin, fmax=self.mel_fmax,
            framing="inset", log_base=math.e, gain=1.0, amplitude_floor=1e-5, magnitude_floor=1e-6, signal_norm=False,
        )  # fmt: skip


class FreeVC(nn.Module):
    """The parts that conversion runs, under upstream's names, so that its checkpoints load."""

    def __init__(self, settings: FreeVCSettings) -> None:
        super().__init__()
        self.settings = settings
        upstream = import_coqui("TTS.vc.models.freevc")
        inter, hidden, speaker = settings.inter_channels, settings.hidden_channels, settings.gin_channels
        self.enc_p = upstream.Encoder(settings.ssl_dim, inter, hidden, 5, 1, 16)
        self.flow = upstream.ResidualCouplingBlock(inter, hidden, 5, 1, 4, gin_channels=speaker)
        self.dec = upstream.Generator(
            inter, settings.resblock, settings.resblock_kernel_sizes, settings.resblock_dilation_sizes,
            settings.upsample_rates, settings.upsample_initial_channel, settings.upsample_kernel_sizes,
            gin_channels=speaker,
        )  # fmt: skip
        remove_weight_norm(self)
        if settings.use_spk:
            self.enc_spk_ex = SpeakerEncoder(GE2E.n_mels, GE2E_HIDDEN, GE2E_EMBEDDING)
        else:
            self.enc_spk = SpeakerEncoder(settings.n_mel_channels, speaker, speaker)


def load(checkpoint: LoadedCheckpoint) -> FreeVC:
    """The converter with its weights in eval mode; its WavLM is `wavlm`. Raises CheckpointError where config and
    weights do not fit, or WavLM's and the speaker encoder's are not beside them."""
    config = {**_section(checkpoint, "audio"), **_section(checkpoint, "model_args")}
    try:
        settings = known_settings(FreeVCSettings, config)
        settings.check()
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"checkpoint {checkpoint.name}: its config does not fit: {error}") from error
    module = FreeVC(settings)
    module.load_state_dict(checkpoint.weights_for(module, ("",)))
    if checkpoint.located.is_random:
        draw_couplings(module.flow)
    module.flow = Couplings(module.flow)
    module.wavlm = load_wavlm(checkpoint, ("wavlm.",))
    if module.wavlm.channels != settings.ssl_dim:
        raise CheckpointError(
            f"checkpoint {checkpoint.name}: it reads {settings.ssl_dim} channels, its WavLM has {module.wavlm.channels}"
        )
    return module.eval().requires_grad_(False)


def components(module: FreeVC, checkpoint: LoadedCheckpoint, shape: Shape) -> list[Component]:
    """`content` in windows, `encoder`, `flow`, `decoder` along time, `speaker_encoder` of windows of a recording."""
    settings, frames = module.settings, time_axis(shape)
    channels, rate = settings.inter_channels, settings.output_sample_rate
    target = embedding("target", settings.gin_channels)
    targets = {"target": "speaker_encoder"}
    encoded = TensorSpec("encoded", (1, channels, frames), "float32", "latents without a voice")
    converted = TensorSpec("converted", (1, channels, frames), "float32", "latents in the target's voice")
    content = TensorSpec("content", (1, settings.ssl_dim + channels, frames), "float32", "content, then noise")
    audio = TensorSpec("audio", (1, 1, time_axis(shape, settings.frame)), "float32", "amplitude, full scale 1.0")
    sound = Sound(rate, Mel(sample_rate=rate, hop_length=settings.frame))
    return [
        content_component(_wavlm(module)),
        along_time(
            Encoder(module),
            "encoder",
            (content,),
            encoded,
            "Encoder.forward of coqui-tts's FreeVC",
            SAMPLE_RATE,
            hop_length=HOP,
        ),
        along_time(
            Flow(module),
            "flow",
            (encoded, *target),
            converted,
            "ResidualCouplingBlock.forward of coqui-tts's FreeVC in reverse",
            SAMPLE_RATE,
            hop_length=HOP,
            targets=targets,
        ),
        along_time(
            Decoder(module),
            "decoder",
            (converted, *target),
            audio,
            "Generator.forward of coqui-tts's FreeVC",
            rate,
            samples_per_frame=settings.frame,
            sound=sound,
            targets=targets,
        ),
        _speaker_component(module),
    ]


def conversion(module: FreeVC, parts: Mapping[str, Component]) -> Conversion:
    """How the components convert. Raises ConversionError for parts: it needs none."""
    if parts:
        raise ConversionError(f"family freevc has a decoder of its own: leave out model.parts.{min(parts)}")
    return Conversion(
        (
            FeatureStage("samples", SAMPLES),
            WindowedStage("content", "content", ("samples",), CONTEXTS),
            LocalStage("encoder", "encoder", ("content",), noise_rows=module.settings.inter_channels),
            LocalStage("flow", "flow", ("encoder",)),
            LocalStage("decoder", "decoder", ("flow",)),
        ),
        target="embedding",
    )


# ---------------------------------------------------------------------------------------------------- components


class Encoder(nn.Module):
    def __init__(self, model: FreeVC) -> None:
        super().__init__()
        self.encoder, self.channels = model.enc_p, model.settings.ssl_dim

    def forward(self, content: Tensor) -> Tensor:
        """content and below it noise (1, ssl_dim + C, T) -> latents (1, C, T)."""
        hidden = wavenet(self.encoder.enc, self.encoder.pre(content[:, : self.channels]), None)
        mean, log_scale = self.encoder.proj(hidden).chunk(2, dim=1)
        return mean + content[:, self.channels :] * torch.exp(log_scale)


class Flow(nn.Module):
    def __init__(self, model: FreeVC) -> None:
        super().__init__()
        self.couplings = model.flow

    def forward(self, encoded: Tensor, target: Tensor) -> Tensor:
        """encoded (1, C, T), target (1, D, 1) -> converted (1, C, T)."""
        return self.couplings(encoded, target, reverse=True)


class Decoder(nn.Module):
    def __init__(self, model: FreeVC) -> None:
        super().__init__()
        self.generator = model.dec

    def forward(self, converted: Tensor, target: Tensor) -> Tensor:
        """converted (1, C, T), target (1, D, 1) -> samples (1, 1, frame * T)."""
        return self.generator(converted, g=target)


class SpeakerEncoder(nn.Module):
    """Three recurrent layers over a window's mel, the last state through a linear layer and ReLU, at length 1.

    Upstream's own and its copy of Real-Time-Voice-Cloning's differ in their sizes alone.
    """

    def __init__(self, bands: int, hidden: int, channels: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(bands, hidden, 3, batch_first=True)
        self.linear = nn.Linear(hidden, channels)

    def forward(self, mels: Tensor) -> Tensor:
        """mels (N, frames, bands) -> embeddings (N, D)."""
        _, (hidden, _) = self.lstm(mels)
        embeddings = F.relu(self.linear(hidden[-1]))
        return embeddings / torch.linalg.vector_norm(embeddings, dim=1, keepdim=True)


class Voices(nn.Module):
    """The speaker encoder with embeddings as the chain takes them; `is_transposed`: its input's last axis is time."""

    def __init__(self, encoder: SpeakerEncoder, is_transposed: bool) -> None:
        super().__init__()
        self.encoder, self.is_transposed = encoder, is_transposed

    def forward(self, mels: Tensor) -> Tensor:
        """mels (N, frames, bands), or transposed -> embeddings (N, D, 1)."""
        return self.encoder(mels.transpose(1, 2) if self.is_transposed else mels).unsqueeze(2)


# ---------------------------------------------------------------------------------------------------- descriptions


def _section(checkpoint: LoadedCheckpoint, name: str) -> Mapping[str, Any]:
    section = checkpoint.config.get(name)
    return section if isinstance(section, Mapping) else {}


def _wavlm(module: FreeVC) -> WavLM:
    wavlm = module.wavlm
    assert isinstance(wavlm, WavLM)
    return wavlm


def _speaker_component(module: FreeVC) -> Component:
    settings, windows = module.settings, Dim(1, 64, 2)
    features = GE2E if settings.use_spk else settings.mel
    size = (GE2E.partial_frames, GE2E.n_mels) if settings.use_spk else (settings.n_mel_channels, PARTIAL)
    encoder = module.enc_spk_ex if settings.use_spk else module.enc_spk
    return Component(
        name="speaker_encoder",
        module=Voices(encoder, not settings.use_spk).eval(),
        inputs=(TensorSpec("mels", (windows, *size), "float32", features.unit),),
        outputs=(TensorSpec("voices", (windows, settings.gin_channels, 1), "float32", "of length 1"),),
        example=lambda: {"mels": torch.rand(2, *size, generator=torch.Generator().manual_seed(0))},
        computes="SpeakerEncoder.forward of coqui-tts's FreeVC, over a window",
        features=features,
        sizes=BATCHES,
    )
