"""Layouts of other trainers: each has a reader that recognises its files, gives the config in voxport's terms and the
weights under its names. A layout is one small file and a row here; rows are tried in order."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from checkpoints import CheckpointError
from checkpoints.layouts.reading import Place, Reading

# Name -> module, and the function of it that recognises the layout. Those that add to another stand before it.
LAYOUTS = {
    "nemo": ("nemo", "recognise"),
    "transformers_hifigan": ("transformers_hifigan", "recognise"),
    "transformers_vits": ("transformers_vits", "recognise"),
    "bigvgan": ("bigvgan", "recognise"),
    "istftnet": ("istftnet", "recognise"),
    "nsf_hifigan": ("nsf_hifigan", "recognise"),
    "jik876": ("jik876", "recognise"),
    "rvc": ("named", "rvc"),
    "jaywalnut_vits": ("jaywalnut_vits", "recognise"),
    "piper_training": ("piper_training", "recognise"),
    "kan_bayashi": ("kan_bayashi", "recognise"),
    "speechbrain": ("speechbrain", "recognise"),
    "espnet": ("named", "espnet"),
    "ming024": ("named", "ming024"),
    "xtts": ("named", "xtts"),
    "fatchord": ("named", "fatchord"),
}


def recognise(path: Path, config: Path | None = None) -> Reading | None:
    """What the layouts say of a path, None where none of them is its: it may be Coqui's.

    Raises CheckpointError for a layout that is recognised and damaged, or asks for what voxport does not do.
    """
    place = Place.of(path, config)
    for module, function in LAYOUTS.values():
        try:
            reading: Reading | None = getattr(_module(module), function)(place)
        except CheckpointError as error:
            raise CheckpointError(f"{error}" if str(path) in str(error) else f"{path}: {error}") from error
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise CheckpointError(f"{path}: its config is not as its trainer writes it: {error}") from error
        if reading is not None:
            return reading
    return None


def renamed(layout: str, weights: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """The weights of a layout under our names; `config` takes what only they say."""
    rename: Callable[..., dict[str, Any]] | None = getattr(_of(layout), "renamed", None)
    try:
        return rename(weights, config) if rename else weights
    except KeyError as error:
        raise CheckpointError(f"its weights have no {error}, which tells sizes of its network") from error
    except (TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(f"its config and its weights do not fit ({type(error).__name__}: {error})") from error


def statistics(layout: str, weights: Mapping[str, Any], config: Mapping[str, Any]) -> Any:
    """Mean and scale of a mel that lie among the weights, where a layout keeps them there."""
    of = getattr(_of(layout), "statistics", None)
    return of(weights, config) if of else None


@contextmanager
def weight_file(layout: str, path: Path) -> Iterator[Path]:
    """The file of tensors, unpacked while it is read where it lies in an archive."""
    unpacked = getattr(_of(layout), "unpacked", None) if layout else None
    if unpacked is None:
        yield path
        return
    with unpacked(path) as inner:
        yield inner


def _of(layout: str) -> Any:
    return _module(LAYOUTS[layout][0])


def _module(name: str) -> Any:
    return importlib.import_module(f"checkpoints.layouts.{name}")
