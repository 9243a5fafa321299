"""What `python -m runtime` does, a file per subject; each command takes parsed options and gives facts to print."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from runtime.bundle.formats import format_of
from runtime.bundle.spec import InputError
from runtime.bundle.store import Bundle
from runtime.engines import Execution
from runtime.machine.files import read_arrays
from runtime.playing.player import Player, open_player

BUNDLES = Path("bundles")  # where `python -m convert` puts them


def execution_of(options: argparse.Namespace) -> Execution:
    """Reads what `--engine`, `--threads` and `--compute-unit` say. Raises EngineError."""
    return Execution(options.engine, options.threads, options.compute_unit)


def player_of(options: argparse.Namespace, bundle: Bundle) -> Player:
    """The player of what makes a bundle's audio, as the options say. Raises as `open_player`."""
    return open_player(bundle, execution_of(options), mode=options.mode, chunk=options.chunk)


def is_artefact(path: Path) -> bool:
    return format_of(path) is not None


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz. Raises InputError where it cannot be read as such."""
    try:
        return read_arrays(path)
    except ValueError as error:
        raise InputError(f"{path} cannot be read as arrays: {error}") from error
