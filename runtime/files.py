"""Files that are whole or absent: written aside, then renamed."""

from __future__ import annotations

import json
import math
from pathlib import Path


def write_text(path: Path, text: str, *, is_private: bool = False) -> None:
    """Makes the folder too. A private file, such as one with a person's settings, only its owner can read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    if is_private:
        partial.unlink(missing_ok=True)
        partial.touch(mode=0o600)
    partial.write_text(text, encoding="utf-8", errors="backslashreplace")  # half a surrogate pair has no encoding
    partial.replace(path)


def write_json(path: Path, value: object, *, is_private: bool = False) -> None:
    write_text(path, json.dumps(as_json(value), indent=1) + "\n", is_private=is_private)


def as_json(value: object) -> object:
    """JSON has no inf, no nan and no half of a surrogate pair: they travel as strings, which pydantic reads back."""
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
