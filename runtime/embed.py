"""A speaker's embedding from a recording, through a bundle's encoder."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from runtime.bundle import BundleError, open_bundle
from runtime.recordings import read_audio
from runtime.sizes import open_sized
from runtime.speaker import partials, utterance_embedding


@dataclass(frozen=True)
class Embedded:
    """`vector` (D,) of length 1; `partials`: windows that it is the mean of; seconds of features and of the encoder."""

    vector: np.ndarray
    partials: int
    features_s: float
    encoder_s: float


class SpeakerEmbedder:
    """Of a bundle that is one, or of a voice that has one. Arguments and errors as `runtime.load`; BundleError for a
    bundle without a speaker encoder."""

    def __init__(
        self, path: Path, engine: str = "auto", threads: int | None = None, compute_unit: str | None = None
    ) -> None:
        bundle = open_bundle(path, verify=False)
        records = [record for record in bundle.manifest.components if record.role == "speaker_encoder"]
        if len(records) != 1 or records[0].speaker is None:
            raise BundleError(f"{path.name} has no speaker encoder: convert one with model=ge2e")
        self.record, self.settings = records[0], records[0].speaker
        self.encoder = open_sized(path, engine, self.record.name, threads, compute_unit)

    def embed(self, samples: np.ndarray) -> Embedded:
        """samples (N,) at the settings' sample rate. Raises AudioError for audio without speech."""
        started = time.perf_counter()
        windows = partials(samples, self.settings)
        prepared = time.perf_counter()
        rows = self.encoder.run({self.record.inputs[0].name: windows})[self.record.outputs[0].name]
        return Embedded(utterance_embedding(rows), len(windows), prepared - started, time.perf_counter() - prepared)

    def embed_file(self, path: Path) -> Embedded:
        """Any file that libsndfile reads, at any rate. Raises AudioError."""
        return self.embed(read_audio(path, self.settings.sample_rate))
