"""Layers of coqui-tts that several families share, computed around upstream's own weights in forms that every exporter
takes and that a mask makes exact at any padded length."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ops.attention import to_absolute, to_relative
from ops.shift import shifted


def transformer(encoder: Any, x: Tensor, mask: Tensor) -> Tensor:
    """RelativePositionTransformer.forward. x (1, H, T), mask (1, 1, T) -> (1, H or out_channels, T)."""
    both = mask.unsqueeze(2) * mask.unsqueeze(3)
    layers = zip(encoder.attn_layers, encoder.norm_layers_1, encoder.ffn_layers, encoder.norm_layers_2)
    for index, (attention, norm_1, feed_forward, norm_2) in enumerate(layers):
        x = x * mask
        x = norm_1(x + _relative_attention(attention, x, both))
        output = feed_forward(x, mask)
        if index + 1 == encoder.num_layers and hasattr(encoder, "proj"):
            x = encoder.proj(x)
        x = norm_2(x + output)
    return x * mask


def _relative_attention(layer: Any, x: Tensor, mask: Tensor) -> Tensor:
    """RelativePositionMultiHeadAttention.forward with the band of relative positions alone (ops/attention.py)."""
    window, scale = layer.rel_attn_window_size, math.sqrt(layer.k_channels)
    query, key, value = (
        conv(x).unflatten(1, (layer.num_heads, layer.k_channels)).transpose(2, 3)
        for conv in (layer.conv_q, layer.conv_k, layer.conv_v)
    )
    scores = query @ key.transpose(2, 3) / scale
    if window is not None:
        nearby = query @ layer.emb_rel_k.unsqueeze(0).transpose(2, 3)
        scores = scores + to_absolute(nearby, window) / scale
    weights = F.softmax(scores.masked_fill(mask == 0, -1e4), dim=-1)
    heads = weights @ value
    if window is not None:
        heads = heads + to_relative(weights, window) @ layer.emb_rel_v.unsqueeze(0)
    return layer.conv_o(heads.transpose(2, 3).flatten(1, 2))


def wavenet(layers: Any, x: Tensor, mask: Tensor | None, condition: Tensor | None = None) -> Tensor:
    """WN.forward: gated convolutions, residual and skip. Upstream's slices by a tensor, which no exporter takes.

    Without a mask all of x is there: the convolutions' own zeros stand where a mask would put them.
    """
    channels, count = layers.hidden_channels, len(layers.in_layers)
    conditions = None if condition is None else layers.cond_layer(condition).chunk(count, dim=1)
    skipped: Tensor | None = None
    for index, (inner, outer) in enumerate(zip(layers.in_layers, layers.res_skip_layers)):
        gates = inner(x)
        if conditions is not None:
            gates = gates + conditions[index]
        output = outer(torch.tanh(gates[:, :channels]) * torch.sigmoid(gates[:, channels:]))
        skip = output
        if index + 1 < count:
            x, skip = _masked(x + output[:, :channels], mask), output[:, channels:]
        skipped = skip if skipped is None else skipped + skip
    assert skipped is not None
    return _masked(skipped, mask)


def _masked(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x * mask


def fold_condition(layers: Any, condition: Tensor | None = None) -> None:
    """Adds what a WN makes of one condition (1, D, 1), by default zeros, to its layers' biases and takes it away."""
    made = layers.cond_layer.bias if condition is None else layers.cond_layer(condition).reshape(-1)
    biases = made.detach().chunk(len(layers.in_layers))
    for layer, bias in zip(layers.in_layers, biases):
        layer.bias.data = layer.bias.data + bias
    del layers.cond_layer


def fold_speaker(generator: Any, speaker: Tensor | None = None) -> None:
    """Adds what a HiFi-GAN makes of one speaker (1, D, 1), by default zeros, to its first layer's bias; takes the input
    away."""
    made = generator.cond.bias if speaker is None else generator.cond(speaker).reshape(-1)
    generator.conv_pre.bias.data = (generator.conv_pre.bias + made).detach()
    del generator.cond


def draw_couplings(block: Any) -> None:
    """Draws the last weights of a ResidualCouplingBlock: upstream begins with zeros, with which a flow does nothing."""
    for flow in block.flows[::2]:
        nn.init.normal_(flow.post.weight, std=0.01)


class Couplings(nn.Module):
    """ResidualCouplingBlock of FreeVC, OpenVoice and RVC, local in time, without its flips.

    Upstream reverses the channels after each coupling. Here they stay, and the weights of every other coupling are
    reversed instead; an even number of flips leaves the channels as they were.
    """

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.couplings = nn.ModuleList(flow for flow in block.flows if hasattr(flow, "pre"))
        if len(self.couplings) % 2:
            raise ValueError("an odd number of couplings would leave the channels reversed")
        for flow in list[Any](self.couplings)[1::2]:
            flow.pre.weight.data = flow.pre.weight.data.flip(1)
            flow.post.weight.data = flow.post.weight.data.flip(0)
            flow.post.bias.data = flow.post.bias.data.flip(0)

    def forward(self, latents: Tensor, condition: Tensor | None = None, reverse: bool = False) -> Tensor:
        """latents (1, C, T), condition (1, D, 1) -> latents (1, C, T); `reverse`: as inference runs it."""
        middle = latents.shape[1] // 2
        halves = [latents[:, :middle], latents[:, middle:]]
        numbered = list(enumerate(list[Any](self.couplings)))
        for index, flow in reversed(numbered) if reverse else numbered:
            kept, moved = index % 2, 1 - index % 2
            mean = flow.post(wavenet(flow.enc, flow.pre(halves[kept]), None, condition))
            halves[moved] = halves[moved] - mean if reverse else halves[moved] + mean
        return torch.cat(halves, dim=1)


def feed_forward_transformer(block: Any, x: Tensor, mask: Tensor) -> Tensor:
    """FFTransformerBlock.forward. x (1, H, T), mask (1, 1, T) -> (1, H, T).

    Upstream adds what attention gives twice. Its convolutions see zeros past the end: so they do here past the mask.
    """
    for layer in block.fft_layers:
        attended = _self_attention(layer.self_attn, x, mask)
        x = layer.norm1((x + 2 * attended).transpose(1, 2)).transpose(1, 2) * mask
        output = layer.conv2(F.relu(layer.conv1(x)) * mask)
        x = layer.norm2((x + output).transpose(1, 2)).transpose(1, 2)
    return x


def _self_attention(layer: nn.MultiheadAttention, x: Tensor, mask: Tensor) -> Tensor:
    """nn.MultiheadAttention of a sequence over itself. x (1, H, T), mask (1, 1, T) -> (1, H, T)."""
    heads, size = layer.num_heads, layer.embed_dim // layer.num_heads
    rows = F.linear(x.transpose(1, 2), layer.in_proj_weight, layer.in_proj_bias)
    query, key, value = (part.unflatten(2, (heads, size)).transpose(1, 2) for part in rows.chunk(3, dim=2))
    scores = (query / math.sqrt(size)) @ key.transpose(2, 3)
    weights = F.softmax(scores.masked_fill(mask.unsqueeze(2) == 0, -1e4), dim=-1)
    return layer.out_proj((weights @ value).transpose(1, 2).flatten(2)).transpose(1, 2)


def residual_convolutions(block: Any, x: Tensor, mask: Tensor) -> Tensor:
    """ResidualConv1dBNBlock.forward. x (1, C, T), mask (1, 1, T) -> (1, C, T)."""
    x = x * mask
    for part in block.res_blocks:
        x = (x + convolutions(part, x, mask)) * mask
    return x


def convolutions(block: Any, x: Tensor, mask: Tensor) -> Tensor:
    """Conv1dBNBlock.forward."""
    for layer in block.conv_bn_blocks:
        x = convolution_norm(layer, x, mask)
    return x


def convolution_norm(layer: Any, x: Tensor, mask: Tensor) -> Tensor:
    """Conv1dBN.forward: a convolution without padding, its *output* padded with zeros on both sides, ReLU, norm.

    Here the input is padded, and where a window reaches over either end of the mask zeros are put: any length will do.
    """
    left, right = layer.pad.padding[:2]
    output = layer.conv1d(F.pad(x, (left, right))) * shifted(mask, left) * shifted(mask, -right)
    return layer.norm(F.relu(output))


def remove_weight_norm(module: nn.Module) -> None:
    """The loader of checkpoints has folded the norm into the weights."""
    from torch.nn.utils import parametrize

    for part in module.modules():
        if parametrize.is_parametrized(part, "weight"):
            parametrize.remove_parametrizations(part, "weight")
        elif hasattr(part, "weight_g"):
            nn.utils.remove_weight_norm(part)
