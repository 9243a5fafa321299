"""What is said in packed recordings, as a voice's symbols, and how high: `texts.json` and `pitch.npz` beside them.

    python -m checkpoints.training.texts DATA TRANSCRIPTS...

DATA is what checkpoints.training.recordings packed; a transcript is a CSV of `clip|text`, or a clip's own .txt file.
Wants espeak-ng (`pip install -e '.[espeak]'`) and SwiftF0 (`pip install -e '.[training]'`).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from checkpoints.front_ends import coqui_text
from checkpoints.training.forward import TEXT
from checkpoints.training.mel import HOP, SAMPLE_RATE
from checkpoints.training.recordings import clips_of
from runtime.speech.text import read

LOWEST, HIGHEST = 65.0, 500.0  # hertz


def transcripts(paths: Sequence[Path]) -> dict[str, str]:
    """Clip -> text."""
    texts: dict[str, str] = {}
    for path in paths:
        if path.suffix == ".csv":
            lines = path.read_text().splitlines()
            texts |= {name: text for name, _, text in (line.partition("|") for line in lines)}
        else:
            texts[path.stem] = path.read_text().strip()
    return texts


def pitch(samples: np.ndarray, detector: Any) -> np.ndarray:
    """samples (N,) float32 -> fundamental frequency in hertz at the middle of each frame of HOP samples, 0 without
    voice."""
    result = detector.detect(samples, SAMPLE_RATE, fmin=LOWEST, fmax=HIGHEST)
    middles = (np.arange(len(samples) // HOP) + 0.5) * HOP / SAMPLE_RATE
    nearest = np.abs(middles[:, None] - result.timestamps[None]).argmin(1)
    voiced = result.confidence[nearest] >= 0.5
    return np.where(voiced, result.pitch_hz[nearest], 0.0).astype(np.float32)


def main() -> None:
    from swift_f0 import SwiftF0

    parser = argparse.ArgumentParser(prog="checkpoints.training.texts", description=__doc__)
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("transcripts", type=Path, nargs="+", metavar="TRANSCRIPT")
    options = parser.parse_args()
    sentences, settings, detector = transcripts(options.transcripts), coqui_text(TEXT), SwiftF0()
    texts: dict[str, dict[str, Any]] = {}
    pitches = {}
    for name, samples in clips_of(options.data):
        if name not in sentences:
            sys.exit(f"there is no transcript of {name}")
        texts[name] = {"text": sentences[name], "ids": read(sentences[name], settings).ids}
        pitches[name] = pitch(samples.astype(np.float32) / 32768, detector).astype(np.float16)
    (options.data / "texts.json").write_text(json.dumps(texts, indent=1))
    np.savez_compressed(options.data / "pitch.npz", **pitches)  # type: ignore[arg-type]  # its stub takes options
    print(f"{len(texts)} clips, {max(len(row['ids']) for row in texts.values())} symbols at most")


if __name__ == "__main__":
    main()
