"""Weights of a TorchScript archive (`.ts`), read as data: nothing of the program in it is executed, or even read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from checkpoints import CheckpointError
from checkpoints.pickle_values import ScriptObject
from checkpoints.pickles import load_script

_MOST_OBJECTS, _DEEPEST = 100_000, 64


def read_torchscript(path: Path) -> tuple[dict[str, Tensor], dict[str, dict[str, Any]]]:
    """Returns the tensors by the module's path, as a state dict has them, and by module path its attributes that are
    numbers, text or tuples of numbers.

    Raises CheckpointError for a file that is damaged, is no TorchScript program, wants to run code, or is nested as no
    network is.
    """
    tensors: dict[str, Tensor] = {}
    layers: dict[str, dict[str, Any]] = {}
    for index, (name, module) in enumerate(_objects(load_script(path), "", path)):
        if index > _MOST_OBJECTS:
            raise CheckpointError(f"{path} holds more than {_MOST_OBJECTS} objects: it is not loaded")
        layers[name] = {str(key): value for key, value in module.attributes.items() if _is_plain(value)}
        for key, value in module.attributes.items():
            if isinstance(value, Tensor):
                tensors[f"{name}.{key}" if name else str(key)] = value.detach()
    return tensors, layers


def _objects(module: ScriptObject, name: str, path: Path, depth: int = 0) -> Iterator[tuple[str, ScriptObject]]:
    if depth > _DEEPEST:
        raise CheckpointError(f"{path} is nested more than {_DEEPEST} objects deep: it is not loaded")
    yield name, module
    for key, value in module.attributes.items():
        if isinstance(value, ScriptObject):
            yield from _objects(value, f"{name}.{key}" if name else str(key), path, depth + 1)


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple):
        return len(value) <= 8 and all(type(item) in (int, float, bool) for item in value)
    return value is None or type(value) in (int, float, bool) or (type(value) is str and len(value) < 1000)
