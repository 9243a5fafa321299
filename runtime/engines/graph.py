"""What engines of an ONNX graph share: the file that they read, what goes in and comes out, states among both."""

from __future__ import annotations

import mmap
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from runtime.bundle.spec import TensorSpec, checked_inputs
from runtime.engines import State, cpu_name
from runtime.errors import ArtefactError
from runtime.mil.interface import Interface


class GraphEngine(ABC):
    """An engine over the graph of an `.onnx` artefact, or of an `.mlpackage` lowered from the artefact itself.

    An fp16 `.mlpackage` is computed in float32 here: its rounding shows in the mil engine. Raises ArtefactError for a
    file that is missing, damaged or of another format, one whose tensors lie elsewhere, and a graph that the engine
    cannot read; NotLowered where ONNX cannot express a program.
    """

    name: str

    def __init__(self, path: Path, threads: int | None = None, function: str | None = None) -> None:
        interface: Interface | None
        if path.suffix == ".mlpackage":
            from runtime.mil.lower import lowered

            model, interface = lowered(path, function)
        elif path.suffix == ".onnx":
            if not path.is_file():
                raise ArtefactError(f"there is no artefact {path}")
            _refuse_data_elsewhere(path)
            model, interface = path, None
        else:
            raise ArtefactError(f"the {self.name} engine executes an .mlpackage or an .onnx file, not {path.name}")
        inputs, outputs = self.opened(path, model, threads)
        self.device = cpu_name()
        self._dtypes = {spec.name: spec.dtype for spec in inputs}
        self.interface = interface or Interface(tuple(inputs), tuple(outputs))
        self.inputs, self.outputs = self.interface.inputs, self.interface.outputs

    @abstractmethod
    def opened(self, path: Path, model: Path, threads: int | None) -> tuple[Sequence[TensorSpec], Sequence[TensorSpec]]:
        """Reads the ONNX file `model`, which `path` became, and returns what its graph takes and gives, in order."""

    @abstractmethod
    def computed(self, feeds: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        """Returns every output of the graph, in order."""

    def new_state(self) -> State:
        return self.interface.new_state()

    def run(self, inputs: Mapping[str, np.ndarray], state: State | None = None) -> dict[str, np.ndarray]:
        held = self.new_state() if state is None else state
        arrays = checked_inputs(self.inputs, self.interface.with_defaults(inputs)) | held
        results = self.computed({name: arrays[name].astype(dtype, copy=False) for name, dtype in self._dtypes.items()})
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
