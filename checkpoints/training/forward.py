"""FastSpeech 2 (Ren et al. 2021, arXiv 2006.04558) in Coqui's ForwardTTS format, for batches and for training; and
what a mel is judged by while it learns to be sharp."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from checkpoints.training.mel import N_MELS

HIDDEN, INNER, LAYERS, PREDICTOR, DROPOUT = 192, 512, 4, 256, 0.1
# How the voice reads, in Coqui's terms (converters/text.py): the phonemes are its default ones.
TEXT: dict[str, Any] = {
    "use_phonemes": True, "phonemizer": "espeak", "phoneme_language": "en-us", "text_cleaner": "phoneme_cleaners",
    "add_blank": False, "enable_eos_bos_chars": True, "characters": None,
}  # fmt: skip
SYMBOLS = 132
LONGEST = 5000  # frames that positions are known of, as in coqui-tts


class Layer(nn.Module):
    """FFTransformer of coqui-tts, which adds what attention gives twice."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(HIDDEN, 1, dropout=DROPOUT, batch_first=True)
        self.conv1, self.conv2 = nn.Conv1d(HIDDEN, INNER, 3, padding=1), nn.Conv1d(INNER, HIDDEN, 3, padding=1)
        self.norm1, self.norm2 = nn.LayerNorm(HIDDEN), nn.LayerNorm(HIDDEN)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, T, H), mask (B, T) -> (B, T, H)."""
        attended, _ = self.self_attn(x, x, x, key_padding_mask=mask == 0, need_weights=False)
        x = self.norm1(x + self.dropout(attended) + attended) * mask[..., None]
        made = self.conv2(F.relu(self.conv1(x.transpose(1, 2))) * mask[:, None])
        return self.norm2(x + self.dropout(made).transpose(1, 2))


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fft_layers = nn.ModuleList(Layer() for _ in range(LAYERS))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        for layer in self.fft_layers:
            x = layer(x, mask)
        return x * mask[..., None]


class Predictor(nn.Module):
    """DurationPredictor of coqui-tts: a value of each symbol."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_1, self.norm_1 = nn.Conv1d(HIDDEN, PREDICTOR, 3, padding=1), ChannelNorm(PREDICTOR)
        self.conv_2, self.norm_2 = nn.Conv1d(PREDICTOR, PREDICTOR, 3, padding=1), ChannelNorm(PREDICTOR)
        self.proj, self.dropout = nn.Conv1d(PREDICTOR, 1, 1), nn.Dropout(3 * DROPOUT)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, H, T), mask (B, T) -> (B, 1, T)."""
        mask = mask[:, None]
        x = self.dropout(self.norm_1(F.relu(self.conv_1(x * mask))))
        x = self.dropout(self.norm_2(F.relu(self.conv_2(x * mask))))
        return self.proj(x * mask) * mask


class ChannelNorm(nn.Module):
    """LayerNorm of coqui-tts's layers/generic/normalization.py, over channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma, self.beta = (
            nn.Parameter(torch.full((1, channels, 1), 0.1)),
            nn.Parameter(torch.zeros(1, channels, 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x, 1, keepdim=True, correction=0)
        return (x - mean) * torch.rsqrt(variance + 1e-4) * self.gamma + self.beta


class Forward(nn.Module):
    """Its state dict is ForwardTTS's."""

    positions: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(SYMBOLS, HIDDEN)
        self.encoder, self.decoder = nn.Module(), nn.Module()
        self.encoder.encoder = Layers()
        self.decoder.decoder = nn.Module()
        self.decoder.decoder.transformer_block, self.decoder.decoder.postnet = Layers(), nn.Conv1d(HIDDEN, N_MELS, 1)
        self.duration_predictor, self.pitch_predictor, self.energy_predictor = (Predictor() for _ in range(3))
        self.pitch_emb, self.energy_emb = (nn.Conv1d(1, HIDDEN, 3, padding=1) for _ in range(2))
        self.register_buffer("positions", sines(LONGEST), persistent=False)

    def encoded(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids (B, T), mask (B, T) -> (B, H, T)."""
        encoder: Any = self.encoder.encoder
        hidden: Tensor = encoder(self.emb(ids) * mask[..., None], mask)
        return hidden.transpose(1, 2)

    def decoded(self, expanded: Tensor, mask: Tensor) -> Tensor:
        """expanded (B, H, F), mask (B, F) -> mel (B, n_mels, F)."""
        decoder: Any = self.decoder.decoder
        x = expanded.transpose(1, 2) * math.sqrt(HIDDEN) + self.positions[: expanded.shape[2]] * mask[..., None]
        mel: Tensor = decoder.postnet(decoder.transformer_block(x, mask).transpose(1, 2))
        return mel * mask[:, None]

    def forward(
        self, ids: Tensor, text_mask: Tensor, durations: Tensor, pitch: Tensor, energy: Tensor, frame_mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """With the durations (B, T), pitch and energy (B, 1, T) of recordings -> mel (B, n_mels, F), and what is
        predicted of each symbol: log of 1 + duration, pitch, energy, (B, 1, T)."""
        hidden = self.encoded(ids, text_mask)
        log_durations = self.duration_predictor(hidden, text_mask)
        predicted_pitch = self.pitch_predictor(hidden, text_mask)
        hidden = hidden + self.pitch_emb(pitch)
        predicted_energy = self.energy_predictor(hidden, text_mask)
        hidden = hidden + self.energy_emb(energy)
        expanded = hidden @ spread(durations, frame_mask.shape[1])
        return self.decoded(expanded, frame_mask), log_durations, predicted_pitch, predicted_energy

    @torch.no_grad()
    def spoken(self, ids: Tensor) -> Tensor:
        """ids (1, T) -> mel (1, n_mels, F), by itself: ForwardTTS.inference."""
        mask = torch.ones(ids.shape, device=ids.device)
        hidden = self.encoded(ids, mask)
        durations = torch.round(torch.clamp(torch.exp(self.duration_predictor(hidden, mask)) - 1, min=1))[:, 0]
        hidden = hidden + self.pitch_emb(self.pitch_predictor(hidden, mask))
        hidden = hidden + self.energy_emb(self.energy_predictor(hidden, mask))
        frames = int(durations.sum())
        return self.decoded(hidden @ spread(durations, frames), torch.ones(1, frames, device=ids.device))


def spread(durations: Tensor, frames: int) -> Tensor:
    """durations (B, T) -> (B, T, F): 1 where a symbol lasts."""
    ends = durations.cumsum(1)[..., None]
    at = torch.arange(frames, device=durations.device)
    return ((at < ends) & (at >= ends - durations[..., None])).float()


def sines(length: int) -> Tensor:
    """(T, H): Vaswani et al. 2017, arXiv 1706.03762, section 3.5; sine and cosine interleaved."""
    rates = torch.exp(torch.arange(0, HIDDEN, 2).float() * -(math.log(10000.0) / HIDDEN))
    angles = torch.arange(length).float()[:, None] * rates
    return torch.stack([torch.sin(angles), torch.cos(angles)], 2).reshape(length, HIDDEN)


class Judges(nn.Module):
    """Is a stretch of mel a recording's? By networks that see stretches of several lengths (after Ye et al. 2022, arXiv
    2204.11792, who judge a voice's mel like that)."""

    WINDOWS = (32, 64, 128)  # frames

    def __init__(self) -> None:
        super().__init__()
        self.networks = nn.ModuleList(_judge() for _ in self.WINDOWS)

    def forward(self, mel: Tensor, frames: Tensor, where: Tensor) -> list[Tensor]:
        """mel (B, n_mels, F), frames (B,): how many are sound; where (B,) in 0..1 picks the stretches."""
        scores = []
        for network, width in zip(self.networks, self.WINDOWS):
            starts = (where * (frames - width).clamp(min=0)).long()
            at = starts[:, None] + torch.arange(width, device=mel.device)
            stretch = torch.gather(mel, 2, at[:, None].expand(-1, mel.shape[1], -1))
            scores.append(network(stretch.unsqueeze(1) / 3 + 1.5))
        return scores


def _judge() -> nn.Module:
    layers: list[nn.Module] = []
    channels = 1
    for _ in range(3):
        layers += [nn.utils.parametrizations.spectral_norm(nn.Conv2d(channels, 96, 3, 2, 1)), nn.LeakyReLU(0.2)]
        channels = 96
    return nn.Sequential(*layers, nn.utils.parametrizations.spectral_norm(nn.Conv2d(channels, 1, 3, 1, 1)))
