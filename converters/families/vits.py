"""VITS (Kim et al. 2021, arXiv 2106.06103) as coqui-tts builds it: one or many speakers, YourTTS, several languages;
Piper and Mimic 3 voices through their ONNX files (converters/upstream/onnx_voices.py).

Components `text_encoder`, `duration_predictor` (deterministic or stochastic), `flow` and `decoder`. What lies between
them, from durations to the sampled prior, is the runtime's (runtime/playing/chains/flow_prior.py); noise is an input.
The split is after the flow: the decoder alone streams, with 13 frames on each side, where flow and decoder would need
45.

The components call upstream's own layers. What no exporter takes is written anew around their weights: the spline flows
(ops/splines.py), relative positions at any length (ops/attention.py) and WaveNet's gate, which slices by a tensor.
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
from checkpoints.coqui_audio import mel_settings
from checkpoints.front_ends import coqui_text, mimic3_text, piper_text
from checkpoints.load import LoadedCheckpoint
from converters.component import Component
from converters.families.hifigan import Geometry
from converters.options import Shape
from converters.parts import (
    embedding,
    known_settings,
    named_rows,
    part_component,
    sized_axis,
    speaker_names,
    table_rows,
    time_axis,
)
from converters.upstream.coqui import import_coqui
from converters.upstream.layers import remove_weight_norm, transformer, wavenet
from converters.upstream.onnx_voices import coqui_terms
from ops.splines import inverse_spline
from runtime.bundle.spec import TensorSpec, TimeAxis
from runtime.bundle.voice import VoiceRecord
from runtime.speech.features import Sound
from runtime.speech.mel import Mel
from runtime.speech.text import TextSettings

TEXT_SIZES = (192, 512)
FRAME_SIZES = (384, 1024)
_HIDDEN_OF_DURATIONS = {True: 192, False: 256}  # stochastic, deterministic: constants of Vits.__init__


@dataclass(frozen=True)
class VitsSettings:
    """`model_args` of a Coqui config as far as inference reads them; defaults as in coqui-tts 0.28's VitsArgs."""

    num_chars: int = 100
    hidden_channels: int = 192
    hidden_channels_ffn_text_encoder: int = 768
    num_heads_text_encoder: int = 2
    num_layers_text_encoder: int = 6
    kernel_size_text_encoder: int = 3
    kernel_size_flow: int = 5
    dilation_rate_flow: int = 1
    num_layers_flow: int = 4
    resblock_type_decoder: str = "1"
    resblock_kernel_sizes_decoder: tuple[int, ...] = (3, 7, 11)
    resblock_dilation_sizes_decoder: tuple[tuple[int, ...], ...] = ((1, 3, 5),) * 3
    upsample_rates_decoder: tuple[int, ...] = (8, 8, 2, 2)
    upsample_initial_channel_decoder: int = 512
    upsample_kernel_sizes_decoder: tuple[int, ...] = (16, 16, 4, 4)
    use_sdp: bool = True
    inference_noise_scale: float = 0.667
    length_scale: float = 1.0
    inference_noise_scale_dp: float = 1.0
    num_speakers: int = 0
    use_speaker_embedding: bool = False
    speaker_embedding_channels: int = 256
    use_d_vector_file: bool = False
    d_vector_dim: int = 0
    use_language_embedding: bool = False
    embedded_language_dim: int = 4
    condition_dp_on_speaker: bool = True
    duration_norm_eps: float = 1e-4  # of Coqui's deterministic predictor; jaywalnut310's has 1e-5
    encoder_sample_rate: int | None = None
    interpolate_z: bool = True

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> VitsSettings:
        return known_settings(cls, {**config, **(config.get("model_args") or {})})

    @property
    def speaker_channels(self) -> int:
        if self.use_d_vector_file:
            return self.d_vector_dim
        return self.speaker_embedding_channels if self.use_speaker_embedding else 0

    @property
    def language_channels(self) -> int:
        return self.embedded_language_dim if self.use_language_embedding else 0


class Vits(nn.Module):
    """The parts that inference runs, under upstream's names, so that its checkpoints load."""

    def __init__(self, settings: VitsSettings, speakers: int, languages: int) -> None:
        super().__init__()
        self.settings = settings
        self.config: dict[str, Any] = {}
        networks = import_coqui("TTS.tts.layers.vits.networks")
        hidden, speaker, language = settings.hidden_channels, settings.speaker_channels, settings.language_channels
        self.text_encoder = networks.TextEncoder(
            settings.num_chars, hidden, hidden, settings.hidden_channels_ffn_text_encoder,
            settings.num_heads_text_encoder, settings.num_layers_text_encoder, settings.kernel_size_text_encoder,
            0.0, language_emb_dim=language,
        )  # fmt: skip
        self.flow = networks.ResidualCouplingBlocks(
            hidden, hidden, kernel_size=settings.kernel_size_flow, dilation_rate=settings.dilation_rate_flow,
            num_layers=settings.num_layers_flow, cond_channels=speaker,
        )  # fmt: skip
        if settings.use_sdp:
            kind = import_coqui("TTS.tts.layers.vits.stochastic_duration_predictor").StochasticDurationPredictor
            conditioned = speaker if settings.condition_dp_on_speaker else 0
            self.duration_predictor = kind(
                hidden, _HIDDEN_OF_DURATIONS[True], 3, 0.0, 4, cond_channels=conditioned, language_emb_dim=language
            )
        else:
            kind = import_coqui("TTS.tts.layers.glow_tts.duration_predictor").DurationPredictor
            self.duration_predictor = kind(
                hidden, _HIDDEN_OF_DURATIONS[False], 3, 0.0, cond_channels=speaker, language_emb_dim=language
            )
            for norm in (self.duration_predictor.norm_1, self.duration_predictor.norm_2):
                norm.eps = settings.duration_norm_eps
        self.waveform_decoder = import_coqui("TTS.vocoder.models.hifigan_generator").HifiganGenerator(
            hidden, 1, settings.resblock_type_decoder, settings.resblock_dilation_sizes_decoder,
            settings.resblock_kernel_sizes_decoder, settings.upsample_kernel_sizes_decoder,
            settings.upsample_initial_channel_decoder, settings.upsample_rates_decoder, inference_padding=0,
            cond_channels=speaker, conv_pre_weight_norm=False, conv_post_weight_norm=False, conv_post_bias=False,
        )  # fmt: skip
        if settings.use_speaker_embedding and not settings.use_d_vector_file:
            self.emb_g = nn.Embedding(speakers, speaker)
        if settings.use_language_embedding:
            self.emb_l = nn.Embedding(languages, language)
        # Parts of the duration predictor that only training runs, and a flow that upstream leaves out of inference.
        for name in ("post_pre", "post_convs", "post_proj", "post_flows"):
            if hasattr(self.duration_predictor, name):
                delattr(self.duration_predictor, name)
        if settings.use_sdp:
            self.duration_predictor.flows[1] = nn.Identity()
        elif speaker and not settings.condition_dp_on_speaker:
            del self.duration_predictor.cond
        remove_weight_norm(self)


def load(checkpoint: LoadedCheckpoint) -> nn.Module:
    """The model with its weights in eval mode. Raises CheckpointError where config and weights do not fit together."""
    checkpoint = coqui_terms(checkpoint)
    try:
        settings = VitsSettings.of(checkpoint.config)
        module = Vits(settings, *(table_rows(checkpoint, name) for name in ("emb_g", "emb_l")))
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"checkpoint {checkpoint.name}: its model_args do not fit: {error}") from error
    module.load_state_dict(checkpoint.weights_for(module, ("",)))
    module.config = checkpoint.config
    return module.eval().requires_grad_(False)


def components(module: nn.Module, checkpoint: LoadedCheckpoint, shape: Shape) -> list[Component]:
    """`text_encoder`, `duration_predictor`, `flow`, `decoder`; `shape.frames` is the decoder's."""
    assert isinstance(module, Vits)
    settings, mel = module.settings, mel_settings(module.config.get("audio") or {})
    hidden = settings.hidden_channels
    wide = hidden + settings.language_channels
    ids, frames = sized_axis(TEXT_SIZES), sized_axis(FRAME_SIZES)
    text_mask = TensorSpec("text_mask", (1, 1, ids), "float32", "1 where there is text")
    frame_mask = TensorSpec("frame_mask", (1, 1, frames), "float32", "1 where there is sound")
    encoded = TensorSpec("hidden", (1, wide, ids), "float32", "")
    speaker = embedding("speaker", settings.speaker_channels)
    language = embedding("language", settings.language_channels)
    predictor: nn.Module = StochasticDurations(module) if settings.use_sdp else Durations(module)
    noise = (TensorSpec("noise", (1, 2, ids), "float32", "normal, scaled"),) if settings.use_sdp else ()
    on_durations = speaker if not settings.use_sdp or settings.condition_dp_on_speaker else ()
    if not settings.condition_dp_on_speaker:
        on_durations = ()
    time = _decoder_time(module, mel)
    text_sizes, frame_sizes = ((), ()) if shape.flexible else (TEXT_SIZES, FRAME_SIZES)
    pieces, samples = (time_axis(shape, factor) for factor in (1, time.samples_per_frame))
    return [
        part_component(
            TextEncoder(module),
            "text_encoder",
            (TensorSpec("ids", (1, ids), "int32", "symbols"), text_mask, *language),
            (
                encoded,
                TensorSpec("mean", (1, hidden, ids), "float32", ""),
                TensorSpec("log_scale", (1, hidden, ids), "float32", "natural log"),
            ),
            "TextEncoder.forward of coqui-tts's VITS",
            text_sizes,
        ),
        part_component(
            predictor,
            "duration_predictor",
            (encoded, text_mask, *noise, *on_durations, *language),
            (TensorSpec("log_durations", (1, 1, ids), "float32", "natural log of frames"),),
            f"{'Stochastic' if settings.use_sdp else ''}DurationPredictor of coqui-tts's VITS, in reverse",
            text_sizes,
        ),
        part_component(
            Flow(module),
            "flow",
            (TensorSpec("prior", (1, hidden, frames), "float32", "sampled"), frame_mask, *speaker),
            (TensorSpec("latents", (1, hidden, frames), "float32", ""),),
            "ResidualCouplingBlocks of coqui-tts's VITS, in reverse",
            frame_sizes,
        ),
        part_component(
            Decoder(module),
            "decoder",
            (TensorSpec("latents", (1, hidden, pieces), "float32", ""), *speaker),
            (TensorSpec("audio", (1, 1, samples), "float32", "amplitude, full scale 1.0"),),
            "HifiganGenerator.forward of coqui-tts's VITS",
            time=time,
            sound=Sound(time.sample_rate, mel),
        ),
    ]


def voice(module: nn.Module) -> VoiceRecord:
    """Records how the components make a voice: text front end, scales of the noise, speakers and languages."""
    assert isinstance(module, Vits)
    config = module.config
    settings, mel = module.settings, mel_settings(config.get("audio") or {})
    time = _decoder_time(module, mel)
    return VoiceRecord(
        chain="flow_prior",
        text=_text(config),
        sample_rate=time.sample_rate,
        samples_per_frame=time.samples_per_frame,
        noise_scale=settings.inference_noise_scale,
        duration_noise_scale=settings.inference_noise_scale_dp if settings.use_sdp else 0.0,
        length_scale=settings.length_scale,
        channels=settings.hidden_channels,
        features=None,
        speakers=speaker_names(config, settings.use_d_vector_file, _table_rows(module, "emb_g")),
        languages=_languages(module),
        embedding_channels=settings.speaker_channels if settings.use_d_vector_file else 0,
    )


def tables(module: nn.Module) -> dict[str, Tensor]:
    """The rows that a speaker's or language's number stands for: `speakers` (N, D), `languages` (M, L)."""
    assert isinstance(module, Vits)
    embeddings = {"speakers": getattr(module, "emb_g", None), "languages": getattr(module, "emb_l", None)}
    rows = {name: table.weight for name, table in embeddings.items() if table is not None}
    vectors = module.config.get("speaker_vectors")
    if module.settings.use_d_vector_file and vectors:
        rows["speakers"] = F.normalize(torch.tensor(list(vectors.values())))  # as upstream does with each
    return rows


# ---------------------------------------------------------------------------------------------------- components


class TextEncoder(nn.Module):
    def __init__(self, model: Vits) -> None:
        super().__init__()
        self.encoder, self.scale = model.text_encoder, math.sqrt(model.settings.hidden_channels)

    def forward(self, ids: Tensor, text_mask: Tensor, language: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """ids (1, T), text_mask (1, 1, T), language (1, L, 1) -> hidden (1, H + L, T), mean and log_scale (1, H, T)."""
        x = (self.encoder.emb(ids) * self.scale).transpose(1, 2)
        if language is not None:
            x = torch.cat([x, language.expand(1, language.shape[1], x.shape[2])], dim=1)
        hidden = transformer(self.encoder.encoder, x, text_mask)
        statistics = self.encoder.proj(hidden) * text_mask
        mean, log_scale = statistics.chunk(2, dim=1)
        return hidden, mean, log_scale


class StochasticDurations(nn.Module):
    def __init__(self, model: Vits) -> None:
        super().__init__()
        self.predictor = model.duration_predictor

    def forward(
        self,
        hidden: Tensor,
        text_mask: Tensor,
        noise: Tensor,
        speaker: Tensor | None = None,
        language: Tensor | None = None,
    ) -> Tensor:
        """hidden (1, H, T), noise (1, 2, T) -> log of durations (1, 1, T); `speaker` and `language` (1, D, 1)."""
        predictor = self.predictor
        x = _conditioned(predictor, predictor.pre(hidden), speaker, language)
        x = predictor.proj(predictor.convs(x, text_mask)) * text_mask
        z = noise
        first, _, *others = predictor.flows
        for flow in reversed(others):
            z = _inverse_of(flow, z.flip(1), text_mask, x)
        z = z.flip(1)
        z = (z - first.translation) * torch.exp(-first.log_scale) * text_mask
        return z[:, :1]


def _conditioned(predictor: Any, x: Tensor, *conditions: Tensor | None) -> Tensor:
    """Adds the conditions that the predictor has layers for: speaker, then language; they come in that order, without
    gaps where arguments have no names."""
    layers = [getattr(predictor, name) for name in ("cond", "cond_lang") if hasattr(predictor, name)]
    for layer, condition in zip(layers, [value for value in conditions if value is not None], strict=True):
        x = x + layer(condition)
    return x


def _inverse_of(flow: Any, z: Tensor, mask: Tensor, condition: Tensor) -> Tensor:
    """ConvFlow.forward(reverse=True): the second half through a spline whose knots come from the first."""
    kept, moved = z.chunk(2, dim=1)
    knots = flow.proj(flow.convs(flow.pre(kept), mask, g=condition)) * mask
    knots = knots.transpose(1, 2).unsqueeze(1)  # (1, 1, T, 3 bins - 1)
    bins, scale = flow.num_bins, math.sqrt(flow.hidden_channels)
    widths, heights, slopes = knots[..., :bins] / scale, knots[..., bins : 2 * bins] / scale, knots[..., 2 * bins :]
    return torch.cat([kept, inverse_spline(moved, widths, heights, slopes, flow.tail_bound)], dim=1) * mask


class Durations(nn.Module):
    def __init__(self, model: Vits) -> None:
        super().__init__()
        self.predictor = model.duration_predictor

    def forward(
        self, hidden: Tensor, text_mask: Tensor, speaker: Tensor | None = None, language: Tensor | None = None
    ) -> Tensor:
        """hidden (1, H, T) -> log of durations (1, 1, T); `speaker` and `language` (1, D, 1)."""
        return self.predictor(_conditioned(self.predictor, hidden, speaker, language), text_mask)


class Flow(nn.Module):
    def __init__(self, model: Vits) -> None:
        super().__init__()
        self.flows = model.flow.flows

    def forward(self, prior: Tensor, frame_mask: Tensor, speaker: Tensor | None = None) -> Tensor:
        """prior (1, C, T), frame_mask (1, 1, T), speaker (1, D, 1) -> latents (1, C, T), zero outside the mask."""
        x = prior
        for flow in reversed(self.flows):
            x = x.flip(1)
            kept, moved = x.chunk(2, dim=1)
            hidden = flow.pre(kept) * frame_mask
            mean = flow.post(wavenet(flow.enc, hidden, frame_mask, speaker)) * frame_mask
            x = torch.cat([kept, (moved - mean) * frame_mask], dim=1)
        return x * frame_mask


class Decoder(nn.Module):
    def __init__(self, model: Vits) -> None:
        super().__init__()
        self.generator, self.factor = model.waveform_decoder, _interpolation(model)

    def forward(self, latents: Tensor, speaker: Tensor | None = None) -> Tensor:
        """latents (1, C, T), speaker (1, D, 1) -> samples (1, 1, T * samples_per_frame)."""
        if self.factor != 1:
            latents = F.interpolate(latents, scale_factor=float(self.factor), mode="linear")
        return self.generator(latents, g=speaker)


# ---------------------------------------------------------------------------------------------------- descriptions


def _interpolation(module: Vits) -> int:
    """Samples of the latents per frame of the encoder: models at 44.1 kHz may have an encoder at half the rate."""
    settings, rate = module.settings, (module.config.get("audio") or {}).get("sample_rate", 22050)
    if not settings.encoder_sample_rate or not settings.interpolate_z:
        return 1
    if rate % settings.encoder_sample_rate:
        raise CheckpointError(
            f"sample_rate {rate} is no multiple of encoder_sample_rate {settings.encoder_sample_rate}"
        )
    return int(rate // settings.encoder_sample_rate)


def _decoder_time(module: Vits, mel: Mel) -> TimeAxis:
    settings, factor = module.settings, _interpolation(module)
    geometry = Geometry.of(
        {
            "resblock_type": settings.resblock_type_decoder,
            "resblock_kernel_sizes": settings.resblock_kernel_sizes_decoder,
            "resblock_dilation_sizes": settings.resblock_dilation_sizes_decoder,
            "upsample_factors": settings.upsample_rates_decoder,
            "upsample_kernel_sizes": settings.upsample_kernel_sizes_decoder,
        }
    )
    between = 1 if factor > 1 else 0  # linear interpolation reads the neighbours
    left, right = (math.ceil(side / factor) + between for side in (geometry.left_frames, geometry.right_frames))
    return TimeAxis("latents", "audio", 2, 2, geometry.hop_length * factor, left, right, mel.sample_rate)


def _table_rows(module: Vits, table: str) -> int:
    return getattr(module, table).num_embeddings if hasattr(module, table) else 0


def _languages(module: Vits) -> dict[str, int]:
    """Names languages by the file beside the weights, the config's list, or those of its training data in order."""
    rows, named = _table_rows(module, "emb_l"), module.config.get("language_ids")
    trained = sorted({data.get("language") for data in module.config.get("datasets") or () if data.get("language")})
    listed = list(module.config.get("languages") or trained)
    if not named and len(listed) == rows:
        named = {name: row for row, name in enumerate(listed)}
    return named_rows(named, rows)


def _text(config: Mapping[str, Any]) -> TextSettings:
    voice_config = config.get("voice_of")
    if voice_config is None:
        return coqui_text(config)
    if voice_config.get("symbol_ids"):
        return mimic3_text(voice_config, voice_config["symbol_ids"])
    return piper_text(voice_config)
