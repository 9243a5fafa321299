"""What is said, as the middle of Whisper's encoder has it: it judges speech for which there is no recording to copy.

    python -m checkpoints.training.live.content model.bin DATA/target teacher.pt

Mels of a vocoder are brought to Whisper's: both have the same 80 bands, one in the logarithm of amplitudes at 86 frames
a second, the other of power at 100; what is left is a difference for each band, which is measured.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from checkpoints.training.mel import HOP, N_MELS, SAMPLE_RATE, LogMel
from converters.upstream.whisper import ContentEncoder

RATE, STEP = 16000, 160  # of Whisper's mel
LAYERS = 4  # of six: there words are plain and the speaker is hardly there
_LOWEST = -10.0  # log10 of power


class Content(nn.Module):
    """The encoder on pieces of a vocoder's mel, frozen."""

    offsets: Tensor
    before: Tensor
    share: Tensor
    back: Tensor
    back_share: Tensor

    def __init__(self, teacher: Path, frames: int) -> None:
        super().__init__()
        saved = torch.load(teacher, map_location="cpu", weights_only=True)
        weights = {name: value.float() for name, value in saved["encoder"].items()}
        steps = int(frames * HOP / SAMPLE_RATE * RATE / STEP) // 2 * 2
        weights["positions"] = weights["positions"][: steps // 2]
        channels = weights["positions"].shape[1]
        self.encoder = ContentEncoder(N_MELS, channels, LAYERS, steps // 2)
        self.encoder.load_state_dict(weights)
        self.requires_grad_(False)
        moments = torch.arange(steps) * STEP / RATE
        at = ((moments * SAMPLE_RATE - HOP / 2) / HOP).clamp(0, frames - 1.001)
        self.register_buffer("offsets", saved["offsets"][:, None])
        self.register_buffer("before", at.long())
        self.register_buffer("share", at - at.floor())
        self.channels = channels
        moments = torch.arange(frames) * HOP / SAMPLE_RATE + HOP / 2 / SAMPLE_RATE
        back = (moments * RATE / STEP / 2).clamp(0, steps // 2 - 1.001)
        self.register_buffer("back", back.long())
        self.register_buffer("back_share", back - back.floor())

    def forward(self, mel: Tensor) -> Tensor:
        """mel (B, n_mels, T), natural log of amplitudes -> content (B, channels, T')."""
        at_its_rate = mel[..., self.before] * (1 - self.share) + mel[..., self.before + 1] * self.share
        power = (at_its_rate * (2 / math.log(10)) + self.offsets).clamp(min=_LOWEST)
        content: Tensor = self.encoder(power)
        return content

    def on_frames(self, content: Tensor) -> Tensor:
        """content (B, channels, T') -> at the moments of the mel's frames (B, channels, T)."""
        return content[..., self.back] * (1 - self.back_share) + content[..., self.back + 1] * self.back_share


def unlike(one: Tensor, other: Tensor, weight: Tensor | None = None) -> Tensor:
    """Returns one minus the cosine of two contents (B, channels, T), each without its speaker's mean, averaged by
    `weight` (B, T)."""
    distance = 1 - F.cosine_similarity(one.float(), other.float(), dim=1)
    return distance.mean() if weight is None else (distance * weight).sum() / weight.sum().clamp(min=1)


def write_teacher(weights: Path, data: Path, target: Path) -> None:
    """Writes the encoder's layers in half precision, and what its bands differ by on the recordings of `data`."""
    from checkpoints.ctranslate2 import read_ctranslate2
    from checkpoints.training.recordings import clips_of
    from converters.families.whisper import MEL, named_as_ours
    from runtime.speech.resampling import resampled

    tensors = read_ctranslate2(weights)
    positions, channels = tensors["encoder/position_encodings/encodings"].shape
    encoder = ContentEncoder(N_MELS, channels, LAYERS, positions)
    encoder.load_state_dict(named_as_ours(tensors, encoder))
    clips = [samples.astype(np.float32) / 32768 for (_, samples), _ in zip(clips_of(data), range(40))]
    differences = []
    for samples in clips:
        samples = samples[: len(samples) // HOP * HOP]
        ours = LogMel()(torch.from_numpy(samples)[None])[0].numpy() * (2 / math.log(10))
        theirs = MEL.of(resampled(samples, SAMPLE_RATE, RATE))
        theirs = theirs.reshape(N_MELS, -1)
        at = (np.arange(theirs.shape[1]) * STEP / RATE * SAMPLE_RATE - HOP / 2) / HOP
        ours = np.stack([np.interp(at, np.arange(ours.shape[1]), band) for band in ours])
        is_loud = theirs > theirs.max() - 4
        differences.append(np.where(is_loud, theirs - ours, np.nan))
    joined = np.concatenate(differences, 1)
    offsets = np.nanmedian(joined, 1)
    offsets = np.where(np.isfinite(offsets), offsets, np.nanmedian(offsets)).astype(np.float32)
    spread = np.nanmedian(np.abs(joined - offsets[:, None]))
    saved = {name: value.half() for name, value in encoder.state_dict().items()}
    aside = target.with_name(f".{target.name}.partial")
    torch.save({"encoder": saved, "offsets": torch.from_numpy(offsets)}, aside)
    aside.rename(target)
    print(
        f"{target}: {LAYERS} layers, bands off by {offsets.min():.2f} to {offsets.max():.2f} in log10, "
        f"{spread:.2f} around that"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="checkpoints.training.live.content", description=__doc__)
    parser.add_argument("weights", type=Path, help="model.bin of whisper_base: python -m checkpoints path whisper_base")
    parser.add_argument("data", type=Path, metavar="DATA", help="what checkpoints.training.recordings packed")
    parser.add_argument("teacher", type=Path, metavar="OUT")
    options = parser.parse_args()
    write_teacher(options.weights, options.data, options.teacher)


if __name__ == "__main__":
    main()
