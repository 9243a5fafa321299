"""Hashes and configs: what can be known of a checkpoint without reading its weights."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from checkpoints import CheckpointError
from checkpoints.gin import read_gin

ARCHITECTURES = Path(__file__).parent / "architectures"  # configs as published, for weights that are drawn
# Of Coqui's configs, Piper's and Mimic 3's.
_SECTIONS = ("audio", "characters", "encoder_params", "decoder_params", "espeak", "generator_model_params", "inference",
             "model_args", "model_params", "phoneme_id_map", "phonemes", "speaker_id_map")  # fmt: skip
_LFS = b"version https://git-lfs.github.com/spec/"


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def refuse_pointer(path: Path) -> None:
    """Raises CheckpointError for what Git LFS leaves in a file's place where nobody fetched it."""
    with path.open("rb") as file:
        if file.read(len(_LFS)) == _LFS:
            raise CheckpointError(
                f"{path} is a Git LFS pointer, not the file itself: `git lfs pull` in its repository brings that"
            )


def read_config(path: Path) -> dict[str, Any]:
    """A Coqui `config.json`, also with the `//` comments that old ones have; of a gin config, its bindings as `gin`.

    Raises CheckpointError where it is none.
    """
    if path.suffix == ".gin":
        return {"gin": read_gin(path)}
    try:
        refuse_pointer(path)
        text = path.read_text(encoding="utf-8-sig")  # some editors begin it with a byte order mark
    except OSError as error:
        raise CheckpointError(f"there is no config {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} cannot be read as a JSON config: it is no UTF-8 text") from error
    try:
        config = _json(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read as a JSON config: {error}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} holds a {type(config).__name__}, not a config")
    for section in _SECTIONS:
        if not isinstance(config.get(section) or {}, dict):
            raise CheckpointError(f"{path}: {section} is {_shown(config[section])}, it should be a section of settings")
    return config


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return json.loads(re.sub(r"(^|[\s,\[{])//[^\n]*", r"\1", text))


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:80]}…"
