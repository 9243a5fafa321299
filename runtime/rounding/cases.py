"""Golden inputs in the shapes that one function of an ML program takes.

A stream's states come back as outputs named `next_<state>`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from runtime.bundle.spec import TensorSpec
from runtime.bundle.store import ComponentRecord

PLAYED_CHUNKS = 12


def horizon_of(record: ComponentRecord) -> int:
    return record.stream.horizon if record.stream is not None else 0


def function_of(record: ComponentRecord) -> str | None:
    """The function that a component spends its time in: the steady one of a stream, the smallest of several sizes."""
    if record.stream is not None:
        return record.stream.steady or record.stream.edge
    return record.sizes[min(record.sizes)] or None if record.sizes else None


def fitted_inputs(
    specs: Sequence[TensorSpec], arrays: Mapping[str, np.ndarray], horizon: int = 0
) -> dict[str, np.ndarray]:
    """The middle of each array, zeros after it where it is too short. What is not among them: a state begins with
    zeros, and a stream's edges are as far away as they matter, its `horizon`."""
    return {spec.name: _fitted(arrays.get(spec.name), spec, horizon) for spec in specs}


def real_inputs(
    specs: Sequence[TensorSpec],
    arrays: Mapping[str, np.ndarray],
    run: Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]],
    horizon: int = 0,
    has_state: bool = False,
) -> dict[str, np.ndarray]:
    """Fits inputs as `fitted_inputs` does; what carries states gets a chunk amid the audio, with the states that those
    before it left.

    run: the function on inputs by name. has_state: it keeps states of its own beside those.
    """
    inputs = fitted_inputs(specs, arrays, horizon)
    states = {spec.name for spec in specs if spec.name not in arrays and spec.dtype.startswith("float")}
    if not (states or has_state):
        return inputs
    for step in range(PLAYED_CHUNKS):
        inputs |= {spec.name: _chunk(arrays[spec.name], spec, step) for spec in specs if spec.name in arrays}
        if step < PLAYED_CHUNKS - 1:
            results = run(inputs)
            inputs |= {state: results[f"next_{state}"] for state in states if f"next_{state}" in results}
    return inputs


def _chunk(array: np.ndarray, spec: TensorSpec, step: int) -> np.ndarray:
    """The piece of an array at a step, or its last one."""
    for axis, (have, want) in enumerate(zip(array.shape, spec.default_shape)):
        if have > want:
            start = min(step * want, have - want)
            array = array.take(range(start, start + want), axis)
    return _fitted(array, spec, 0)


def _fitted(array: np.ndarray | None, spec: TensorSpec, horizon: int) -> np.ndarray:
    shape = spec.default_shape
    if array is None or array.ndim != len(shape):
        return np.full(shape, horizon if spec.dtype.startswith("int") else 0, spec.dtype)
    starts = [max(0, (have - want) // 2) for have, want in zip(array.shape, shape)]
    part = array[tuple(slice(start, start + want) for start, want in zip(starts, shape))]
    return np.pad(part, [(0, want - have) for have, want in zip(part.shape, shape)]).astype(spec.dtype)
