"""Core ML's `neuralnetwork` specification: reading an `.mlmodel`, and what must hold for Core ML to take it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from runtime.errors import ArtefactError
from runtime.machine.coreml_tools import coremltools
from runtime.mil.interface import Interface, colour_of, default_of, kind_of, tensor_spec
from runtime.neuralnetwork.weights import every_layer, misstored, networks_within, weights_of

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
FP16_VERSION = 2  # of the specification: the first with half-precision weights
KINDS = ("neuralNetwork", "neuralNetworkClassifier", "neuralNetworkRegressor")


def read_network(path: Path) -> Any:
    """Returns the Core ML specification (a protobuf) of an `.mlmodel` that holds a neural network.

    Raises ArtefactError for anything else, and with what `problems` finds.
    """
    spec = read_model(path)
    refuse_other_kinds(spec, path)
    return spec


def read_model(path: Path) -> Any:
    """Returns the Core ML specification (a protobuf) of an `.mlmodel`, whatever kind of model it holds. Raises
    ArtefactError where it holds none."""
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
    return spec


def refuse_other_kinds(spec: Any, path: Path) -> None:
    """Raises ArtefactError for a model that is no neural network, and with what `problems` finds in one."""
    kind = spec.WhichOneof("Type")
    if kind not in KINDS:
        raise ArtefactError(f"{path} holds a {kind}, not a neuralNetwork")
    faults = problems(spec)
    if faults:
        raise ArtefactError(f"{path}: {'; '.join(faults)}")


def network_of(spec: Any) -> Any:
    """Returns the network of a specification, a classifier's or a regressor's too: layers and preprocessing."""
    return getattr(spec, spec.WhichOneof("Type"))


def problems(spec: Any) -> list[str]:
    """Returns what Core ML's compiler would refuse, as sentences; none for a good network.

    It checks wiring, kinds of layers, sizes of weights and their encodings; class, parameters and weights of custom
    layers.
    """
    known, layers = {tensor.name for tensor in spec.description.input}, network_of(spec).layers
    faults = list(_wrong(layers, known))
    known |= {spec.description.predictedFeatureName, spec.description.predictedProbabilitiesName}
    faults += [
        f"output {tensor.name!r} is given by no layer" for tensor in spec.description.output if tensor.name not in known
    ]
    halves = (held.float16Value for layer in every_layer(layers) for _, held, _ in weights_of(layer))
    if spec.specificationVersion < FP16_VERSION and any(halves):
        faults.append(f"half-precision weights need specification version {FP16_VERSION}")
    return faults


def _wrong(layers: Iterable[Any], known: set[str], within: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yields what is wrong with one network. `known` are the tensors before it and grow with it, `within` those of the
    network around, which the body of a loop may give anew; so may a layer what a body before it gave."""
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
            if name in known and name not in within and kind != "copy":
                yield f"layer {layer.name!r} gives {name!r}, which is there already"
            known.add(name)
        before = frozenset(known)
        if kind == "branch":
            for network in networks_within(layer):
                yield from _wrong(network.layers, known, frozenset(known))
        elif kind == "loop":
            yield from _wrong(layer.loop.conditionNetwork.layers, known, frozenset(known))
            if not layer.input and not layer.loop.conditionVar and not layer.loop.maxLoopIterations:
                yield f"loop {layer.name!r} has neither a condition nor a limit"
            if layer.loop.conditionVar and layer.loop.conditionVar not in known:
                yield f"loop {layer.name!r} asks {layer.loop.conditionVar!r}, which nothing gives"
            yield from _wrong(layer.loop.bodyNetwork.layers, known, frozenset(known))
        elif kind == "custom":
            yield from (f"custom layer {layer.name!r}: {problem}" for problem in _custom(layer))
        else:
            for name, held, size in weights_of(layer):
                yield from (f"{kind} {layer.name!r}: {problem}" for problem in misstored(name, held, size))
        within |= known - before


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
    yield from misstored(
        "weights", custom.weights[0], sizes["channels_in"] * sizes["channels_out"] * sizes["kernel_size"]
    )
    yield from misstored("bias", custom.weights[1], sizes["channels_out"])


def has_custom_layers(spec: Any) -> bool:
    return any(layer.WhichOneof("layer") == "custom" for layer in network_of(spec).layers)


def interface(spec: Any) -> Interface:
    """Returns what a network or a pipeline takes and gives.

    Raises ArtefactError for features that are neither arrays nor images, but for a classifier's labels.
    """
    description = spec.description
    labels = {description.predictedFeatureName, description.predictedProbabilitiesName}
    is_classifier = spec.WhichOneof("Type").endswith("Classifier")
    labelled = tuple(feature.name for feature in description.output if is_classifier and feature.name in labels)
    arrays = [feature for feature in description.output if feature.name not in labelled]
    return Interface(
        inputs=tuple(map(tensor_spec, description.input)),
        outputs=tuple(map(tensor_spec, arrays)),
        defaults={feature.name: default_of(feature) for feature in description.input if feature.type.isOptional},
        colours={f.name: colour_of(f) for f in [*description.input, *arrays] if kind_of(f) == "imageType"},
        labels=labelled,
    )
