"""embed."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from runtime.commands import execution_of
from runtime.machine.files import check_target, write_array
from runtime.playing.embed import SpeakerEmbedder
from runtime.speech.speaker import cosine


def embed(options: argparse.Namespace) -> dict[str, Any]:
    """One row per recording; with several, the cosine to the first."""
    if options.out is not None:
        check_target(options.out)
    embedder = SpeakerEmbedder(options.bundle, execution_of(options))
    embeddings = {path: embedder.embed_file(path) for path in options.recordings}
    if options.out is not None:
        write_array(options.out, np.stack([one.vector for one in embeddings.values()]))
    first = next(iter(embeddings.values()))
    rows: dict[str, Any] = {"engine": f"{embedder.encoder.name} on {embedder.encoder.device}"}
    for path, one in embeddings.items():
        row: dict[str, Any] = {
            "partials": one.partials,
            "features_ms": round(1e3 * one.features_s, 1),
            "encoder_ms": round(1e3 * one.encoder_s, 1),
        }
        if len(embeddings) > 1:
            row["cosine_to_first"] = round(cosine(first.vector, one.vector), 4)
        if options.json:
            row["embedding"] = one.vector.tolist()
        rows[str(path)] = row
    if options.out is not None:
        rows["written"] = f"{options.out}: ({len(embeddings)}, {len(first.vector)}) float32"
    return rows
