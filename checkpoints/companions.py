"""Files beside the weights that a model needs: names of speakers and languages, Mimic 3's symbols, other weights."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from checkpoints import CheckpointError
from checkpoints.files import refuse_pointer, sha256_of

_SPEAKERS = ("speaker_ids.json", "speaker_ids.pth", "speakers.json", "speakers.pth")
_LANGUAGES = ("language_ids.json",)
NAMES = (*_SPEAKERS, *_LANGUAGES, "phonemes.txt", "speaker_map.csv")
# Weights that FreeVC's modules have under these prefixes, published by themselves
WEIGHTS = {"WavLM-Large.pt": "wavlm.", "speaker_encoder.pt": "enc_spk_ex."}


def companion_hashes(folder: Path) -> dict[str, str]:
    """File -> sha256, so that they count as part of the checkpoint."""
    return {name: sha256_of(folder / name) for name in (*NAMES, *WEIGHTS) if (folder / name).is_file()}


def read_companions(folder: Path) -> dict[str, Any]:
    """`speaker_ids` (name -> row), `speaker_vectors` (name -> embedding, the mean of its recordings'), `language_ids`,
    `symbol_ids` (Mimic 3's phonemes.txt). Only what is there. Raises CheckpointError for a file that cannot be read.
    """
    companions: dict[str, Any] = {}
    present = [name for name in NAMES if (folder / name).is_file()]
    for name in present:
        try:
            companions.update(_read(folder / name))
        except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError,
                csv.Error) as error:  # fmt: skip
            raise CheckpointError(f"{folder / name} cannot be read: {error}") from error
    return companions


def _read(path: Path) -> dict[str, Any]:
    refuse_pointer(path)
    if path.name == "phonemes.txt":  # "ID SYMBOL", one a line
        lines = (line.rstrip("\n").split(" ", 1) for line in path.read_text(encoding="utf-8-sig").splitlines())
        return {
            "symbol_ids": {line[1]: int(line[0]) for line in lines if len(line) == 2 and not line[0].startswith("#")}
        }
    if path.name == "speaker_map.csv":  # "ID|DATASET|NAME|ALIAS…"
        with path.open(newline="", encoding="utf-8-sig") as file:
            return {"speaker_ids": {row[2]: int(row[0]) for row in csv.reader(file, delimiter="|") if len(row) > 2}}
    listed = _mapping(path)
    if path.name in _LANGUAGES:
        return {"language_ids": {str(name): int(row) for name, row in listed.items()}}
    if all(isinstance(value, Mapping) for value in listed.values()):
        return {"speaker_vectors": _means(listed)}
    return {"speaker_ids": {str(name): int(row) for name, row in listed.items()}}


def _mapping(path: Path) -> Mapping[Any, Any]:
    if path.suffix == ".json":
        listed = json.loads(path.read_text(encoding="utf-8-sig"))
    else:
        from checkpoints.pickles import load_pickle

        listed = load_pickle(path)
    if not isinstance(listed, Mapping) or not listed:
        raise ValueError("it is not a table of names")
    return listed


def _means(recordings: Mapping[Any, Mapping[str, Any]]) -> dict[str, list[float]]:
    """Recording -> {name, embedding} as Coqui stores d-vectors: speaker -> mean embedding."""
    by_name: dict[str, list[list[float]]] = {}
    for recording in recordings.values():
        by_name.setdefault(str(recording["name"]), []).append([float(value) for value in recording["embedding"]])
    return {name: [sum(column) / len(rows) for column in zip(*rows)] for name, rows in by_name.items()}
