"""OpenVINO: executes what ONNX Runtime does, on processors, in float32; an extra, and only where it is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import openvino

from runtime.bundle.spec import Dim, TensorSpec
from runtime.engines.graph import GraphEngine
from runtime.errors import ArtefactError

_DTYPES = {"f32": "float32", "f64": "float64", "f16": "float16", "boolean": "bool",
           **{f"{sign}{bits}": f"{kind}{bits}" for sign, kind in (("i", "int"), ("u", "uint"))
              for bits in (8, 16, 32, 64)}}  # fmt: skip


class OpenvinoEngine(GraphEngine):
    """OpenVINO on processors. By itself it would compute in bfloat16 where one has that: here it is told not to."""

    name = "openvino"

    def opened(self, path: Path, model: Path, threads: int | None) -> tuple[Sequence[TensorSpec], Sequence[TensorSpec]]:
        settings: dict[str, object] = {
            "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32",
        }  # fmt: skip
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            compiled = openvino.Core().compile_model(str(model), "CPU", settings)
        except RuntimeError as error:
            raise ArtefactError(f"{path} cannot be read as a model by OpenVINO: {error}") from error
        self._request = compiled.create_infer_request()
        return [_spec(path, port) for port in compiled.inputs], [_spec(path, port) for port in compiled.outputs]

    def computed(self, feeds: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        return self._request.infer(dict(feeds), share_inputs=True).to_tuple()


def _spec(path: Path, port: openvino.ConstOutput) -> TensorSpec:
    name, kind = port.any_name, port.element_type.get_type_name()
    if kind not in _DTYPES:
        raise ArtefactError(f"{path}: {name!r} is of {kind}; tensors of numbers that NumPy has are taken")
    sizes = (Dim(1, 2**31 - 1, 1) if size.is_dynamic else size.get_length() for size in port.partial_shape)
    return TensorSpec(name, tuple(sizes), _DTYPES[kind])
