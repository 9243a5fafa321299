"""What `python -m runtime` does, a file per subject; each command takes parsed options and gives facts to print."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from runtime.bundle.formats import format_of
from runtime.bundle.spec import InputError, TimeAxis
from runtime.bundle.store import Bundle, BundleError, ComponentRecord, open_bundle
from runtime.engines import Engine
from runtime.machine.files import read_arrays
from runtime.playing.stream import StreamingArtefact
from runtime.playing.synthesis import open_artefact
from runtime.speech.mel import Mel


def vocoder(path: Path) -> tuple[Bundle, ComponentRecord, TimeAxis, Mel]:
    if is_artefact(path):
        raise BundleError(f"{path.name} is a bare artefact: its mel settings and receptive field are in its bundle")
    bundle = open_bundle(path)
    record = bundle.main
    if record.time is None or not isinstance(record.features, Mel):
        raise BundleError(f"{path.name}: component {record.name} is no vocoder")
    return bundle, record, record.time, record.features


def opened(options: argparse.Namespace) -> Engine | StreamingArtefact:
    """An artefact, or the main component of a bundle."""
    path = options.artefact
    component = None if is_artefact(path) else open_bundle(path, verify=False).main.name
    return open_artefact(path, options.engine, component, options.threads, options.compute_unit)


def engine_of(opened: Engine | StreamingArtefact) -> Engine:
    return opened.edge if isinstance(opened, StreamingArtefact) else opened


def is_artefact(path: Path) -> bool:
    return format_of(path) is not None


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz. Raises InputError where it cannot be read as such."""
    try:
        return read_arrays(path)
    except ValueError as error:
        raise InputError(f"{path} cannot be read as arrays: {error}") from error
