"""The three short speech clips that ship with voxport: real inputs for goldens, tests and benches."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from runtime.speech.recordings import read_audio

CLIPS = Path(__file__).parents[1] / "clips"


def clip_paths() -> list[Path]:
    return sorted(CLIPS.glob("*.flac"))


def transcript_of(clip: Path) -> str:
    """The words of a clip, from the text file of its name beside it; empty where there is none."""
    path = clip.with_suffix(".txt")
    return " ".join(path.read_text(encoding="utf-8").split()) if path.is_file() else ""


def read_clip(path: Path, sample_rate: int, hop_length: int) -> np.ndarray:
    """(N,) float32 at `sample_rate`, N cut to a multiple of `hop_length`."""
    samples = read_audio(path, sample_rate)
    return samples[: len(samples) // hop_length * hop_length]
