"""Locks on files that the kernel releases with the process that holds them, however it ends, on whichever host."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What a file system answers that keeps no locks (NFS without its lock service, some FUSE and SMB mounts).
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP})


class NoLocks(OSError):
    """A file system that keeps no locks: nobody can know whether somebody else is at work there."""


def acquire(path: Path, *, wait: bool = False, make: bool = True) -> int | None:
    """Returns a file descriptor that holds the lock on `path` until it is closed, or None where somebody else holds it.

    make: the file is made where it is missing. The descriptor is not inherited by other programs. Raises NoLocks, and
    OSError where the file cannot be opened.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | (os.O_CREAT if make else 0), 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if _is_file_of(path, descriptor):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, OSError) and error.errno in _NO_LOCKS:
                raise NoLocks(error.errno, f"the file system of {path} keeps no locks") from error
            raise
        os.close(descriptor)  # deleted or replaced between opening and locking: the lock is on a file that nobody sees


def _is_file_of(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Waits for the lock on `path`, and deletes the file at the end. Where there are no locks, nobody is kept out."""
    try:
        descriptor = acquire(path, wait=True)
    except NoLocks:
        path.unlink(missing_ok=True)
        yield
        return
    assert descriptor is not None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held: whoever waits for it sees that it is gone, and makes a new one
        os.close(descriptor)
