"""ONNX Runtime: executes an `.onnx` artefact, or an `.mlpackage` lowered from the artefact itself, in float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from runtime.bundle.spec import Dim, TensorSpec
from runtime.engines.graph import GraphEngine
from runtime.errors import ArtefactError

_SAME = ("float16", "bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))
_DTYPES = {"tensor(float)": "float32", "tensor(double)": "float64", **{f"tensor({name})": name for name in _SAME}}


class OnnxEngine(GraphEngine):
    """ONNX Runtime on processors; the fastest engine that every install has."""

    name = "onnx"

    def opened(self, path: Path, model: Path, threads: int | None) -> tuple[Sequence[TensorSpec], Sequence[TensorSpec]]:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # Else its threads, each session having its own, spin on beside whatever runs next.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if threads:
            options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exception classes are generated at run time
            raise ArtefactError(f"{path} cannot be read as an ONNX model: {error}") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        for node in (*inputs, *outputs):
            if node.type not in _DTYPES:
                raise ArtefactError(
                    f"{path}: {node.name!r} is a {node.type}; tensors of numbers that NumPy has are taken"
                )
        return [_spec(node) for node in inputs], [_spec(node) for node in outputs]

    def computed(self, feeds: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        results: Sequence[np.ndarray] = self._session.run(None, feeds)
        return results


def _spec(node: onnxruntime.NodeArg) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) else Dim(1, 2**31 - 1, 1) for size in node.shape)
    return TensorSpec(node.name, shape, _DTYPES[node.type])
