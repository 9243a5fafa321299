"""FastSpeech 2 (Ren et al. 2021, arXiv 2006.04558) in Coqui's ForwardTTS format, for batches and for training; and
what a mel is judged by while it learns to be sharp."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from checkpoints.training.mel import N_MELS
from ops.attention import to_absolute, to_relative

HIDDEN, PREDICTOR, DROPOUT = 192, 256, 0.1
HEADS, NEAR, INNER, LAYERS = 2, 4, 448, 4  # of the encoder: heads, positions to each side, channels, layers
WAVES, WAVE_LAYERS, WAVE_DROPOUT = 2, 4, 0.05  # of the decoder: blocks, layers of each
# How the voice reads, in Coqui's terms (checkpoints/front_ends.py): the phonemes are its default ones.
TEXT: dict[str, Any] = {
    "use_phonemes": True, "phonemizer": "espeak", "phoneme_language": "en-us", "text_cleaner": "phoneme_cleaners",
    "add_blank": False, "enable_eos_bos_chars": True, "characters": None,
}  # fmt: skip
SYMBOLS = 132


class Attention(nn.Module):
    """RelativePositionMultiHeadAttention of coqui-tts (Shaw et al. 2018, arXiv 1803.02155)."""

    def __init__(self) -> None:
        super().__init__()
        size = HIDDEN // HEADS
        self.conv_q, self.conv_k, self.conv_v, self.conv_o = (nn.Conv1d(HIDDEN, HIDDEN, 1) for _ in range(4))
        self.emb_rel_k, self.emb_rel_v = (
            nn.Parameter(torch.randn(1, 2 * NEAR + 1, size) / size**0.5) for _ in range(2)
        )
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor, both: Tensor) -> Tensor:
        """x (B, H, T), both (B, 1, T, T): 1 where there are symbols -> (B, H, T)."""
        size = HIDDEN // HEADS
        query, key, value = (
            conv(x).unflatten(1, (HEADS, size)).transpose(2, 3) for conv in (self.conv_q, self.conv_k, self.conv_v)
        )
        scores = query @ key.transpose(2, 3) + to_absolute(query @ self.emb_rel_k.transpose(1, 2), NEAR)
        weights = self.dropout(F.softmax((scores / size**0.5).masked_fill(both == 0, -1e4), dim=-1))
        heads = weights @ value + to_relative(weights, NEAR) @ self.emb_rel_v
        output: Tensor = self.conv_o(heads.transpose(2, 3).flatten(1, 2))
        return output


class FeedForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv_1, self.conv_2 = nn.Conv1d(HIDDEN, INNER, 3, padding=1), nn.Conv1d(INNER, HIDDEN, 3, padding=1)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, H, T), mask (B, 1, T) -> (B, H, T)."""
        return self.conv_2(self.dropout(F.relu(self.conv_1(x * mask))) * mask) * mask


class Transformer(nn.Module):
    """RelativePositionTransformer of coqui-tts."""

    def __init__(self) -> None:
        super().__init__()
        self.attn_layers = nn.ModuleList(Attention() for _ in range(LAYERS))
        self.norm_layers_1, self.norm_layers_2 = (
            nn.ModuleList(ChannelNorm(HIDDEN) for _ in range(LAYERS)) for _ in range(2)
        )
        self.ffn_layers, self.dropout = nn.ModuleList(FeedForward() for _ in range(LAYERS)), nn.Dropout(DROPOUT)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, H, T), mask (B, 1, T) -> (B, H, T)."""
        both = (mask.unsqueeze(2) * mask.unsqueeze(3)).detach()
        layers = zip(self.attn_layers, self.norm_layers_1, self.ffn_layers, self.norm_layers_2)
        for attention, norm_1, feed_forward, norm_2 in layers:
            x = x * mask
            x = norm_1(x + self.dropout(attention(x, both)))
            x = norm_2(x + self.dropout(feed_forward(x, mask)))
        return x * mask


class ConvNorm(nn.Module):
    """Conv1dBN of coqui-tts: no padding, zeros instead where a window reaches beyond the text, ReLU, batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1d, self.norm = nn.Conv1d(HIDDEN, HIDDEN, 5), nn.BatchNorm1d(HIDDEN)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, H, T), mask (B, 1, T) -> (B, H, T)."""
        inside = F.pad(mask, (2, 0))[..., : mask.shape[2]] * F.pad(mask, (0, 2))[..., 2:]
        output: Tensor = self.norm(F.relu(self.conv1d(F.pad(x, (2, 2))) * inside))
        return output


class ConvNorms(nn.Module):
    """Conv1dBNBlock of coqui-tts, of one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_bn_blocks = nn.ModuleList([ConvNorm()])

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        output: Tensor = self.conv_bn_blocks[0](x, mask)
        return output


class Prenet(nn.Module):
    """ResidualConv1dBNBlock of coqui-tts."""

    def __init__(self) -> None:
        super().__init__()
        self.res_blocks = nn.ModuleList(ConvNorms() for _ in range(3))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        for block in self.res_blocks:
            x = (x + block(x, mask)) * mask
        return x


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.prenet, self.rel_pos_transformer = Prenet(), Transformer()

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        output: Tensor = self.rel_pos_transformer(self.prenet(x * mask, mask), mask)
        return output


class WaveNet(nn.Module):
    """WN of coqui-tts (van den Oord et al. 2016, arXiv 1609.03499, without causality)."""

    def __init__(self) -> None:
        super().__init__()
        self.in_layers, self.res_skip_layers = nn.ModuleList(), nn.ModuleList()
        for index in range(WAVE_LAYERS):
            dilation, channels = 2**index, HIDDEN * (1 if index == WAVE_LAYERS - 1 else 2)
            self.in_layers.append(
                weight_norm(nn.Conv1d(HIDDEN, 2 * HIDDEN, 5, dilation=dilation, padding=2 * dilation))
            )
            self.res_skip_layers.append(weight_norm(nn.Conv1d(HIDDEN, channels, 1)))
        self.dropout = nn.Dropout(WAVE_DROPOUT)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, H, F), mask (B, 1, F) -> (B, H, F)."""
        skipped: Tensor | None = None
        for inner, outer in zip(self.in_layers, self.res_skip_layers):
            gates = inner(x)
            output = outer(self.dropout(torch.tanh(gates[:, :HIDDEN]) * torch.sigmoid(gates[:, HIDDEN:])))
            if output.shape[1] > HIDDEN:
                x, output = (x + output[:, :HIDDEN]) * mask, output[:, HIDDEN:]
            skipped = output if skipped is None else skipped + output
        assert skipped is not None
        return skipped * mask


class WaveNets(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wn_blocks = nn.ModuleList(WaveNet() for _ in range(WAVES))


class Decoder(nn.Module):
    """WaveNetDecoder of coqui-tts."""

    def __init__(self) -> None:
        super().__init__()
        self.prenet, self.wn = nn.Conv1d(HIDDEN, HIDDEN, 1), WaveNets()
        layers: list[nn.Module] = []
        for _ in range(3):
            layers += [nn.Conv1d(HIDDEN, HIDDEN, 1), nn.ReLU()]
        self.postnet = nn.Sequential(*layers, nn.Conv1d(HIDDEN, N_MELS, 1))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, H, F), mask (B, 1, F) -> mel (B, n_mels, F)."""
        x = self.prenet(x) * mask
        for block in self.wn.wn_blocks:
            x = block(x, mask)
        return self.postnet(x) * mask


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
    """FastSpeech 2 with the state dict of ForwardTTS."""

    encoder: Any
    decoder: Any

    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(SYMBOLS, HIDDEN)
        self.encoder, self.decoder = nn.Module(), nn.Module()
        self.encoder.encoder, self.decoder.decoder = Encoder(), Decoder()
        self.duration_predictor, self.pitch_predictor, self.energy_predictor = (Predictor() for _ in range(3))
        self.pitch_emb, self.energy_emb = (nn.Conv1d(1, HIDDEN, 3, padding=1) for _ in range(2))

    def encoded(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids (B, T), mask (B, T) -> (B, H, T)."""
        hidden: Tensor = self.encoder.encoder(self.emb(ids).transpose(1, 2), mask[:, None])
        return hidden

    def decoded(self, expanded: Tensor, mask: Tensor) -> Tensor:
        """expanded (B, H, F), mask (B, F) -> mel (B, n_mels, F)."""
        mel: Tensor = self.decoder.decoder(expanded, mask[:, None])
        return mel

    def forward(
        self, ids: Tensor, text_mask: Tensor, durations: Tensor, pitch: Tensor, energy: Tensor, frame_mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Takes the durations (B, T), pitch and energy (B, 1, T) of recordings. Returns the mel (B, n_mels, F) and what
        is predicted of each symbol: log of 1 + duration, pitch, energy, (B, 1, T)."""
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
            longer = F.pad(mel, (0, max(0, width - mel.shape[2])))
            starts = (where * (frames - width).clamp(min=0)).long()
            at = starts[:, None] + torch.arange(width, device=mel.device)
            stretch = torch.gather(longer, 2, at[:, None].expand(-1, mel.shape[1], -1))
            scores.append(network(stretch.unsqueeze(1) / 3 + 1.5))
        return scores


def _judge() -> nn.Module:
    layers: list[nn.Module] = []
    channels = 1
    for _ in range(3):
        layers += [nn.utils.parametrizations.spectral_norm(nn.Conv2d(channels, 96, 3, 2, 1)), nn.LeakyReLU(0.2)]
        channels = 96
    return nn.Sequential(*layers, nn.utils.parametrizations.spectral_norm(nn.Conv2d(channels, 1, 3, 1, 1)))
