"""Equal error rate of a speaker encoder on a folder of speakers: PyTorch's reference against the artefact.

python -m benchmarks.speakers BUNDLE FOLDER [--engine mil]

FOLDER holds a folder per speaker with recordings in it. Every pair of recordings is a trial: of one speaker or of two.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np

from runtime.engines import Execution
from runtime.errors import AudioError
from runtime.playing.embed import SpeakerEmbedder
from runtime.speech.speaker import cosine

SOUNDS = {".wav", ".flac", ".mp3", ".ogg"}


def equal_error_rate(same: np.ndarray, different: np.ndarray) -> tuple[float, float]:
    """(rate, threshold) where as many of `same` lie below the threshold as of `different` above it, in shares."""
    thresholds = np.sort(np.concatenate([same, different]))
    missed = np.searchsorted(np.sort(same), thresholds, side="left") / len(same)
    accepted = 1 - np.searchsorted(np.sort(different), thresholds, side="left") / len(different)
    at = int(np.argmin(np.abs(missed - accepted)))
    return float((missed[at] + accepted[at]) / 2), float(thresholds[at])


def embeddings(embedder: SpeakerEmbedder, folder: Path) -> dict[tuple[str, str], np.ndarray]:
    """(speaker, recording) -> vector. Recordings without speech are left out, and said."""
    vectors = {}
    for speaker in sorted(part for part in folder.iterdir() if part.is_dir()):
        for path in sorted(part for part in speaker.rglob("*") if part.suffix.lower() in SOUNDS):
            try:
                vectors[speaker.name, path.name] = embedder.embed_file(path).vector
            except AudioError as error:
                print(f"left out: {path.name}: {error}")
    return vectors


def scores(vectors: dict[tuple[str, str], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of the pairs of one speaker, and of two."""
    same: list[float] = []
    different: list[float] = []
    for (one, a), (other, b) in itertools.combinations(vectors.items(), 2):
        (same if one[0] == other[0] else different).append(cosine(a, b))
    return np.array(same), np.array(different)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--engine", default="mil")
    options = parser.parse_args()
    results = {}
    print("| engine | speakers | recordings | pairs same / different | EER | threshold | least cosine to PyTorch |")
    print("|---|---|---|---|---|---|---|")
    for engine in ("torch", options.engine):
        vectors = results[engine] = embeddings(SpeakerEmbedder(options.bundle, Execution(engine)), options.folder)
        same, different = scores(vectors)
        rate, threshold = equal_error_rate(same, different)
        least = min(cosine(vectors[key], results["torch"][key]) for key in vectors)
        speakers = len({speaker for speaker, _ in vectors})
        print(
            f"| {engine} | {speakers} | {len(vectors)} | {len(same)} / {len(different)} | {100 * rate:.2f} % "
            f"| {threshold:.3f} | {least:.6f} |"
        )


if __name__ == "__main__":
    main()
