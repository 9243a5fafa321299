"""`coremltools.models.MLModel.predict` where there is no Core ML: by the reference engine, from the saved file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def enable_predict() -> None:
    """Makes `MLModel.predict` and `make_state` of ML programs work on this machine, for the rest of the process.

    The model is executed from its package on disk, never from the program in memory. Other model types raise
    ArtefactError. Calling it twice is harmless; on a Mac it replaces Core ML, so do not call it there.
    """
    from runtime.coreml_tools import coremltools

    model = coremltools().models.MLModel
    model.predict, model.make_state = _predict, _make_state


def _predict(model: Any, data: Mapping[str, Any] | list[Mapping[str, Any]], state: Any = None) -> Any:
    """data: input name -> array-like, or a list of such. Returns output name -> ndarray, or a list."""
    engine = _engine(model)
    if isinstance(data, list):
        return [_predict(model, item, state) for item in data]
    wanted = {spec.name: spec for spec in engine.inputs}
    arrays = {name: np.asarray(value) for name, value in data.items()}
    inputs = {name: value.astype(wanted[name].dtype) if name in wanted else value for name, value in arrays.items()}
    try:
        return engine.run(inputs, None if state is None else state.values)
    except IndexError as error:  # as Core ML reports what goes wrong inside a prediction
        raise RuntimeError(f"Unable to compute the prediction using ML Program: {error}") from error


class MLState:
    """Stands for Core ML's state object: the values that a program keeps between predictions."""

    def __init__(self, values: dict[str, np.ndarray]) -> None:
        self.values = values

    def read_state(self, name: str) -> np.ndarray:
        return self.values[name].astype(np.float32)

    def write_state(self, name: str, value: np.ndarray) -> None:
        self.values[name][...] = value


def _make_state(model: Any) -> MLState:
    return MLState(_engine(model).new_state())


def _engine(model: Any) -> Any:
    """The engine of a model, opened once from a copy of its package on disk."""
    from runtime.engines.mil import MilEngine
    from runtime.errors import ArtefactError

    if getattr(model, "_voxport_engine", None) is None:
        if not model.is_package:
            raise ArtefactError("the reference engine predicts with ML programs, saved as .mlpackage")
        model._voxport_engine = MilEngine(Path(model.package_path))
    return model._voxport_engine
