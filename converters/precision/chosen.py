"""What a conversion chose by itself, on its way from the format that writes the artefact to the manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from runtime.bundle.store import MixedRecord
from runtime.machine.files import write_json

_FILE = ".chosen.json"  # behind a component's name


@dataclass(frozen=True)
class Chosen:
    """`mixed`: by function. `spared`: tensors that a compressed precision left as they were; None where it had no
    choice."""

    mixed: dict[str, MixedRecord] = field(default_factory=dict)
    spared: tuple[str, ...] | None = None


def write_chosen(mixed: Mapping[str, MixedRecord], spared: Sequence[str] | None, name: str, folder: Path) -> None:
    records = {function: record.model_dump() for function, record in mixed.items()}
    write_json(folder / f"{name}{_FILE}", {"mixed": records, "spared": spared})


def take_chosen(name: str, folder: Path) -> Chosen:
    """From the file that it was written to, which goes."""
    path = folder / f"{name}{_FILE}"
    if not path.is_file():
        return Chosen()
    stored = json.loads(path.read_text())
    path.unlink()
    mixed = {function: MixedRecord(**row) for function, row in stored["mixed"].items()}
    return Chosen(mixed, None if stored["spared"] is None else tuple(stored["spared"]))
