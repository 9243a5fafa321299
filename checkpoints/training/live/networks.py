"""What learns beside the networks of a live voice: judges of mels, a head of training, and the offline converter that
a live one follows."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from checkpoints.training.live.content import Content
from checkpoints.training.live.schedule import set_weights
from checkpoints.training.networks import SLOPE, Discriminator
from converters.upstream.live_voice import CausalConv, Converter, ConverterSettings, GatedBlock

BLUR = 0.1  # noise in a bottleneck, so that little goes through it unsaid
CHANNELS, NARROW, BLOCKS, KERNEL, DILATIONS = 320, 128, 10, 5, (1, 2, 4, 8)
LEVEL_SHARE = 0.25  # of a natural logarithm: what a loudness is scaled by


class MelJudge(Discriminator):
    """Is a mel the voice's at this pitch? At one resolution of time."""

    def __init__(self, every: int, channels: int = 32) -> None:
        c = channels
        convs = [
            nn.Conv2d(3, c, (5, 5), (2, 1), 2), nn.Conv2d(c, 2 * c, (5, 5), (2, 2), 2),
            nn.Conv2d(2 * c, 4 * c, (5, 5), (2, 2), 2), nn.Conv2d(4 * c, 4 * c, (5, 3), 1, (2, 1)),
        ]  # fmt: skip
        super().__init__(convs, nn.Conv2d(4 * c, 1, 3, padding=1))
        self.every = every

    def forward(self, mel: Tensor, track: Tensor) -> tuple[Tensor, list[Tensor]]:
        """mel (B, n_mels, T), pitch and voicing (B, 2, T)."""
        rows = track.unsqueeze(2).expand(-1, -1, mel.shape[1], -1)
        stacked = torch.cat([mel.unsqueeze(1) / 3 + 1.7, rows], 1)
        return self.judge(F.avg_pool2d(stacked, (1, self.every)) if self.every > 1 else stacked)


class MelJudges(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.all = nn.ModuleList(MelJudge(every) for every in (1, 2, 4))

    def forward(self, mel: Tensor, track: Tensor) -> list[tuple[Tensor, list[Tensor]]]:
        return [judge(mel, track) for judge in self.all]


class LearningConverter(Converter):
    """The converter with a head, for training alone, that says what Whisper makes of the speech from half way on."""

    def __init__(self, settings: ConverterSettings, content_channels: int, mean_mel: Tensor | None = None) -> None:
        super().__init__(settings)
        self.head = CausalConv(settings.bottleneck or settings.channels, content_channels, 1)
        for block in self.blocks:  # so that a deep sum begins as one of few terms
            assert isinstance(block, GatedBlock)
            nn.init.normal_(block.out.weight, std=0.02)
        if mean_mel is not None:  # from silence it would take a thousand steps to the mean
            self.last.bias = nn.Parameter(mean_mel)

    def both(self, speech: Tensor) -> tuple[Tensor, Tensor]:
        """speech (B, bands + 2, T) -> mel, and content half way (B, channels, T)."""
        x = self.encode(speech)
        content = self.head(x)
        if self.settings.bottleneck:
            x = x + BLUR * torch.randn_like(x)
        return self.decode(x, speech), content


class SymmetricBlock(nn.Module):
    """WaveNet's gated block, which sees as far ahead as back."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.conv = CausalConv(channels, 2 * channels, KERNEL, dilation, KERNEL // 2 * dilation)
        self.out = CausalConv(channels, channels, 1)
        nn.init.normal_(self.out.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.conv(x).chunk(2, 1)
        return x + self.out(torch.tanh(value) * torch.sigmoid(gate))


class OfflineConverter(nn.Module):
    """Content at the moments of frames, pitch, voicing and loudness to the voice's mel."""

    def __init__(self, content_channels: int, bands: int, mean_mel: Tensor | None = None) -> None:
        super().__init__()
        self.narrow = CausalConv(content_channels, NARROW, 1)
        self.into = CausalConv(NARROW + 3, CHANNELS, KERNEL, lookahead=KERNEL // 2)
        self.blocks = nn.ModuleList(
            SymmetricBlock(CHANNELS, DILATIONS[index % len(DILATIONS)]) for index in range(BLOCKS)
        )
        self.last = CausalConv(CHANNELS, bands, 1)
        if mean_mel is not None:
            self.last.bias = nn.Parameter(mean_mel)

    def forward(self, content: Tensor, track: Tensor, loudness: Tensor) -> Tensor:
        """content (B, channels, T), pitch and voicing (B, 2, T), loudness (B, 1, T) -> mel (B, bands, T)."""
        narrow = torch.tanh(self.narrow(content))
        if self.training:
            narrow = narrow + BLUR * torch.randn_like(narrow)
        x = self.into(torch.cat([narrow, track, loudness], 1))
        for block in self.blocks:
            x = block(x)
        mel: Tensor = self.last(F.leaky_relu(x, SLOPE))
        return mel


def loudness_of(mel: Tensor) -> Tensor:
    """mel (B, bands, T) -> how loud each frame is against the loudest (B, 1, T)."""
    level = torch.logsumexp(mel, 1, keepdim=True)
    return (level - level.amax(2, keepdim=True)) * LEVEL_SHARE


def read_offline(source: Path, content: Content, bands: int, device: str) -> OfflineConverter:
    """The trained network, frozen. Raises RuntimeError for weights of another one."""
    network = OfflineConverter(content.channels, bands).to(device)
    set_weights(network, source, "offline", device)
    return network.eval().requires_grad_(False)
