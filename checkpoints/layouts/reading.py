"""What a layout's reader looks at, and what it says of it."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from checkpoints import CheckpointError
from checkpoints.files import read_config

_LARGEST_TEXT = 8 << 20  # bytes of a YAML file


@dataclass(frozen=True)
class Place:
    """A path that was given: a folder, or one file (`file`) of it. `config`: where a config was named beside it."""

    folder: Path
    file: Path | None = None
    config: Path | None = None

    @classmethod
    def of(cls, path: Path, config: Path | None = None) -> Place:
        return cls(path, None, config) if path.is_dir() else cls(path.parent, path, config)

    @cached_property
    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if path.is_file())

    @cached_property
    def json(self) -> dict[str, Any]:
        """The config that was named, else that beside the weights; nothing where there is none, or it is no JSON."""
        path = self.config or self.folder / "config.json"
        return read_config(path) if path.suffix == ".json" and path.is_file() else {}

    def yaml(self, *names: str) -> dict[str, Any]:
        """The first of these YAML files that is there, or the config that was named; nothing where there is none."""
        paths = [self.config] if self.config else [self.folder / name for name in names]
        found = next((path for path in paths if path.suffix in (".yml", ".yaml") and path.is_file()), None)
        return read_yaml(found.read_bytes(), str(found)) if found else {}

    def weights(self, *patterns: str, but: Sequence[str] = ()) -> list[Path]:
        """The file that was given, else those of the folder that fit a pattern, the last step of a training last."""
        if self.file is not None:
            return [self.file]
        fitting = [
            name
            for name in self.names
            if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
            and not any(fnmatch.fnmatch(name, pattern) for pattern in but)
        ]
        return [self.folder / name for name in sorted(fitting, key=by_step)]


def by_step(name: str) -> tuple[int, str]:
    """Orders `g_5000` before `g_10000`."""
    digits = "".join(one if one.isdigit() else " " for one in name).split()
    return (int(digits[-1][:18]) if digits else -1, name)


@dataclass(frozen=True)
class Reading:
    """What a path holds. `layout`: of the table; `title`: whose trainer wrote it and what network it is; `family`,
    `weights`, `config`: what voxport converts, in its own terms; `needs`: why it does not, and what would be needed;
    `notes`: what a user is to know of it."""

    layout: str
    title: str
    family: str = ""
    weights: Path | None = None
    config: dict[str, Any] = field(default_factory=dict, repr=False)
    needs: str = ""
    notes: tuple[str, ...] = ()


class _Inert(yaml.SafeLoader):
    """Reads the tags of other programs, such as hyperpyyaml's, as the plain values behind them."""


def _plain(loader: yaml.SafeLoader, _: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node) if isinstance(node, yaml.ScalarNode) else None


_Inert.add_multi_constructor("!", _plain)
_Inert.add_multi_constructor("tag:yaml.org,2002:python/", _plain)


def read_yaml(raw: bytes, name: str) -> dict[str, Any]:
    """A YAML config as plain data: what its tags ask for is not made. Raises CheckpointError where it is none."""
    if len(raw) > _LARGEST_TEXT:
        raise CheckpointError(f"{name} has {len(raw):,} bytes: that is no config")
    if raw.count(b"&") > 1000:  # aliases of aliases grow without end
        raise CheckpointError(f"{name} has more anchors than any config")
    try:
        value = yaml.load(raw, Loader=_Inert)  # a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
        raise CheckpointError(f"{name} cannot be read as YAML: {' '.join(str(error).split())[:200]}") from error
    return dict(value) if isinstance(value, Mapping) else {}


def section(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A section of a config; an empty one where it is not there or something else."""
    value = config.get(name)
    return dict(value) if isinstance(value, Mapping) else {}


def require(config: Mapping[str, Any], names: Sequence[str], of: str) -> None:
    """Raises CheckpointError that names what a config does not say."""
    missing = [name for name in names if config.get(name) is None]
    if missing:
        raise CheckpointError(f"{of} does not say {', '.join(missing)}, which nothing else tells")


def hifigan_settings(config: Mapping[str, Any], in_channels: Any) -> dict[str, Any]:
    """`generator_model_params` from the names that jik876's configs have, and its descendants'."""
    return {
        "in_channels": in_channels,
        "out_channels": 1,
        "resblock_type": str(config.get("resblock", 1)),
        "resblock_kernel_sizes": config["resblock_kernel_sizes"],
        "resblock_dilation_sizes": config["resblock_dilation_sizes"],
        "upsample_factors": config["upsample_rates"],
        "upsample_kernel_sizes": config["upsample_kernel_sizes"],
        "upsample_initial_channel": config["upsample_initial_channel"],
    }


def hop_of(rates: Any) -> int:
    """Samples per frame of upsampling layers; 0 where they are no list of numbers."""
    is_list = isinstance(rates, list | tuple) and all(isinstance(rate, int) for rate in rates)
    return math.prod(rates) if is_list else 0
