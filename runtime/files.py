"""Files that are whole or absent: written aside, then renamed."""

from __future__ import annotations

import json
import math
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Makes the folder too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def write_json(path: Path, value: object) -> None:
    write_text(path, json.dumps(as_json(value), indent=1) + "\n")


def as_json(value: object) -> object:
    """JSON has no inf and no nan: they travel as strings, which pydantic reads back."""
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
