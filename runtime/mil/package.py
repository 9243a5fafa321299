"""Reads an `.mlpackage` from disk: specification, MIL program, weights. Nothing in memory is trusted instead."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.coreml_tools import coremltools
from runtime.errors import ArtefactError
from runtime.spec import Dim, TensorSpec


@dataclass(frozen=True)
class Package:
    """An opened ML program: `program` is coremltools' MIL program built from the file, `spec` the protobuf."""

    path: Path
    spec: Any
    program: Any

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """In the order of the program's own inputs."""
        features = {feature.name: feature for feature in self.spec.description.input}
        states = {feature.name for feature in self.spec.description.state}
        names = [name for name in self.program.functions["main"].inputs if name not in states]
        return tuple(_tensor_spec(self._feature(features, name)) for name in names)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """In the order of the program's own outputs."""
        features = {feature.name: feature for feature in self.spec.description.output}
        outputs = self.program.functions["main"].outputs
        return tuple(_tensor_spec(self._feature(features, var.name), var.shape) for var in outputs)

    def _feature(self, features: dict[str, Any], name: str) -> Any:
        if name not in features:
            raise ArtefactError(f"{self.path}: the model's description does not know {name!r}, which its program has")
        return features[name]

    @property
    def states(self) -> tuple[TensorSpec, ...]:
        """What the program keeps between calls, by name."""
        return tuple(
            TensorSpec(
                feature.name, tuple(feature.type.stateType.arrayType.shape), _dtype(feature.type.stateType.arrayType)
            )
            for feature in self.spec.description.state
            for array in [feature.type.stateType.arrayType]
        )


def files_of(path: Path) -> tuple[Path, Path]:
    """(model specification, weights folder) of a package, through its own Manifest.json.

    Raises ArtefactError where the package is not complete or points outside itself.
    """
    manifest_path = path / "Manifest.json"
    if not manifest_path.is_file():
        raise ArtefactError(f"{path} is not an .mlpackage: it has no Manifest.json")
    try:
        manifest = json.loads(manifest_path.read_text())
        root = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"]
    except (ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"{manifest_path} is damaged ({error!r}): convert the model again") from error
    model = (path / "Data" / root).resolve()
    if not model.is_relative_to((path / "Data").resolve()):
        raise ArtefactError(f"{manifest_path} points outside its package: {root}")
    if not model.is_file():
        raise ArtefactError(f"{path} is truncated: {root} is missing")
    return model, model.parent / "weights"


def read_specification(path: Path) -> Any:
    """The Core ML specification (a protobuf) of a package that holds an ML program; raises ArtefactError."""
    coremltools()
    from coremltools.proto import Model_pb2
    from google.protobuf.message import DecodeError

    model_path, _ = files_of(path)
    spec = Model_pb2.Model()
    try:
        spec.ParseFromString(model_path.read_bytes())
    except DecodeError as error:
        raise ArtefactError(f"{model_path} is damaged: it is no Core ML specification ({error})") from error
    if spec.WhichOneof("Type") != "mlProgram":
        raise ArtefactError(f"{path} holds a {spec.WhichOneof('Type')}; the reference engine executes an mlProgram")
    return spec


def open_package(path: Path) -> Package:
    """The ML program saved at `path`.

    Raises ArtefactError for a damaged package, a model that is no ML program, and a `custom_layer`
    (it converts without an error, but no Mac compiles it: coremltools issue 1416).
    """
    spec = read_specification(path)
    from coremltools.converters.mil.frontend.milproto.load import load as load_program

    _, weights = files_of(path)
    _refuse_missing_weights(spec, weights)
    try:
        program = load_program(spec, spec.specificationVersion, file_weights_dir=str(weights))
    except Exception as error:  # coremltools raises whatever its op builders raise
        raise ArtefactError(f"{path} cannot be read as a MIL program: {error}") from error
    for function in program.functions.values():
        for op in function.operations:
            if op.op_type == "custom_layer":
                raise ArtefactError(
                    f"{path}: op {op.name!r} is a custom_layer, which no ML program can hold: no Mac compiles it"
                )
    return Package(path, spec, program)


def _refuse_missing_weights(spec: Any, weights: Path) -> None:
    """BlobReader dies on a missing file and reads past the end of a short one: look first."""
    needed = {
        Path(value.blobFileValue.fileName).name
        for function in spec.mlProgram.functions.values()
        for block in function.block_specializations.values()
        for op in block.operations
        for value in op.attributes.values()
        if value.WhichOneof("value") == "blobFileValue"
    }
    for name in sorted(needed):
        if not (weights / name).is_file():
            raise ArtefactError(f"{weights / name} is missing: the program's weights are not in the package")


def _tensor_spec(feature: Any, program_shape: tuple | None = None) -> TensorSpec:
    kind = feature.type.WhichOneof("Type")
    if kind != "multiArrayType":
        raise ArtefactError(f"{feature.name!r} is a {kind}: the reference engine takes and gives arrays")
    array = feature.type.multiArrayType
    ranges = [(item.lowerBound, item.upperBound) for item in array.shapeRange.sizeRanges]
    listed = [tuple(item.shape) for item in array.enumeratedShapes.shapes]
    if listed:  # of a list of shapes the bounds are kept
        ranges = [(min(sizes), max(sizes)) for sizes in zip(*listed)]
    defaults = list(array.shape)
    if not defaults and program_shape is not None:  # outputs of flexible programs carry no shape of their own
        return TensorSpec(feature.name, tuple(_axis(size) for size in program_shape), _dtype(array), "")
    shape = tuple(
        size if not ranges or lo == hi else Dim(lo, hi if hi > 0 else 2**31 - 1, size)
        for size, (lo, hi) in zip(defaults, ranges or [(0, 0)] * len(defaults))
    )
    return TensorSpec(feature.name, shape, _dtype(array), feature.shortDescription)


def _axis(size: Any) -> int | Dim:
    return int(size) if isinstance(size, int) or getattr(size, "is_Integer", False) else Dim(1, 2**31 - 1, 1)


def _dtype(array: Any) -> str:
    name = array.ArrayDataType.Name(array.dataType)
    names = {"FLOAT32": "float32", "FLOAT16": "float16", "DOUBLE": "float64", "INT32": "int32", "INT8": "int8"}
    if name not in names:
        raise ArtefactError(f"the reference engine does not know arrays of {name}")
    return names[name]
