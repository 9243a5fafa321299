"""The arrays of numbers in the layers of a `neuralnetwork`: which there are, how they are stored, what they say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from runtime.errors import ArtefactError

LSTM_GATES = ("inputGate", "forgetGate", "blockInput", "outputGate")
_ENCODINGS = ("floatValue", "float16Value", "rawValue", "int8RawValue")


def every_layer(layers: Iterable[Any]) -> Iterator[Any]:
    """Yields every layer, those within a loop or a branch after it."""
    for layer in layers:
        yield layer
        for network in networks_within(layer):
            yield from every_layer(network.layers)


def networks_within(layer: Any) -> tuple[Any, ...]:
    """Returns the networks that a layer holds: a loop's condition and body, a branch's two ways."""
    kind = layer.WhichOneof("layer")
    if kind == "loop":
        return layer.loop.conditionNetwork, layer.loop.bodyNetwork
    return (layer.branch.ifBranch, layer.branch.elseBranch) if kind == "branch" else ()


def weights_of(layer: Any) -> Iterator[tuple[str, Any, int | None]]:
    """Yields every array of a layer: its name, the WeightParams that hold it, and how many numbers its sizes want (0 of
    a custom layer's, which are counted by its parameters; None where only what computes the layer counts them)."""
    kind = layer.WhichOneof("layer")
    if kind is None:
        return
    parameters = getattr(layer, kind)
    if kind == "custom":
        for number, held in enumerate(parameters.weights):
            yield f"weights {number}", held, 0
    elif kind == "convolution" and len(layer.input) == 1:
        groups, area = max(parameters.nGroups, 1), int(np.prod(parameters.kernelSize or (3, 3)))
        channels = parameters.outputChannels // groups if parameters.isDeconvolution else parameters.outputChannels
        yield "weights", parameters.weights, parameters.kernelChannels * channels * area
        yield from _bias(parameters, parameters.outputChannels)
    elif kind == "innerProduct":
        yield "weights", parameters.weights, parameters.outputChannels * parameters.inputChannels
        yield from _bias(parameters, parameters.outputChannels)
    elif kind == "batchedMatmul":
        rows, columns = parameters.weightMatrixFirstDimension, parameters.weightMatrixSecondDimension
        if rows:
            yield "weights", parameters.weights, rows * columns
            yield from _bias(parameters, columns)
    elif kind == "embeddingND":
        yield "weights", parameters.weights, parameters.vocabSize * parameters.embeddingSize
        yield from _bias(parameters, parameters.embeddingSize)
    elif kind == "batchnorm":
        for name in ("gamma", "beta") if parameters.computeMeanVar else ("gamma", "beta", "mean", "variance"):
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
    elif kind not in ("loop", "branch"):
        yield from ((name, held, None) for name, held in _arrays(parameters))


def _bias(layer: Any, channels: int) -> Iterator[tuple[str, Any, int]]:
    if layer.hasBias:
        yield "bias", layer.bias, channels


def _arrays(message: Any) -> Iterator[tuple[str, Any]]:
    """The WeightParams in a message, however deep."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for part in value if field.is_repeated else (value,):
            if field.message_type.name == "WeightParams":
                yield field.name, part
            else:
                yield from _arrays(part)


def misstored(name: str, held: Any, size: int | None) -> Iterator[str]:
    """Yields what is wrong with how an array of `size` numbers is stored; None leaves them uncounted."""
    filled = [encoding for encoding in _ENCODINGS if len(getattr(held, encoding))]
    quantised = held.quantization.WhichOneof("QuantizationType") is not None
    allowed = ("floatValue", "float16Value", *(("rawValue", "int8RawValue") if quantised else ()))
    if len(filled) != 1 or filled[0] not in allowed:
        where = ", ".join(filled) or "none"
        yield f"{name} must be stored once, as floatValue or float16Value or quantised; they are in {where}"
    elif quantised and not 1 <= held.quantization.numberOfBits <= 8:
        yield f"{name} have {held.quantization.numberOfBits} bits each; there are 1 to 8"
    elif size is not None and (count := _count(held)) != size and not _fills_bytes(held, size):
        yield f"{name} hold {count:g} numbers, not {size}"


def _count(held: Any) -> float:
    bits = held.quantization.numberOfBits or 1
    packed = len(held.rawValue) * 8 // bits
    return len(held.floatValue) or len(held.float16Value) / 2 or packed or len(held.int8RawValue)


def _fills_bytes(held: Any, size: int) -> bool:
    """Whether so many packed numbers fill the bytes, the last of which may have bits to spare."""
    return bool(held.rawValue) and len(held.rawValue) == -(-size * held.quantization.numberOfBits // 8)


def values(held: Any) -> np.ndarray:
    """Returns the numbers of a WeightParams that is not quantised as a flat array, in the type they are stored in."""
    if held.float16Value:
        return np.frombuffer(held.float16Value, np.float16)
    return np.asarray(held.floatValue, np.float32)


def dense(held: Any, shape: tuple[int, ...], channel_axis: int = 0) -> np.ndarray:
    """Returns a WeightParams as a float32 array of `shape`; a -1 in it takes what there is, not quantised.

    Quantised numbers are `scale q + bias`, with one pair for all or one per index of `channel_axis`, or entries of a
    table (NeuralNetwork.proto, QuantizationParams). Raises ArtefactError where they do not fill the shape.
    """
    if not (held.rawValue or held.int8RawValue):
        return _shaped(values(held).astype(np.float32), shape)
    codes = _shaped(_codes(held, int(np.prod(shape))), shape)
    if held.quantization.WhichOneof("QuantizationType") == "lookupTableQuantization":
        table = np.asarray(held.quantization.lookupTableQuantization.floatValue, np.float32)
        if len(table) != 1 << held.quantization.numberOfBits:
            raise ArtefactError(f"a table of {len(table)} weights is not one of {held.quantization.numberOfBits} bits")
        return table[codes]
    linear = held.quantization.linearQuantization
    along = [-1 if axis == channel_axis else 1 for axis in range(codes.ndim)]
    scale = np.asarray(linear.scale or [1.0], np.float32).reshape(along)
    return codes.astype(np.float32) * scale + np.asarray(linear.bias or [0.0], np.float32).reshape(along)


def _codes(held: Any, count: int) -> np.ndarray:
    """Packed numbers, the first in the highest bits; signed ones where the layer computes in them."""
    if held.int8RawValue:
        return np.frombuffer(held.int8RawValue, np.int8)
    bits = held.quantization.numberOfBits
    packed = np.frombuffer(held.rawValue, np.uint8)
    if bits == 8:
        return packed
    each = np.unpackbits(packed)[: count * bits].reshape(-1, bits)
    return each @ (1 << np.arange(bits)[::-1])


def _shaped(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if -1 not in shape and array.size != np.prod(shape):
        raise ArtefactError(f"{array.size} weights do not fill {' x '.join(map(str, shape))}")
    return array.reshape(shape)
