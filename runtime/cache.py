"""Where voxport keeps what it can make again."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import platformdirs

from runtime.errors import VoxportError


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
