"""Core ML's `neuralnetwork` specification: reading an `.mlmodel`, and what must hold for Core ML to take it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from runtime.bundle.spec import TensorSpec
from runtime.errors import ArtefactError
from runtime.machine.coreml_tools import coremltools

CUSTOM_CLASS = "HiFiGANUpsample"
# Of the custom layer, in the words of ops/metal/layout.py; its weights are (C, D, K) and the bias (D,).
CUSTOM_PARAMETERS = {
    "channels_in": "intValue",
    "channels_out": "intValue",
    "kernel_size": "intValue",
    "stride": "intValue",
    "padding": "intValue",
    "output_padding": "intValue",
    "slope": "doubleValue",
}
LSTM_GATES = ("inputGate", "forgetGate", "blockInput", "outputGate")
FP16_VERSION = 2  # of the specification: the first with half-precision weights
_ENCODINGS = ("floatValue", "float16Value", "rawValue", "int8RawValue")


def read_network(path: Path) -> Any:
    """The Core ML specification (a protobuf) of an `.mlmodel` that holds a neural network.

    Raises ArtefactError for anything else, and with what `problems` finds.
    """
    coremltools()
    from coremltools.proto import Model_pb2
    from google.protobuf.message import DecodeError

    if not path.is_file():
        raise ArtefactError(f"there is no artefact {path}")
    spec = Model_pb2.Model()
    try:
        spec.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise ArtefactError(f"{path} is damaged: it is no Core ML specification ({error})") from error
    if spec.WhichOneof("Type") != "neuralNetwork":
        raise ArtefactError(f"{path} holds a {spec.WhichOneof('Type')}, not a neuralNetwork")
    faults = problems(spec)
    if faults:
        raise ArtefactError(f"{path}: {'; '.join(faults)}")
    return spec


def problems(spec: Any) -> list[str]:
    """Returns what Core ML's compiler would refuse, as sentences; none for a good network.

    It checks wiring, kinds of layers, sizes of weights and their encodings; class, parameters and weights of custom
    layers.
    """
    known = {tensor.name for tensor in spec.description.input}
    faults = list(_wrong(spec.neuralNetwork.layers, known))
    faults += [
        f"output {tensor.name!r} is given by no layer" for tensor in spec.description.output if tensor.name not in known
    ]
    halves = (held.float16Value for layer in every_layer(spec.neuralNetwork.layers) for _, held, _ in weights_of(layer))
    if spec.specificationVersion < FP16_VERSION and any(halves):
        faults.append(f"half-precision weights need specification version {FP16_VERSION}")
    return faults


def _wrong(layers: Iterable[Any], known: set[str], within: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yields what is wrong with one network. `known` are the tensors before it and grow with it, `within` those of the
    network around, which the body of a loop may give anew."""
    names: set[str] = set()
    for layer in layers:
        kind = layer.WhichOneof("layer")
        if kind is None:
            yield f"layer {layer.name!r} has no kind"
            continue
        if layer.name in names:
            yield f"two layers are called {layer.name!r}"
        names.add(layer.name)
        for name in layer.input:
            if name not in known:
                yield f"layer {layer.name!r} reads {name!r}, which nothing before it gives"
        for name in layer.output:
            if name in known and name not in within:
                yield f"layer {layer.name!r} gives {name!r}, which is there already"
            known.add(name)
        if kind == "loop":
            around = frozenset(known)
            yield from _wrong(layer.loop.conditionNetwork.layers, known, around)
            if not layer.loop.conditionVar and not layer.loop.maxLoopIterations:
                yield f"loop {layer.name!r} has neither a condition nor a limit"
            if layer.loop.conditionVar and layer.loop.conditionVar not in known:
                yield f"loop {layer.name!r} asks {layer.loop.conditionVar!r}, which nothing gives"
            yield from _wrong(layer.loop.bodyNetwork.layers, known, around)
        elif kind == "custom":
            yield from (f"custom layer {layer.name!r}: {problem}" for problem in _custom(layer))
        else:
            for name, held, size in weights_of(layer):
                yield from (f"{kind} {layer.name!r}: {problem}" for problem in _sized(name, held, size))


def every_layer(layers: Iterable[Any]) -> Iterator[Any]:
    """Yields every layer, those within a loop after the loop."""
    for layer in layers:
        yield layer
        if layer.WhichOneof("layer") == "loop":
            yield from every_layer(layer.loop.conditionNetwork.layers)
            yield from every_layer(layer.loop.bodyNetwork.layers)


def weights_of(layer: Any) -> Iterator[tuple[str, Any, int]]:
    """Yields every array of a layer: its name, the WeightParams that hold it, and how many numbers its sizes want (0 of
    a custom layer's, which `_custom` counts by its parameters)."""
    kind = layer.WhichOneof("layer")
    if kind is None:
        return
    parameters = getattr(layer, kind)
    if kind == "custom":
        for number, held in enumerate(parameters.weights):
            yield f"weights {number}", held, 0
    elif kind == "convolution":
        groups, area = max(parameters.nGroups, 1), int(np.prod(parameters.kernelSize))
        channels = parameters.outputChannels // groups if parameters.isDeconvolution else parameters.outputChannels
        yield "weights", parameters.weights, parameters.kernelChannels * channels * area
        yield from _bias(parameters, parameters.outputChannels)
    elif kind == "innerProduct":
        yield "weights", parameters.weights, parameters.outputChannels * parameters.inputChannels
        yield from _bias(parameters, parameters.outputChannels)
    elif kind == "batchedMatmul" and parameters.weightMatrixFirstDimension:
        yield (
            "weights",
            parameters.weights,
            parameters.weightMatrixFirstDimension * parameters.weightMatrixSecondDimension,
        )
        yield from _bias(parameters, parameters.weightMatrixSecondDimension)
    elif kind == "embeddingND":
        yield "weights", parameters.weights, parameters.vocabSize * parameters.embeddingSize
        yield from _bias(parameters, parameters.embeddingSize)
    elif kind == "batchnorm":
        for name in ("gamma", "beta", "mean", "variance"):
            yield name, getattr(parameters, name), parameters.channels
    elif kind == "scale":
        yield "scale", parameters.scale, int(np.prod(parameters.shapeScale))
        yield from _bias(parameters, int(np.prod(parameters.shapeBias)))
    elif kind == "loadConstantND":
        yield "data", parameters.data, int(np.prod(parameters.shape))
    elif kind == "uniDirectionalLSTM":
        size = parameters.outputVectorSize
        sizes = {"WeightMatrix": size * parameters.inputVectorSize, "RecursionMatrix": size * size}
        if parameters.params.hasBiasVectors:
            sizes["BiasVector"] = size
        for gate in LSTM_GATES:
            for name, numbers in sizes.items():
                yield gate + name, getattr(parameters.weightParams, gate + name), numbers


def _bias(layer: Any, channels: int) -> Iterator[tuple[str, Any, int]]:
    if layer.hasBias:
        yield "bias", layer.bias, channels


def _custom(layer: Any) -> Iterator[str]:
    custom = layer.custom
    if custom.className != CUSTOM_CLASS:
        yield f"its class is {custom.className!r}, ours is {CUSTOM_CLASS}"
        return
    if len(layer.input) not in (1, 2) or len(layer.output) != 1:
        yield f"it takes x and perhaps conditioning and gives one; it has {len(layer.input)} and {len(layer.output)}"
    missing = set(CUSTOM_PARAMETERS) ^ set(custom.parameters)
    if missing:
        yield f"parameters missing or unknown: {', '.join(sorted(missing))}"
        return
    for name, encoding in CUSTOM_PARAMETERS.items():
        if custom.parameters[name].WhichOneof("value") != encoding:
            yield f"parameter {name} is a {custom.parameters[name].WhichOneof('value')}, not a {encoding}"
            return
    sizes = {name: custom.parameters[name].intValue for name in CUSTOM_PARAMETERS if name != "slope"}
    if min(sizes["channels_in"], sizes["channels_out"], sizes["kernel_size"], sizes["stride"]) < 1:
        yield f"impossible sizes: {sizes}"
        return
    if len(custom.weights) != 2:
        yield f"it has {len(custom.weights)} arrays of weights, not weights and bias"
        return
    yield from _sized("weights", custom.weights[0], sizes["channels_in"] * sizes["channels_out"] * sizes["kernel_size"])
    yield from _sized("bias", custom.weights[1], sizes["channels_out"])


def _sized(name: str, held: Any, size: int) -> Iterator[str]:
    filled = [encoding for encoding in _ENCODINGS if len(getattr(held, encoding))]
    if len(filled) != 1 or filled[0] not in ("floatValue", "float16Value"):
        yield f"{name} must be stored once, as floatValue or float16Value; they are in {', '.join(filled) or 'none'}"
        return
    count = len(held.floatValue) or len(held.float16Value) / 2
    if count != size:
        yield f"{name} hold {count:g} numbers, not {size}"


def has_custom_layers(spec: Any) -> bool:
    return any(layer.WhichOneof("layer") == "custom" for layer in spec.neuralNetwork.layers)


def values(held: Any) -> np.ndarray:
    """A WeightParams as a flat array, float16 or float32 as it is stored."""
    if held.float16Value:
        return np.frombuffer(held.float16Value, np.float16)
    return np.asarray(held.floatValue, np.float32)


def interface(spec: Any) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """The inputs and outputs of a network; all arrays. Raises ArtefactError for images and sequences."""
    return tuple(map(_tensor, spec.description.input)), tuple(map(_tensor, spec.description.output))


def _tensor(feature: Any) -> TensorSpec:
    if feature.type.WhichOneof("Type") != "multiArrayType":
        raise ArtefactError(f"{feature.name!r} is a {feature.type.WhichOneof('Type')}; only arrays are executed")
    array = feature.type.multiArrayType
    dtypes = {65568: "float32", 65600: "float64", 131104: "int32", 65552: "float16"}
    return TensorSpec(feature.name, tuple(array.shape), dtypes[array.dataType], feature.shortDescription)
