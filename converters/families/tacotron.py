"""Coqui's Tacotron 2 (Shen et al. 2018, arXiv 1712.05884): location-sensitive or dynamic convolution attention
(Battenberg et al. 2020, arXiv 1910.10288), forward attention, several frames a step, double decoder consistency (whose
second decoder only training runs).

Components `encoder`, `decoder_step` and `postnet`; the loop between them, its end and its attention window are the
runtime's (runtime/playing/chains/attention.py). The audio is a vocoder's, which the bundle holds as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
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
from converters.upstream.recurrent import both_ways, lstm_cell, one_way
from runtime.bundle.spec import TensorSpec
from runtime.bundle.voice import Attending, VoiceRecord
from runtime.speech.mel import Mel

TEXT_SIZES = (192, 512)
FRAME_SIZES = (384, 1024)
EMBEDDING, QUERY, KEYS, PRENET = 512, 1024, 128, 256  # constants of coqui-tts's Tacotron2 and its Decoder
WINDOW = (2, 6)  # symbols before and after the last one that was attended to (OriginalAttention.init_win_idx)


@dataclass(frozen=True)
class TacotronSettings:
    """A Coqui config as far as inference reads it; defaults as in coqui-tts 0.28's Tacotron2Config."""

    num_chars: int = 100
    r: int = 2
    out_channels: int = 80
    encoder_in_features: int = 512
    decoder_in_features: int = 512
    prenet_type: str = "original"
    prenet_dropout: bool = True
    prenet_dropout_at_inference: bool = False
    separate_stopnet: bool = True
    max_decoder_steps: int = 10000
    attention_type: str = "original"
    attention_norm: str = "sigmoid"
    attention_win: bool = False
    use_forward_attn: bool = False
    forward_attn_mask: bool = False
    transition_agent: bool = False
    location_attn: bool = True
    use_gst: bool = False
    use_capacitron_vae: bool = False
    use_speaker_embedding: bool = False
    speaker_embedding_dim: int = 512
    use_d_vector_file: bool = False
    d_vector_dim: int = 512

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> TacotronSettings:
        return known_settings(cls, config)

    @property
    def speaker_channels(self) -> int:
        if self.use_d_vector_file:
            return self.d_vector_dim
        return self.speaker_embedding_dim if self.use_speaker_embedding else 0

    @property
    def memory_channels(self) -> int:
        return self.decoder_in_features + self.speaker_channels

    @property
    def rows(self) -> tuple[str, ...]:
        """The rows that each symbol keeps from step to step, by how they begin (runtime/bundle/voice.py)."""
        if self.attention_type == "dynamic_convolution":
            return ("first",)
        return ("zeros", *(("zeros",) if self.location_attn else ()), *(("ahead",) if self.use_forward_attn else ()))


class Tacotron2(nn.Module):
    """The parts that inference runs, under upstream's names, so that its checkpoints load."""

    def __init__(self, settings: TacotronSettings, most_frames: int, speakers: int) -> None:
        super().__init__()
        self.settings = settings
        self.config: dict[str, Any] = {}
        self.mel = Mel()
        layers = import_coqui("TTS.tts.layers.tacotron.tacotron2")
        self.embedding = nn.Embedding(settings.num_chars, EMBEDDING, padding_idx=0)
        self.encoder = layers.Encoder(settings.encoder_in_features)
        self.decoder = layers.Decoder(
            settings.memory_channels, settings.out_channels, most_frames, settings.attention_type,
            settings.attention_win, settings.attention_norm, settings.prenet_type, settings.prenet_dropout,
            settings.use_forward_attn, settings.transition_agent, settings.forward_attn_mask, settings.location_attn,
            None, settings.separate_stopnet, settings.max_decoder_steps,
        )  # fmt: skip
        self.postnet = layers.Postnet(settings.out_channels)
        if settings.use_speaker_embedding and not settings.use_d_vector_file:
            self.speaker_embedding = nn.Embedding(speakers, settings.speaker_embedding_dim)


def load(checkpoint: LoadedCheckpoint) -> nn.Module:
    """The model with its weights in eval mode. Raises CheckpointError where config and weights do not fit together, or
    for what is not converted: global style tokens, Capacitron, Graves attention."""
    # gradual training ends with fewer frames a step than the layers were made for
    settings = TacotronSettings.of(
        {**checkpoint.config, "r": checkpoint.numbers.get("r") or checkpoint.config.get("r")}
    )
    # Coqui counts the symbols when it builds the model: a config may not say how many there are
    settings = replace(settings, num_chars=table_rows(checkpoint, "embedding") or settings.num_chars)
    if settings.use_gst or settings.use_capacitron_vae:
        raise CheckpointError(f"checkpoint {checkpoint.name} speaks in the style of a recording (GST, Capacitron)")
    if settings.attention_type not in ("original", "dynamic_convolution"):
        raise CheckpointError(
            f"checkpoint {checkpoint.name}: there is no attention_type {settings.attention_type!r}; there is: "
            "original, dynamic_convolution"
        )
    if settings.attention_win and settings.use_forward_attn:
        raise CheckpointError(
            f"checkpoint {checkpoint.name}: attention_win together with use_forward_attn is not known"
        )
    try:
        projection = checkpoint.weights.get("decoder.linear_projection.linear_layer.weight")
        most = settings.r if projection is None else len(projection) // settings.out_channels
        module = Tacotron2(settings, most, table_rows(checkpoint, "speaker_embedding"))
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"checkpoint {checkpoint.name}: its config does not fit: {error}") from error
    module.load_state_dict(checkpoint.weights_for(module, ("",)))
    if checkpoint.located.is_random:  # drawn weights would end an utterance at once
        nn.init.constant_(module.decoder.stopnet[1].linear_layer.bias, -8.0)
    module.config = checkpoint.config
    module.mel = mel_settings(checkpoint.audio, checkpoint.stats)
    return module.eval().requires_grad_(False)


def components(module: nn.Module, checkpoint: LoadedCheckpoint, shape: Shape) -> list[Component]:
    """`encoder`: ids -> what is attended to; `decoder_step`: one step of attention and LSTMs; `postnet`: what is added
    to the frames."""
    assert isinstance(module, Tacotron2)
    settings, step = module.settings, DecoderStep(module)
    ids, frames = sized_axis(TEXT_SIZES), sized_axis(FRAME_SIZES)
    text_sizes, frame_sizes = ((), ()) if shape.flexible else (TEXT_SIZES, FRAME_SIZES)
    text_mask = TensorSpec("text_mask", (1, 1, ids), "float32", "1 where there is text to attend to")
    memory = TensorSpec("memory", (1, ids, step.memory_channels), "float32", "encoded text, then keys")
    kept = (
        TensorSpec("carried", (1, step.state_channels), "float32", "LSTMs, context, transition"),
        TensorSpec("alignment", (1, len(settings.rows), ids), "float32", "attention weights"),
    )
    dropout = (TensorSpec("dropout", (1, 2, PRENET), "float32", "0 or 2"),) if step.drops else ()
    bands, unit = settings.out_channels, module.mel.unit
    frame_mask = TensorSpec("frame_mask", (1, 1, frames), "float32", "1 where there is sound")
    return [
        part_component(
            Encoder(module),
            "encoder",
            (
                TensorSpec("ids", (1, ids), "int32", "symbols"),
                text_mask,
                TensorSpec("backward", (1, ids), "int32", "positions from the last to the first"),
                *embedding("speaker", settings.speaker_channels),
            ),
            (memory,),
            "Tacotron2.inference of coqui-tts up to the decoder",
            text_sizes,
        ),
        part_component(
            step,
            "decoder_step",
            (TensorSpec("frame", (1, bands), "float32", unit), memory, text_mask, *kept, *dropout),
            (
                TensorSpec("frames", (1, settings.r, bands), "float32", unit),
                TensorSpec("stop", (1, 1), "float32", "logit"),
                *(TensorSpec(f"next_{spec.name}", spec.shape, spec.dtype, spec.unit) for spec in kept),
            ),
            "one turn of Decoder.inference of coqui-tts's Tacotron2",
            text_sizes,
        ),
        part_component(
            Postnet(module),
            "postnet",
            (TensorSpec("frames", (1, bands, frames), "float32", unit), frame_mask),
            (TensorSpec("mel", (1, bands, frames), "float32", unit),),
            "Tacotron2.inference of coqui-tts from the decoder on",
            frame_sizes,
        ),
    ]


def voice(module: nn.Module) -> VoiceRecord:
    """Records how the components make a mel; which vocoder plays it is not the family's."""
    assert isinstance(module, Tacotron2)
    settings, mel, step = module.settings, module.mel, DecoderStep(module)
    return VoiceRecord(
        chain="attention",
        text=coqui_text(module.config),
        sample_rate=mel.sample_rate,
        samples_per_frame=mel.hop_length,
        features=mel,
        channels=settings.out_channels,
        speakers=speaker_names(module.config, settings.use_d_vector_file, _speakers(module)),
        embedding_channels=settings.speaker_channels if settings.use_d_vector_file else 0,
        last="",
        attending=Attending(
            frames_per_step=settings.r,
            state_channels=step.state_channels,
            rows=settings.rows,
            last_state=0.5 if settings.use_forward_attn else None,
            stop_threshold=float(module.decoder.stop_threshold),
            least_steps=2,
            most_steps=settings.max_decoder_steps,
            dropout=PRENET if step.drops else 0,
            window=WINDOW if settings.attention_win else None,
        ),
    )


def tables(module: nn.Module) -> dict[str, Tensor]:
    """The rows that a speaker's number stands for: `speakers` (N, D)."""
    assert isinstance(module, Tacotron2)
    return speaker_table(module.config, module.settings.use_d_vector_file, getattr(module, "speaker_embedding", None))


def _speakers(module: Tacotron2) -> int:
    return module.speaker_embedding.num_embeddings if hasattr(module, "speaker_embedding") else 0


# ---------------------------------------------------------------------------------------------------- components


class Encoder(nn.Module):
    def __init__(self, model: Tacotron2) -> None:
        super().__init__()
        self.embedding, self.convolutions = model.embedding, model.encoder.convolutions
        self.ahead, self.back = (one_way(model.encoder.lstm, suffix) for suffix in ("", "_reverse"))
        self.keys = getattr(model.decoder.attention, "inputs_layer", None)

    def forward(self, ids: Tensor, text_mask: Tensor, backward: Tensor, speaker: Tensor | None = None) -> Tensor:
        """ids (1, T), text_mask (1, 1, T), backward (1, T): T - 1 .. 0, speaker (1, D, 1) -> (1, T, E + D + keys)."""
        x = self.embedding(ids).transpose(1, 2) * text_mask
        for layer in self.convolutions:
            x = layer(x) * text_mask
        memory = both_ways(self.ahead, self.back, x.transpose(1, 2), backward)
        if speaker is not None:
            memory = torch.cat([memory, speaker.transpose(1, 2).expand(1, memory.shape[1], speaker.shape[1])], 2)
        return memory if self.keys is None else torch.cat([memory, self.keys(memory)], 2)


class DecoderStep(nn.Module):
    def __init__(self, model: Tacotron2) -> None:
        super().__init__()
        settings = model.settings
        self.decoder, self.settings = model.decoder, settings
        self.drops = settings.prenet_dropout and settings.prenet_dropout_at_inference
        self.encoded = settings.memory_channels
        self.memory_channels = self.encoded + (KEYS if settings.attention_type == "original" else 0)
        self.sizes = [QUERY] * 4 + [self.encoded] + ([1] if settings.use_forward_attn else [])
        self.state_channels = sum(self.sizes)

    def forward(
        self,
        frame: Tensor,
        memory: Tensor,
        text_mask: Tensor,
        carried: Tensor,
        alignment: Tensor,
        dropout: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """frame (1, n_mels): the last of the step before; memory (1, T, M); carried (1, S); alignment (1, K, T);
        dropout (1, 2, P): what the prenet's layers are multiplied with -> frames (1, r, n_mels), the stop token's logit
        (1, 1), state, alignment. Decoder.decode of coqui-tts."""
        decoder, settings = self.decoder, self.settings
        query, query_cell, hidden, cell, context, *transition = carried.split(self.sizes, dim=1)
        x = frame
        for index, layer in enumerate(decoder.prenet.linear_layers):
            x = F.relu(layer(x))
            if dropout is not None:
                x = x * dropout[:, index]
        query, query_cell = lstm_cell(decoder.attention_rnn, torch.cat([x, context], 1), query, query_cell)
        encoded, keys = memory[..., : self.encoded], memory[..., self.encoded :]
        if settings.attention_type == "original":
            rows = self._location_sensitive(query, keys, text_mask.squeeze(1), alignment, transition)
        else:
            rows = _dynamic_convolution(decoder.attention, query, text_mask.squeeze(1), alignment)
        weights = rows[-1] if settings.use_forward_attn else rows[0]
        context = (weights.unsqueeze(1) @ encoded).squeeze(1)
        if settings.use_forward_attn and settings.transition_agent:
            transition = [torch.sigmoid(decoder.attention.ta(torch.cat([context, query], 1)))]
        hidden, cell = lstm_cell(decoder.decoder_rnn, torch.cat([query, context], 1), hidden, cell)
        output = decoder.linear_projection(torch.cat([hidden, context], 1))
        stop = decoder.stopnet(torch.cat([hidden, output], 1))
        frames = output[:, : settings.r * settings.out_channels].unflatten(1, (settings.r, settings.out_channels))
        kept = torch.cat([query, query_cell, hidden, cell, context, *transition], 1)
        return frames, stop, kept, torch.stack(rows, 1)

    def _location_sensitive(
        self, query: Tensor, keys: Tensor, mask: Tensor, alignment: Tensor, transition: list[Tensor]
    ) -> list[Tensor]:
        """OriginalAttention.forward: weights, their sum so far, and those of forward attention, (1, T) each."""
        attention, settings = self.decoder.attention, self.settings
        energies = attention.query_layer(query.unsqueeze(1)) + keys
        if settings.location_attn:
            # upstream keeps the weights that were used: those of forward attention, where it is on
            last = alignment[:, -1:] if settings.use_forward_attn else alignment[:, :1]
            last = last * (alignment[:, 1:2].sum() > 0) if settings.use_forward_attn else last
            energies = energies + attention.location_layer(torch.cat([last, alignment[:, 1:2]], 1))
        energies = attention.v(torch.tanh(energies)).squeeze(2).masked_fill(mask == 0, _LEAST)
        if settings.attention_win:  # the first step of a windowed attention is drawn to the first symbol
            is_first = alignment[:, 0].sum() == 0
            highest = torch.where(is_first, energies.amax(1, keepdim=True), energies[:, :1])
            energies = torch.cat([highest, energies[:, 1:]], 1)
        if settings.attention_norm == "softmax":
            weights = torch.softmax(energies, 1)
        else:
            opened = torch.sigmoid(energies) * mask
            weights = opened / opened.sum(1, keepdim=True)
        rows = [weights]
        if settings.location_attn:
            rows.append(alignment[:, 1] + weights)
        if settings.use_forward_attn:
            rows.append(self._forwarded(weights, alignment[:, -1], transition[0], mask))
        return rows

    def _forwarded(self, weights: Tensor, before: Tensor, transition: Tensor, mask: Tensor) -> Tensor:
        """OriginalAttention.apply_forward_attention (Zhang et al. 2018, arXiv 1807.06736). All (1, T)."""
        shifted = F.pad(before[:, :-1], (1, 0)) * mask
        alpha = ((1 - transition) * before + transition * shifted + 1e-8) * weights
        if self.settings.forward_attn_mask:
            positions = torch.cumsum(torch.ones_like(mask), 1) - 1
            at, length = shifted.argmax(1, keepdim=True), mask.sum(1, keepdim=True)
            highest = alpha.amax(1, keepdim=True)
            alpha = alpha * ((positions < at + 3) & (positions >= at - 1))
            smoothed = torch.where(at < 2, at - 2 + length, (at - 2).to(length.dtype))  # upstream's index wraps round
            alpha = torch.where(positions == smoothed, 0.01 * highest, alpha)
        return alpha / alpha.sum(1, keepdim=True)


_LEAST = -1e4  # of an energy: nothing is left of it after a softmax, in half precision too


def _dynamic_convolution(attention: Any, query: Tensor, mask: Tensor, alignment: Tensor) -> list[Tensor]:
    """MonotonicDynamicConvolutionAttention.forward. The convolution whose kernel is computed is a matrix product."""
    last = alignment[:, :1]  # (1, 1, T)
    prior = F.conv1d(F.pad(last, (attention.prior_filter_len - 1, 0)), attention.prior.view(1, 1, -1))
    kernels = attention.key_layer(torch.tanh(attention.query_layer(query)))
    size = attention.dynamic_kernel_size
    half = (size - 1) // 2
    padded, length = F.pad(last, (half, half)), last.shape[2]
    seen = torch.cat([padded[:, :, tap : tap + length] for tap in range(size)], 1)  # (1, taps, T)
    dynamic = (kernels.view(1, attention.dynamic_filter_dim, size) @ seen).transpose(1, 2)
    static = attention.static_filter_conv(last).transpose(1, 2)
    energies = attention.v(torch.tanh(attention.static_filter_layer(static) + attention.dynamic_filter_layer(dynamic)))
    energies = energies.squeeze(2) + torch.log(prior.clamp(min=1e-6)).squeeze(1)
    return [torch.softmax(energies.masked_fill(mask == 0, _LEAST), 1)]


class Postnet(nn.Module):
    def __init__(self, model: Tacotron2) -> None:
        super().__init__()
        self.convolutions = model.postnet.convolutions

    def forward(self, frames: Tensor, frame_mask: Tensor) -> Tensor:
        """frames (1, n_mels, F), frame_mask (1, 1, F) -> mel (1, n_mels, F)."""
        x = frames
        for layer in self.convolutions:
            x = layer(x * frame_mask)
        return frames + x
