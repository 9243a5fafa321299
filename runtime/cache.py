"""Where voxport keeps what it can make again."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """`VOXPORT_CACHE`, or the platform's per-user cache."""
    return Path(os.environ.get("VOXPORT_CACHE") or platformdirs.user_cache_dir("voxport"))
