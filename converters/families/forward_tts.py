"""Coqui's ForwardTTS: FastSpeech 2 (Ren et al. 2021, arXiv 2006.04558), FastPitch (Łańcucki 2021, arXiv 2006.06873),
SpeedySpeech (Vainer & Dušek 2020, arXiv 2008.03802), with any encoder and decoder that its config can name.

Components `encoder` and `decoder`; the length regulator between them is the runtime's
(runtime/playing/chains/length_regulator.py). The audio is a vocoder's, which the bundle holds as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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
from converters.upstream.layers import (
    convolution_norm,
    convolutions,
    feed_forward_transformer,
    remove_weight_norm,
    residual_convolutions,
    transformer,
    wavenet,
)
from runtime.bundle.spec import TensorSpec
from runtime.bundle.voice import VoiceRecord
from runtime.speech.mel import Mel

TEXT_SIZES = (192, 512)
FRAME_SIZES = (384, 1024)
DRAWN_FRAMES = 5  # that a symbol lasts with weights that were drawn
_TRANSFORMER = {"hidden_channels_ffn": 1024, "num_heads": 1, "num_layers": 6, "dropout_p": 0.1}


@dataclass(frozen=True)
class ForwardSettings:
    """`model_args` of a Coqui config as far as inference reads them; defaults as in coqui-tts 0.28's ForwardTTSArgs."""

    num_chars: int = 100
    out_channels: int = 80
    hidden_channels: int = 384
    use_pitch: bool = True
    pitch_predictor_hidden_channels: int = 256
    pitch_predictor_kernel_size: int = 3
    pitch_embedding_kernel_size: int = 3
    use_energy: bool = False
    energy_predictor_hidden_channels: int = 256
    energy_predictor_kernel_size: int = 3
    energy_embedding_kernel_size: int = 3
    duration_predictor_hidden_channels: int = 256
    duration_predictor_kernel_size: int = 3
    positional_encoding: bool = True
    length_scale: float = 1.0
    encoder_type: str = "fftransformer"
    encoder_params: Mapping[str, Any] = field(default_factory=lambda: _TRANSFORMER)
    decoder_type: str = "fftransformer"
    decoder_params: Mapping[str, Any] = field(default_factory=lambda: _TRANSFORMER)
    use_speaker_embedding: bool = False
    use_d_vector_file: bool = False
    d_vector_dim: int = 0

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> ForwardSettings:
        return known_settings(cls, {**config, **(config.get("model_args") or {})})

    @property
    def prosody(self) -> tuple[str, ...]:
        """The values that it predicts of each symbol beside its duration."""
        return tuple(kind for kind in ("pitch", "energy") if getattr(self, f"use_{kind}"))

    @property
    def speaker_channels(self) -> int:
        if self.use_d_vector_file:
            return self.d_vector_dim
        return self.hidden_channels if self.use_speaker_embedding else 0


class ForwardTTS(nn.Module):
    """The parts that inference runs, under upstream's names, so that its checkpoints load."""

    def __init__(self, settings: ForwardSettings, speakers: int) -> None:
        super().__init__()
        self.settings = settings
        self.config: dict[str, Any] = {}
        self.mel = Mel()
        hidden = settings.hidden_channels
        self.emb = nn.Embedding(settings.num_chars, hidden)
        self.encoder = import_coqui("TTS.tts.layers.feed_forward.encoder").Encoder(
            hidden, hidden, settings.encoder_type, dict(settings.encoder_params), settings.speaker_channels
        )
        self.decoder = import_coqui("TTS.tts.layers.feed_forward.decoder").Decoder(
            settings.out_channels, hidden, settings.decoder_type, dict(settings.decoder_params)
        )
        if settings.positional_encoding:
            self.pos_encoder = import_coqui("TTS.tts.layers.generic.pos_encoding").PositionalEncoding(hidden)
            self.pos_encoder.pe = self.pos_encoder.pe.contiguous()  # a reference keeps no transposed views
        self.duration_predictor = self._predictor("duration")
        for kind in settings.prosody:
            kernel = getattr(settings, f"{kind}_embedding_kernel_size")
            setattr(self, f"{kind}_predictor", self._predictor(kind))
            setattr(self, f"{kind}_emb", nn.Conv1d(1, hidden, kernel, padding=(kernel - 1) // 2))
        if settings.use_d_vector_file:
            if settings.d_vector_dim != hidden:
                self.proj_g = nn.Linear(settings.d_vector_dim, hidden)
        elif settings.use_speaker_embedding:
            self.emb_g = nn.Embedding(speakers, hidden)
        remove_weight_norm(self)

    def _predictor(self, kind: str) -> nn.Module:
        predictor = import_coqui("TTS.tts.layers.glow_tts.duration_predictor").DurationPredictor
        channels, kernel = (
            getattr(self.settings, f"{kind}_predictor_{name}") for name in ("hidden_channels", "kernel_size")
        )
        built: nn.Module = predictor(self.settings.hidden_channels, channels, kernel, 0.0)
        return built


def load(checkpoint: LoadedCheckpoint) -> nn.Module:
    """The model with its weights in eval mode. Raises CheckpointError where config and weights do not fit together."""
    try:
        settings = ForwardSettings.of(checkpoint.config)
        module = ForwardTTS(settings, table_rows(checkpoint, "emb_g"))
    except (TypeError, ValueError, KeyError, AssertionError, NotImplementedError) as error:
        raise CheckpointError(f"checkpoint {checkpoint.name}: its model_args do not fit: {error}") from error
    module.load_state_dict(checkpoint.weights_for(module, ("",)))
    if checkpoint.located.is_random:  # drawn weights would make every symbol last a frame
        predictor: Any = module.duration_predictor
        nn.init.constant_(predictor.proj.bias, math.log(1 + DRAWN_FRAMES))
    module.config = checkpoint.config
    module.mel = mel_settings(checkpoint.audio, checkpoint.stats)
    return module.eval().requires_grad_(False)


def components(module: nn.Module, checkpoint: LoadedCheckpoint, shape: Shape) -> list[Component]:
    """`encoder`: ids -> hidden states, log of 1 + durations, pitch, energy; `decoder`: states along time -> mel."""
    assert isinstance(module, ForwardTTS)
    settings = module.settings
    hidden, ids, frames = settings.hidden_channels, sized_axis(TEXT_SIZES), sized_axis(FRAME_SIZES)
    text_mask = TensorSpec("text_mask", (1, 1, ids), "float32", "1 where there is text")
    kinds, unit = settings.prosody, "standard deviations"
    shift = (TensorSpec("shift", (1, len(kinds), 1), "float32", f"{unit} of {', '.join(kinds)}"),) if kinds else ()
    prosody = [TensorSpec(kind, (1, 1, ids), "float32", unit) for kind in kinds]
    conditions = embedding("speaker", settings.speaker_channels)
    text_sizes, frame_sizes = ((), ()) if shape.flexible else (TEXT_SIZES, FRAME_SIZES)
    return [
        part_component(
            Encoder(module),
            "encoder",
            (TensorSpec("ids", (1, ids), "int32", "symbols"), text_mask, *shift, *conditions),
            (
                TensorSpec("hidden", (1, hidden, ids), "float32", ""),
                TensorSpec("log_durations", (1, 1, ids), "float32", "natural log of 1 + frames"),
                *prosody,
            ),
            "ForwardTTS.inference of coqui-tts up to the length regulator",
            text_sizes,
        ),
        part_component(
            Decoder(module),
            "decoder",
            (
                TensorSpec("expanded", (1, hidden, frames), "float32", ""),
                TensorSpec("frame_mask", (1, 1, frames), "float32", "1 where there is sound"),
            ),
            (TensorSpec("mel", (1, settings.out_channels, frames), "float32", module.mel.unit),),
            "ForwardTTS.inference of coqui-tts from the length regulator on",
            frame_sizes,
        ),
    ]


def voice(module: nn.Module) -> VoiceRecord:
    """Records how the components make a mel; which vocoder plays it is not the family's."""
    assert isinstance(module, ForwardTTS)
    settings, mel = module.settings, module.mel
    return VoiceRecord(
        chain="length_regulator",
        text=coqui_text(module.config),
        sample_rate=mel.sample_rate,
        samples_per_frame=mel.hop_length,
        features=mel,
        channels=settings.hidden_channels,
        length_scale=settings.length_scale,
        speakers=speaker_names(module.config, settings.use_d_vector_file, _speakers(module)),
        embedding_channels=settings.speaker_channels if settings.use_d_vector_file else 0,
        last="",
        prosody=settings.prosody,
    )


def tables(module: nn.Module) -> dict[str, Tensor]:
    """The rows that a speaker's number stands for: `speakers` (N, D)."""
    assert isinstance(module, ForwardTTS)
    return speaker_table(module.config, module.settings.use_d_vector_file, getattr(module, "emb_g", None))


def _speakers(module: ForwardTTS) -> int:
    return module.emb_g.num_embeddings if hasattr(module, "emb_g") else 0


# ---------------------------------------------------------------------------------------------------- components


class Encoder(nn.Module):
    def __init__(self, model: ForwardTTS) -> None:
        super().__init__()
        self.emb, self.encoder, self.kind = model.emb, model.encoder.encoder, model.settings.encoder_type.lower()
        self.projection = getattr(model, "proj_g", None)
        self.duration_predictor = model.duration_predictor
        self.predictors = nn.ModuleList(getattr(model, f"{kind}_predictor") for kind in model.settings.prosody)
        self.embeddings = nn.ModuleList(getattr(model, f"{kind}_emb") for kind in model.settings.prosody)

    def forward(
        self, ids: Tensor, text_mask: Tensor, shift: Tensor | None = None, speaker: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """ids (1, T), text_mask (1, 1, T), shift (1, K, 1) of the K of pitch and energy that there are, speaker
        (1, D, 1) -> hidden (1, H, T), log of 1 + durations (1, 1, T), pitch and energy (1, 1, T)."""
        hidden = self._encoded(self.emb(ids).transpose(1, 2), text_mask) * text_mask
        if not self.predictors and speaker is None:
            speaker, shift = shift, None  # arguments come without gaps where they have no names
        if speaker is not None:
            projected = speaker if self.projection is None else self.projection(speaker.squeeze(2)).unsqueeze(2)
            hidden = hidden + projected
        log_durations = self.duration_predictor(hidden, text_mask)
        prosody = []
        for row, (predictor, embed) in enumerate(zip(self.predictors, self.embeddings)):
            assert shift is not None
            value = (predictor(hidden, text_mask) + shift[:, row : row + 1]) * text_mask
            hidden = hidden + embed(value)
            prosody.append(value)
        return hidden, log_durations, *prosody

    def _encoded(self, x: Tensor, mask: Tensor) -> Tensor:
        encoder: Any = self.encoder
        if self.kind == "fftransformer":
            return feed_forward_transformer(encoder, x, mask)
        if self.kind == "relative_position_transformer":
            return transformer(encoder.rel_pos_transformer, residual_convolutions(encoder.prenet, x, mask), mask)
        convolved = residual_convolutions(encoder.res_conv_block, encoder.prenet(x) * mask, mask)
        return encoder.postnet(convolved + x)


class Decoder(nn.Module):
    def __init__(self, model: ForwardTTS) -> None:
        super().__init__()
        self.decoder, self.kind = model.decoder.decoder, model.settings.decoder_type.lower()
        self.positions = getattr(model, "pos_encoder", None)
        self.scale = math.sqrt(model.settings.hidden_channels)

    def forward(self, expanded: Tensor, frame_mask: Tensor) -> Tensor:
        """expanded (1, H, F), frame_mask (1, 1, F) -> mel (1, n_mels, F)."""
        x, decoder = expanded, self.decoder
        if self.positions is not None:
            x = x * self.scale + self.positions.pe[:, :, : x.shape[2]] * frame_mask
        if self.kind == "fftransformer":
            return decoder.postnet(feed_forward_transformer(decoder.transformer_block, x, frame_mask)) * frame_mask
        if self.kind == "relative_position_transformer":
            return transformer(decoder.rel_pos_transformer, convolution_norm(decoder.prenet, x, frame_mask), frame_mask)
        if self.kind == "wavenet":
            x = decoder.prenet(x) * frame_mask
            for block in decoder.wn.wn_blocks:
                x = wavenet(block, x, frame_mask)
            return decoder.postnet(x) * frame_mask
        convolved = residual_convolutions(decoder.res_conv_block, x, frame_mask)
        blocks, last = decoder.postnet
        return last(convolutions(blocks, decoder.post_conv(convolved) + x, frame_mask)) * frame_mask
