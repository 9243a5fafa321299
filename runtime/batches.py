"""Any number of rows through an artefact whose functions take fixed numbers of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

import runtime
from runtime.bundle import open_bundle
from runtime.engines import Engine


class Batched:
    """`engines`: size of the leading axis -> the engine that takes it; 0 for one that takes any size."""

    def __init__(self, engines: Mapping[int, Engine]) -> None:
        self.engines = dict(sorted(engines.items(), reverse=True))
        self.one = next(iter(self.engines.values()))
        self.name, self.device = self.one.name, self.one.device

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Every input and output (rows, …). The last rows may share a call with zeros."""
        if 0 in self.engines:
            return self.engines[0].run(inputs)
        rows = len(next(iter(inputs.values())))
        pieces: list[dict[str, np.ndarray]] = []
        done = 0
        while done < rows:
            size = self.size_for(rows - done)
            part = {name: _padded(array[done : done + size], size) for name, array in inputs.items()}
            taken = min(size, rows - done)
            pieces.append({name: value[:taken] for name, value in self.engines[size].run(part).items()})
            done += taken
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}

    def size_for(self, rows: int) -> int:
        """The largest size that the rows fill, or else the smallest."""
        return next((size for size in self.engines if size <= rows), min(self.engines))


def open_batched(
    path: Path,
    engine: str = "auto",
    component: str | None = None,
    threads: int | None = None,
    compute_unit: str | None = None,
) -> Batched:
    """A bundle's component whose functions differ in their batch. Arguments and errors as `runtime.load`."""
    record = open_bundle(path, verify=False).component(component)
    if engine == "torch" or not record.batches:
        return Batched({0: runtime.load(path, engine, component, threads, compute_unit)})
    return Batched(
        {
            size: runtime.load(path, engine, component, threads, compute_unit, function or None)
            for size, function in record.batches.items()
        }
    )


def _padded(array: np.ndarray, size: int) -> np.ndarray:
    return np.pad(array, [(0, size - len(array)), *[(0, 0)] * (array.ndim - 1)])
