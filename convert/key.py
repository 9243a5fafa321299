"""A bundle's key: everything that its content depends on, hashed without importing any of it."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from checkpoints.locate import LocatedCheckpoint
from convert.schema import Job
from runtime.machine.versions import installed_versions
from runtime.speech.clips import CLIPS

TOOLS = ("coqui-tts", "coreai-core", "coreai-torch", "coremltools", "numpy", "onnx", "onnxscript", "torch", "voxport")
_SOURCES = ("converters", "ops")
_PATTERNS = ("*.py", "*.metal", "*.h", "*.swift")


def versions() -> dict[str, str]:
    """Installed versions of the tools that make an artefact."""
    return installed_versions(TOOLS)


def bundle_key(job: Job, checkpoint: LocatedCheckpoint, others: Mapping[str, LocatedCheckpoint]) -> str:
    """sha256 of checkpoints, conversion options, tool versions, speech clips and the sources that convert."""
    parts = {
        "checkpoint": checkpoint.sha256,
        "config": checkpoint.config,
        "family": job.model.family,
        "parts": {name: [part.family, part.sha256, part.config] for name, part in others.items()},
        "precision": dataclasses.asdict(job.precision),
        "format": dataclasses.asdict(job.format),
        "upsampler": job.upsampler.name,
        "shape": dataclasses.asdict(job.shape),
        "stream": dataclasses.asdict(job.stream),
        "versions": versions(),
        "sources": {name: [_tree_hash(_package_folder(name), pattern) for pattern in _PATTERNS] for name in _SOURCES},
        "clips": _clips(job.goldens.paths()),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def bundle_name(job: Job, checkpoint: LocatedCheckpoint, key: str) -> str:
    """`<checkpoint>-<format>-<precision>-<upsampler>-<mode>-<key>`; a flexible shape shows in the mode's place."""
    return f"{checkpoint.name}-{job.format.name}-{job.precision.name}-{job.upsampler.name}-{job.mode}-{key[:10]}"


def _clips(paths: list[Path]) -> Any:
    """The clips by content and, where they are a user's own, by name: their golden cases are named after them."""
    if not paths:
        return _tree_hash(CLIPS, "*.flac")
    return [[path.stem, hashlib.sha256(path.read_bytes()).hexdigest()] for path in paths]


def _package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations)))


def _tree_hash(folder: Path, pattern: str) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.rglob(pattern)):
        digest.update(file.relative_to(folder).as_posix().encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()
