"""The reference engine: executes the program saved in an `.mlpackage`, op by op, as its dtypes declare."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from runtime.bundle.spec import checked_inputs
from runtime.engines import State, cpu_name
from runtime.errors import ArtefactError, no_artefact
from runtime.machine.cores import free_cores
from runtime.mil.faithful import compiled
from runtime.mil.graph import build_graph, carried, is_state
from runtime.mil.package import Package, open_package


class MilEngine:
    """Faithful, not fast. Reads only the file: delete `weight.bin` and it fails."""

    name = "mil"

    def __init__(self, path: Path, threads: int | None = None, function: str | None = None) -> None:
        if path.suffix != ".mlpackage":
            raise ArtefactError(f"the mil engine executes an .mlpackage, not {path.name}")
        self._open(open_package(path, function))
        choose_threads(threads)

    @classmethod
    def of(cls, package: Package) -> MilEngine:
        """An engine on a program that was read already."""
        engine = cls.__new__(cls)
        engine._open(package)
        return engine

    def _open(self, package: Package) -> None:
        self._path = package.path
        self.device = cpu_name()
        self.interface = package.interface
        self.inputs, self.outputs = self.interface.inputs, self.interface.outputs
        with no_artefact(package.path):
            self.graph = build_graph(package)
            self.compute: Callable[..., tuple[torch.Tensor, ...]] = compiled(self.graph).forward
        source = package.program.functions[package.function]
        self._placeholders = [(name, is_state(var)) for name, var in source.inputs.items()]
        self._results = [var.name for var in source.outputs]

    def new_state(self) -> State:
        return self.interface.new_state()

    def run(self, inputs: Mapping[str, np.ndarray], state: State | None = None) -> dict[str, np.ndarray]:
        held = self.new_state() if state is None else state
        tensors = self.tensors(inputs, held)
        with torch.inference_mode(), no_artefact(self._path):
            results = self.compute(*tensors)
        states = (name for name, kept in self._placeholders if kept)
        for name, value in zip(states, results[len(self._results) :]):
            held[name][...] = value.numpy()
        values = dict(zip(self._results, results))
        outputs = {spec.name: _array(values[spec.name], spec.dtype) for spec in self.outputs}
        return outputs | {name: values[name] for name in self.interface.labels}

    def tensors(self, inputs: Mapping[str, np.ndarray], state: State) -> list[torch.Tensor]:
        """Returns the tensors that the graph takes. Raises InputError for inputs that do not fit."""
        arrays = checked_inputs(self.inputs, self.interface.with_defaults(inputs))
        return [carried(state[name] if kept else arrays[name]) for name, kept in self._placeholders]


def choose_threads(threads: int | None) -> None:
    """Has PyTorch compute with so many threads, or where none are named with no more than there are free cores.

    Its threads wait for each other after every operation: one that shares its core with other work holds up all of
    them. A process that began beside other work keeps to fewer.
    """
    if threads is None and torch.get_num_threads() > 1:
        threads = min(torch.get_num_threads(), free_cores())
    if threads:
        torch.set_num_threads(threads)


def _array(value: torch.Tensor, dtype: str) -> np.ndarray:
    """Core ML's arrays have at least one axis."""
    return np.atleast_1d(value.numpy().astype(dtype))
