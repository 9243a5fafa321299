"""Downloads that end in a whole, checked file or in a sentence: resumed, retried, bounded, never half there."""

from __future__ import annotations

import json
import lzma
import shutil
import socket
import tarfile
import threading
import time
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from checkpoints import CheckpointError
from checkpoints.catalogue import FileFacts
from checkpoints.files import sha256_of
from runtime.errors import MachineError
from runtime.machine.disk import DiskFull, full_disk_named

if TYPE_CHECKING:
    import httpx

# (bytes so far, bytes in all or None); called often
Progress = Callable[[int, int | None], None]

CONNECT_SECONDS = 4.0
READ_SECONDS = 30.0
ATTEMPTS = 5
CEILING_BYTES = 4 * 2**30
_CHUNK = 1 << 18


class Unavailable(MachineError, CheckpointError):
    """A source that cannot be reached or does not have the file: another source may."""


class IntegrityError(CheckpointError):
    """A file that came, but is not what it should be: no other source makes that right."""


def download(url: str, target: Path, want: FileFacts, progress: Progress, ceiling: int = CEILING_BYTES) -> None:
    """Writes `url` to `target`, which appears only when it is whole and as `want` says.

    A broken transfer resumes where it stopped, also in a later process (`target.part`). Raises Unavailable where
    the server cannot be reached (decided within 5 s), does not have the file or keeps breaking; IntegrityError
    where size or hash differ, or the file is larger than `ceiling`; DiskFull.
    """
    import httpx

    if url.startswith("file://"):
        _copy(Path(urllib.request.url2pathname(urllib.parse.urlsplit(url).path)), target, want)
        return
    require_reachable(url)
    part, notes = target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.part.json")
    problem = ""
    timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
    with httpx.Client(follow_redirects=True, timeout=timeout) as client:
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(min(0.5 * 2 ** (attempt - 1), 8.0))
            try:
                with full_disk_named(part.parent):
                    is_whole = _transfer(client, url, part, notes, want, progress, ceiling)
                if is_whole:
                    break
                problem = "the transfer ended early"
            except httpx.HTTPStatusError as error:
                status = error.response.status_code
                problem = f"the server answered {status} {error.response.reason_phrase}"
                if status < 500 and status != 429:
                    raise Unavailable(f"{url}: {problem}") from error
            except DiskFull:
                raise
            except (httpx.TransportError, OSError) as error:
                problem = f"{type(error).__name__}: {error}"
        else:
            raise Unavailable(f"{url}: {problem}, {ATTEMPTS} times; what came so far is kept, try again to go on")
    try:
        check(part, want, url)
    except IntegrityError:
        part.unlink()
        raise
    finally:
        notes.unlink(missing_ok=True)
    part.replace(target)


def _copy(source: Path, target: Path, want: FileFacts) -> None:
    if not source.is_file():
        raise Unavailable(f"there is no file {source}")
    part = target.with_name(f"{target.name}.part")
    try:
        shutil.copyfile(source, part)
        check(part, want, str(source))
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _transfer(
    client: httpx.Client, url: str, part: Path, notes: Path, want: FileFacts, progress: Progress, ceiling: int
) -> bool:
    """One attempt; whether the file is whole afterwards."""
    have = part.stat().st_size if part.exists() else 0
    version = json.loads(notes.read_text())["version"] if have and notes.exists() else None
    headers = {"Accept-Encoding": "identity"}
    if have and version:  # without a version the server might have another file by now
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    with client.stream("GET", url, headers=headers) as response:
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink(missing_ok=True)
            return False
        response.raise_for_status()
        resumed = response.status_code == HTTPStatus.PARTIAL_CONTENT and _range_start(response) == have
        have = have if resumed else 0
        length = response.headers.get("Content-Length", "")
        total = have + int(length) if length.isdigit() else None
        if total is not None and want.size is not None and total != want.size:
            raise IntegrityError(f"{url}: the server offers {total:,} bytes, the catalogue says {want.size:,}")
        notes.write_text(json.dumps({"version": _version(response)}))
        with part.open("ab" if resumed else "wb") as file:
            for chunk in response.iter_raw():  # as it comes: nothing that arrived is lost by a break
                have += len(chunk)
                if have > ceiling:
                    raise IntegrityError(f"{url} is larger than {ceiling:,} bytes: it is not downloaded")
                file.write(chunk)
                progress(have, total)
        return total is None or have == total


def _range_start(response: httpx.Response) -> int:
    start = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return int(start) if start.isdigit() else -1


def _version(response: httpx.Response) -> str | None:
    """A validator that If-Range accepts: a strong ETag, else the modification date."""
    etag = response.headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")


def check(path: Path, want: FileFacts, name: str) -> None:
    """Raises IntegrityError where the file's size or sha256 is not the wanted one."""
    size = path.stat().st_size
    if want.size is not None and size != want.size:
        raise IntegrityError(f"{name}: size differs (got {size:,} bytes, want {want.size:,})")
    if want.sha256 is not None:
        digest = sha256_of(path)
        if digest != want.sha256:
            raise IntegrityError(f"{name}: sha256 differs (got {digest[:16]}…, want {want.sha256[:16]}…)")


def require_reachable(url: str) -> None:
    """Raises Unavailable unless the URL's server, or the proxy in front of it, accepts a connection within 5 s."""
    parsed = urllib.parse.urlsplit(url)
    host, port = parsed.hostname or "", parsed.port or (443 if parsed.scheme == "https" else 80)
    proxy = urllib.request.getproxies().get(parsed.scheme)
    if proxy and not urllib.request.proxy_bypass(host):
        behind = urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}")
        host, port = behind.hostname or "", behind.port or 80
    outcome: list[str] = []

    def connect() -> None:
        try:
            socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
            outcome.append("")
        except OSError as error:
            outcome.append(str(error))

    # In a thread, because a name lookup has no time limit of its own.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS + 0.5)
    if not outcome:
        raise Unavailable(f"{host} cannot be reached: no answer within {CONNECT_SECONDS:g} s")
    if outcome[0]:
        raise Unavailable(f"{host} cannot be reached: {outcome[0]}")


def extract(archive: Path, folder: Path, take: Mapping[str, str], ceiling: int = CEILING_BYTES) -> None:
    """Writes single files of a tar archive, compressed or not, into `folder`: name there -> plain name here.

    Raises IntegrityError for a damaged archive, a member that is missing or no plain file, or contents above `ceiling`.
    """
    try:
        with full_disk_named(folder), tarfile.open(archive) as stored:
            missing, passed = dict(take), 0
            while missing and (info := stored.next()) is not None:
                passed += info.size
                if passed > ceiling:
                    raise IntegrityError(f"{archive.name} unpacks to more than {ceiling:,} bytes: it is not unpacked")
                if info.name not in missing:
                    continue
                source = stored.extractfile(info) if info.isreg() else None
                if source is None:
                    raise IntegrityError(f"{archive.name}: {info.name!r} in it is no plain file")
                with source, (folder / missing.pop(info.name)).open("wb") as file:
                    shutil.copyfileobj(source, file, _CHUNK)
            if missing:
                raise IntegrityError(f"{archive.name} does not hold {next(iter(missing))}")
    except (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError) as error:
        if isinstance(error, (CheckpointError, DiskFull)):
            raise
        raise IntegrityError(f"{archive.name} cannot be unpacked: {error}") from error


def unpack(archive: Path, folder: Path, ceiling: int = CEILING_BYTES) -> None:
    """Unpacks the regular files of a zip into `folder`, a common top folder stripped.

    Raises IntegrityError for a damaged archive, a member that climbs out, or contents above `ceiling`.
    """
    try:
        with full_disk_named(folder), zipfile.ZipFile(archive) as stored:
            members = [info for info in stored.infolist() if not info.is_dir()]
            if sum(info.file_size for info in members) > ceiling:
                raise IntegrityError(f"{archive.name} unpacks to more than {ceiling:,} bytes: it is not unpacked")
            paths = [PurePosixPath(info.filename) for info in members]
            for info, path in zip(members, paths):
                is_link = (info.external_attr >> 16) & 0o170000 == 0o120000
                if path.is_absolute() or ".." in path.parts or "\\" in info.filename or is_link or ":" in path.parts[0]:
                    raise IntegrityError(f"{archive.name}: member {info.filename!r} leads outside: it is not unpacked")
            tops = {path.parts[0] for path in paths}
            strip = 1 if len(tops) == 1 and all(len(path.parts) > 1 for path in paths) else 0
            for info, path in zip(members, paths):
                target = folder.joinpath(*path.parts[strip:])
                target.parent.mkdir(parents=True, exist_ok=True)
                left = ceiling
                with stored.open(info) as source, target.open("wb") as file:
                    while chunk := source.read(_CHUNK):
                        left -= len(chunk)
                        if left < 0:
                            raise IntegrityError(f"{archive.name}: {info.filename!r} is larger than it says")
                        file.write(chunk)
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        if isinstance(error, (CheckpointError, DiskFull)):
            raise
        raise IntegrityError(f"{archive.name} cannot be unpacked: {error}") from error
