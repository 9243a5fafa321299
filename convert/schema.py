"""The configuration's schema, put together from the option classes of the floors that use them."""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass, field
from typing import Any

from checkpoints.catalogue import catalogue
from checkpoints.options import CheckpointOptions
from converters.options import (
    PARTS,
    ConversionError,
    FormatOptions,
    GoldenOptions,
    PrecisionOptions,
    Shape,
    StreamOptions,
    check_pair,
)
from reports.options import CompareOptions, TrackingOptions
from runtime.bundle.formats import FORMATS
from runtime.measuring.options import GateLimits, MeasureOptions


@dataclass
class PartOptions:
    """A model that speaks together with another: as `ModelOptions`, with the checkpoint that it takes."""

    family: str = ""
    default_checkpoint: str = ""
    checkpoint: CheckpointOptions = field(default_factory=CheckpointOptions)


@dataclass
class ModelOptions:
    """`family` of converters/families; `default_checkpoint` is what it converts when no checkpoint is named. `parts`:
    the models that work together with it, by what they are to it (converters/voices.py); one without a family is none.
    """

    family: str = "hifigan"
    default_checkpoint: str = ""
    parts: dict[str, PartOptions] = field(default_factory=lambda: {name: PartOptions() for name in PARTS})

    def chosen_parts(self) -> dict[str, PartOptions]:
        return {name: part for name, part in self.parts.items() if part.family}


@dataclass
class Choice:
    """A group whose choices differ in their name only."""

    name: str = ""


@dataclass
class GateOptions:
    """Limits by precision; a precision without limits is measured and not judged."""

    limits: dict[str, GateLimits] = field(default_factory=dict)


@dataclass
class SuiteOptions:
    """`jobs`: settings of each entry, a list of values being every one of them. `limit_minutes`: a job that takes
    longer is ended. `compare`: how a bundle is compared with its champion."""

    name: str = ""
    jobs: list[dict[str, Any]] = field(default_factory=list)
    limit_minutes: float = 30.0
    compare: CompareOptions = field(default_factory=CompareOptions)


@dataclass
class RunnerOptions:
    """Says where a suite's jobs run. `processes`: jobs at once on this machine, 0 for as many as fit at `cores` and
    `memory_gb` each; one that takes more memory is ended.

    Of Dask: `scheduler`: its address, empty for workers on this machine, which then offer `offers` beside their cores
    and memory; `convert`, `measure`: resources that a job of the kind holds (default: cores and memory, and
    apple_silicon=1, as far as workers offer them); `environment`: names of variables that travel; `allow_skew`: go on
    where machines have other versions."""

    kind: str = "local"
    processes: int = 0
    cores: int = 2
    memory_gb: float = 6.0
    scheduler: str = ""
    offers: Any = None  # Any: OmegaConf merges nothing into an optional dict
    convert: Any = None
    measure: Any = None
    environment: list[str] = field(default_factory=list)
    allow_skew: bool = False

    def __post_init__(self) -> None:
        for name in ("offers", "convert", "measure"):
            resources = getattr(self, name)
            is_right = isinstance(resources, dict) and all(
                isinstance(value, int | float) for value in resources.values()
            )
            if resources is not None and not is_right:
                raise ConversionError(
                    f"runner.{name} is {resources!r}: it takes resources such as {{apple_silicon: 1}}"
                )


@dataclass
class Job:
    """One conversion and its measurements, or a suite of them. `output`: folder of the bundles; `audit`: tell op by op
    what rounding costs; `force`: convert and
    measure anew."""

    model: ModelOptions = field(default_factory=ModelOptions)
    checkpoint: CheckpointOptions = field(default_factory=CheckpointOptions)
    precision: PrecisionOptions = field(default_factory=PrecisionOptions)
    format: FormatOptions = field(default_factory=FormatOptions)
    upsampler: Choice = field(default_factory=Choice)
    shape: Shape = field(default_factory=Shape)
    stream: StreamOptions = field(default_factory=StreamOptions)
    goldens: GoldenOptions = field(default_factory=GoldenOptions)
    gates: GateOptions = field(default_factory=GateOptions)
    measure: MeasureOptions = field(default_factory=MeasureOptions)
    tracking: TrackingOptions = field(default_factory=TrackingOptions)
    suite: SuiteOptions = field(default_factory=SuiteOptions)
    runner: RunnerOptions = field(default_factory=RunnerOptions)
    output: str = "bundles"
    audit: bool = False
    force: bool = False

    def __post_init__(self) -> None:
        check_pair(self.format.name, self.upsampler.name)
        if self.stream.mode != "offline" and self.shape.flexible:
            raise ConversionError(
                f"stream={self.stream.mode} takes fixed chunks: add stream=offline, or leave out shape=flexible"
            )
        facts = FORMATS.get(self.format.name)  # a name that is none is refused by the format's own group
        is_refused = facts is not None and not facts.compressed_streams
        if self.stream.mode != "offline" and self.precision.weights and is_refused:
            raise ConversionError(
                f"precision={self.precision.name} in format={self.format.name} compresses layers, and the module of a "
                "stream's chunk has none: add stream=offline, or take format=mlprogram"
            )

    @property
    def mode(self) -> str:
        """The mode of the artefact as it stands in names: offline, flexible, window8, lowlat2r5."""
        return "flexible" if self.shape.flexible else self.stream.name


def register() -> None:
    """Tells Hydra the schema, and every catalogued checkpoint as a choice of the group `checkpoint`."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    store.store(name="schema", node=Job)
    for name in catalogue():
        store.store(group="checkpoint", name=name, node={"name": name, "source": "auto", "config": None})


def settings(kind: Any = Job, prefix: str = "") -> dict[str, Any]:
    """Every dotted setting of the schema and the type of its value. A dict's settings end in `*`."""
    types_by_name: dict[str, Any] = {}
    hints = typing.get_type_hints(kind)
    for item in dataclasses.fields(kind):
        hint, name = hints[item.name], prefix + item.name
        types_by_name[name] = hint
        if dataclasses.is_dataclass(hint):
            types_by_name |= settings(hint, f"{name}.")
        elif typing.get_origin(hint) is dict:
            value = typing.get_args(hint)[1]
            types_by_name[f"{name}.*"] = value
            if dataclasses.is_dataclass(value) and not isinstance(value, types.UnionType):
                types_by_name |= settings(value, f"{name}.*.")
    return types_by_name


def setting_names() -> list[str]:
    """Lists every dotted setting of the schema. A dict's settings end in `*`."""
    return list(settings())
