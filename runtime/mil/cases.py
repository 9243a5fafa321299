"""Golden inputs in the shapes that one function of an ML program takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from runtime.bundle import ComponentRecord
from runtime.spec import TensorSpec


def horizon_of(record: ComponentRecord) -> int:
    return record.stream.horizon if record.stream is not None else 0


def function_of(record: ComponentRecord) -> str | None:
    """The function that a component spends its time in: the steady one of a stream, the smallest of several sizes."""
    if record.stream is not None:
        return record.stream.steady or record.stream.edge
    return record.sizes[min(record.sizes)] or None if record.sizes else None


def fitted_inputs(
    specs: Sequence[TensorSpec], given: Mapping[str, np.ndarray], horizon: int = 0
) -> dict[str, np.ndarray]:
    """The middle of each array, zeros after it where it is too short. What is not given: a state begins with zeros, and
    a stream's edges are as far away as they matter, its `horizon`."""
    return {spec.name: _fitted(given.get(spec.name), spec, horizon) for spec in specs}


def _fitted(array: np.ndarray | None, spec: TensorSpec, horizon: int) -> np.ndarray:
    shape = spec.default_shape
    if array is None or array.ndim != len(shape):
        return np.full(shape, horizon if spec.dtype.startswith("int") else 0, spec.dtype)
    starts = [max(0, (have - want) // 2) for have, want in zip(array.shape, shape)]
    part = array[tuple(slice(start, start + want) for start, want in zip(starts, shape))]
    return np.pad(part, [(0, want - have) for have, want in zip(part.shape, shape)]).astype(spec.dtype)
