"""The catalogue: checkpoint names, and where each may come from (catalogue.yaml, which says what the fields mean)."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from checkpoints import CheckpointError

FOLDER = Path(__file__).parent
BUNDLED = FOLDER / "bundled"

_KINDS = {"archive", "tar", "http", "hugging_face", "pypi", "bundled"}


@dataclass(frozen=True)
class FileFacts:
    """A file must have this size in bytes and this sha256. Each is None where nobody has said."""

    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Source:
    """One place to get a checkpoint. `take` maps names there to names in the checkpoint's folder, `join` a file to the
    parts that it is put together from."""

    archive: str | None = None
    tar: str | None = None
    http: dict[str, str] = field(default_factory=dict)
    hugging_face: str | None = None
    revision: str = "main"
    pypi: str | None = None
    take: dict[str, str] = field(default_factory=dict)
    join: dict[str, list[str]] = field(default_factory=dict)
    bundled: str | None = None

    def __str__(self) -> str:
        if self.archive or self.tar:
            return str(self.archive or self.tar)
        if self.hugging_face:
            return f"https://huggingface.co/{self.hugging_face} ({self.revision})"
        if self.pypi:
            return f"PyPI {self.pypi}"
        return f"bundled {self.bundled}" if self.bundled else ", ".join(self.http)


@dataclass(frozen=True)
class Entry:
    """A named checkpoint; with `is_own` one that somebody gave the address of (remote.py)."""

    name: str
    family: str
    licence: str
    description: str
    sources: tuple[Source, ...]
    files: dict[str, FileFacts] = field(default_factory=dict)
    audio: dict[str, Any] = field(default_factory=dict)
    is_own: bool = False

    @property
    def bundled(self) -> Path | None:
        """The folder that ships with voxport, where there is one."""
        return next((BUNDLED / source.bundled for source in self.sources if source.bundled), None)


@functools.cache
def catalogue() -> dict[str, Entry]:
    """Returns every entry of catalogue.yaml by name."""
    return read_catalogue(FOLDER / "catalogue.yaml")


def read_catalogue(path: Path) -> dict[str, Entry]:
    """Raises CheckpointError for an entry with an unknown field or without what it needs."""
    entries = {}
    for name, raw in (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).items():
        try:
            sources = tuple(Source(**source) for source in raw.pop("sources"))
            files = {file: FileFacts(**facts) for file, facts in raw.pop("files", {}).items()}
            entries[name] = Entry(name=name, sources=sources, files=files, **raw)
        except (TypeError, KeyError, AttributeError) as error:
            raise CheckpointError(f"{path}: entry {name!r} is not well formed: {error}") from error
        for source in sources:
            if not any(getattr(source, kind) for kind in _KINDS):
                raise CheckpointError(f"{path}: entry {name!r} has a source of none of: {', '.join(sorted(_KINDS))}")
    return entries


def find(name: str) -> Entry:
    """The entry called `name`; raises CheckpointError with the nearest names."""
    if name not in catalogue():
        raise CheckpointError(f"there is no checkpoint {name!r}{suggestion(name, catalogue())}")
    return catalogue()[name]


def suggestion(name: str, known: Iterable[str]) -> str:
    """`; did you mean …?` where something is near, else the choices."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, 1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; there is: {', '.join(names)}"
