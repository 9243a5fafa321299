"""The configuration's schema, put together from the option classes of the floors that use them."""

from __future__ import annotations

import dataclasses
import functools
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
    check_format,
    check_pair,
)
from reports.options import CompareOptions, TrackingOptions
from runtime.machine.setting import setting
from runtime.measuring.options import GateLimits, MeasureOptions


@dataclass
class PartOptions:
    """A model that speaks together with another, with the checkpoint that it takes; without a family it is none."""

    family: str = setting("", "of converters/families; empty: there is none")
    default_checkpoint: str = setting("", "where no checkpoint is named")
    checkpoint: CheckpointOptions = field(default_factory=CheckpointOptions)


@dataclass
class ModelOptions:
    """What is converted. `parts`: the models that work together with it, by what they are to it
    (converters/voices.py)."""

    family: str = setting("hifigan", "of converters/families")
    default_checkpoint: str = setting("", "where no checkpoint is named")
    parts: dict[str, PartOptions] = field(default_factory=lambda: {name: PartOptions() for name in PARTS})

    def chosen_parts(self) -> dict[str, PartOptions]:
        return {name: part for name, part in self.parts.items() if part.family}


@dataclass
class Choice:
    """A group whose choices differ in their name only."""

    name: str = setting("", "as it stands in a bundle's name")


@dataclass
class GateOptions:
    """Limits by precision; a precision without limits is measured and not judged."""

    limits: dict[str, GateLimits] = field(default_factory=dict)


@dataclass
class SuiteOptions:
    """A matrix of jobs; a list of values of an entry's setting is every one of them."""

    name: str = setting("", "of the suite, which trends and champions are kept by")
    jobs: list[dict[str, Any]] = setting(text="settings of each entry", factory=list)
    limit_minutes: float = setting(30.0, "a job that takes longer is ended")
    compare: CompareOptions = field(default_factory=CompareOptions)


@dataclass
class RunnerOptions:
    """Where a suite's jobs run. Resources of Dask that are not named: cores and memory, and apple_silicon=1, as far as
    workers offer them."""

    kind: str = setting("local", "processes of this machine, or Dask's workers", values=("local", "dask"))
    processes: int = setting(0, "jobs at once on this machine; 0: as many as fit")
    cores: int = setting(2, "of a job")
    memory_gb: float = setting(6.0, "of a job; one that takes more is ended")
    scheduler: str = setting("", "Dask: its address [workers on this machine]")
    # Any: OmegaConf merges nothing into an optional dict
    offers: Any = setting(None, "Dask: resources of workers on this machine beside cores and memory")
    convert: Any = setting(None, "Dask: resources that a conversion holds")
    measure: Any = setting(None, "Dask: resources that a measurement holds")
    environment: list[str] = setting(text="Dask: names of variables that travel", factory=list)
    allow_skew: bool = setting(False, "Dask: go on where machines have other versions")

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
    """One conversion and its measurements, or a suite of them."""

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
    output: str = setting("bundles", "folder of the bundles")
    audit: bool = setting(False, "tell op by op what rounding costs")
    force: bool = setting(False, "convert and measure anew")

    def __post_init__(self) -> None:
        check_pair(self.format.name, self.upsampler.name)
        if self.stream.mode != "offline" and self.shape.flexible:
            raise ConversionError(
                f"stream={self.stream.mode} takes fixed chunks: add stream=offline, or leave out shape=flexible"
            )
        check_format(self.format, self.precision, self.shape, self.stream)

    @property
    def mode(self) -> str:
        """The mode of the artefact as it stands in names: offline, flexible, window8, lowlat2r5."""
        return "flexible" if self.shape.flexible else self.stream.name


@functools.cache
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
