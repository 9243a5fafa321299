"""Engines execute artefacts. The table names them; each is imported on use."""

from __future__ import annotations

import importlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from runtime.bundle.formats import FORMATS, facts_of, format_of
from runtime.bundle.spec import TensorSpec
from runtime.errors import EngineError

State = Any  # what an engine's `new_state` gave: arrays by name, or Core ML's own object


@dataclass(frozen=True)
class EngineFacts:
    """`opens`: its class. `is_timed`: it is fast, not only right, so that how long it takes says something.
    `declared`: the formats in which it computes in the types that an artefact declares, all where nothing is said."""

    opens: str
    is_timed: bool = False
    declared: tuple[str, ...] = tuple(FORMATS)


ENGINES = {
    "coreai": EngineFacts("runtime.engines.coreai:CoreAIEngine"),
    "coreml": EngineFacts("runtime.engines.coreml:CoreMLEngine", is_timed=True),
    "mil": EngineFacts("runtime.engines.mil:MilEngine"),
    "neuralnetwork": EngineFacts("runtime.engines.neuralnetwork:NeuralNetworkEngine"),
    # It runs an fp16 ML program in float32.
    "onnx": EngineFacts("runtime.engines.onnx:OnnxEngine", is_timed=True, declared=("onnx",)),
    "torch": EngineFacts("runtime.engines.torch:TorchEngine"),
}


class Engine(Protocol):
    """Executes one artefact. `run` gives every output; a state is updated in place."""

    name: str
    device: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def new_state(self) -> State: ...

    def run(self, inputs: Mapping[str, np.ndarray], state: State | None = None) -> dict[str, np.ndarray]: ...


def open_engine(name: str, path: Path, **options: Any) -> Engine:
    """The engine called `name` on the artefact at `path`.

    Raises EngineError for an unknown name, and whatever the engine finds wrong with the artefact.
    """
    if name not in ENGINES:
        raise EngineError(f"there is no engine {name!r}; the engines are: {', '.join(sorted(ENGINES))}")
    module, _, attribute = ENGINES[name].opens.partition(":")
    return getattr(importlib.import_module(module), attribute)(path, **options)


def preferred(path: Path) -> str:
    """What `auto` means for an artefact: Core ML on a Mac where it can, elsewhere the fastest engine of its format."""
    if path.suffix == ".pt2":
        return "torch"
    facts = facts_of(path) or FORMATS["mlprogram"]
    return "coreml" if facts.is_core_ml and platform.system() == "Darwin" else facts.engines[-1]


def is_bundle(path: Path) -> bool:
    """Whether a path is a folder that is no artefact itself."""
    return path.is_dir() and format_of(path) is None


def device_slug(device: str) -> str:
    """A device's name as it stands in the names of files, metrics and aliases."""
    return "-".join("".join(char if char.isalnum() else " " for char in device.lower()).split()) or "unknown"


def cpu_name() -> str:
    """The processor's marketing name, for the record of a measurement."""
    if platform.system() == "Darwin":
        import subprocess

        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "Mac"
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
