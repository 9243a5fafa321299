"""A speaker's embedding from a recording, through a bundle's encoder."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from runtime.bundle.store import Bundle, BundleError, open_bundle
from runtime.engines import AUTO, Execution
from runtime.playing.sizes import open_sized
from runtime.speech.recordings import audio_blocks
from runtime.speech.speaker import Read, SpeakerMel, least_agreement, utterance_embedding, windows

_BATCH = 64  # windows that the encoder takes at once: of half a minute of speech and more


@dataclass(frozen=True)
class Embedded:
    """`vector` (D,) of length 1; `partials`: windows that it is the mean of; seconds of features and of the encoder."""

    vector: np.ndarray
    partials: int
    features_s: float
    encoder_s: float


class SpeakerEmbedder:
    """Embeds speakers with a bundle that is an encoder, or with a voice that has one. Arguments and errors as
    `voxport.load`; BundleError for a bundle without a speaker encoder."""

    def __init__(self, bundle: str | Path | Bundle, execution: Execution = AUTO) -> None:
        bundle = open_bundle(bundle)
        encoders = [
            (record, record.features)
            for record in bundle.manifest.components
            if isinstance(record.features, SpeakerMel)
        ]
        if len(encoders) != 1:
            raise BundleError(f"{bundle.path.name} has no speaker encoder: convert one with model=ge2e")
        self.record, self.settings = encoders[0]
        self.encoder = open_sized(bundle, execution, self.record.name)

    def embed(self, samples: np.ndarray) -> Embedded:
        """samples (N,) at the settings' sample rate. Raises AudioError for audio without speech."""
        return self._embedded(lambda: (samples,))

    def embed_file(self, path: Path) -> Embedded:
        """Embeds any file that libsndfile reads, at any rate and of any length. It is read anew for its level, and
        never held.

        Raises AudioError.
        """
        return self._embedded(self._blocks_of(path))

    def least_agreement(self, paths: Sequence[Path]) -> float | None:
        """How like the rest the least like piece of recordings is, as `least_agreement` of runtime/speech/speaker.py.

        Raises AudioError.
        """
        rows = [self._rows(batch) for path in paths for batch in self._batches(self._blocks_of(path))]
        return least_agreement(np.concatenate(rows))

    def _blocks_of(self, path: Path) -> Read:
        return lambda: audio_blocks(path, self.settings.sample_rate)

    def _batches(self, read: Read) -> Iterator[list[np.ndarray]]:
        remaining = windows(read, self.settings)
        while batch := list(itertools.islice(remaining, _BATCH)):
            yield batch

    def _rows(self, batch: list[np.ndarray]) -> np.ndarray:
        return self.encoder.run({self.record.inputs[0].name: np.stack(batch)})[self.record.outputs[0].name]

    def _embedded(self, read: Read) -> Embedded:
        started, encoder_s, total, count = time.perf_counter(), 0.0, np.zeros(1), 0
        for batch in self._batches(read):
            called = time.perf_counter()
            rows = self._rows(batch)
            encoder_s += time.perf_counter() - called
            total, count = total + rows.sum(axis=0, dtype=np.float64), count + len(rows)
        vector = utterance_embedding((total / count)[None]).astype(np.float32)
        return Embedded(vector, count, time.perf_counter() - started - encoder_s, encoder_s)
