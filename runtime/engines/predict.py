"""`coremltools.models.MLModel.predict` where there is no Core ML: by the reference engine, from the saved file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from runtime.engines.images import array_to_image, image_to_array


def enable_predict(engine: str = "mil") -> None:
    """Makes `MLModel.predict` and `make_state` of ML programs work on this machine, for the rest of the process.

    `engine`: `mil` computes each op as its dtypes declare; `onnx` computes in float32, fast (it needs onnxruntime and
    onnxscript). The model is executed from its package on disk, never from the program in memory. Other model types
    raise ArtefactError. Calling it twice is harmless; on a Mac it replaces Core ML, so do not call it there.
    Raises EngineError where there is no such engine.
    """
    from runtime.errors import EngineError
    from runtime.machine.coreml_tools import coremltools

    if engine not in ("mil", "onnx"):
        raise EngineError(f"no engine {engine!r} predicts in place of Core ML: there is mil and onnx")
    model = coremltools().models.MLModel
    model.predict, model.make_state, model._voxport_engine_name = _predict, _make_state, engine


def _predict(model: Any, data: Mapping[str, Any] | list[Mapping[str, Any]], state: Any = None) -> Any:
    """data: input name -> array-like or PIL image, or a list of such. Returns output name -> ndarray (PIL image for an
    image, str or int and dict for a classifier), or a list of such."""
    if isinstance(data, list):
        return [_predict(model, item, state) for item in data]
    engine = _engine(model)
    model._verify_input_dict(data)  # coremltools' own refusals: KeyError for a name, TypeError for an image
    specs = {spec.name: spec for spec in engine.inputs}
    colours = engine.interface.colours
    inputs = {}
    for name, value in data.items():
        array = image_to_array(value, colours[name]) if name in colours else np.asarray(value)
        inputs[name] = array.astype(specs[name].dtype) if name in specs else array
    try:
        outputs = engine.run(inputs, None if state is None else state.values)
    except IndexError as error:  # as Core ML reports what goes wrong inside a prediction
        raise RuntimeError(f"Unable to compute the prediction using ML Program: {error}") from error
    return {name: array_to_image(v, colours[name]) if name in colours else v for name, v in outputs.items()}


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
    from runtime.engines import Execution, open_engine
    from runtime.errors import ArtefactError

    if getattr(model, "_voxport_engine", None) is None:
        if not model.is_package:
            raise ArtefactError("the reference engine predicts with ML programs, saved as .mlpackage")
        path, function = Path(model.package_path), model.function_name
        model._voxport_engine = open_engine(path, Execution(model._voxport_engine_name), function=function)
    return model._voxport_engine
