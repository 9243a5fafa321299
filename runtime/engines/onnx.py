"""ONNX Runtime: executes an `.onnx` artefact, or an `.mlpackage` lowered from the artefact itself, in float32."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from runtime.bundle.spec import Dim, TensorSpec, checked_inputs
from runtime.engines import State, cpu_name
from runtime.errors import ArtefactError
from runtime.mil.interface import Interface

_SAME = ("float16", "bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))
_DTYPES = {"tensor(float)": "float32", "tensor(double)": "float64", **{f"tensor({name})": name for name in _SAME}}


class OnnxEngine:
    """Fast. An fp16 `.mlpackage` is computed in float32 here: its rounding shows in the mil engine."""

    name = "onnx"

    def __init__(self, path: Path, threads: int | None = None, function: str | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # Else its threads, each session having its own, spin on beside whatever runs next.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if threads:
            options.intra_op_num_threads = threads
        if path.suffix == ".mlpackage":
            from runtime.mil.lower import lowered

            model, interface = lowered(path, function)
        elif path.suffix == ".onnx":
            if not path.is_file():
                raise ArtefactError(f"there is no artefact {path}")
            _refuse_data_elsewhere(path)
            model, interface = path, None
        else:
            raise ArtefactError(f"the onnx engine executes an .mlpackage or an .onnx file, not {path.name}")
        try:
            self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exception classes are generated at run time
            raise ArtefactError(f"{path} cannot be read as an ONNX model: {error}") from error
        self.device = cpu_name()
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        for node in (*inputs, *outputs):
            if node.type not in _DTYPES:
                raise ArtefactError(
                    f"{path}: {node.name!r} is a {node.type}; tensors of numbers that NumPy has are taken"
                )
        self._dtypes = {node.name: _DTYPES[node.type] for node in inputs}
        self.interface = interface or Interface(tuple(map(_spec, inputs)), tuple(map(_spec, outputs)))
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


def _refuse_data_elsewhere(path: Path) -> None:
    """Raises ArtefactError where tensors of an ONNX file lie in files that are not in its folder."""
    with path.open("rb") as file:
        if not path.stat().st_size:
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content.find(b"location") < 0:  # the key without which there are none
                return
    import onnx

    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's own errors, and those of its C++ half
        raise ArtefactError(f"{path} cannot be read as an ONNX model: {error}") from error
    for location in _locations(model):
        target = path.parent / location
        if Path(location).is_absolute() or not target.resolve().is_relative_to(path.parent.resolve()):
            raise ArtefactError(f"{path} reads tensors from {location!r}, which is not in its folder: it is not opened")


def _locations(message: Any) -> Iterator[str]:
    """The files that the tensors of a protobuf message, however deep, lie in."""
    for field, value in message.ListFields():
        if field.name == "external_data":
            yield from (entry.value for entry in value if entry.key == "location")
        elif field.message_type is not None:
            for part in value if field.is_repeated else (value,):
                yield from _locations(part)


def _spec(node: onnxruntime.NodeArg) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) else Dim(1, 2**31 - 1, 1) for size in node.shape)
    return TensorSpec(node.name, shape, _DTYPES[node.type])
