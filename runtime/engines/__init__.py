"""Engines execute artefacts. The table names them; each is imported on use."""

from __future__ import annotations

import gc
import importlib
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from runtime.bundle.formats import FORMATS, facts_of
from runtime.bundle.spec import TensorSpec
from runtime.errors import EngineError

State = Any  # what an engine's `new_state` gave: arrays by name, or Core ML's own object


@dataclass(frozen=True)
class EngineFacts:
    """`opens`: its class. `is_timed`: it is fast, not only right, so that how long it takes says something.
    `declared`: the formats in which it computes in the types that an artefact declares, all where nothing is said.
    `has_compute_units`: it can be told which to compute on. `judged_as`: the engine whose limits judge it too, since
    it computes in the same types."""

    opens: str
    is_timed: bool = False
    declared: tuple[str, ...] = tuple(FORMATS)
    has_compute_units: bool = False
    judged_as: str = ""


ENGINES = {
    "coreai": EngineFacts("runtime.engines.coreai:CoreAIEngine"),
    "coreml": EngineFacts("runtime.engines.coreml:CoreMLEngine", is_timed=True, has_compute_units=True),
    "mil": EngineFacts("runtime.engines.mil:MilEngine"),
    "neuralnetwork": EngineFacts("runtime.engines.neuralnetwork:NeuralNetworkEngine"),
    # It runs an fp16 ML program in float32.
    "onnx": EngineFacts("runtime.engines.onnx:OnnxEngine", is_timed=True, declared=("onnx",)),
    "openvino": EngineFacts(
        "runtime.engines.openvino:OpenvinoEngine", is_timed=True, declared=("onnx",), judged_as="onnx"
    ),
    "torch": EngineFacts("runtime.engines.torch:TorchEngine"),
}


COMPUTE_UNITS = ("all", "cpu", "cpu_and_gpu", "cpu_and_ne")


@dataclass(frozen=True)
class Execution:
    """How artefacts are executed.

    `engine`: `coreml`, `mil`, `onnx`, `openvino`, `neuralnetwork`, `coreai`, `torch` (a bundle's reference), or `auto`:
    Core ML on a Mac, elsewhere the format's own, ONNX Runtime first, and `mil` where an op cannot be lowered; never
    OpenVINO, which is an extra and computes in an order of its own. `threads`: of the engine, its own choice where none
    are named; `mil` and `neuralnetwork` then take as many as there are free cores. `compute_unit`: `all`, `cpu`,
    `cpu_and_gpu` or `cpu_and_ne`, of Core ML; no other engine has any.

    Raises EngineError for an engine that is none, fewer threads than one, and a compute unit that the engine lacks.
    """

    engine: str = "auto"
    threads: int | None = None
    compute_unit: str | None = None

    def __post_init__(self) -> None:
        if self.engine not in ("auto", *ENGINES):
            raise EngineError(f"there is no engine {self.engine!r}; there is: auto, {', '.join(sorted(ENGINES))}")
        if self.threads is not None and self.threads < 1:
            raise EngineError(f"an engine takes at least 1 thread, got {self.threads}")
        if self.compute_unit is None:
            return
        if self.compute_unit not in COMPUTE_UNITS:
            raise EngineError(f"there is no compute unit {self.compute_unit!r}; there is: {', '.join(COMPUTE_UNITS)}")
        if self.engine != "auto" and not ENGINES[self.engine].has_compute_units:
            raise EngineError(f"engine {self.engine} has no compute units: they are Core ML's")


AUTO = Execution()


class Engine(Protocol):
    """Executes one artefact. `run` gives every output; a state is updated in place."""

    name: str
    device: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def new_state(self) -> State: ...

    def run(self, inputs: Mapping[str, np.ndarray], state: State | None = None) -> dict[str, np.ndarray]: ...


def open_engine(path: Path, execution: Execution, **options: Any) -> Engine:
    """An engine on the bare artefact at `path`; `options` are those of its class.

    Raises EngineError for a compute unit where `auto` is an engine without any, and whatever the engine finds wrong
    with the artefact.
    """
    name = chosen(path, execution)
    if execution.compute_unit is not None:
        Execution(name, compute_unit=execution.compute_unit)  # says what is wrong
        options["compute_unit"] = execution.compute_unit
    module, _, attribute = ENGINES[name].opens.partition(":")
    with _uncollected():
        return getattr(importlib.import_module(module), attribute)(path, threads=execution.threads, **options)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Within it Python collects no garbage: what an engine imports and reads stays, and would be looked through again
    and again as it grows, a tenth of the time until there is audio."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def chosen(path: Path, execution: Execution) -> str:
    """The engine for an artefact; `auto` is Core ML on a Mac where it can, elsewhere the fastest of its format."""
    if execution.engine != "auto":
        return execution.engine
    if path.suffix == ".pt2":
        return "torch"
    facts = facts_of(path) or FORMATS["mlprogram"]
    return "coreml" if facts.is_core_ml and platform.system() == "Darwin" else facts.engines[-1]


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
