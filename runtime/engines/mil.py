"""The reference engine: executes the program saved in an `.mlpackage`, op by op, as its dtypes declare."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from runtime.engines import State, cpu_name
from runtime.errors import ArtefactError
from runtime.mil.faithful import Faithful
from runtime.mil.graph import build_graph
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
        if threads:
            torch.set_num_threads(threads)

    def new_state(self) -> State:
        return {}

    def run(self, inputs: Mapping[str, np.ndarray], state: State | None = None) -> dict[str, np.ndarray]:
        arrays = checked_inputs(self.inputs, inputs)
        tensors = [torch.from_numpy(arrays[spec.name]) for spec in self.inputs]
        tensors = [tensor.float() if tensor.is_floating_point() else tensor for tensor in tensors]
        with torch.inference_mode():
            results = self._interpreter.run(*tensors)
        return {spec.name: value.numpy().astype(spec.dtype) for spec, value in zip(self.outputs, results)}
