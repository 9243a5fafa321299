"""ONNX Runtime: executes an `.onnx` artefact, or an `.mlpackage` lowered from the artefact itself, in float32."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime

from runtime.engines import State, cpu_name
from runtime.errors import ArtefactError
from runtime.spec import Dim, TensorSpec, checked_inputs

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}


class OnnxEngine:
    """Fast. An fp16 `.mlpackage` is computed in float32 here: its rounding shows in the mil engine."""

    name = "onnx"

    def __init__(self, path: Path, threads: int | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads:
            options.intra_op_num_threads = threads
        if path.suffix == ".mlpackage":
            from runtime.mil.lower import lowered

            model, self.inputs, self.outputs = lowered(path)
        elif path.suffix == ".onnx":
            if not path.is_file():
                raise ArtefactError(f"there is no artefact {path}")
            model, self.inputs, self.outputs = path, (), ()
        else:
            raise ArtefactError(f"the onnx engine executes an .mlpackage or an .onnx file, not {path.name}")
        try:
            self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exception classes are generated at run time
            raise ArtefactError(f"{path} cannot be read as an ONNX model: {error}") from error
        self.device = cpu_name()
        self.inputs = self.inputs or tuple(_spec(node) for node in self._session.get_inputs())
        self.outputs = self.outputs or tuple(_spec(node) for node in self._session.get_outputs())

    def new_state(self) -> State:
        return {}

    def run(self, inputs: Mapping[str, np.ndarray], state: State | None = None) -> dict[str, np.ndarray]:
        arrays = checked_inputs(self.inputs, inputs)
        feeds = {
            node.name: arrays[node.name].astype(_DTYPES[node.type], copy=False) for node in self._session.get_inputs()
        }
        results = self._session.run(None, feeds)
        return {spec.name: value.astype(spec.dtype, copy=False) for spec, value in zip(self.outputs, results)}


def _spec(node: onnxruntime.NodeArg) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) else Dim(1, 2**31 - 1, 1) for size in node.shape)
    return TensorSpec(node.name, shape, _DTYPES[node.type])
