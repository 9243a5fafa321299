"""The unit of conversion, and the tables of families and formats."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from checkpoints.load import LoadedCheckpoint
from converters.options import ConversionError, FormatOptions, PrecisionOptions, Shape
from runtime.bundle.conversion import Conversion
from runtime.bundle.formats import FORMATS
from runtime.bundle.sampler import Sampler
from runtime.bundle.spec import Dim, TensorSpec, TimeAxis
from runtime.bundle.store import MixedRecord
from runtime.bundle.voice import VoiceRecord
from runtime.speech.features import Features, Sound


@dataclass(frozen=True)
class Component:
    """One traceable module with named, typed, bounded inputs and outputs.

    `example` gives inputs of the default shapes. `computes` says in words which upstream function this is.
    `time` is set where it is local, `features` where its first input is made of audio, `sound` where it makes audio.
    `states`: buffers of the module that Core ML is to keep from call to call. `sizes`: fixed sizes of the flexible
    axes, each a function of its own where the format holds several over the same weights; with `padded` an input goes
    to the next larger one, masked, else its rows are dealt out. `cases`: real inputs of any length, for what is chosen
    by them. `shortest`: the fewest frames that the module takes at once. `sampler`: how samples are made of its output;
    `time.output` is their name. `targets`: inputs that say whose voice it is to be, and the components that make them
    of a recording of that voice (runtime/playing/conversions.py); `sources`: those that say whose it was, likewise.
    """

    name: str
    module: nn.Module
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    example: Callable[[], dict[str, Tensor]]
    computes: str
    time: TimeAxis | None = None
    features: Features | None = None
    sound: Sound | None = None
    states: tuple[TensorSpec, ...] = ()
    sizes: tuple[int, ...] = ()
    padded: bool = False
    cases: tuple[Mapping[str, np.ndarray], ...] = ()
    shortest: int = 2
    sampler: Sampler | None = None
    targets: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)

    def at_size(self, size: int) -> Component:
        """The same component with every flexible axis at one size."""

        def fixed(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
            return tuple(
                replace(spec, shape=tuple(size if isinstance(axis, Dim) else axis for axis in spec.shape))
                for spec in specs
            )

        def example() -> dict[str, Tensor]:
            return {spec.name: _resized(tensors[spec.name], spec, size) for spec in self.inputs}

        tensors = self.example()
        return replace(self, inputs=fixed(self.inputs), outputs=fixed(self.outputs), example=example, sizes=())

    def dynamic_axes(self, spec: TensorSpec) -> dict[int, torch.export.Dim]:
        """The flexible axes of one input, as torch.export wants them. Axes of equal bounds are one and the same."""
        return {
            index: torch.export.Dim(f"from_{axis.lo}_to_{axis.hi}", min=axis.lo, max=axis.hi)
            for index, axis in enumerate(spec.shape)
            if isinstance(axis, Dim)
        }


def _resized(value: Tensor, spec: TensorSpec, size: int) -> Tensor:
    """Repeated or cut along the flexible axes of its specification."""
    for index, axis in enumerate(spec.shape):
        if isinstance(axis, Dim):
            value = value.index_select(index, torch.arange(size) % value.shape[index])
    return value


class Family(Protocol):
    """An architecture: builds the original module from a checkpoint and cuts it into components."""

    def load(self, checkpoint: LoadedCheckpoint) -> nn.Module: ...

    def components(self, module: nn.Module, checkpoint: LoadedCheckpoint, shape: Shape) -> list[Component]: ...


class VoiceFamily(Family, Protocol):
    """One whose components speak together: how, and the rows that a speaker's or language's number stands for."""

    def voice(self, module: nn.Module) -> VoiceRecord: ...

    def tables(self, module: nn.Module) -> dict[str, Tensor]: ...


class ConvertingFamily(Family, Protocol):
    """One that converts audio to audio together with other models: how, their first components given by what each is to
    it."""

    def conversion(self, module: nn.Module, parts: Mapping[str, Component]) -> Conversion: ...


@dataclass(frozen=True)
class Artefact:
    """The output of a format, and what it chose by itself. `mixed`: by function; `excluded`: tensors that a compressed
    precision left as they were, None where it had no choice."""

    path: Path
    mixed: dict[str, MixedRecord] = field(default_factory=dict)
    excluded: tuple[str, ...] | None = None


class Format(Protocol):
    """An output format: writes one component to `folder`.

    `convert_functions` writes several functions over the same weights, the first being the one that is called by
    default, where `holds_functions` says that the format can. `target`: the system that the artefact needs, as a
    manifest has it; `free_axes`: whether one function takes every length of a flexible axis; `notes`: what a user is
    to know of the artefacts in `folder`.
    """

    free_axes: bool

    def target(self, options: FormatOptions) -> str: ...

    def notes(self, folder: Path) -> list[str]: ...

    def convert(
        self, component: Component, precision: PrecisionOptions, options: FormatOptions, folder: Path
    ) -> Artefact: ...

    def holds_functions(self, options: FormatOptions) -> bool: ...

    def convert_functions(
        self, functions: Mapping[str, Component], precision: PrecisionOptions, options: FormatOptions, folder: Path
    ) -> Artefact: ...


FAMILIES = {
    "fargan": "converters.families.fargan",
    "forward_tts": "converters.families.forward_tts",
    "freevc": "converters.families.freevc",
    "ge2e": "converters.families.ge2e",
    "glow_tts": "converters.families.glow_tts",
    "hifigan": "converters.families.hifigan",
    "hubert": "converters.families.hubert",
    "knn_vc": "converters.families.knn_vc",
    "live_voice": "converters.families.live_voice",
    "melgan": "converters.families.gan_vocoder",
    "openvoice": "converters.families.openvoice",
    "parallel_wavegan": "converters.families.gan_vocoder",
    "pitchdnn": "converters.families.pitchdnn",
    "rave": "converters.families.rave",
    "rtvc_tacotron": "converters.families.rtvc_tacotron",
    "rvc": "converters.families.rvc",
    "swift_f0": "converters.families.swift_f0",
    "tacotron": "converters.families.tacotron",
    "univnet": "converters.families.gan_vocoder",
    "vits": "converters.families.vits",
    "wavernn": "converters.families.wavernn",
    "whisper": "converters.families.whisper",
}


def family(name: str) -> Family:
    return _module(FAMILIES, "family", name)


def voice_family(name: str) -> VoiceFamily | None:
    """The family, where its components speak together."""
    module = _module(FAMILIES, "family", name)
    return module if hasattr(module, "voice") else None


def converting_family(name: str) -> ConvertingFamily | None:
    """The family, where it converts audio to audio together with other models."""
    module = _module(FAMILIES, "family", name)
    return module if hasattr(module, "conversion") else None


def format_(name: str) -> Format:
    return _module({known: f"converters.formats.{known}" for known in FORMATS}, "format", name)


def _module(table: Mapping[str, str], kind: str, name: str) -> Any:
    if name not in table:
        raise ConversionError(f"there is no {kind} {name!r}; there is: {', '.join(sorted(table))}")
    return importlib.import_module(table[name])
