"""What a function of a program takes and gives, from the description in its package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from runtime.bundle.spec import Dim, TensorSpec
from runtime.errors import ArtefactError

_UNBOUNDED = 2**31 - 1
_ARRAY_DTYPES = {"FLOAT32": "float32", "FLOAT16": "float16", "DOUBLE": "float64", "INT32": "int32", "INT8": "int8"}
_IMAGE_CHANNELS = {"RGB": 3, "BGR": 3, "GRAYSCALE": 1, "GRAYSCALE_FLOAT16": 1}


@dataclass(frozen=True)
class Interface:
    """One function's inputs and outputs, in the program's own order, and its states.

    `defaults`: the value of each optional input; `colours`: the colour layout of images among inputs and outputs,
    which travel as arrays (1, channels, height, width); `labels`: the outputs of a classifier that are no arrays.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    states: tuple[TensorSpec, ...] = ()
    defaults: dict[str, float] = field(default_factory=dict)
    colours: dict[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()

    def with_defaults(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The inputs, optional ones that are missing filled in."""
        specs = {spec.name: spec for spec in self.inputs}
        missing = [(specs[name], value) for name, value in self.defaults.items() if name not in arrays]
        return {**arrays, **{spec.name: np.full(spec.default_shape, value, spec.dtype) for spec, value in missing}}

    def new_state(self) -> dict[str, np.ndarray]:
        """Zeros, as Core ML starts a state."""
        return {spec.name: np.zeros(spec.default_shape, spec.dtype) for spec in self.states}

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Interface:
        tensors = {key: tuple(map(_spec_from, row[key])) for key in ("inputs", "outputs", "states")}
        return cls(**{**row, **tensors, "labels": tuple(row["labels"])})


def interface_of(spec: Any, program: Any, function: str, path: Path) -> Interface:
    """Returns the interface of the named function of a program. Raises ArtefactError where description and program do
    not fit."""
    description = next((item for item in spec.description.functions if item.name == function), spec.description)
    source = program.functions[function]
    inputs, outputs, states = (
        {feature.name: feature for feature in features}
        for features in (description.input, description.output, description.state)
    )
    taken = [_feature(inputs, name, path) for name in source.inputs if name not in states]
    results = [(_feature(outputs, var.name, path), var.shape) for var in source.outputs]
    labels = ("stringType", "int64Type", "dictionaryType")
    return Interface(
        inputs=tuple(tensor_spec(feature) for feature in taken),
        outputs=tuple(tensor_spec(feature, shape) for feature, shape in results if kind_of(feature) not in labels),
        states=tuple(_state_spec(states[name], path) for name in source.inputs if name in states),
        defaults={feature.name: default_of(feature) for feature in taken if feature.type.isOptional},
        colours={f.name: colour_of(f) for f in [*taken, *(f for f, _ in results)] if kind_of(f) == "imageType"},
        labels=tuple(feature.name for feature, _ in results if kind_of(feature) in labels),
    )


def _feature(features: dict[str, Any], name: str, path: Path) -> Any:
    if name not in features:
        raise ArtefactError(f"{path}: the model's description does not know {name!r}, which its program has")
    return features[name]


def kind_of(feature: Any) -> str:
    """Returns the type of a described feature: `multiArrayType`, `imageType`, …"""
    return str(feature.type.WhichOneof("Type"))


def tensor_spec(feature: Any, program_shape: Sequence[Any] | None = None) -> TensorSpec:
    """Returns the name, shape and dtype of a described array or image; where the description has no shape, the
    program's. Raises ArtefactError for any other feature, and for a dtype that is not known."""
    if kind_of(feature) == "imageType":
        return _image_spec(feature)
    if kind_of(feature) != "multiArrayType":
        raise ArtefactError(f"{feature.name!r} is a {kind_of(feature)}: the reference engine takes arrays and images")
    array = feature.type.multiArrayType
    ranges = [(item.lowerBound, item.upperBound) for item in array.shapeRange.sizeRanges]
    listed = [tuple(item.shape) for item in array.enumeratedShapes.shapes]
    if listed:  # of a list of shapes the bounds are kept
        ranges = [(min(sizes), max(sizes)) for sizes in zip(*listed)]
    defaults = list(array.shape)
    if not defaults and program_shape is not None:  # outputs of flexible programs carry no shape of their own
        return TensorSpec(feature.name, tuple(_program_axis(size) for size in program_shape), _dtype(array), "")
    axes = zip(defaults, ranges or [(size, size) for size in defaults])
    shape = tuple(_axis(size, *bounds) for size, bounds in axes)
    return TensorSpec(feature.name, shape, _dtype(array), feature.shortDescription)


def _image_spec(feature: Any) -> TensorSpec:
    image = feature.type.imageType
    heights, widths = image.imageSizeRange.heightRange, image.imageSizeRange.widthRange
    bounds = [(heights.lowerBound, heights.upperBound), (widths.lowerBound, widths.upperBound)]
    listed = [(size.height, size.width) for size in image.enumeratedSizes.sizes]
    if listed:
        bounds = [(min(sizes), max(sizes)) for sizes in zip(*listed)]
    elif image.WhichOneof("SizeFlexibility") is None:
        bounds = [(image.height, image.height), (image.width, image.width)]
    axes = (_axis(size, *bound) for size, bound in zip((image.height, image.width), bounds))
    return TensorSpec(
        feature.name, (1, _IMAGE_CHANNELS[colour_of(feature)], *axes), "float32", feature.shortDescription
    )


def _state_spec(feature: Any, path: Path) -> TensorSpec:
    array = feature.type.stateType.arrayType
    if array.WhichOneof("ShapeFlexibility") is not None:
        raise ArtefactError(f"{path}: the state {feature.name!r} has a flexible shape, which Core ML refuses")
    return TensorSpec(feature.name, tuple(array.shape), _dtype(array))


def default_of(feature: Any) -> float:
    """Returns what an optional input is where it is not given: one value everywhere."""
    array = feature.type.multiArrayType
    chosen = array.WhichOneof("defaultOptionalValue")
    return float(getattr(array, chosen)) if chosen else 0.0


def colour_of(feature: Any) -> str:
    """Returns the colour layout of a described image. Raises ArtefactError for one that is not known."""
    image = feature.type.imageType
    colour = str(image.ColorSpace.Name(image.colorSpace))
    if colour not in _IMAGE_CHANNELS:
        raise ArtefactError(f"the image {feature.name!r} has no known colour layout ({colour})")
    return colour


def _axis(default: int, lo: int, hi: int) -> int | Dim:
    return int(default) if lo == hi else Dim(int(lo), int(hi) if hi > 0 else _UNBOUNDED, int(default))


def _program_axis(size: Any) -> int | Dim:
    return int(size) if isinstance(size, int) or getattr(size, "is_Integer", False) else Dim(1, _UNBOUNDED, 1)


def _dtype(array: Any) -> str:
    name = array.ArrayDataType.Name(array.dataType)
    if name not in _ARRAY_DTYPES:
        raise ArtefactError(f"the reference engine does not know arrays of {name}")
    return _ARRAY_DTYPES[name]


def _spec_from(row: dict[str, Any]) -> TensorSpec:
    shape = tuple(Dim(**axis) if isinstance(axis, dict) else axis for axis in row["shape"])
    return TensorSpec(row["name"], shape, row["dtype"], row["unit"])
