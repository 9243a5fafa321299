"""The policy: which weights a job gets, and when the bundled ones may stand in."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from checkpoints import CheckpointError
from checkpoints.catalogue import BUNDLED, Entry, FileFacts, catalogue, find
from checkpoints.companions import companion_hashes
from checkpoints.download import IntegrityError, Progress, Unavailable
from checkpoints.fetch import fetch, known_facts, origin
from checkpoints.files import ARCHITECTURES, read_config, refuse_pointer, sha256_of
from checkpoints.layouts import recognise
from checkpoints.layouts.reading import Reading
from checkpoints.options import CheckpointOptions
from checkpoints.remote import fetched, is_remote
from runtime.machine.address import scrubbed

# The only weights that may stand in for others, and only where nobody named any.
FALLBACK = {"hifigan": "kathleen_hifigan"}

# The file that Coqui takes from an unpacked model, in its order (coqui-tts TTS/utils/manage.py); else the only one.
_WEIGHT_FILES = (
    "model.safetensors",
    "model.bin",
    "model_file.pth",
    "model_file.pth.tar",
    "model.pth",
    "checkpoint.pth",
)
_BEST = "best_model.pth"  # of a folder in which Coqui's trainer ran: its best weights, beside numbered ones
# Families whose settings lie in the weight file or follow from it, or which have one size.
_NEED_NO_CONFIG = ("fargan", "hubert", "knn_vc", "pitchdnn", "rvc", "swift_f0")
_HAVE_INDEX = ("rvc",)
_WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt", ".tar", ".onnx", ".c", ".ckpt", ".ts")


@dataclass(frozen=True)
class LocatedCheckpoint:
    """A checkpoint's files on this machine. `sha256` is that of the weight file, of the config where weights are drawn
    and there is no such file (`is_random`); `config` is Coqui's, as data;
    `index`: a retrieval index; `layout`: of another trainer's, whose weights get our names (checkpoints/layouts)."""

    name: str
    family: str
    licence: str
    source: str
    sha256: str
    weights: Path | None
    config: dict[str, Any] = field(repr=False)
    stats: Path | None = None
    is_fallback: bool = False
    index: Path | None = None
    layout: str = ""

    @property
    def is_random(self) -> bool:
        return self.weights is None


def locate(
    options: CheckpointOptions,
    family: str,
    default: str,
    warn: Callable[[str], None],
    progress: Progress = lambda done, total: None,
    setting: str = "checkpoint",
) -> LocatedCheckpoint:
    """The files that the options ask for, fetched and checked; load.py reads them. `setting`: what the options are
    called where they come from, for the sentences about them.

    Raises CheckpointError where it cannot be had, is not what it should be, or is of another family.
    """
    if options.source == "random":
        return _random(find(options.name or default), family, setting)
    if options.source not in ("auto", "required", "bundled"):
        return _own(options, family, warn, progress, setting)
    if options.source == "bundled":
        return _locate_entry(_bundled_entry(options.name, default, family), family)
    entry = find(options.name or default)
    _require_family(entry, family)
    try:
        folder = fetch(entry, progress)
    except Unavailable as error:
        stand_in = FALLBACK.get(family)
        if options.source == "required" or options.name is not None or stand_in is None:
            if _architecture(entry).is_file():
                raise Unavailable(f"{str(error).rstrip('.')}. For parity alone: {setting}.source=random") from error
            raise
        warn(
            f"{error}. The bundled {stand_in} stands in for the default {entry.name}: metrics of this run are of "
            f"{stand_in}. Name a checkpoint, or pass {setting}.source=required, to rule that out."
        )
        return _locate_entry(find(stand_in), family, is_fallback=True)
    return _locate(entry, folder)


def _bundled_entry(name: str | None, default: str, family: str) -> Entry:
    if name is None:
        name = default if default and find(default).bundled else FALLBACK.get(family)
        if name is None:
            raise CheckpointError(f"no weights of family {family} ship with voxport: pass checkpoint=NAME")
    entry = find(name)
    if entry.bundled is None:
        ours = ", ".join(entry.name for entry in catalogue().values() if entry.bundled)
        raise CheckpointError(f"checkpoint {entry.name} does not ship with voxport; what does: {ours}")
    return entry


def _locate_entry(entry: Entry, family: str, is_fallback: bool = False) -> LocatedCheckpoint:
    _require_family(entry, family)
    return _locate(entry, fetch(entry), is_fallback)


def _require_family(entry: Entry, family: str) -> None:
    if entry.family != family:
        fitting = ", ".join(name for name, other in catalogue().items() if other.family == family)
        raise CheckpointError(
            f"checkpoint {entry.name} is of family {entry.family}, the model is {family}; of that family: {fitting}"
        )


def _locate(entry: Entry, folder: Path, is_fallback: bool = False) -> LocatedCheckpoint:
    weights = weight_file(folder)
    refuse_pointer(weights)
    sha256 = sha256_of(weights)
    expected = known_facts(entry).get(weights.relative_to(folder).as_posix(), FileFacts()).sha256
    if expected is not None and sha256 != expected:
        raise IntegrityError(
            f"checkpoint {entry.name}: {weights.name} has changed since it was fetched (sha256 {sha256[:16]}…, want "
            f"{expected[:16]}…): delete {folder} and fetch it again"
        )
    config_path = _config_path(weights)
    if not config_path.is_file() and entry.family in _NEED_NO_CONFIG and _architecture(entry).is_file():
        config_path = _architecture(entry)  # what the file does not say
    config = read_config(config_path) if config_path.is_file() else {}
    config["companions"] = companion_hashes(folder)
    config["audio"] = {**(config.get("audio") or {}), **entry.audio}
    return LocatedCheckpoint(
        name=entry.name,
        family=entry.family,
        licence=entry.licence,
        source=origin(entry, folder),
        sha256=sha256,
        weights=weights,
        config=config,
        stats=_stats(folder, config),
        is_fallback=is_fallback,
    )


def _architecture(entry: Entry) -> Path:
    return ARCHITECTURES / f"{entry.name}.json"


def _random(entry: Entry, family: str, setting: str) -> LocatedCheckpoint:
    """An entry's published architecture without its weights."""
    _require_family(entry, family)
    if not _architecture(entry).is_file():
        known = ", ".join(sorted(path.stem for path in ARCHITECTURES.glob("*.json")))
        raise CheckpointError(f"{setting}.source=random: the architecture of {entry.name} is not kept; known: {known}")
    config = read_config(_architecture(entry))
    config["audio"] = {**(config.get("audio") or {}), **entry.audio}
    return LocatedCheckpoint(
        name=f"{entry.name}_random",
        family=family,
        licence="none: random weights",
        source="random weights at the published architecture",
        sha256=sha256_of(_architecture(entry)),
        weights=None,
        config=config,
    )


def _own(
    options: CheckpointOptions, family: str, warn: Callable[[str], None], progress: Progress, setting: str
) -> LocatedCheckpoint:
    """Anyone's own checkpoint, in Coqui's layout or another's."""
    path = fetched(options.source, progress) if is_remote(options.source) else Path(options.source).expanduser()
    if not path.exists():
        raise CheckpointError(
            f"{setting}.source={options.source}: there is no such path; it takes auto, required, bundled, random, "
            "the path of a checkpoint, hf:owner/name[@revision], or an address"
        )
    if path.resolve().is_relative_to(BUNDLED) and options.name is None:
        raise CheckpointError(f"for weights that ship with voxport pass {setting}.source=bundled")
    named_config = Path(options.config).expanduser() if options.config else None
    reading = recognise(path, named_config)
    if reading is not None:
        return _of_layout(reading, path, options, family, warn)
    weights = weight_file(path, warn) if path.is_dir() else path
    refuse_pointer(weights)
    config_path = named_config or _config_path(weights)
    needs_none = family in _NEED_NO_CONFIG or weights.suffix == ".ts"  # an export says itself what it is built of
    is_alone = needs_none and not options.config and not config_path.is_file()
    config = {} if is_alone else read_config(config_path)
    config["companions"] = companion_hashes(weights.parent)
    config.setdefault("audio", {})
    index = _index(options, weights, family)
    if index is not None:
        config["companions"][index.name] = sha256_of(index)
    return LocatedCheckpoint(
        name=_own_name(options, weights.stem if is_alone else weights.parent.resolve().name),
        family=family,
        licence="not stated",
        source=_origin(options, "own files"),
        sha256=sha256_of(weights),
        weights=weights,
        config=config,
        stats=_stats(config_path.parent, config),
        index=index,
    )


def _of_layout(
    reading: Reading, path: Path, options: CheckpointOptions, family: str, warn: Callable[[str], None]
) -> LocatedCheckpoint:
    """A checkpoint of another trainer. Raises CheckpointError for one that is not converted, or of another family."""
    if reading.needs:
        raise CheckpointError(f"{path} is {reading.title}, which voxport does not convert: {reading.needs}")
    if reading.family != family:
        raise CheckpointError(
            f"{path} is {reading.title}, of family {reading.family}; the model that was asked for is {family}: pass "
            f"model={reading.family}"
        )
    assert reading.weights is not None
    refuse_pointer(reading.weights)
    for note in reading.notes:
        warn(f"{path} ({reading.title}): {note}")
    return LocatedCheckpoint(
        name=_own_name(options, reading.weights.parent.resolve().name),
        family=family,
        licence="not stated",
        source=_origin(options, f"own files: {reading.title}"),
        sha256=sha256_of(reading.weights),
        weights=reading.weights,
        config={**reading.config, "companions": {}},
        layout=reading.layout,
    )


def _origin(options: CheckpointOptions, here: str) -> str:
    return scrubbed(options.source) if is_remote(options.source) else here


def _own_name(options: CheckpointOptions, called: str) -> str:
    name = options.name or re.sub(r"[^A-Za-z0-9_]+", "_", called).strip("_") or "own"
    return f"{name}_own" if name in catalogue() else name  # never to be taken for the catalogue's


def _index(options: CheckpointOptions, weights: Path, family: str) -> Path | None:
    """The retrieval index that was named, or that lies beside a voice."""
    if options.index is not None:
        path = Path(options.index).expanduser()
        if not path.is_file():
            raise CheckpointError(f"checkpoint.index={options.index}: there is no such file")
        return path
    if family not in _HAVE_INDEX:
        return None
    beside = sorted(weights.parent.glob("*.index"))
    named = [path for path in beside if weights.stem in path.stem]
    return next((found[0] for found in (beside, named) if len(found) == 1), None)


def weight_file(folder: Path, warn: Callable[[str], None] = lambda message: None) -> Path:
    """The file of weights in a folder of Coqui's. Raises CheckpointError where there is none, or more than one."""
    for name in _WEIGHT_FILES:
        if (folder / name).is_file():
            return folder / name
    others = [path for path in sorted(folder.iterdir()) if path.is_file() and path.name.endswith(_WEIGHT_SUFFIXES)]
    if len(others) != 1:
        names = ", ".join(path.name for path in others) or "none"
        if (folder / _BEST).is_file():
            warn(f"{folder}: of {names} it is {_BEST}; for another name the file: checkpoint.source={others[-1]}")
            return folder / _BEST
        raise CheckpointError(f"{folder}: which file holds the weights? found: {names}")
    return others[0]


def _config_path(weights: Path) -> Path:
    """A Piper voice's JSON is named after it, any other config.json lies beside the weights; the gin config of a run of
    Lightning there or up to three folders above."""
    named = weights.with_name(f"{weights.name}.json")
    if named.is_file() or weights.suffix != ".ckpt":
        return named if named.is_file() else weights.parent / "config.json"
    beside = weights.parent / "config.json"
    above = [folder / "config.gin" for folder in [weights.parent, *weights.resolve().parents[1:4]]]
    return beside if beside.is_file() else next((path for path in above if path.is_file()), above[0])


def _stats(folder: Path, config: dict[str, Any]) -> Path | None:
    """Coqui's mean and variance statistics: the config's path is the trainer's, the file lies beside it."""
    named = (config.get("audio") or {}).get("stats_path")
    if not isinstance(named, str) or not named:
        return None
    beside = (folder / Path(named).name, folder / "scale_stats.npy")
    return next((path for path in beside if path.is_file()), None)
