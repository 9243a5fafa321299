"""Voices of RVC, Retrieval-based Voice Conversion: its first version (content of 256 channels) and second (768), with
and without pitch, at 32, 40 and 48 kHz.

Components `text_encoder` (content and pitch to a prior, over a window), `flow` and `decoder`, local in time; what reads
the content comes from another model (`parts.content`, families/hubert.py). The decoder's harmonic source, a sine whose
phase goes on, is the runtime's. A voice file is one speaker; of a table of several the first.
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
from checkpoints.faiss_index import RetrievalIndex
from checkpoints.load import LoadedCheckpoint
from converters.component import Component
from converters.families import hubert
from converters.options import ConversionError, Shape
from converters.parts import along_time, known_settings, pitch_stages, time_axis
from converters.upstream.coqui import import_coqui
from converters.upstream.layers import (
    Couplings,
    draw_couplings,
    fold_condition,
    fold_speaker,
    remove_weight_norm,
    transformer,
)
from runtime.bundle.conversion import (
    PITCH_BINS,
    Context,
    ContextName,
    Conversion,
    FeatureStage,
    HarmonicStage,
    LocalStage,
    PitchStage,
    RetrieveStage,
    Stage,
    WindowedStage,
)
from runtime.bundle.spec import TensorSpec
from runtime.speech.features import Samples, Sound
from runtime.speech.mel import Mel
from runtime.speech.spectrum import Pitch

NOISE_SCALE = 0.66666  # of the prior, a constant of SynthesizerTrnMs256NSFsid.infer
_RELATIVE_WINDOW = 10  # of attention: a default of RVC's Encoder
_SLOPE, _LAST_SLOPE = 0.1, 0.01  # of leaky ReLU: LRELU_SLOPE, and F.leaky_relu's own at the end
PITCH = Pitch(hubert.RATE, 1024, hubert.FRAME, fmin=50.0, fmax=1100.0, threshold=0.3)
CONTEXTS: dict[ContextName, Context] = {
    "offline": Context(past=50, chunk=100, future=50),
    "live": Context(past=180, chunk=20, future=0),
}


@dataclass(frozen=True)
class RvcSettings:
    """A voice's settings as far as conversion reads them; defaults of a voice at 40 kHz."""

    inter_channels: int = 192
    hidden_channels: int = 192
    filter_channels: int = 768
    n_heads: int = 2
    n_layers: int = 6
    kernel_size: int = 3
    resblock: str = "1"
    resblock_kernel_sizes: tuple[int, ...] = (3, 7, 11)
    resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 3, 5),) * 3
    upsample_rates: tuple[int, ...] = (10, 10, 2, 2)
    upsample_initial_channel: int = 512
    upsample_kernel_sizes: tuple[int, ...] = (16, 16, 4, 4)
    gin_channels: int = 256
    sample_rate: int = 40000
    f0: bool = True
    content_channels: int = 768

    @property
    def samples_per_frame(self) -> int:
        return math.prod(self.upsample_rates)


class TextEncoder(nn.Module):
    """Content and pitch to the mean and log scale of the prior (TextEncoder256, TextEncoder768)."""

    def __init__(self, settings: RvcSettings) -> None:
        super().__init__()
        hidden = settings.hidden_channels
        self.emb_phone = nn.Linear(settings.content_channels, hidden)
        if settings.f0:
            self.emb_pitch = nn.Embedding(PITCH_BINS + 1, hidden)
        kind = import_coqui("TTS.tts.layers.glow_tts.transformer").RelativePositionTransformer
        self.encoder = kind(
            hidden, hidden, hidden, settings.filter_channels, settings.n_heads, settings.n_layers,
            kernel_size=settings.kernel_size, rel_attn_window_size=_RELATIVE_WINDOW, layer_norm_type="2",
        )  # fmt: skip
        self.proj = nn.Conv1d(hidden, 2 * settings.inter_channels, 1)
        self.content_channels, self.scale = settings.content_channels, math.sqrt(hidden)

    def forward(self, content: Tensor) -> Tensor:
        """content and below it, where there is a pitch, its bins (1, channels + 1, T) -> statistics (1, 2 C, T)."""
        x = self.emb_phone(content[:, : self.content_channels].transpose(1, 2))
        if hasattr(self, "emb_pitch"):
            x = x + self.emb_pitch(content[:, self.content_channels].to(torch.int32))
        x = F.leaky_relu(x * self.scale, _SLOPE).transpose(1, 2)
        return self.proj(transformer(self.encoder, x, torch.ones_like(x[:, :1])))


class Source(nn.Module):
    """The layer that mixes the harmonic source (SourceModuleHnNSF), under upstream's name."""

    def __init__(self) -> None:
        super().__init__()
        self.l_linear = nn.Linear(1, 1)


class Rvc(nn.Module):
    """The parts that conversion runs, under upstream's names, so that its voices load."""

    def __init__(self, settings: RvcSettings, speakers: int) -> None:
        super().__init__()
        self.settings = settings
        self.index: RetrievalIndex | None = None
        upstream = import_coqui("TTS.vc.models.freevc")
        channels, hidden, speaker = settings.inter_channels, settings.hidden_channels, settings.gin_channels
        self.enc_p = TextEncoder(settings)
        self.flow = upstream.ResidualCouplingBlock(
            channels, hidden, kernel_size=5, dilation_rate=1, n_layers=3, gin_channels=speaker
        )
        self.dec = upstream.Generator(
            channels, settings.resblock, settings.resblock_kernel_sizes, settings.resblock_dilation_sizes,
            settings.upsample_rates, settings.upsample_initial_channel, settings.upsample_kernel_sizes,
            gin_channels=speaker,
        )  # fmt: skip
        if settings.f0:
            self.dec.m_source = Source()
            self.dec.noise_convs = nn.ModuleList(_source_convolutions(settings))
        self.emb_g = nn.Embedding(speakers, speaker)
        remove_weight_norm(self)


def _source_convolutions(settings: RvcSettings) -> list[nn.Conv1d]:
    """One for each upsampling, which brings the source down to its rate."""
    layers = []
    for index in range(len(settings.upsample_rates)):
        channels, stride = (
            settings.upsample_initial_channel >> index + 1,
            math.prod(settings.upsample_rates[index + 1 :]),
        )
        layers.append(
            nn.Conv1d(1, channels, 2 * stride, stride, padding=stride // 2) if stride > 1 else nn.Conv1d(1, channels, 1)
        )
    return layers


def load(checkpoint: LoadedCheckpoint) -> nn.Module:
    """The voice with its weights in eval mode, its speaker in the biases.

    Raises CheckpointError for a file that is no voice of RVC, or whose settings and weights do not fit together.
    """
    values = checkpoint.config.get("rvc")
    if not isinstance(values, Mapping):
        raise CheckpointError(
            f"checkpoint {checkpoint.name} is no voice of RVC: a .pth with `weight`, `config`, `sr` and `f0`"
        )
    reader = checkpoint.weights.get("enc_p.emb_phone.weight")
    content = {} if reader is None else {"content_channels": reader.shape[-1]}
    speakers = checkpoint.weights.get("emb_g.weight")
    try:
        module = Rvc(known_settings(RvcSettings, {**values, **content}), 1 if speakers is None else len(speakers))
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"checkpoint {checkpoint.name}: its config does not fit: {error}") from error
    module.load_state_dict(checkpoint.weights_for(module, ("",)))
    module.index = checkpoint.index
    if module.index is not None and module.index.vectors.shape[1] != module.settings.content_channels:
        raise CheckpointError(
            f"checkpoint {checkpoint.name}: its index is of {module.index.vectors.shape[1]} channels, the voice reads "
            f"{module.settings.content_channels}: one of the other version of RVC"
        )
    if checkpoint.located.is_random:
        draw_couplings(module.flow)
    speaker = module.emb_g.weight[:1, :, None]
    for flow in module.flow.flows[::2]:
        fold_condition(flow.enc, speaker)
    fold_speaker(module.dec, speaker)
    if checkpoint.located.is_random:
        _centre(module.dec)
    module.flow = Couplings(module.flow)
    return module.eval().requires_grad_(False)


def _centre(decoder: nn.Module) -> None:
    """Makes drawn biases small: as they are drawn they give a constant of 25 times the sound, whose rounding in half
    precision covers what a voice would say."""
    for name, parameter in decoder.named_parameters():
        if name.endswith("bias"):
            parameter.data.mul_(0.1)


def components(module: nn.Module, checkpoint: LoadedCheckpoint, shape: Shape) -> list[Component]:
    """`text_encoder` over windows, `flow` and `decoder` along time."""
    assert isinstance(module, Rvc)
    settings, frames = module.settings, time_axis(shape)
    if shape.flexible:
        raise ConversionError("family rvc reads its content in windows of a fixed length: leave out shape=flexible")
    channels, samples = settings.inter_channels, settings.samples_per_frame
    rows = settings.content_channels + settings.f0
    content = TensorSpec("content", (1, rows, hubert.WINDOW), "float32", "content, then the bin of the pitch")
    rate, hop = settings.sample_rate, settings.samples_per_frame
    mel = Mel(sample_rate=rate, n_fft=4 * hop, win_length=4 * hop, hop_length=hop)
    statistics = TensorSpec("statistics", (1, 3 * channels, frames), "float32", "mean, log scale, noise")
    latents = TensorSpec("latents", (1, channels, frames), "float32", "")
    excited = TensorSpec(
        "excited", (1, channels + settings.f0 * samples, frames), "float32", "latents, then the source"
    )
    audio = TensorSpec("audio", (1, 1, time_axis(shape, samples)), "float32", "amplitude, full scale 1.0")
    return [
        Component(
            name="text_encoder",
            module=module.enc_p,
            inputs=(content,),
            outputs=(TensorSpec("statistics", (1, 2 * channels, hubert.WINDOW), "float32", "mean, log scale"),),
            example=lambda: {"content": torch.rand(content.default_shape, generator=torch.Generator().manual_seed(0))},
            computes="TextEncoder.forward of RVC, over a window",
        ),
        along_time(
            Flow(module), "flow", (statistics,), latents,
            "ResidualCouplingBlock.forward of RVC, in reverse, of a sample of the prior", rate, hop_length=hop,
        ),
        along_time(
            Decoder(module), "decoder", (excited,), audio,
            f"{'GeneratorNSF' if settings.f0 else 'Generator'}.forward of RVC", rate, samples_per_frame=samples,
            sound=Sound(rate, mel),
        ),
    ]  # fmt: skip


def tables(module: nn.Module) -> dict[str, Tensor]:
    """The arrays of the voice's retrieval index, where there is one."""
    assert isinstance(module, Rvc)
    index = module.index
    return {} if index is None else {f"index_{name}": torch.tensor(array) for name, array in vars(index).items()}


def conversion(module: nn.Module, parts: Mapping[str, Component]) -> Conversion:
    """How a voice converts with what reads the content, and with `parts.pitch` where that detects the pitch instead of
    YIN. Raises ConversionError where the content is missing or of another width."""
    assert isinstance(module, Rvc)
    settings, content = module.settings, parts.get("content")
    if content is None:
        raise ConversionError("family rvc reads content by another model: choose it with model.parts.content.family")
    given = content.outputs[0].default_shape
    if content.time is not None or given[1] != settings.content_channels:
        raise ConversionError(
            f"this voice takes content of {settings.content_channels} channels, {content.name} gives {given[1]}: "
            "voices of RVC's first version take 256 (model.parts.content.checkpoint.name=rvc_v1_hubert), later ones "
            "768"
        )
    if content.inputs[0].default_shape[2] != hubert.WINDOW * hubert.FRAME or given[2] != hubert.WINDOW:
        raise ConversionError(f"family rvc takes content a frame of 10 ms in windows of {hubert.WINDOW}, as hubert's")
    read: list[Stage] = [
        FeatureStage("samples", Samples(hubert.RATE, hubert.FRAME)),
        WindowedStage("content", content.name, ("samples",), hubert.CONTEXTS),
    ]
    if settings.f0:
        read += [
            *pitch_stages(PITCH, parts.get("pitch")),
            PitchStage("bins", "pitch", "bins"),
            PitchStage("hertz", "pitch", "hertz"),
            HarmonicStage("source", "hertz", settings.sample_rate, settings.samples_per_frame),
        ]
    reads = "content"
    if module.index is not None:
        reads = "retrieved"
        read.append(RetrieveStage("retrieved", "content", "hertz" if settings.f0 else ""))
    rows, excited = ((reads, "bins"), ("flow", "source")) if settings.f0 else ((reads,), ("flow",))
    return Conversion(
        (
            *read,
            WindowedStage("text_encoder", "text_encoder", rows, CONTEXTS),
            LocalStage("flow", "flow", ("text_encoder",), noise_rows=settings.inter_channels),
            LocalStage("decoder", "decoder", excited),
        )
    )


# ---------------------------------------------------------------------------------------------------- components


class Flow(nn.Module):
    def __init__(self, model: Rvc) -> None:
        super().__init__()
        self.couplings, self.channels = model.flow, model.settings.inter_channels

    def forward(self, statistics: Tensor) -> Tensor:
        """Mean, log scale and noise, one below another (1, 3 C, T) -> latents (1, C, T)."""
        c = self.channels
        mean, log_scale, noise = statistics[:, :c], statistics[:, c : 2 * c], statistics[:, 2 * c :]
        return self.couplings(mean + torch.exp(log_scale) * noise * NOISE_SCALE, reverse=True)


class Decoder(nn.Module):
    """HiFi-GAN, to each of whose upsamplings the harmonic source is added where there is one."""

    def __init__(self, model: Rvc) -> None:
        super().__init__()
        self.generator: Any = model.dec
        self.channels, self.has_source = model.settings.inter_channels, model.settings.f0

    def forward(self, excited: Tensor) -> Tensor:
        """Latents and below them a frame's samples of the source (1, C + samples, T) -> audio (1, 1, samples * T)."""
        network = self.generator
        if not self.has_source:
            return network(excited)
        source = excited[:, self.channels :].transpose(1, 2).reshape(1, 1, -1)
        mixed = torch.tanh(source * network.m_source.l_linear.weight[0] + network.m_source.l_linear.bias)
        x, count = network.conv_pre(excited[:, : self.channels]), network.num_kernels
        for index, (upsampling, convolution) in enumerate(zip(network.ups, network.noise_convs)):
            x = upsampling(F.leaky_relu(x, _SLOPE)) + convolution(mixed)
            blocks = list[Any](network.resblocks)[index * count : (index + 1) * count]
            total = blocks[0](x)
            for block in blocks[1:]:
                total = total + block(x)
            x = total / count
        return torch.tanh(network.conv_post(F.leaky_relu(x, _LAST_SLOPE)))
