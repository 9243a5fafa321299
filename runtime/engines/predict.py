"""`coremltools.models.MLModel.predict` where there is no Core ML: by voxport's engines, from a saved file."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from runtime.engines.images import array_to_image, image_to_array


def enable_predict(engine: str = "mil") -> None:
    """Makes `MLModel.predict` and `make_state` work on this machine, for the rest of the process.

    `engine`, of ML programs: `mil` computes each op as its dtypes declare; `onnx` computes in float32, fast (it needs
    onnxruntime and onnxscript). They are executed from their package on disk, never from the program in memory; neural
    networks and pipelines from a file that is written for it. Other model types raise EngineError when they predict.
    Calling it twice is harmless; on a Mac it replaces Core ML, so do not call it there.
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
        array = image_to_array(value, colours[name]) if name in colours else _array(value)
        inputs[name] = array.astype(specs[name].dtype) if name in specs else array
    try:
        outputs = engine.run(inputs, None if state is None else state.values)
    except IndexError as error:  # as Core ML reports what goes wrong inside a prediction
        raise RuntimeError(f"Unable to compute the prediction using ML Program: {error}") from error
    return {name: array_to_image(v, colours[name]) if name in colours else _given(v) for name, v in outputs.items()}


def _array(value: Any) -> np.ndarray:
    """Anything like an array; a tensor of PyTorch's without its history, as coremltools takes it."""
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def _given(value: Any) -> Any:
    """What Python gets for an output: coremltools turns arrays of half precision into single."""
    is_half = isinstance(value, np.ndarray) and value.dtype == np.float16
    return value.astype(np.float32) if is_half else value


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
    """The engine of a model, opened once from a copy of it on disk."""
    if getattr(model, "_voxport_engine", None) is None:
        model._voxport_engine = _opened(model)
    return model._voxport_engine


def _opened(model: Any) -> Any:
    from runtime.engines import Execution, open_engine

    if model._spec.WhichOneof("Type") == "mlProgram":
        execution = Execution(model._voxport_engine_name)
        return open_engine(Path(model.package_path), execution, function=model.function_name)
    execution = Execution("neuralnetwork")
    if model.is_package:
        return open_engine(Path(model.package_path), execution)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.mlmodel")
        path.write_bytes(model._spec.SerializeToString())
        return open_engine(path, execution)
