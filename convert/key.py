"""A bundle's key: everything that its content depends on, hashed without importing any of it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from checkpoints.locate import LocatedCheckpoint
from convert.schema import Job
from runtime.bundle.formats import FORMATS
from runtime.machine.sources import BUNDLE, CHOICE, sources_hash
from runtime.machine.versions import installed_versions
from runtime.speech.clips import transcript_of

TOOLS = sorted(
    {"coqui-tts", "numpy", "torch", "voxport", *(tool for facts in FORMATS.values() for tool in facts.tools)}
)


def versions() -> dict[str, str]:
    """Installed versions of the tools that make an artefact."""
    return installed_versions(TOOLS)


def bundle_key(job: Job, checkpoint: LocatedCheckpoint, others: Mapping[str, LocatedCheckpoint]) -> str:
    """sha256 of checkpoints, conversion options, tool versions and the sources that make a bundle: what converts, what
    makes goldens, their clips and sentences."""
    parts = {
        "checkpoint": checkpoint.sha256,
        "config": checkpoint.config,
        "family": job.model.family,
        "parts": {name: [part.family, part.sha256, part.config] for name, part in others.items()},
        "precision": dataclasses.asdict(dataclasses.replace(job.precision, kind="any")),  # it says whose gates judge it
        "format": dataclasses.asdict(job.format),
        "upsampler": job.upsampler.name,
        "shape": dataclasses.asdict(job.shape),
        "stream": dataclasses.asdict(job.stream),
        "versions": versions(),
        "sources": sources_hash(BUNDLE, *([CHOICE] if job.precision.needs_cases else [])),
        "clips": _clips(job.goldens.paths()),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def bundle_name(job: Job, checkpoint: LocatedCheckpoint, key: str) -> str:
    """`<checkpoint>-<format>-<precision>-<upsampler>-<mode>-<key>`; a flexible shape shows in the mode's place."""
    return f"{checkpoint.name}-{job.format.name}-{job.precision.name}-{job.upsampler.name}-{job.mode}-{key[:10]}"


def _clips(paths: list[Path]) -> Any:
    """A user's own clips by content, name and transcript: their golden cases are named after them. Ours are in the
    sources."""
    named = [[path.stem, hashlib.sha256(path.read_bytes()).hexdigest()] for path in paths]
    return [[*facts, *filter(None, [transcript_of(path)])] for facts, path in zip(named, paths)]
