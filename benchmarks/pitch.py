"""Detectors of pitch on recordings, YIN and learned ones through their artefacts, judged by SwiftF0's own or CREPE.

pip install swift-f0 (or torchcrepe); python -m benchmarks.pitch RECORDING… --bundles BUNDLE… [--judge crepe]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from runtime.bundle.conversion import clock_of
from runtime.bundle.store import open_bundle
from runtime.engines import Execution
from runtime.playing.player import open_player
from runtime.speech.features import LocalFeatures
from runtime.speech.melody import PitchTracker
from runtime.speech.recordings import read_audio
from runtime.speech.spectrum import Pitch, PitchCandidates

RATE, HOP = 16000, 256  # of the reference's frames, whose middles lie at n * HOP
GROSS = 0.2  # of the reference's frequency (Rabiner et al. 1976)
CENTS = 1200 / np.log(2)
VOICED = 0.5  # the confidence from which a frame is
COLUMNS = "latency | gross errors | fine error, cents | voiced, missed | unvoiced, taken | RTF"


@dataclass(frozen=True)
class Detector:
    """`track`: samples at `RATE` -> Hz (n,), 0 where unvoiced. `latency`: samples after a frame's middle."""

    name: str
    features: LocalFeatures
    track: Callable[[np.ndarray], np.ndarray]
    latency: int


def yin(window: int, threshold: float) -> Detector:
    pitch = Pitch(RATE, window, HOP, threshold=threshold)
    return Detector(f"YIN, {window}, {threshold:g}", pitch, lambda samples: pitch.of(samples)[0], window // 2)


def tracked(window: int) -> Detector:
    candidates = PitchCandidates(RATE, window, HOP)
    return Detector(
        f"YIN's candidates, tracked, {window}",
        candidates,
        lambda samples: PitchTracker(RATE / HOP).push(candidates.of(samples)),
        window // 2,
    )


def learned(path: Path) -> Detector:
    """A bundle's detector in ONNX Runtime on one thread."""
    bundle = open_bundle(path)
    player, features = open_player(bundle, Execution("onnx", threads=1)), bundle.main.features
    if not isinstance(features, LocalFeatures) or features.sample_rate != RATE:
        raise SystemExit(f"{path} detects no pitch of audio at {RATE} Hz")

    def track(samples: np.ndarray) -> np.ndarray:
        hertz, confidence = player.play(features.of(samples)[None])[0]
        return np.where(confidence >= VOICED, hertz, 0.0)

    lookahead = player.form.lookahead if player.form else player.time.right
    whole_hop = features.hop_length - round(clock_of(features).offset)
    latency = whole_hop + features.latency + lookahead * features.hop_length
    return Detector(bundle.manifest.checkpoint.name, features, track, latency)


def by_swift_f0(clips: list[np.ndarray]) -> Iterator[np.ndarray]:
    from swift_f0 import SwiftF0

    detector = SwiftF0(threads=1)
    for samples in clips:
        result = detector.detect(samples, RATE)
        yield np.where(result.confidence >= VOICED, result.pitch_hz, 0.0)


def by_crepe(clips: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Its smallest model, with the default decoder (Viterbi)."""
    import torch
    import torchcrepe

    for samples in clips:
        hertz, periodicity = torchcrepe.predict(
            torch.from_numpy(samples)[None], RATE, HOP, fmin=50.0, fmax=1000.0, model="tiny", batch_size=256,
            return_periodicity=True,
        )  # fmt: skip
        yield torch.where(periodicity >= VOICED, hertz, 0.0)[0].numpy()


JUDGES = {"swift_f0": by_swift_f0, "crepe": by_crepe}


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


def aligned(features: LocalFeatures, track: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The track and the reference's frame that is nearest to each of its own."""
    clock = clock_of(features)
    middles = (np.arange(len(track)) * clock.hop_length + clock.offset) / HOP
    nearest = np.clip(np.round(middles).astype(int), 0, len(reference) - 1)
    return track, reference[nearest]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recordings", type=Path, nargs="+")
    parser.add_argument("--windows", type=int, nargs="*", default=[768, 1024, 1280])
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.1, 0.15, 0.2, 0.3, 0.4])
    parser.add_argument("--bundles", type=Path, nargs="*", default=[])
    parser.add_argument("--judge", choices=JUDGES, default="swift_f0")
    options = parser.parse_args()
    clips = [read_audio(path, RATE) for path in options.recordings]
    references = list(JUDGES[options.judge](clips))
    seconds = sum(map(len, clips)) / RATE
    detectors = [yin(window, threshold) for window in options.windows for threshold in options.thresholds]
    detectors += map(tracked, options.windows)
    print(f"| detector | {COLUMNS} |\n|{'---|' * 7}")
    for detector in [*detectors, *map(learned, options.bundles)]:
        detector.track(clips[0][:RATE])  # what is made once
        started = time.perf_counter()
        tracks = [detector.track(samples) for samples in clips]
        rtf = (time.perf_counter() - started) / seconds
        pairs = [aligned(detector.features, track, reference) for track, reference in zip(tracks, references)]
        errors = score(*(np.concatenate(side) for side in zip(*pairs)))
        figures = " | ".join(f"{value:.3f}" for value in errors.values())
        print(f"| {detector.name} | {1e3 * detector.latency / RATE:.0f} ms | {figures} | {rtf:.4f} |", flush=True)


if __name__ == "__main__":
    main()
