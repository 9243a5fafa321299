"""Whisper's encoder (Radford et al. 2022, arXiv 2212.04356), up to any of its layers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEAD_CHANNELS = 64  # in every size of Whisper
RANGE = 8.0  # log10 below a window's loudest band: what is softer is as soft (whisper/audio.py)


class Layer(nn.Module):
    """A transformer layer, normalised before attention and before its two linear layers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = channels // HEAD_CHANNELS
        self.attention_norm, self.norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.query_key_value, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.wide, self.narrow = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)

    def forward(self, frames: Tensor) -> Tensor:
        """frames (B, T, channels) -> the same."""
        batch, length, channels = frames.shape
        heads = self.query_key_value(self.attention_norm(frames)).reshape(batch, length, 3, self.heads, HEAD_CHANNELS)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        weights = torch.softmax(query * HEAD_CHANNELS**-0.5 @ key.transpose(-1, -2), dim=-1)
        frames = frames + self.out((weights @ value).transpose(1, 2).reshape(batch, length, channels))
        return frames + self.narrow(F.gelu(self.wide(self.norm(frames))))


class ContentEncoder(nn.Module):
    """Whisper's encoder up to a layer, on windows as long as `positions` says."""

    def __init__(self, bands: int, channels: int, layers: int, positions: int) -> None:
        super().__init__()
        self.into = nn.Conv1d(bands, channels, 3, padding=1)
        self.down = nn.Conv1d(channels, channels, 3, stride=2, padding=1)
        self.positions = nn.Parameter(torch.zeros(positions, channels))
        self.layers = nn.ModuleList(Layer(channels) for _ in range(layers))

    def forward(self, mel: Tensor) -> Tensor:
        """mel (B, bands, 2 * positions), log10 of power -> content (B, channels, positions)."""
        mel = torch.maximum(mel, mel.amax(dim=(1, 2), keepdim=True) - RANGE) / 4 + 1
        frames = F.gelu(self.down(F.gelu(self.into(mel)))).transpose(1, 2) + self.positions
        for layer in self.layers:
            frames = layer(frames)
        return frames.transpose(1, 2)
