"""HuBERT base (Hsu et al. 2021, arXiv 2106.07447) as a reader of content, as RVC takes it (ContentVec's weights too).

One component, `content`: a window's samples at 16 kHz in, what a layer of the transformer gives out, each frame of
20 ms twice: RVC's synthesis runs on 10 ms.
"""

from __future__ import annotations

import re
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
from converters.parts import known_settings
from runtime.bundle.conversion import Context, ContextName
from runtime.bundle.spec import TensorSpec

RATE, HOP = 16000, 320  # of the transformer's frames
REPEATS = 2  # frames of the output for one of those
FRAME = HOP // REPEATS
_KERNELS, _STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
_FIELD = 400  # samples that a frame sees
_HEAD_CHANNELS = 64
_POSITION_KERNEL, _POSITION_GROUPS = 128, 16

WINDOW = 200  # frames of 10 ms, two seconds
CONTEXTS: dict[ContextName, Context] = {
    "offline": Context(past=50, chunk=100, future=50),
    "live": Context(past=160, chunk=20, future=20),
}


@dataclass(frozen=True)
class HubertSettings:
    """`output_layer`: how many layers run, 0 for all; `projected`: whether the last thing is `final_proj`, as the first
    version of RVC has it, of the ninth layer."""

    output_layer: int = 0
    projected: bool = False


class Attention(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = channels // _HEAD_CHANNELS
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(channels, channels) for _ in range(4))

    def forward(self, frames: Tensor) -> Tensor:
        """frames (1, T, channels) -> the same."""
        size = (self.heads, _HEAD_CHANNELS)
        query, key, value = (
            part(frames).unflatten(2, size).transpose(1, 2) for part in (self.q_proj, self.k_proj, self.v_proj)
        )
        weights = torch.softmax(query * _HEAD_CHANNELS**-0.5 @ key.transpose(2, 3), dim=-1)
        return self.out_proj((weights @ value).transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """A transformer layer, normalised after attention and after its two linear layers."""

    def __init__(self, channels: int, wide: int) -> None:
        super().__init__()
        self.self_attn = Attention(channels)
        self.self_attn_layer_norm, self.final_layer_norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.fc1, self.fc2 = nn.Linear(channels, wide), nn.Linear(wide, channels)

    def forward(self, frames: Tensor) -> Tensor:
        """frames (1, T, channels) -> the same."""
        frames = self.self_attn_layer_norm(frames + self.self_attn(frames))
        return self.final_layer_norm(frames + self.fc2(F.gelu(self.fc1(frames))))


class Hubert(nn.Module):
    """The encoder up to a layer, under fairseq's names."""

    def __init__(self, stem: int, channels: int, wide: int, layers: int, projection: int) -> None:
        super().__init__()
        sizes = zip((1, *[stem] * (len(_KERNELS) - 1)), _KERNELS, _STRIDES)
        self.feature_extractor: Any = nn.Module()
        self.feature_extractor.conv_layers = nn.ModuleList(
            nn.ModuleList(
                [nn.Conv1d(channels_in, stem, kernel, stride, bias=False), nn.Identity(),
                 nn.GroupNorm(stem, stem) if index == 0 else nn.Identity()]
            )
            for index, (channels_in, kernel, stride) in enumerate(sizes)
        )  # fmt: skip
        self.layer_norm, self.post_extract_proj = nn.LayerNorm(stem), nn.Linear(stem, channels)
        self.encoder: Any = nn.Module()
        position = nn.Conv1d(
            channels, channels, _POSITION_KERNEL, padding=_POSITION_KERNEL // 2, groups=_POSITION_GROUPS
        )
        self.encoder.pos_conv = nn.ModuleList([position])
        self.encoder.layer_norm = nn.LayerNorm(channels)
        self.encoder.layers = nn.ModuleList(Layer(channels, wide) for _ in range(layers))
        self.final_proj = nn.Linear(channels, projection) if projection else None

    @property
    def channels(self) -> int:
        """Of the content that it gives."""
        return (self.final_proj or self.post_extract_proj).out_features

    def forward(self, samples: Tensor) -> Tensor:
        """samples (1, 1, FRAME * T) -> content (1, channels, T), T even."""
        maps = F.pad(samples, (0, _FIELD - HOP))  # a frame for each hop, the last one over the end
        for convolution, _, norm in self.feature_extractor.conv_layers:
            maps = F.gelu(norm(convolution(maps)))
        frames = self.post_extract_proj(self.layer_norm(maps.transpose(1, 2)))
        places = self.encoder.pos_conv[0](frames.transpose(1, 2))[..., :-1]  # an even kernel gives one too many
        frames = self.encoder.layer_norm(frames + F.gelu(places).transpose(1, 2))
        for layer in self.encoder.layers:
            frames = layer(frames)
        if self.final_proj is not None:
            frames = self.final_proj(frames)
        return frames.transpose(1, 2).repeat_interleave(REPEATS, dim=2)


def load(checkpoint: LoadedCheckpoint) -> Hubert:
    """The encoder with its weights in eval mode. Raises CheckpointError for what is no HuBERT of fairseq's layout."""
    weights = checkpoint.weights
    settings = known_settings(HubertSettings, checkpoint.config.get("hubert") or {})
    if checkpoint.located.is_random:
        module = Hubert(512, 768, 3072, settings.output_layer or 12, 256 * settings.projected)
    else:
        module = Hubert(*_sizes(checkpoint, weights, settings))
    module.load_state_dict(checkpoint.weights_for(module, ("",)))
    return module.eval().requires_grad_(False)


def _sizes(
    checkpoint: LoadedCheckpoint, weights: Mapping[str, Tensor], settings: HubertSettings
) -> tuple[int, int, int, int, int]:
    first, wide = weights.get("post_extract_proj.weight"), weights.get("encoder.layers.0.fc1.weight")
    if first is None or wide is None or first.ndim != 2 or "feature_extractor.conv_layers.0.0.weight" not in weights:
        raise CheckpointError(f"checkpoint {checkpoint.name} holds no HuBERT in the layout of fairseq")
    numbers = (re.match(r"encoder\.layers\.(\d+)\.fc1\.weight$", name) for name in weights)
    count = 1 + max(int(found[1]) for found in numbers if found)
    if not 0 <= settings.output_layer <= count:
        raise CheckpointError(f"checkpoint {checkpoint.name} has {count} layers, asked for is {settings.output_layer}")
    final = weights.get("final_proj.weight")
    if settings.projected and final is None:
        raise CheckpointError(f"checkpoint {checkpoint.name} has no final_proj, which its config asks for")
    channels, stem = first.shape
    if channels % _HEAD_CHANNELS:
        raise CheckpointError(f"checkpoint {checkpoint.name}: {channels} channels are no HuBERT's")
    projection = final.shape[0] if settings.projected and final is not None else 0
    return stem, channels, wide.shape[0], settings.output_layer or count, projection


def components(module: nn.Module, checkpoint: LoadedCheckpoint, shape: Shape) -> list[Component]:
    """The one component of the family: `samples (1, 1, 160 W)` -> `content (1, channels, W)`."""
    assert isinstance(module, Hubert)
    if shape.flexible:
        raise ConversionError("a content encoder takes windows of a fixed length: leave out shape=flexible")
    samples = TensorSpec("samples", (1, 1, WINDOW * FRAME), "float32", "amplitude, full scale 1.0")
    layers = len(module.encoder.layers)
    return [
        Component(
            name="content",
            module=module,
            inputs=(samples,),
            outputs=(TensorSpec("content", (1, module.channels, WINDOW), "float32", "content"),),
            example=lambda: {
                "samples": torch.randn(samples.default_shape, generator=torch.Generator().manual_seed(0)) / 10
            },
            computes=f"HubertModel.extract_features of fairseq up to layer {layers}, over a window, each frame twice",
        )
    ]
