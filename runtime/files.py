"""Files that are whole or absent, written aside and then renamed; and the reading of those that come from elsewhere."""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError


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


_LARGEST_JSON = 256 << 20  # bytes; a measurement with all its samples has some megabytes


def read_json(path: Path) -> Any:
    """The value in a JSON file of anybody's. Raises OSError, and ValueError where it is none or absurdly large."""
    size = path.stat().st_size
    if size > _LARGEST_JSON:
        raise ValueError(f"{size} bytes are too many")
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except RecursionError:
        raise ValueError("its brackets are nested too deeply") from None


def first_problem(error: OSError | ValidationError) -> str:
    """Why a file of JSON could not be read, in one line."""
    if not isinstance(error, ValidationError):
        return str(error)
    (first, *_) = error.errors(include_url=False, include_input=False)
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else first["msg"]


def read_arrays(path: Path, beginning: str = "") -> dict[str, np.ndarray]:
    """The arrays of an `.npz` file of anybody's whose names begin so; nothing is unpickled.

    Raises OSError, and ValueError where it is no such file.
    """
    try:
        stored = np.load(path, allow_pickle=False)
        if not isinstance(stored, np.lib.npyio.NpzFile):
            raise ValueError("it holds one array, not arrays by name")
        with stored:
            return {name: stored[name] for name in stored.files if name.startswith(beginning)}
    except (EOFError, KeyError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(str(error) or type(error).__name__) from error
    except MemoryError:
        raise ValueError("an array claims more than this machine's memory") from None
