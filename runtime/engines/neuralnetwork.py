"""Core ML's `neuralnetwork` off a Mac: the layers that voxport's artefacts are made of, read from the `.mlmodel`.

A custom layer HiFiGANUpsample runs the very Metal text that ships in the bundle, compiled as C++ (ops/metal/host). For
correctness, not speed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ops.metal.host import NoCompiler, library, upsample
from ops.metal.layout import UpsampleShape
from ops.metal.package import stale_kernels
from ops.metal.twin import evaluate
from runtime.cache import cache_folder
from runtime.engines import EngineError, State, cpu_name
from runtime.errors import ArtefactError
from runtime.neuralnetwork import interface, read_network, values
from runtime.spec import checked_inputs

Layer = Callable[[Any, Sequence[Tensor]], Tensor]


class NeuralNetworkEngine:
    """Computes in float32. Custom layers with half weights run the texture kernel, in half as a GPU has them; those
    with single weights what the layer does on the CPU (ops/metal/twin.py)."""

    name = "neuralnetwork"

    def __init__(self, path: Path, threads: int | None = None) -> None:
        if path.suffix != ".mlmodel":
            raise ArtefactError(f"the neuralnetwork engine executes an .mlmodel, not {path.name}")
        spec = read_network(path)
        self.device = cpu_name()
        self.inputs, self.outputs = interface(spec)
        self._layers = [(layer, *_prepared(layer, path)) for layer in spec.neuralNetwork.layers]
        if threads:
            torch.set_num_threads(threads)

    def new_state(self) -> State:
        return {}

    def run(self, inputs: Mapping[str, np.ndarray], state: State | None = None) -> dict[str, np.ndarray]:
        arrays = checked_inputs(self.inputs, inputs)
        held = {name: torch.from_numpy(array).float() for name, array in arrays.items()}
        with torch.inference_mode():
            for layer, compute, parameters in self._layers:
                held[layer.output[0]] = compute(parameters, [held[name] for name in layer.input])
        return {spec.name: held[spec.name].numpy().astype(spec.dtype, copy=False) for spec in self.outputs}


def _prepared(layer: Any, path: Path) -> tuple[Layer, Any]:
    """The function of a layer and its parameters; weights become tensors here, once."""
    kind = layer.WhichOneof("layer")
    where = f"{path.name}: layer {layer.name!r}"
    if kind not in LAYERS:
        raise EngineError(f"{where} is a {kind}, which the neuralnetwork engine does not know; it knows {_known()}")
    if len(layer.output) != 1:
        raise EngineError(f"{where} gives {len(layer.output)} tensors; one is executed")
    parameters = getattr(layer, kind)
    if kind == "activation":
        kind = parameters.WhichOneof("NonlinearityType")
        if kind not in ACTIVATIONS:
            raise EngineError(f"{where} is an activation {kind}, which the neuralnetwork engine does not know")
        return ACTIVATIONS[kind], getattr(parameters, kind)
    if kind == "convolution":
        return _convolution, _Convolution(parameters)
    if kind == "custom":
        return _custom, _Custom(parameters, path)
    return LAYERS[kind], parameters


class _Convolution:
    """Weights: (C_out, C_in / groups, H, W), or (C_in, C_out / groups, H, W) of a transposed one."""

    def __init__(self, layer: Any) -> None:
        self.groups, self.transposed = max(layer.nGroups, 1), layer.isDeconvolution
        kernel = tuple(layer.kernelSize)
        if self.transposed:
            shape = (layer.kernelChannels, layer.outputChannels // self.groups, *kernel)
        else:
            shape = (layer.outputChannels, layer.kernelChannels, *kernel)
        self.weight = torch.from_numpy(values(layer.weights).astype(np.float32).reshape(shape))
        self.bias = torch.from_numpy(values(layer.bias).astype(np.float32)) if layer.hasBias else None
        self.stride = tuple(layer.stride) or (1, 1)
        self.dilation = tuple(layer.dilationFactor) or (1, 1)
        if layer.WhichOneof("ConvolutionPaddingType") == "same":
            raise EngineError("a convolution with padding `same` is not executed; ours are padded by numbers")
        amounts = [(edge.startEdgeSize, edge.endEdgeSize) for edge in layer.valid.paddingAmounts.borderAmounts]
        self.padding = amounts or [(0, 0), (0, 0)]
        self.output_shape = tuple(layer.outputShape)


def _convolution(layer: _Convolution, inputs: Sequence[Tensor]) -> Tensor:
    (x,) = inputs
    (top, bottom), (left, right) = layer.padding
    if not layer.transposed:
        x = F.pad(x, (left, right, top, bottom))
        return F.conv2d(x, layer.weight, layer.bias, layer.stride, 0, layer.dilation, layer.groups)
    y = F.conv_transpose2d(x, layer.weight, layer.bias, layer.stride, 0, 0, layer.groups, layer.dilation)
    height, width = layer.output_shape or (y.shape[2] - top - bottom, y.shape[3] - left - right)
    missing = top + height - y.shape[2], left + width - y.shape[3]  # output_padding reads beyond the full output
    y = F.pad(y, (0, max(missing[1], 0), 0, max(missing[0], 0)))
    return y[:, :, top : top + height, left : left + width]


class _Custom:
    def __init__(self, layer: Any, path: Path) -> None:
        sizes = {name: parameter.intValue for name, parameter in layer.parameters.items() if name != "slope"}
        self.sizes, self.slope = sizes, layer.parameters["slope"].doubleValue
        weights, bias = map(values, layer.weights)
        self.weight = weights.reshape(sizes["channels_in"], sizes["channels_out"], sizes["kernel_size"])
        self.bias = bias.astype(np.float32)
        stale = stale_kernels(path.parent / "custom_layer")
        if stale:
            raise ArtefactError(f"{path.parent.name}: {', '.join(stale)} are not this voxport's kernels: convert again")
        self.kernels = None
        if weights.dtype == np.float32:
            return
        try:
            self.kernels = library(cache_folder() / "metal")
        except NoCompiler as error:
            raise EngineError(f"{path.name} has custom layers: {error}") from error

    def shape(self, frames: int, has_condition: bool) -> UpsampleShape:
        return UpsampleShape(**self.sizes, frames=frames, slope=self.slope, has_condition=has_condition)


def _custom(layer: _Custom, inputs: Sequence[Tensor]) -> Tensor:
    """x (1, C, 1, T), conditioning (1, C, 1, 1) -> (1, D, 1, samples)."""
    shape = layer.shape(inputs[0].shape[3], len(inputs) > 1)
    arrays = [given[0, :, 0].numpy().astype(layer.weight.dtype) for given in inputs]
    condition = arrays[1][:, 0] if len(arrays) > 1 else None
    if layer.kernels is None:
        y = evaluate(shape, arrays[0], layer.weight, layer.bias, condition)
    else:
        y = upsample(layer.kernels, "texture", shape, arrays[0], layer.weight, layer.bias, condition)
    return torch.from_numpy(y.astype(np.float32))[None, :, None]


def _add(layer: Any, inputs: Sequence[Tensor]) -> Tensor:
    return sum(inputs[1:], inputs[0]) if len(inputs) > 1 else inputs[0] + layer.alpha


def _multiply(layer: Any, inputs: Sequence[Tensor]) -> Tensor:
    if len(inputs) == 1:
        return inputs[0] * layer.alpha
    product = inputs[0]
    for factor in inputs[1:]:
        product = product * factor
    return product


def _slice(layer: Any, inputs: Sequence[Tensor]) -> Tensor:
    """Of channels, height or width: the last three axes."""
    dim = inputs[0].dim() - 3 + layer.axis
    index = [slice(None)] * inputs[0].dim()
    index[dim] = slice(layer.startIndex, layer.endIndex, layer.stride)
    return inputs[0][tuple(index)]


def _expand_dims(layer: Any, inputs: Sequence[Tensor]) -> Tensor:
    rank = inputs[0].dim() + len(layer.axes)
    y = inputs[0]
    for axis in sorted(axis % rank for axis in layer.axes):
        y = y.unsqueeze(axis)
    return y


def _squeeze(layer: Any, inputs: Sequence[Tensor]) -> Tensor:
    return inputs[0].squeeze() if layer.squeezeAll else inputs[0].squeeze(tuple(layer.axes))


def _rank_preserving_reshape(layer: Any, inputs: Sequence[Tensor]) -> Tensor:
    """0 keeps the size of its axis."""
    sizes = [size or inputs[0].shape[axis] for axis, size in enumerate(layer.targetShape)]
    return inputs[0].reshape(sizes)


def _load_constant(layer: Any, inputs: Sequence[Tensor]) -> Tensor:
    return torch.from_numpy(values(layer.data).astype(np.float32).reshape(tuple(layer.shape)))


def _compared(relation: Callable[[Tensor, Any], Tensor]) -> Layer:
    def compute(layer: Any, inputs: Sequence[Tensor]) -> Tensor:
        return relation(inputs[0], inputs[1] if len(inputs) > 1 else layer.alpha).float()

    return compute


ACTIVATIONS: dict[str, Layer] = {
    "leakyReLU": lambda layer, inputs: F.leaky_relu(inputs[0], layer.alpha),
    "ReLU": lambda layer, inputs: F.relu(inputs[0]),
    "tanh": lambda layer, inputs: torch.tanh(inputs[0]),
    "sigmoid": lambda layer, inputs: torch.sigmoid(inputs[0]),
    "linear": lambda layer, inputs: layer.alpha * inputs[0] + layer.beta,
}
LAYERS: dict[str, Layer] = {
    "activation": lambda layer, inputs: inputs[0],  # by its own kind: ACTIVATIONS
    "add": _add,
    "addBroadcastable": lambda layer, inputs: inputs[0] + inputs[1],
    "concatND": lambda layer, inputs: torch.cat(list(inputs), layer.axis),
    "convolution": _convolution,
    "copy": lambda layer, inputs: inputs[0],
    "custom": _custom,
    "expandDims": _expand_dims,
    "greaterEqual": _compared(torch.ge),
    "lessThan": _compared(torch.lt),
    "loadConstantND": _load_constant,
    "logicalAnd": lambda layer, inputs: ((inputs[0] != 0) & (inputs[1] != 0)).float(),
    "multiply": _multiply,
    "multiplyBroadcastable": lambda layer, inputs: inputs[0] * inputs[1],
    "rankPreservingReshape": _rank_preserving_reshape,
    "reshapeStatic": lambda layer, inputs: inputs[0].reshape(tuple(layer.targetShape)),
    "slice": _slice,
    "squeeze": _squeeze,
    "transpose": lambda layer, inputs: inputs[0].permute(tuple(layer.axes)),
}


def _known() -> str:
    return ", ".join(sorted(LAYERS))
