"""Old bundles in their folders: found, held against a rule, and removed where no other process works on them."""

from __future__ import annotations

import dataclasses
import datetime
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import filelock

from reports.champions import FOLDER as CHAMPIONS
from reports.tracked import UNTRACKED
from runtime.bundle.staging import REJECTED, staging, sweep
from runtime.bundle.store import MANIFEST, BundleError, read_manifest, size_of
from runtime.errors import VoxportError
from runtime.machine.interrupts import postponed
from runtime.machine.locks import NoLocks, acquire

KEEP, DAYS = 3, 30.0
_MEASURED = ".measured"


class PruneError(VoxportError, ValueError):
    """A rule that cannot be followed; the message says why."""


class InUse(Exception):
    """Something that another process works on; it stays."""


@dataclass(frozen=True)
class Rule:
    """What stays of each series: the newest `keep`, and whatever is at most `days` old. Raises PruneError."""

    keep: int = KEEP
    days: float = DAYS

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise PruneError(f"--keep {self.keep}: the newest bundle of each series always stays, so at least 1")
        if not self.days >= 0:
            raise PruneError(f"--older-than {self.days:g}: a number of days from 0 on")


@dataclass(frozen=True)
class Kept:
    """What is kept of one bundle in one place. `place`: the folder, or MLflow's address; `used`: when it was made or
    measured last, seconds since the epoch; `size`: bytes; `stays`: why it does, whatever its age."""

    name: str
    place: str
    series: str
    key: str
    used: float
    size: int
    stays: str = ""


def decided(found: Sequence[Kept], rule: Rule, champions: set[str], now: float | None = None) -> list[Kept]:
    """The same, newest first in each place and series, with `stays` filled in where the rule or `champions` (keys of
    bundles) keep it."""
    oldest = (time.time() if now is None else now) - 86400 * rule.days
    groups: dict[tuple[str, str], list[Kept]] = {}
    for one in found:
        groups.setdefault((one.place, one.series), []).append(one)
    return [
        dataclasses.replace(one, stays=one.stays or _why(one, number, rule, champions, oldest))
        for _, group in sorted(groups.items())
        for number, one in enumerate(sorted(group, key=lambda one: -one.used))
    ]


def _why(one: Kept, number: int, rule: Rule, champions: set[str], oldest: float) -> str:
    if one.key in champions:
        return "champion"
    if number < rule.keep:
        return "among the newest of its series"
    return "young" if one.used >= oldest else ""


def bundles_below(output: Path) -> Iterator[Kept]:
    """The bundles in a folder, in `rejected/` and in `champions/`. What cannot be read is left alone: nobody knows what
    it is."""
    for folder in (output, output / REJECTED, output / CHAMPIONS):
        for path in sorted(folder.glob(f"[!.]*/{MANIFEST}")):
            path = path.parent
            if path.is_symlink():
                continue
            try:
                manifest = read_manifest(path)
                used = datetime.datetime.fromisoformat(manifest.created).timestamp()
            except (BundleError, ValueError):
                continue
            measured = path.with_name(path.name + _MEASURED)
            size = size_of(path)
            if measured.is_dir():
                size, used = size + size_of(measured), max(used, measured.stat().st_mtime)
            stays = "not sent to MLflow yet" if (measured / UNTRACKED).exists() else ""
            yield Kept(path.name, str(folder), manifest.series, manifest.key, used, size, stays)


def remove_bundle(one: Kept) -> None:
    """Deletes a bundle and what was measured of it. Raises InUse where another process works on it."""
    folder = Path(one.place)
    output = folder.parent if folder.name == REJECTED else folder
    sweep(output)
    with staging(output, "pruned") as scratch, _alone(output, folder, one.name), postponed():
        for part in (one.name, one.name + _MEASURED):  # measurements without their bundle mean nothing to anybody
            if (folder / part).exists():
                (folder / part).rename(scratch / part)


def abandoned_measurements(output: Path) -> Iterator[Kept]:
    """What was measured of bundles that are not there any more, as a prune that was killed leaves it."""
    for folder in (output, output / REJECTED, output / CHAMPIONS):
        for path in sorted(folder.glob(f"[!.]*{_MEASURED}")):
            if (
                path.is_dir()
                and not path.is_symlink()
                and not path.with_name(path.name.removesuffix(_MEASURED)).exists()
            ):
                yield Kept(path.name.removesuffix(_MEASURED), str(folder), "", "", path.stat().st_mtime, size_of(path))


@contextmanager
def _alone(output: Path, folder: Path, name: str) -> Iterator[None]:
    """Nobody publishes, measures or logs the bundle meanwhile."""
    if any(output.glob(f".{name}.partial-*")):  # of a job that is alive: the others were swept
        raise InUse
    publishing, measured = output / f".{name}.publishing", folder / (name + _MEASURED)
    try:
        lock = acquire(publishing)
    except NoLocks as error:
        raise InUse from error
    if lock is None:
        raise InUse
    try:
        if measured.is_dir():
            with filelock.FileLock(measured / ".tracking.lock", timeout=0):
                yield
        else:
            yield
    except filelock.Timeout as error:
        raise InUse from error
    finally:
        publishing.unlink(missing_ok=True)
        os.close(lock)
