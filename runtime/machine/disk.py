"""Disks that are full: whichever library noticed, one error that names the place."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from runtime.errors import MachineError, VoxportError

_PROBLEMS = {
    errno.ENOSPC: "the disk holding {} is full",
    errno.EDQUOT: "the quota on the disk holding {} is used up",
    errno.EFBIG: "a file in {} may not become any larger (ulimit -f shows the limit)",
}
_WORDS = {
    **{os.strerror(code): code for code in _PROBLEMS},
    "database or disk is full": errno.ENOSPC,  # sqlite
    "[MIL FileWriter]": errno.ENOSPC,  # coremltools, which does not say why it could not write
    " requested and ": errno.ENOSPC,  # numpy, the same
}
_NOTHING_LEFT = 64 * 1024  # bytes: where less is free, whatever failed to write failed for that


class DiskFull(MachineError, OSError):
    """A disk without room, a quota or a limit that is reached; the message names the place and what to do."""


@contextmanager
def full_disk_named(*folders: Path) -> Iterator[None]:
    """Turns whatever its block raises because a disk is full into DiskFull, which names the fullest of `folders`.

    Libraries written in C++ raise errors of their own then, some without a reason: those count where one of the disks
    has no room left at that moment.
    """
    try:
        yield
    except (DiskFull, KeyboardInterrupt):
        raise
    except Exception as error:
        place = _fullest(folders)
        code = full_disk(error)
        if code is None and (isinstance(error, VoxportError) or _free_bytes(place) >= _NOTHING_LEFT):
            raise
        sentence = _PROBLEMS[code or errno.ENOSPC].format(place)
        raise DiskFull(f"{sentence}: make room there, then repeat the command; nothing unfinished was kept") from error


def full_disk(error: BaseException | None) -> int | None:
    """ENOSPC, EDQUOT or EFBIG where this error, or one of those that led to it, stands for that; else None."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _PROBLEMS:
            return error.errno
        text = str(error)
        for words, code in _WORDS.items():
            if words in text:
                return code
        error = error.__cause__ or error.__context__
    return None


def _fullest(folders: Sequence[Path]) -> Path:
    """Of folders on one disk the first: each disk is looked at once, for others write to it meanwhile."""
    free: dict[int, float] = {}
    for folder in folders:
        if (disk := _disk(folder)) not in free:
            free[disk] = _free_bytes(folder)
    return min(folders, key=lambda folder: free[_disk(folder)])


def _disk(folder: Path) -> int:
    """The number of the disk that holds the folder, which need not exist yet."""
    return next(path.stat().st_dev for path in (folder, *folder.parents) if path.exists())


def _free_bytes(folder: Path) -> float:
    """Returns the free bytes of the disk that holds the folder, which need not exist yet."""
    for path in (folder, *folder.parents):
        with suppress(OSError):
            return shutil.disk_usage(path).free
    return float("inf")
