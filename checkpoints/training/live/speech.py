"""Packed recordings (recordings.py) with their pitch as it is tracked in use, on the device that trains.

    python -m checkpoints.training.live.speech DATA [DATA …]     # pitch.npz beside each

The pitch is what the bundle's own first stage will find, errors and all: a converter learns with them.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from checkpoints.training.live.disguise import MARGIN
from checkpoints.training.mel import HOP, SAMPLE_RATE
from checkpoints.training.recordings import clips_of, held_names

PITCH: dict[str, Any] = {"n_fft": 768, "fmin": 65.0, "fmax": 800.0, "threshold": 0.5, "count": 5}
QUIET_DB, SOFTER = -44.0, 2.5  # below it a target's pauses are made softer: dB for a dB
MISSED, MISSED_FRAMES = 0.08, 12  # how often a stretch of a pitch is taken away, of up to so many frames


@dataclass
class Speech:
    """Clips one after another, all of whole frames, MARGIN samples of silence before and behind.

    audio, quiet (N,) int16, the second with its pauses made softer; pitch (F,): ln F0 without the speaker's mean, 0
    where unvoiced; voiced (F,); starts, frames (clips,); mean_pitch (clips,): ln of Hz.
    """

    audio: Tensor
    quiet: Tensor
    pitch: Tensor
    voiced: Tensor
    starts: Tensor
    frames: Tensor
    mean_pitch: Tensor

    @property
    def minutes(self) -> float:
        return len(self.pitch) * HOP / SAMPLE_RATE / 60

    def drawn(self, count: int, frames: int) -> tuple[Tensor, Tensor]:
        """Clips (B,), each as likely as it is long, and first frames (B,) of pieces that lie in them where they fit."""
        device, total = self.audio.device, len(self.pitch)
        at = (torch.rand(count, device=device) * total).long()
        clips = torch.searchsorted(self.starts, at, right=True) - 1
        latest = (self.starts[clips] + self.frames[clips] - frames).clamp(min=0)
        first = torch.minimum(torch.maximum(at - frames // 2, self.starts[clips]), latest)
        return clips, first.clamp(max=total - frames)

    def samples(self, first: Tensor, frames: int, of: Tensor) -> Tensor:
        """(B, MARGIN + frames * HOP + MARGIN) of `of`, one of the two audios."""
        length = frames * HOP + 2 * MARGIN
        return of[(first * HOP)[:, None] + torch.arange(length, device=of.device)].float() / 32768

    def track(self, first: Tensor, frames: int, stretch: Tensor) -> Tensor:
        """Pitch and voicing (B, 2, frames) of pieces whose frames are `stretch` hops apart around their middle, with
        stretches taken away as a detector misses them."""
        device = self.pitch.device
        steps = (torch.arange(frames, device=device) - frames / 2 + 0.5) * stretch[:, None] + frames / 2 - 0.5
        at = (first[:, None] + steps.round().long()).clamp(0, len(self.pitch) - 1)
        begins = torch.rand(len(first), 1, frames, device=device) < MISSED / MISSED_FRAMES
        missed = F.max_pool1d(F.pad(begins.float(), (MISSED_FRAMES - 1, 0)), MISSED_FRAMES, 1)
        kept = 1 - missed * (torch.rand(len(first), 1, 1, device=device) < 0.5)
        return torch.stack([self.pitch[at], self.voiced[at]], 1) * kept


def read_speech(folder: Path, device: str, is_held: bool = False) -> Speech:
    """The clips to train on, or those that are held."""
    held = held_names(folder)
    with np.load(folder / "pitch.npz") as pitches:
        clips = [
            (samples, pitches[name].astype(np.float32))
            for name, samples in clips_of(folder)
            if (name in held) == is_held
        ]
    clips = [(samples[: len(samples) // HOP * HOP], pitch[: len(samples) // HOP]) for samples, pitch in clips]
    lengths = torch.tensor([len(pitch) for _, pitch in clips])
    means = [float(np.log(pitch[pitch > 0]).mean()) if (pitch > 0).any() else 0.0 for _, pitch in clips]
    tracks = [np.where(pitch > 0, np.log(np.maximum(pitch, 1)) - mean, 0) for (_, pitch), mean in zip(clips, means)]
    edge = np.zeros(MARGIN, np.int16)

    def joined(parts: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.concatenate([edge, *parts, edge])).to(device)

    return Speech(
        joined([samples for samples, _ in clips]),
        joined([without_noise(samples) for samples, _ in clips]),
        torch.from_numpy(np.concatenate(tracks).astype(np.float32)).to(device),
        torch.from_numpy(np.concatenate([pitch > 0 for _, pitch in clips]).astype(np.float32)).to(device),
        (lengths.cumsum(0) - lengths).to(device), lengths.to(device), torch.tensor(means).to(device),
    )  # fmt: skip


def without_noise(samples: np.ndarray) -> np.ndarray:
    """samples (N,) int16, N whole frames, with what is softer than QUIET_DB made softer still, smoothly."""
    power = np.square(samples.reshape(-1, HOP).astype(np.float64) / 32768).mean(1)
    nearby = np.convolve(np.pad(power, 4, mode="edge"), np.hanning(11)[1:-1] / 5, mode="valid")
    decibels = np.minimum(0, 10 * np.log10(nearby + 1e-12) - QUIET_DB) * SOFTER
    middles = np.arange(len(power)) * HOP + HOP / 2
    gain = 10 ** (np.interp(np.arange(len(samples)), middles, decibels) / 20)
    return np.rint(samples * gain).astype(np.int16)


def tracked(samples: np.ndarray) -> np.ndarray:
    """samples (N,) -> Hz of each frame, 0 where unvoiced, (F,) float32."""
    from runtime.speech.melody import PitchTracker
    from runtime.speech.spectrum import PitchCandidates

    candidates = PitchCandidates(SAMPLE_RATE, hop_length=HOP, **PITCH)
    return PitchTracker(SAMPLE_RATE / HOP).push(candidates.of(samples))


def write_pitch(folder: Path) -> None:
    """Writes `pitch.npz`: a clip's name -> Hz of each of its frames, 0 where unvoiced, (F,) float16."""
    tracks: dict[str, Any] = {
        name: tracked(samples.astype(np.float32) / 32768).astype(np.float16) for name, samples in clips_of(folder)
    }
    np.savez_compressed(folder / "pitch.npz", **tracks)
    frames = np.concatenate(list(tracks.values())).astype(np.float32)
    voiced = frames[frames > 0]
    print(f"{folder}: {len(tracks)} clips, {len(voiced) / len(frames):.0%} voiced, median {np.median(voiced):.0f} Hz")


def main() -> None:
    parser = argparse.ArgumentParser(prog="checkpoints.training.live.speech", description=__doc__)
    parser.add_argument(
        "folders", type=Path, nargs="+", metavar="DATA", help="what checkpoints.training.recordings packed"
    )
    for folder in parser.parse_args().folders:
        write_pitch(folder)


if __name__ == "__main__":
    main()
