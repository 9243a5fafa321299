"""Where voxport keeps what it can make again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from runtime.errors import VoxportError
from runtime.machine.disk import full_disk_named
from runtime.machine.locks import locked


class NoHome(VoxportError, OSError):
    """A user without a home directory, as in a container, where a folder of theirs is needed."""


def cache_folder() -> Path:
    """`VOXPORT_CACHE`, or the platform's per-user cache. Raises NoHome."""
    return folder_of_user("VOXPORT_CACHE", platformdirs.user_cache_dir)


def folder_of_user(variable: str, default: Callable[[str], str]) -> Path:
    """The folder that a variable of the environment names, or the platform's. Raises NoHome."""
    try:
        return Path(os.environ.get(variable) or default("voxport"))
    except RuntimeError as error:
        raise NoHome(f"this user has no home directory: set HOME, or {variable} to a folder of your own") from error


@contextmanager
def making(path: Path) -> Iterator[Path | None]:
    """Yields where to write a file of the cache, which gets its name when the block ends without an error.

    One process makes it while others wait; for those it is None, and the file is there. What a killed process left is
    written over by the next. Raises DiskFull.
    """
    with full_disk_named(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_name(f".{path.name}.lock")):
            if path.is_file():
                yield None
                return
            partial = path.with_name(f".partial-{path.name}")
            try:
                yield partial
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
