"""Files that are whole or absent, written aside and then renamed; and the reading of those that come from elsewhere.

What is no file (a device, a pipe) is written to, and never replaced by one.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from runtime.errors import VoxportError
from runtime.machine.disk import full_disk_named


class TargetError(VoxportError, OSError):
    """A place that nothing can be written to as asked; the message says why."""


def check_target(target: Path) -> None:
    """Raises TargetError where `target` is a folder or would lie in a folder that is not there.

    `published` checks the same; this is for a command to call before it computes for long.
    """
    if target.is_dir():
        raise TargetError(f"{target} is a folder: name a file in it")
    if not target.exists() and not Path(os.path.realpath(target)).parent.is_dir():
        raise TargetError(f"there is no folder {target.parent} to write {target.name} into")


@contextmanager
def published(target: Path) -> Iterator[Path]:
    """Yields a path to write to. When the block ends without an error, what was written there is at `target`.

    A regular or absent target is replaced at once, by a rename; a symbolic link stays, and the file that it points to
    is replaced. A device or a pipe is no file that could be replaced: what was written is copied into it. After an
    error nothing is left. Raises TargetError for a folder or where there is none, DiskFull, OSError.
    """
    check_target(target)
    if target.exists() and not stat.S_ISREG(target.stat().st_mode):
        with tempfile.TemporaryDirectory(prefix="voxport-") as folder:
            aside = Path(folder, "content")
            yield aside
            _copy(aside, target)
        return
    file = Path(os.path.realpath(target))
    aside = file.with_name(f".{file.name[:40]}.{secrets.token_hex(4)}.partial")
    try:
        with full_disk_named(file.parent):
            yield aside
            aside.replace(file)
    except OSError as error:
        if error.filename == str(aside):  # a name that nobody knows
            raise OSError(error.errno, error.strerror, str(target)) from error
        raise
    finally:
        aside.unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    """Copies the bytes of a file into a device or a pipe."""
    try:
        with source.open("rb") as content, os.fdopen(os.open(target, os.O_WRONLY), "wb") as sink:
            shutil.copyfileobj(content, sink)
    except OSError as error:  # of an open file, which does not know its name
        raise OSError(error.errno, error.strerror, str(target)) from error


def write_text(path: Path, text: str, *, is_private: bool = False) -> None:
    """Makes the folder too. A private file, such as one with a person's settings, only its owner can read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with published(path) as aside:
        if is_private:
            aside.touch(mode=0o600)
        aside.write_text(text, encoding="utf-8", errors="backslashreplace")  # half a surrogate pair has no encoding


def write_bytes(path: Path, content: bytes) -> None:
    with published(path) as aside:
        aside.write_bytes(content)


def write_json(path: Path, value: object, *, is_private: bool = False) -> None:
    write_text(path, json.dumps(as_json(value), indent=1) + "\n", is_private=is_private)


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """An .npz of the arrays by name, at exactly this path."""
    with published(path) as aside, aside.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # its stub takes keywords for options


def write_array(path: Path, array: np.ndarray) -> None:
    """An .npy, at exactly this path."""
    with published(path) as aside, aside.open("wb") as file:
        np.save(file, array)


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
