"""ONNX Runtime: executes an `.onnx` artefact, or an `.mlpackage` lowered from the artefact itself, in float32."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime

from runtime.engines import State, cpu_name
from runtime.errors import ArtefactError
from runtime.mil.interface import Interface
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

    def __init__(self, path: Path, threads: int | None = None, function: str | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads:
            options.intra_op_num_threads = threads
        if path.suffix == ".mlpackage":
            from runtime.mil.lower import lowered

            model, interface = lowered(path, function)
        elif path.suffix == ".onnx":
            if not path.is_file():
                raise ArtefactError(f"there is no artefact {path}")
            model, interface = path, None
        else:
            raise ArtefactError(f"the onnx engine executes an .mlpackage or an .onnx file, not {path.name}")
        try:
            self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exception classes are generated at run time
            raise ArtefactError(f"{path} cannot be read as an ONNX model: {error}") from error
        self.device = cpu_name()
        taken, given = self._session.get_inputs(), self._session.get_outputs()
        self._dtypes = {node.name: _DTYPES[node.type] for node in taken}
        self.interface = interface or Interface(tuple(map(_spec, taken)), tuple(map(_spec, given)))
        self.inputs, self.outputs = self.interface.inputs, self.interface.outputs

    def new_state(self) -> State:
        return self.interface.new_state()

    def run(self, inputs: Mapping[str, np.ndarray], state: State | None = None) -> dict[str, np.ndarray]:
        held = self.new_state() if state is None else state
        arrays = checked_inputs(self.inputs, self.interface.with_defaults(inputs)) | held
        feeds = {name: arrays[name].astype(dtype, copy=False) for name, dtype in self._dtypes.items()}
        results = self._session.run(None, feeds)
        for spec, value in zip(self.interface.states, results[len(self.outputs) :]):
            held[spec.name][...] = value
        outputs = zip(self.outputs, results)
        return {spec.name: np.atleast_1d(value.astype(spec.dtype, copy=False)) for spec, value in outputs}


def _spec(node: onnxruntime.NodeArg) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) else Dim(1, 2**31 - 1, 1) for size in node.shape)
    return TensorSpec(node.name, shape, _DTYPES[node.type])
