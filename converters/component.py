"""The unit of conversion, and the tables of families and formats."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from checkpoints.load import LoadedCheckpoint
from converters.options import ConversionError, FormatOptions, Shape
from runtime.audio import MelSettings
from runtime.speaker import SpeakerSettings
from runtime.spec import Dim, TensorSpec, TimeAxis


@dataclass(frozen=True)
class Component:
    """One traceable module with named, typed, bounded inputs and outputs.

    `example` gives inputs of the default shapes. `computes` says in words which upstream function this is.
    `role` says what it is for in a voice (runtime/roles.py). `time` is set where the component is local in time,
    `features` where its input is the mel of audio, `speaker` where it embeds speakers. `states`: buffers of the module
    that Core ML is to keep from call to call. `batches`: fixed sizes of the leading axis, each a function of its own
    where the format holds several over the same weights.
    """

    name: str
    module: nn.Module
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    example: Callable[[], dict[str, Tensor]]
    computes: str
    time: TimeAxis | None = None
    features: MelSettings | None = None
    states: tuple[TensorSpec, ...] = ()
    role: str = "vocoder"
    speaker: SpeakerSettings | None = None
    batches: tuple[int, ...] = ()

    def at_batch(self, size: int) -> Component:
        """The same component at one size of its leading axis."""

        def fixed(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
            return tuple(replace(spec, shape=(size, *spec.shape[1:])) for spec in specs)

        def example() -> dict[str, Tensor]:
            return {name: value[:1].expand(size, *value.shape[1:]).contiguous() for name, value in whole().items()}

        whole = self.example
        return replace(self, inputs=fixed(self.inputs), outputs=fixed(self.outputs), example=example, batches=())

    def dynamic_axes(self, spec: TensorSpec) -> dict[int, torch.export.Dim]:
        """The flexible axes of one input, as torch.export wants them."""
        return {
            index: torch.export.Dim(f"{spec.name}_{index}", min=axis.lo, max=axis.hi)
            for index, axis in enumerate(spec.shape)
            if isinstance(axis, Dim)
        }


class Family(Protocol):
    """An architecture: builds the original module from a checkpoint and cuts it into components."""

    def load(self, checkpoint: LoadedCheckpoint) -> nn.Module: ...

    def components(self, module: nn.Module, checkpoint: LoadedCheckpoint, shape: Shape) -> list[Component]: ...


class Format(Protocol):
    """An output format: writes one component to `folder` and returns the artefact's path.

    `convert_functions` writes several functions over the same weights, the first being the one that is called by
    default, where `holds_functions` says that the format can.
    """

    def convert(self, component: Component, precision: str, options: FormatOptions, folder: Path) -> Path: ...

    def holds_functions(self, options: FormatOptions) -> bool: ...

    def convert_functions(
        self, functions: Mapping[str, Component], precision: str, options: FormatOptions, folder: Path
    ) -> Path: ...


FAMILIES = {"ge2e": "converters.families.ge2e", "hifigan": "converters.families.hifigan"}
FORMATS = {
    "coreai": "converters.formats.coreai",
    "mlprogram": "converters.formats.mlprogram",
    "neuralnetwork": "converters.formats.neuralnetwork",
    "onnx": "converters.formats.onnx",
}


def family(name: str) -> Family:
    return _module(FAMILIES, "family", name)


def format_(name: str) -> Format:
    return _module(FORMATS, "format", name)


def _module(table: dict[str, str], kind: str, name: str) -> Any:
    if name not in table:
        raise ConversionError(f"there is no {kind} {name!r}; there is: {', '.join(sorted(table))}")
    return importlib.import_module(table[name])
