"""Coqui's Glow-TTS (Kim et al. 2020, arXiv 2005.11129): transformer or convolutional encoders, one or many speakers.

Components `encoder` and `decoder`; durations, the sampled prior and the pairing of frames between them are the
runtime's (runtime/playing/chains/flow_mel.py). The audio is a vocoder's, which the bundle holds as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from checkpoints import CheckpointError
from checkpoints.coqui_audio import mel_settings
from checkpoints.front_ends import coqui_text
from checkpoints.load import LoadedCheckpoint
from converters.component import Component
from converters.options import Shape
from converters.parts import (
    embedding,
    known_settings,
    part_component,
    sized_axis,
    speaker_names,
    speaker_table,
    table_rows,
)
from converters.upstream.coqui import import_coqui
from converters.upstream.layers import remove_weight_norm, residual_convolutions, transformer, wavenet
from runtime.bundle.spec import TensorSpec
from runtime.bundle.voice import VoiceRecord
from runtime.speech.mel import Mel

TEXT_SIZES = (192, 512)
COLUMN_SIZES = (192, 512)  # of `num_squeeze` frames each
DRAWN_FRAMES = 5  # that a symbol lasts with weights that were drawn
_ENCODERS = ("rel_pos_transformer", "residual_conv_bn")
_TRANSFORMER = {"kernel_size": 3, "dropout_p": 0.1, "num_layers": 6, "num_heads": 2, "hidden_channels_ffn": 768}


@dataclass(frozen=True)
class GlowSettings:
    """A Coqui config as far as inference reads it; defaults as in coqui-tts 0.28's GlowTTSConfig."""

    num_chars: int = 100
    use_encoder_prenet: bool = True
    hidden_channels_enc: int = 192
    hidden_channels_dec: int = 192
    hidden_channels_dp: int = 256
    mean_only: bool = True
    out_channels: int = 80
    num_flow_blocks_dec: int = 12
    kernel_size_dec: int = 5
    dilation_rate: int = 1
    num_block_layers: int = 4
    num_splits: int = 4
    num_squeeze: int = 2
    sigmoid_scale: bool = False
    encoder_type: str = "rel_pos_transformer"
    encoder_params: Mapping[str, Any] = field(default_factory=lambda: _TRANSFORMER)
    inference_noise_scale: float = 0.0
    length_scale: float = 1.0
    use_speaker_embedding: bool = False
    use_d_vector_file: bool = False
    d_vector_dim: int = 0

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> GlowSettings:
        return known_settings(cls, config)

    @property
    def speaker_channels(self) -> int:
        if self.use_d_vector_file:
            return self.d_vector_dim
        return self.hidden_channels_enc if self.use_speaker_embedding else 0


class GlowTTS(nn.Module):
    """The parts that inference runs, under upstream's names, so that its checkpoints load."""

    def __init__(self, settings: GlowSettings, speakers: int) -> None:
        super().__init__()
        self.settings = settings
        self.config: dict[str, Any] = {}
        self.mel = Mel()
        speaker = settings.speaker_channels
        self.encoder = import_coqui("TTS.tts.layers.glow_tts.encoder").Encoder(
            settings.num_chars, settings.out_channels, settings.hidden_channels_enc, settings.hidden_channels_dp,
            settings.encoder_type, dict(settings.encoder_params), mean_only=settings.mean_only,
            use_prenet=settings.use_encoder_prenet, c_in_channels=speaker,
        )  # fmt: skip
        self.decoder = import_coqui("TTS.tts.layers.glow_tts.decoder").Decoder(
            settings.out_channels, settings.hidden_channels_dec, settings.kernel_size_dec, settings.dilation_rate,
            settings.num_flow_blocks_dec, settings.num_block_layers, num_splits=settings.num_splits,
            num_squeeze=settings.num_squeeze, sigmoid_scale=settings.sigmoid_scale, c_in_channels=speaker,
        )  # fmt: skip
        if settings.use_speaker_embedding and not settings.use_d_vector_file:
            self.emb_g = nn.Embedding(speakers, speaker)
        remove_weight_norm(self)


def load(checkpoint: LoadedCheckpoint) -> nn.Module:
    """The model with its weights in eval mode. Raises CheckpointError where config and weights do not fit together, or
    for an encoder that is not converted."""
    settings = GlowSettings.of(checkpoint.config)
    settings = replace(settings, num_chars=table_rows(checkpoint, "encoder.emb") or settings.num_chars)
    if settings.encoder_type.lower() not in _ENCODERS:
        raise CheckpointError(
            f"checkpoint {checkpoint.name}: there is no encoder_type {settings.encoder_type!r}; there is: "
            f"{', '.join(_ENCODERS)}"
        )
    try:
        module = GlowTTS(settings, table_rows(checkpoint, "emb_g"))
    except (TypeError, ValueError, AssertionError) as error:
        raise CheckpointError(f"checkpoint {checkpoint.name}: its config does not fit: {error}") from error
    module.load_state_dict(checkpoint.weights_for(module, ("",)))
    if checkpoint.located.is_random:  # drawn weights would make every symbol last a frame
        nn.init.constant_(module.encoder.duration_predictor.proj.bias, math.log(1 + DRAWN_FRAMES))
    module.config = checkpoint.config
    module.mel = mel_settings(checkpoint.audio, checkpoint.stats)
    return module.eval().requires_grad_(False)


def components(module: nn.Module, checkpoint: LoadedCheckpoint, shape: Shape) -> list[Component]:
    """`encoder`: ids -> a normal distribution per symbol, log of 1 + durations; `decoder`: a sampled prior -> mel."""
    assert isinstance(module, GlowTTS)
    settings = module.settings
    ids, columns = sized_axis(TEXT_SIZES), sized_axis(COLUMN_SIZES)
    text_sizes, column_sizes = ((), ()) if shape.flexible else (TEXT_SIZES, COLUMN_SIZES)
    speaker = embedding("speaker", settings.speaker_channels)
    bands = settings.out_channels
    rows = bands * settings.num_squeeze
    return [
        part_component(
            Encoder(module),
            "encoder",
            (
                TensorSpec("ids", (1, ids), "int32", "symbols"),
                TensorSpec("text_mask", (1, 1, ids), "float32", "1 where there is text"),
                *speaker,
            ),
            (
                TensorSpec("mean", (1, bands, ids), "float32", ""),
                TensorSpec("log_scale", (1, bands, ids), "float32", "natural log"),
                TensorSpec("log_durations", (1, 1, ids), "float32", "natural log of 1 + frames"),
            ),
            "Encoder.forward of coqui-tts's Glow-TTS",
            text_sizes,
        ),
        part_component(
            Decoder(module),
            "decoder",
            (
                TensorSpec("prior", (1, rows, columns), "float32", f"sampled, {settings.num_squeeze} frames a column"),
                TensorSpec("frame_mask", (1, 1, columns), "float32", "1 where there is sound"),
                *speaker,
            ),
            (TensorSpec("mel", (1, rows, columns), "float32", module.mel.unit),),
            "Decoder.forward of coqui-tts's Glow-TTS, in reverse, between squeeze and unsqueeze",
            column_sizes,
        ),
    ]


def voice(module: nn.Module) -> VoiceRecord:
    """Records how the components make a mel; which vocoder plays it is not the family's."""
    assert isinstance(module, GlowTTS)
    settings, mel = module.settings, module.mel
    speakers = module.emb_g.num_embeddings if hasattr(module, "emb_g") else 0
    return VoiceRecord(
        chain="flow_mel",
        text=coqui_text(module.config),
        sample_rate=mel.sample_rate,
        samples_per_frame=mel.hop_length,
        features=mel,
        channels=settings.out_channels,
        noise_scale=settings.inference_noise_scale,
        length_scale=settings.length_scale,
        squeeze=settings.num_squeeze,
        speakers=speaker_names(module.config, settings.use_d_vector_file, speakers),
        embedding_channels=settings.speaker_channels if settings.use_d_vector_file else 0,
        last="",
    )


def tables(module: nn.Module) -> dict[str, Tensor]:
    """The rows that a speaker's number stands for: `speakers` (N, D), of length 1 as upstream makes them."""
    assert isinstance(module, GlowTTS)
    embeddings = speaker_table(module.config, module.settings.use_d_vector_file, getattr(module, "emb_g", None))
    return {name: F.normalize(rows) for name, rows in embeddings.items()}


# ---------------------------------------------------------------------------------------------------- components


class Encoder(nn.Module):
    def __init__(self, model: GlowTTS) -> None:
        super().__init__()
        self.encoder, self.scale = model.encoder, math.sqrt(model.settings.hidden_channels_enc)
        self.is_transformer = model.settings.encoder_type.lower() == "rel_pos_transformer"

    def forward(self, ids: Tensor, text_mask: Tensor, speaker: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """ids (1, T), text_mask (1, 1, T), speaker (1, D, 1) -> mean, log_scale (1, C, T), log of 1 + durations
        (1, 1, T)."""
        encoder: Any = self.encoder
        x = (encoder.emb(ids) * self.scale).transpose(1, 2)
        if self.is_transformer:
            if encoder.use_prenet:
                x = encoder.prenet(x, text_mask)
            x = transformer(encoder.encoder, x, text_mask)
        else:
            x = encoder.postnet(residual_convolutions(encoder.encoder, x, text_mask)) * text_mask
        timed = x
        if speaker is not None:
            timed = torch.cat([x, speaker.expand(1, speaker.shape[1], x.shape[2])], 1)
        mean = encoder.proj_m(x) * text_mask
        log_scale = torch.zeros_like(mean) if encoder.mean_only else encoder.proj_s(x) * text_mask
        return mean, log_scale, encoder.duration_predictor(timed, text_mask)


class Decoder(nn.Module):
    def __init__(self, model: GlowTTS) -> None:
        super().__init__()
        flows = list(model.decoder.flows)
        self.norms, self.couplings = nn.ModuleList(flows[::3]), nn.ModuleList(flows[2::3])
        self.mixing = nn.ParameterList(
            nn.Parameter(_inverse_mixing(flow).unsqueeze(2), requires_grad=False) for flow in flows[1::3]
        )
        self.kept_channels = model.settings.out_channels * model.settings.num_squeeze // 2
        self.sigmoid_scale = model.settings.sigmoid_scale

    def forward(self, prior: Tensor, frame_mask: Tensor, speaker: Tensor | None = None) -> Tensor:
        """prior (1, C, T), frame_mask (1, 1, T), speaker (1, D, 1) -> mel (1, C, T)."""
        x = prior * frame_mask
        steps = list(zip(self.norms, self.mixing, self.couplings))
        for norm, mixing, coupling in reversed(steps):
            kept, moved = x[:, : self.kept_channels], x[:, self.kept_channels :]
            output = coupling.end(wavenet(coupling.wn, coupling.start(kept) * frame_mask, frame_mask, speaker))
            shift, log_scale = output[:, : self.kept_channels], output[:, self.kept_channels :]
            if self.sigmoid_scale:
                log_scale = torch.log(1e-6 + torch.sigmoid(log_scale + 2))
            x = torch.cat([kept, (moved - shift) * torch.exp(-log_scale) * frame_mask], 1)
            x = F.conv1d(x, mixing) * frame_mask
            x = (x - norm.bias) * torch.exp(-norm.logs) * frame_mask
        return x


def _inverse_mixing(flow: Any) -> Tensor:
    """InvConvNear in reverse as the matrix (C, C) that it is: upstream views the channels in five axes."""
    with torch.no_grad():
        matrix, _ = flow(torch.eye(flow.channels).unsqueeze(0), reverse=True)
    return matrix[0].contiguous()
