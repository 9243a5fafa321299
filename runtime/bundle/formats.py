"""The formats of artefacts: everything that is known of one without its converter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Upsampler = Literal["native", "polyphase", "metal"]
_KERNELS = get_args(Upsampler)


@dataclass(frozen=True)
class FormatFacts:
    """A format; its converter is `converters/formats/<name>.py`.

    `engines` execute it on any machine, the judging one first; Core ML does on a Mac where `is_core_ml`; `extras` do
    where they are installed and asked for by name. `target`: the
    system that it needs where nothing else is asked for, as a manifest has it. `upsamplers`: forms of upsampling that
    it holds, and `why_not` the others. `tools`: packages whose versions an artefact depends on. `functions`: whether
    an artefact can hold several, called by name; `compressed_streams`: whether weights are compressed in the module of
    a stream's chunk, too; `computes`: types of its arithmetic; `is_compressed`: whether it stores weights in fewer
    bits; `has_states`: whether it keeps states itself; `is_flexible`: whether its length may have bounds.
    """

    suffix: str
    engines: tuple[str, ...]
    target: str
    tools: tuple[str, ...]
    is_core_ml: bool = False
    extras: tuple[str, ...] = ()
    upsamplers: tuple[Upsampler, ...] = _KERNELS
    why_not: str = ""
    functions: bool = False
    compressed_streams: bool = True
    computes: tuple[str, ...] = ("fp32", "fp16")
    is_compressed: bool = False
    has_states: bool = False
    is_flexible: bool = False

    @property
    def is_program(self) -> bool:
        """Whether the reference engine executes it op by op: what is audited, chosen by, and compared so."""
        return "mil" in self.engines

    @property
    def is_lowered(self) -> bool:
        """Whether ONNX Runtime executes it, translated."""
        return "onnx" in self.engines and self.suffix != ".onnx"


FORMATS = {
    "mlprogram": FormatFacts(
        suffix=".mlpackage",
        engines=("mil", "onnx"),
        target="macOS15",
        tools=("coremltools",),
        is_core_ml=True,
        extras=("openvino",),
        upsamplers=("native", "polyphase"),
        why_not="an mlprogram can hold no custom layer (it would convert without an error into a file that no Mac "
        "compiles, coremltools 1416)",
        functions=True,
        computes=("fp32", "fp16", "mixed"),
        is_compressed=True,
        has_states=True,
        is_flexible=True,
    ),
    "onnx": FormatFacts(
        suffix=".onnx",
        engines=("onnx",),
        target="opset 18",
        tools=("onnx", "onnxscript"),
        extras=("openvino",),
        upsamplers=("native", "polyphase"),
        why_not="ONNX has no place for a Metal kernel",
        is_flexible=True,
    ),
    "neuralnetwork": FormatFacts(
        suffix=".mlmodel", engines=("neuralnetwork",), target="macOS12", tools=("coremltools",), is_core_ml=True
    ),
    "coreai": FormatFacts(
        suffix=".aimodel",
        engines=("coreai",),
        target="macOS27",
        tools=("coreai-core", "coreai-opt", "coreai-torch"),
        functions=True,
        is_compressed=True,
        compressed_streams=False,  # coreai-opt finds weights by their layers, and a stream's module has none
    ),
}


def format_of(path: Path) -> str | None:
    """The format of an artefact by its suffix; None of anything else."""
    return next((name for name, facts in FORMATS.items() if facts.suffix == path.suffix), None)


def facts_of(path: Path) -> FormatFacts | None:
    """Returns the facts of the format that `format_of` finds; None of anything else."""
    name = format_of(path)
    return None if name is None else FORMATS[name]
