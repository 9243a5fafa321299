"""The reference engine: executes the program saved in an `.mlpackage`, op by op, as its dtypes declare."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from runtime.engines import State, cpu_name
from runtime.errors import ArtefactError
from runtime.mil.faithful import Faithful
from runtime.mil.graph import build_graph, carried, is_state
from runtime.mil.package import open_package
from runtime.spec import checked_inputs


class MilEngine:
    """Faithful, not fast. Reads only the file: delete `weight.bin` and it fails."""

    name = "mil"

    def __init__(self, path: Path, threads: int | None = None) -> None:
        if path.suffix != ".mlpackage":
            raise ArtefactError(f"the mil engine executes an .mlpackage, not {path.name}")
        package = open_package(path)
        self.device = cpu_name()
        self.inputs, self.outputs = package.inputs, package.outputs
        self.graph = build_graph(package.program, path)
        self._interpreter = Faithful(self.graph)
        self._placeholders = [(name, is_state(var)) for name, var in package.program.functions["main"].inputs.items()]
        self.states = package.states
        if threads:
            torch.set_num_threads(threads)

    def new_state(self) -> State:
        """Zeros, as Core ML starts a state."""
        return {spec.name: np.zeros(spec.default_shape, spec.dtype) for spec in self.states}

    def run(self, inputs: Mapping[str, np.ndarray], state: State | None = None) -> dict[str, np.ndarray]:
        arrays = checked_inputs(self.inputs, inputs)
        held = self.new_state() if state is None else state
        tensors = [carried(held[name] if kept else arrays[name]) for name, kept in self._placeholders]
        with torch.inference_mode():
            results = self._interpreter.run(*tensors)
        outputs, states = results[: len(self.outputs)], results[len(self.outputs) :]
        for name, value in zip((name for name, kept in self._placeholders if kept), states):
            held[name][...] = value.numpy()
        # Core ML's arrays have at least one axis
        return {s.name: np.atleast_1d(value.numpy().astype(s.dtype)) for s, value in zip(self.outputs, outputs)}
