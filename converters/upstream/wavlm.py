"""WavLM (Chen et al. 2022, arXiv 2110.13900) as a reader of content, around the weights of coqui-tts's own.

It takes windows of a fixed length: their table of relative positions is computed beforehand, once for all layers, and a
graph holds no more of it than each layer's gate.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from checkpoints import CheckpointError
from checkpoints.files import ARCHITECTURES, read_config
from checkpoints.load import LoadedCheckpoint
from converters.component import Component
from converters.parts import known_settings
from converters.upstream.coqui import import_coqui
from converters.upstream.layers import remove_weight_norm
from runtime.bundle.conversion import Context, ContextName
from runtime.bundle.spec import TensorSpec
from runtime.speech.features import Samples

SAMPLE_RATE, HOP = 16000, 320  # of the published models
WINDOW = 150  # frames, three seconds
CONTEXTS: dict[ContextName, Context] = {
    "offline": Context(past=50, chunk=50, future=50),
    "live": Context(past=130, chunk=10, future=10),
}
# A frame's own window is 400 samples: the last one of a window of audio is filled up with zeros.
SAMPLES = Samples(SAMPLE_RATE, HOP)
_LAYER = r"\s*\(\s*\d{1,4}\s*,\s*\d{1,4}\s*,\s*\d{1,4}\s*\)\s*,?"
_LAYERS = re.compile(rf"\s*\[((?:{_LAYER}){{1,32}})\s*\]\s*(?:\*\s*(\d{{1,2}})\s*)?")


@dataclass(frozen=True)
class WavLMSettings:
    """What a checkpoint's `cfg` says of the network; defaults of upstream's WavLMConfig."""

    extractor_mode: str = "default"
    encoder_layers: int = 12
    encoder_embed_dim: int = 768
    encoder_ffn_embed_dim: int = 3072
    encoder_attention_heads: int = 12
    activation_fn: str = "gelu"
    layer_norm_first: bool = False
    conv_feature_layers: str = "[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2"
    conv_bias: bool = False
    conv_pos: int = 128
    conv_pos_groups: int = 16
    relative_position_embedding: bool = False
    num_buckets: int = 320
    max_distance: int = 1280
    gru_rel_pos: bool = False

    def check(self) -> None:
        """Raises ValueError for what is not built as WavLM-Large is."""
        if not (self.layer_norm_first and self.relative_position_embedding and self.gru_rel_pos):
            raise ValueError("this WavLM is not built as WavLM-Large is: norms first, gated relative positions")
        if self.activation_fn != "gelu" or self.extractor_mode not in ("default", "layer_norm"):
            raise ValueError(f"WavLM has no {self.activation_fn} or {self.extractor_mode} here")

    @property
    def convolutions(self) -> list[tuple[int, int, int]]:
        """Channels, kernel and stride of the layers that read the audio. Upstream evaluates the text as Python; here
        it is read. Raises ValueError for another text."""
        layers: list[tuple[int, int, int]] = []
        for part in self.conv_feature_layers.split("+"):
            match = _LAYERS.fullmatch(part)
            if match is None:
                raise ValueError(f"conv_feature_layers {self.conv_feature_layers[:80]!r} is no list of layers")
            sizes = [int(number) for number in re.findall(r"\d+", match[1])]
            triples = [(sizes[at], sizes[at + 1], sizes[at + 2]) for at in range(0, len(sizes), 3)]
            layers += triples * int(match[2] or 1)
        return layers

    @property
    def hop_length(self) -> int:
        hop = 1
        for _, _, stride in self.convolutions:
            hop *= stride
        return hop

    @property
    def field(self) -> int:
        """Samples that a frame is made of."""
        field, hop = 1, 1
        for _, kernel, stride in self.convolutions:
            field += (kernel - 1) * hop
            hop *= stride
        return field


class WavLM(nn.Module):
    """WavLM up to a layer, on windows of so many frames, one for each hop of samples."""

    def __init__(self, upstream: Any, settings: WavLMSettings, frames: int, is_whole: bool) -> None:
        super().__init__()
        self.stem, self.stem_norm, self.into = (
            upstream.feature_extractor.conv_layers, upstream.layer_norm, upstream.post_extract_proj,
        )  # fmt: skip
        self.positions, self.layers = upstream.encoder.pos_conv, nn.ModuleList()
        for layer in upstream.encoder.layers:
            self.layers.append(Layer(layer, settings.encoder_attention_heads))
        self.norm = upstream.encoder.layer_norm if is_whole else None
        bias = upstream.encoder.layers[0].self_attn.compute_bias(frames, frames).detach().clone()
        self.register_buffer("bias", bias.unsqueeze(0), persistent=False)
        self.border = settings.field - settings.hop_length
        self.frames, self.channels = frames, settings.encoder_embed_dim

    def forward(self, samples: Tensor) -> Tensor:
        """samples (1, 1, frames * hop_length) -> content (1, channels, frames)."""
        rows = F.pad(samples, (0, self.border))
        for layer in self.stem:
            rows = layer(rows)
        frames = self.stem_norm(rows.transpose(1, 2))
        if self.into is not None:
            frames = self.into(frames)
        frames = frames + self.positions(frames.transpose(1, 2)).transpose(1, 2)
        for layer in self.layers:
            frames = layer(frames, self.bias)
        if self.norm is not None:
            frames = self.norm(frames)
        return frames.transpose(1, 2)


class Layer(nn.Module):
    """A transformer layer, normalised before attention and before its two linear layers.

    A head's bias of relative positions is as strong as a gate says that is made of the frame that asks (the paper's
    gated relative position bias).
    """

    def __init__(self, layer: Any, heads: int) -> None:
        super().__init__()
        attention = layer.self_attn
        self.heads, self.scale = heads, attention.scaling
        self.attention_norm, self.norm = layer.self_attn_layer_norm, layer.final_layer_norm
        self.query, self.key, self.value = attention.q_proj, attention.k_proj, attention.v_proj
        self.out, self.wide, self.narrow = attention.out_proj, layer.fc1, layer.fc2
        self.strength = attention.grep_a
        # upstream sums four rows of the gate's linear layer each: the same layer with two rows
        rows = attention.grep_linear
        self.gate = nn.Linear(rows.in_features, 2)
        self.gate.weight.data = rows.weight.detach().unflatten(0, (2, 4)).sum(1)
        self.gate.bias.data = rows.bias.detach().unflatten(0, (2, 4)).sum(1)

    def forward(self, frames: Tensor, bias: Tensor) -> Tensor:
        """frames (1, T, channels), bias (1, heads, T, T) -> frames (1, T, channels)."""
        normed = self.attention_norm(frames)
        kept, reset = torch.sigmoid(self.gate(self._split(normed))).chunk(2, dim=-1)
        query, key, value = (self._split(part(normed)) for part in (self.query, self.key, self.value))
        gate = kept * (reset * self.strength - 1.0) + 2.0
        scores = (query * self.scale) @ key.transpose(2, 3) + gate * bias
        attended = torch.softmax(scores, dim=-1) @ value
        frames = frames + self.out(attended.transpose(1, 2).flatten(2))
        return frames + self.narrow(F.gelu(self.wide(self.norm(frames))))

    def _split(self, rows: Tensor) -> Tensor:
        """(1, T, channels) -> (1, heads, T, channels / heads)."""
        return rows.unflatten(2, (self.heads, -1)).transpose(1, 2)


def load_wavlm(checkpoint: LoadedCheckpoint, prefixes: tuple[str, ...] = ("",), layers: int | None = None) -> WavLM:
    """WavLM with a checkpoint's weights: the first `layers` of its layers, or all of them and the norm after them.

    Raises CheckpointError where `cfg` and weights do not fit, or it is no WavLM of this kind.
    """
    cfg = published() if checkpoint.located.is_random else checkpoint.settings
    if not cfg:
        raise CheckpointError(
            f"checkpoint {checkpoint.name} has no `cfg` of a WavLM: it is in WavLM-Large.pt as published"
        )
    try:
        settings = known_settings(WavLMSettings, cfg)
        settings.check()
        convolutions = settings.convolutions
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"checkpoint {checkpoint.name}: its cfg does not fit: {error}") from error
    if settings.hop_length != HOP or settings.field < HOP:
        raise CheckpointError(f"checkpoint {checkpoint.name}: a WavLM of {settings.hop_length} samples a frame")
    if layers is not None and not 0 < layers <= settings.encoder_layers:
        raise CheckpointError(f"checkpoint {checkpoint.name} has {settings.encoder_layers} layers, not {layers}")
    upstream = import_coqui("TTS.vc.layers.freevc.wavlm.wavlm")
    count = layers or settings.encoder_layers
    values = {**asdict(settings), "encoder_layers": count, "conv_feature_layers": str(convolutions)}
    module = upstream.WavLM(upstream.WavLMConfig(values))
    remove_weight_norm(module)
    module.load_state_dict(checkpoint.weights_for(module, prefixes))
    return WavLM(module, settings, WINDOW, layers is None).eval().requires_grad_(False)


def published() -> Mapping[str, Any]:
    """The `cfg` of WavLM-Large.pt."""
    return read_config(ARCHITECTURES / "wavlm_large.json")["cfg"]


def content_component(wavlm: WavLM) -> Component:
    """`content`: samples (1, 1, 320 * WINDOW) -> content (1, channels, WINDOW)."""
    samples = TensorSpec("samples", (1, 1, wavlm.frames * HOP), "float32", SAMPLES.unit)
    depth = "all of its layers" if wavlm.norm is not None else f"layer {len(wavlm.layers)}"
    return Component(
        name="content",
        module=wavlm,
        inputs=(samples,),
        outputs=(TensorSpec("content", (1, wavlm.channels, wavlm.frames), "float32", "residual stream"),),
        example=lambda: {
            "samples": torch.randn(samples.default_shape, generator=torch.Generator().manual_seed(0)) / 10
        },
        computes=f"WavLM.extract_features of coqui-tts up to {depth}, over a window",
    )
