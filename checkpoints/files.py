"""Hashes and configs: what can be known of a checkpoint without reading its weights."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from checkpoints import CheckpointError


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_config(path: Path) -> dict[str, Any]:
    """A Coqui `config.json`, also with the `//` comments that old ones have.

    Raises CheckpointError where it is none.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise CheckpointError(f"there is no config {path}: {error.strerror}") from error
    try:
        config = json.loads(text)
    except ValueError:
        try:
            config = json.loads(re.sub(r"(^|[\s,\[{])//[^\n]*", r"\1", text))
        except ValueError as error:
            raise CheckpointError(f"{path} cannot be read as a JSON config: {error}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} holds a {type(config).__name__}, not a config")
    return config
