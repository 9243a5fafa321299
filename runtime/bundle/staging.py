"""How a bundle comes into being: made in a folder that a lock guards, then moved to its name in steps that can be
finished by whoever comes next.

`.NAME.partial-XXXXXXXX/` holds `.voxport-lock`, which its owner keeps locked, and what is being made. To publish, a
note of the move is written there first (`.move`): before it a next start deletes the folder, after it the next start
finishes the move.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from runtime.bundle.store import Bundle, BundleError, open_bundle
from runtime.machine.files import write_json
from runtime.machine.interrupts import postponed
from runtime.machine.locks import NoLocks, acquire, locked

REJECTED = "rejected"  # the folder, below that of the bundles, of those that missed a gate
_LOCK, _MOVE, _REPLACED = ".voxport-lock", ".move", ".replaced"


@contextmanager
def staging(parent: Path, name: str) -> Iterator[Path]:
    """A locked folder below `parent`, gone when the block ends, however it ends; on the same file system as `parent`.

    What is to stay is moved out of it (`publish`). What killed processes left is swept first. Raises OSError.
    """
    parent.mkdir(parents=True, exist_ok=True)
    sweep(parent)
    folder, lock = _locked_folder(parent, name)
    try:
        yield folder
    finally:
        with postponed():
            _delete(folder)
            if lock is not None:
                os.close(lock)
            with suppress(OSError):
                folder.rmdir()  # NFS keeps a deleted file under another name for as long as it is open


def _locked_folder(parent: Path, name: str) -> tuple[Path, int | None]:
    """A new folder and the descriptor that holds its lock, None where there are no locks and so nobody sweeps."""
    while True:
        folder = parent / f".{name}.partial-{secrets.token_hex(4)}"
        try:
            folder.mkdir()
            lock = acquire(folder / _LOCK)
        except NoLocks:
            return folder, None
        except (FileExistsError, FileNotFoundError):  # of the same name, or swept before it was locked
            if not parent.is_dir():
                raise
            continue
        if lock is not None:
            return folder, lock


def publish(bundle: Bundle, output: Path, *, is_rejected: bool = False, replaces: bool = False) -> Bundle:
    """Moves a bundle and what was measured of it into `output`, or into `rejected/` there; returns it at its place.

    `bundle` lies in a staging folder of `output`, in `output` or in `rejected/`. A name has one place: what was in the
    other is deleted. Where another process has put a whole bundle of that name there meanwhile, that one stays, unless
    this one `replaces` it; the old one is then deleted after the new one has its name. Killed at any moment, this
    leaves the old pair or the new one, at the latest when the next process sweeps `output`. Raises OSError.
    """
    place = REJECTED if is_rejected else "."
    target = output / place / bundle.path.name
    source = bundle.path.parent
    if target == bundle.path:
        return bundle
    if source.parent == output and (source / _LOCK).exists():
        return _publish(bundle, source, output, place, replaces, is_staged=True)
    with staging(output, bundle.path.name) as scratch:
        return _publish(bundle, scratch, output, place, replaces, is_staged=False)


def _publish(bundle: Bundle, scratch: Path, output: Path, place: str, replaces: bool, *, is_staged: bool) -> Bundle:
    name = bundle.path.name
    target = output / place / name
    with postponed(), locked(output / f".{name}.publishing"):
        if target.exists() and not replaces:
            with suppress(BundleError):
                return open_bundle(target)
        bundle.measured.mkdir(exist_ok=True)  # or the old one's would stay with the new bundle
        source = "" if is_staged else bundle.path.parent.relative_to(output).as_posix()
        write_json(scratch / _MOVE, {"name": name, "from": source, "to": place})
        _finish_move(scratch)
    return Bundle(target, bundle.manifest)


def _finish_move(scratch: Path) -> None:
    """Does what is left of the move that is noted in a staging folder. Raises OSError; it can then be tried again."""
    output = scratch.parent
    try:
        note = json.loads((scratch / _MOVE).read_text())
        name, source, place = note["name"], note["from"], note["to"]
        if Path(name).name != name or not {source, place} <= {"", ".", REJECTED}:
            raise ValueError
    except (ValueError, KeyError, TypeError) as error:
        raise OSError(
            f"{scratch / _MOVE} is damaged: look at what lies in {scratch}, then delete that folder"
        ) from error
    origin = output / source if source else scratch
    target = output / place
    target.mkdir(exist_ok=True)
    parts = (name, f"{name}.measured")
    if (origin / name).exists():  # it goes last: once it has gone nothing is left to do
        for old in (output, output / REJECTED):
            for part in parts:
                if old != origin and (old / part).exists() and (origin / part).exists():
                    replaced = scratch / _REPLACED
                    replaced.mkdir(exist_ok=True)
                    (old / part).rename(replaced / f"{secrets.token_hex(4)}-{part}")
        for part in reversed(parts):
            if (origin / part).exists():
                (origin / part).rename(target / part)
    (scratch / _MOVE).unlink()


def sweep(folder: Path) -> None:
    """Finishes or deletes what killed processes left in a folder of bundles; what another process works on stays.

    A folder that cannot be read or written is left as it is.
    """
    for leaving in folder.glob(".*.partial-*"):
        with suppress(OSError):
            _sweep(leaving)
    for lock in folder.glob(".*.publishing"):
        with suppress(OSError):
            descriptor = acquire(lock, make=False)
            if descriptor is not None:
                lock.unlink()
                os.close(descriptor)


def sweep_around(arguments: Iterable[object]) -> None:
    """Sweeps the folders that a command's arguments name or lie in, as far as those are paths or lists of paths."""
    paths = [one for value in arguments for one in (value if isinstance(value, list) else [value])]
    folders = {folder.absolute() for path in paths if isinstance(path, Path) for folder in (path, path.parent)}
    for folder in folders | {folder.parent for folder in folders if folder.name == REJECTED}:
        with suppress(OSError):
            sweep(folder)


def _sweep(leaving: Path) -> None:
    try:
        descriptor = acquire(leaving / _LOCK, make=False)
    except FileNotFoundError:  # not ours; or it is about to be locked, and then its owner takes another name
        leaving.rmdir()  # only an empty one
        return
    if descriptor is None:
        return
    try:
        _delete(leaving)
    finally:
        os.close(descriptor)


def _delete(scratch: Path) -> None:
    """Finishes the move of a staging folder that is locked by this process, then deletes it."""
    if (scratch / _MOVE).exists():
        try:
            name = scratch.name[1:].rpartition(".partial-")[0]
            with locked(scratch.parent / f".{name}.publishing"):
                _finish_move(scratch)
        except OSError:
            return  # the bundle is whole: the next start tries again
    for path in scratch.iterdir():
        if path.name != _LOCK:
            shutil.rmtree(path, ignore_errors=True)
            path.unlink(missing_ok=True)
    (scratch / _LOCK).unlink(missing_ok=True)  # last: without it nobody knows that the folder is ours to delete
    with suppress(OSError):
        scratch.rmdir()
