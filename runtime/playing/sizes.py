"""Inputs of any size through an artefact whose functions take fixed ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from runtime.bundle.spec import Dim, InputError, TensorSpec
from runtime.bundle.store import Bundle, ComponentRecord, open_bundle
from runtime.engines import AUTO, Engine, Execution
from runtime.engines.load import open_component


class Sized(Protocol):
    """`engines`: size -> the engine that takes it, 0 for one that takes any; `one` of them; `name`, `device`."""

    engines: Mapping[int, Engine]
    one: Engine
    name: str
    device: str

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]: ...

    def size_for(self, length: int) -> int: ...


class _Functions:
    def __init__(self, engines: Mapping[int, Engine]) -> None:
        self.engines: Mapping[int, Engine] = dict(sorted(engines.items()))
        self.one = next(reversed(self.engines.values()))
        self.name, self.device = self.one.name, self.one.device


class Batched(_Functions):
    """Rows of the leading axis are dealt out to calls."""

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs all rows, (rows, …) in every input and output. The last rows may share a call with zeros."""
        if 0 in self.engines:
            return self.engines[0].run(inputs)
        rows = len(next(iter(inputs.values())))
        pieces: list[dict[str, np.ndarray]] = []
        done = 0
        while done < rows:
            size = self.size_for(rows - done)
            taken = min(size, rows - done)
            part = {name: _padded(array[done : done + size], (0,), size) for name, array in inputs.items()}
            pieces.append({name: value[:taken] for name, value in self.engines[size].run(part).items()})
            done += taken
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}

    def size_for(self, length: int) -> int:
        """The largest size that the rows fill, or else the smallest."""
        return max((size for size in self.engines if size <= length), default=min(self.engines))


class Padded(_Functions):
    """The whole goes to the next larger size, filled up with zeros; what came of them is cut off. Masks are inputs like
    any other: their zeros say that there is nothing."""

    def __init__(
        self, engines: Mapping[int, Engine], name: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
    ) -> None:
        super().__init__(engines)
        self._component = name
        self._inputs = {spec.name: _flexible(spec) for spec in inputs}
        self._outputs = {spec.name: _flexible(spec) for spec in outputs}

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Raises InputError for inputs that are longer than the largest size."""
        lengths = {array.shape[axis] for name, array in inputs.items() for axis in self._inputs.get(name, ())}
        if len(lengths) > 1:
            raise InputError(f"{self._component}: its inputs are of different lengths: {sorted(lengths)}")
        if 0 in self.engines or not lengths:
            return self.one.run(inputs)
        (length,) = lengths
        size = self.size_for(length)
        feeds = {name: _padded(array, self._inputs.get(name, ()), size) for name, array in inputs.items()}
        outputs = self.engines[size].run(feeds)
        return {name: _cut(array, self._outputs.get(name, ()), length) for name, array in outputs.items()}

    def size_for(self, length: int) -> int:
        if 0 in self.engines:
            return length
        fitting = [size for size in self.engines if size >= length]
        if not fitting:
            raise InputError(f"{self._component} takes at most {max(self.engines)} at once, there are {length}")
        return min(fitting)

    @property
    def longest(self) -> int | None:
        """What fits into one call; None where anything does."""
        return None if 0 in self.engines else max(self.engines)


def open_sized(
    bundle: str | Path | Bundle, execution: Execution = AUTO, component: str | None = None
) -> Batched | Padded:
    """A bundle's component, whatever sizes its functions take. Arguments and errors as `voxport.load`."""
    bundle = open_bundle(bundle)
    record = bundle.component(component)
    is_reference = execution.engine == "torch" or not record.sizes
    sizes = {record.reference_size: ""} if is_reference else record.sizes
    engines = {size: open_component(bundle, record, execution, function or None) for size, function in sizes.items()}
    return of_engines(record, engines)


def of_engines(record: ComponentRecord, engines: Mapping[int, Engine]) -> Batched | Padded:
    if record.padded:
        return Padded(engines, record.name, record.inputs, record.outputs)
    return Batched(engines)


def _flexible(spec: TensorSpec) -> tuple[int, ...]:
    return tuple(index for index, axis in enumerate(spec.shape) if isinstance(axis, Dim))


def _padded(array: np.ndarray, axes: Sequence[int], size: int) -> np.ndarray:
    return np.pad(array, [(0, size - length if axis in axes else 0) for axis, length in enumerate(array.shape)])


def _cut(array: np.ndarray, axes: Sequence[int], length: int) -> np.ndarray:
    return array[tuple(slice(length) if axis in axes else slice(None) for axis in range(array.ndim))]
