"""Pitch by YIN against SwiftF0 on recordings: gross and fine errors, voicing, latency, real-time factor.

pip install swift-f0; python -m benchmarks.pitch RECORDING…
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from runtime.speech.recordings import read_audio
from runtime.speech.spectrum import Pitch

RATE, HOP = 16000, 256  # SwiftF0's own
GROSS = 0.2  # of the reference's frequency (Rabiner et al. 1976)
CENTS = 1200 / np.log(2)


def score(hertz: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Errors of frames (n,), 0 where unvoiced: shares, and cents of what is no gross error."""
    both = (hertz > 0) & (reference > 0)
    ratio = hertz[both] / reference[both]
    gross = np.abs(ratio - 1) > GROSS
    return {
        "gross errors": float(gross.mean()),
        "fine error, cents": float(np.median(np.abs(np.log(ratio[~gross])) * CENTS)),
        "voiced, missed": float((hertz[reference > 0] == 0).mean()),
        "unvoiced, taken": float((hertz[reference == 0] > 0).mean()),
    }


def main() -> None:
    from swift_f0 import SwiftF0

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recordings", type=Path, nargs="+")
    parser.add_argument("--windows", type=int, nargs="+", default=[768, 1024, 1280])
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.1, 0.15, 0.2, 0.3, 0.4])
    options = parser.parse_args()
    clips = [read_audio(path, RATE) for path in options.recordings]
    detector, references = SwiftF0(threads=1), []
    for samples in clips:
        result = detector.detect(samples, RATE)
        references.append(np.where(result.confidence >= 0.5, result.pitch_hz, 0.0))
    seconds = sum(map(len, clips)) / RATE
    print(
        "| window | threshold | latency | gross errors | fine error, cents | voiced, missed | unvoiced, taken | RTF |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for window in options.windows:
        for threshold in options.thresholds:
            pitch = Pitch(RATE, window, HOP, threshold=threshold)
            started = time.perf_counter()
            tracks = [pitch.of(samples)[0] for samples in clips]
            rtf = (time.perf_counter() - started) / seconds
            pairs = [aligned(pitch, track, reference) for track, reference in zip(tracks, references)]
            errors = score(*(np.concatenate(side) for side in zip(*pairs)))
            figures = " | ".join(f"{value:.3f}" for value in errors.values())
            print(
                f"| {window} | {threshold:g} | {1e3 * pitch.latency / RATE:.0f} ms | {figures} | {rtf:.4f} |",
                flush=True,
            )


def aligned(pitch: Pitch, track: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The track where the reference's frames are: their middles lie at n * HOP, its own half a hop later."""
    middles = (np.arange(len(track)) * HOP + pitch.n_fft / 2 - pitch.border) / HOP
    nearest = np.clip(np.round(middles).astype(int), 0, len(reference) - 1)
    return track, reference[nearest]


if __name__ == "__main__":
    main()
