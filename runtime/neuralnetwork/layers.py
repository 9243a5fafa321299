"""The layers of Core ML's `neuralnetwork`, in torch, by the names that its specification (NeuralNetwork.proto) has.

An entry of a table takes a layer's parameters, a protobuf message, and gives the function of its inputs: weights become
tensors once. Tensors are float32, conditions 0 and 1; images are the last three axes, channels, height, width. What an
entry does not do, it refuses.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from runtime.errors import EngineError
from runtime.neuralnetwork import LSTM_GATES, values

Function = Callable[..., Tensor | tuple[Tensor, ...]]
Layer = Callable[[Any], Function]


def _weights(held: Any, *shape: int) -> Tensor:
    return torch.from_numpy(values(held).astype(np.float32)).reshape(shape)


def _bias(layer: Any, channels: int) -> Tensor | None:
    return _weights(layer.bias, channels) if layer.hasBias else None


# --------------------------------------------------------------------------------------------------------- convolutions


def _convolution(layer: Any) -> Function:
    """Weights: (C_out, C_in / groups, H, W), or (C_in, C_out / groups, H, W) of a transposed one."""
    if layer.WhichOneof("ConvolutionPaddingType") == "same":
        raise EngineError("a convolution with padding `same` is not executed; ours are padded by numbers")
    groups, kernel = max(layer.nGroups, 1), tuple(layer.kernelSize)
    bias = _bias(layer, layer.outputChannels)
    stride, dilation = tuple(layer.stride) or (1, 1), tuple(layer.dilationFactor) or (1, 1)
    (top, bottom), (left, right) = _borders(layer.valid.paddingAmounts)
    output_shape = tuple(layer.outputShape)

    def convolved(x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (left, right, top, bottom)), weight, bias, stride, 0, dilation, groups)

    def transposed(x: Tensor) -> Tensor:
        y = F.conv_transpose2d(x, weight, bias, stride, 0, 0, groups, dilation)
        height, width = output_shape or (y.shape[2] - top - bottom, y.shape[3] - left - right)
        missing = top + height - y.shape[2], left + width - y.shape[3]  # output_padding reads beyond the full output
        y = F.pad(y, (0, max(missing[1], 0), 0, max(missing[0], 0)))
        return y[:, :, top : top + height, left : left + width]

    if layer.isDeconvolution:
        weight = _weights(layer.weights, layer.kernelChannels, layer.outputChannels // groups, *kernel)
        return transposed
    weight = _weights(layer.weights, layer.outputChannels, layer.kernelChannels, *kernel)
    return convolved


def _borders(amounts: Any) -> list[tuple[int, int]]:
    """(top, bottom), (left, right)."""
    return [(edge.startEdgeSize, edge.endEdgeSize) for edge in amounts.borderAmounts] or [(0, 0), (0, 0)]


def _padding(layer: Any) -> Function:
    """Pads height and width. torch mirrors and repeats two axes of four only: the others become one."""
    (top, bottom), (left, right) = _borders(layer.paddingAmounts)
    kind = layer.WhichOneof("PaddingType") or "constant"
    if kind == "constant":
        return lambda x: F.pad(x, (left, right, top, bottom), value=layer.constant.value)
    mode = {"reflection": "reflect", "replication": "replicate"}[kind]

    def padded(x: Tensor) -> Tensor:
        planes = x.reshape(1, -1, *x.shape[-2:])
        return (y := F.pad(planes, (left, right, top, bottom), mode)).reshape(*x.shape[:-2], *y.shape[-2:])

    return padded


def _constant_pad(layer: Any) -> Function:
    if layer.padToGivenOutputSizeMode or not layer.padAmounts:
        raise EngineError("a constantPad whose amounts are an input, or sizes, is not executed")
    pairs = list(zip(layer.padAmounts[::2], layer.padAmounts[1::2]))
    amounts = [amount for pair in reversed(pairs) for amount in pair]  # torch begins at the last axis
    return lambda x: F.pad(x, amounts, value=layer.value)


def _crop(layer: Any) -> Function:
    """Crops height and width."""
    (top, bottom), (left, right) = _borders(layer.cropAmounts)
    if any(layer.offset):
        raise EngineError("a crop to the size of another tensor is not executed")
    return lambda x: x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]


def _upsample(layer: Any) -> Function:
    if layer.mode or layer.fractionalScalingFactor:
        raise EngineError("an upsample that interpolates is not executed; ours repeat their neighbour")
    high, wide = tuple(layer.scalingFactor) or (1, 1)
    return lambda x: x.repeat_interleave(high, -2).repeat_interleave(wide, -1)


# ------------------------------------------------------------------------------------------------ products, recurrences


def _inner_product(layer: Any) -> Function:
    weight = _weights(layer.weights, layer.outputChannels, layer.inputChannels)
    bias = _bias(layer, layer.outputChannels)
    return lambda x: F.linear(x, weight, bias)


def _batched_matmul(layer: Any) -> Function:
    """Multiplies two tensors, or one and weights: then coremltools turns the input in a layer before it."""
    if layer.weightMatrixFirstDimension:
        weight = _weights(layer.weights, layer.weightMatrixSecondDimension, layer.weightMatrixFirstDimension)
        bias = _bias(layer, layer.weightMatrixSecondDimension)
        return lambda x: F.linear(x, weight, bias)
    return lambda a, b: (a.mT if layer.transposeA else a) @ (b.mT if layer.transposeB else b)


def _embedding(layer: Any) -> Function:
    """Indices (…, 1) -> (…, C); the table is stored with a column for every symbol."""
    table = _weights(layer.weights, layer.embeddingSize, layer.vocabSize).T.contiguous()
    bias = _bias(layer, layer.embeddingSize)

    def rows(index: Tensor) -> Tensor:
        vectors = table[index[..., 0].long()]
        return vectors if bias is None else vectors + bias

    return rows


def _lstm(layer: Any) -> Function:
    """x (T, B, I, 1, 1) and h, c (1, B, H, 1, 1) -> every output or the last (T or 1, B, H, 1, 1), and the last h, c.

    i, f = inner(…), z = cell(…); c = f c + i z, clipped; h = inner(o) output(c): NeuralNetwork.proto, LSTM.
    """
    options, weights = layer.params, layer.weightParams
    if layer.reverseInput or options.hasPeepholeVectors or options.coupledInputAndForgetGate or options.forgetBias:
        raise EngineError("an LSTM that reads backward, with peepholes, coupled gates or a forget bias is not executed")
    inner, cell, output = (activation(each) for each in layer.activations)
    clip, size = options.cellClipThreshold, layer.outputVectorSize

    def stacked(name: str, *shape: int) -> Tensor:
        return torch.cat([_weights(getattr(weights, gate + name), *shape) for gate in LSTM_GATES])

    into, back = stacked("WeightMatrix", size, layer.inputVectorSize), stacked("RecursionMatrix", size, size)
    bias = stacked("BiasVector", size) if options.hasBiasVectors else None

    def run(x: Tensor, h: Tensor | None = None, c: Tensor | None = None) -> tuple[Tensor, ...]:
        from_input = F.linear(x[..., 0, 0], into, bias)
        zeros = x.new_zeros(x.shape[1], size)
        hidden, held = (zeros if state is None else state[0, ..., 0, 0] for state in (h, c))
        outputs = []
        for step in from_input:
            i, f, z, o = F.linear(hidden, back).add_(step).chunk(4, -1)
            held = (inner(f) * held + inner(i) * cell(z)).clamp(-clip, clip)
            hidden = inner(o) * output(held)
            outputs.append(hidden)
        every = torch.stack(outputs) if options.sequenceOutput else hidden[None]
        return tuple(tensor[..., None, None] for tensor in (every, hidden[None], held[None]))

    return run


# -------------------------------------------------------------------------------------------------------- normalisation


def _batchnorm(layer: Any) -> Function:
    if layer.computeMeanVar or layer.instanceNormalization:
        raise EngineError("a batchnorm that computes its statistics is not executed")
    gamma, beta, mean, variance = (
        _weights(held, -1, 1, 1) for held in (layer.gamma, layer.beta, layer.mean, layer.variance)
    )
    scale = gamma / torch.sqrt(variance + layer.epsilon)
    shift = beta - mean * scale
    return lambda x: x * scale + shift


def _mean_variance(layer: Any) -> Function:
    axes = (-3, -2, -1) if layer.acrossChannels else (-2, -1)

    def normalised(x: Tensor) -> Tensor:
        centred = x - x.mean(axes, keepdim=True)
        if not layer.normalizeVariance:
            return centred
        return centred / torch.sqrt((centred * centred).mean(axes, keepdim=True) + layer.epsilon)

    return normalised


def _scale(layer: Any) -> Function:
    scale = _image(_weights(layer.scale, *layer.shapeScale))
    bias = _image(_weights(layer.bias, *layer.shapeBias)) if layer.hasBias else 0.0
    return lambda x: x * scale + bias


def _image(numbers: Tensor) -> Tensor:
    """(C,) stands for (C, 1, 1)."""
    return numbers[:, None, None] if numbers.dim() == 1 else numbers


# --------------------------------------------------------------------------------------------------- shapes and choices


def _slice(layer: Any) -> Function:
    """Slices channels, height or width: the last three axes."""
    part = slice(layer.startIndex, layer.endIndex, layer.stride)
    index = (..., part, *[slice(None)] * (2 - layer.axis))
    return lambda x: x[index]


def _slice_static(layer: Any) -> Function:
    if any(stride < 1 for stride in layer.strides):
        raise EngineError("a sliceStatic that runs backward is not executed")
    squeezed = layer.squeezeMasks or [False] * len(layer.strides)
    index = tuple(
        begin if only else slice(None if from_start else begin, None if to_end else end, stride)
        for begin, end, stride, from_start, to_end, only in zip(
            layer.beginIds, layer.endIds, layer.strides, layer.beginMasks, layer.endMasks, squeezed, strict=True
        )
    )
    return lambda x: x[index]


def _split(layer: Any) -> Function:
    sizes = list(layer.splitSizes)
    if sizes:
        return lambda x: torch.split(x, sizes, layer.axis)
    return lambda x: torch.tensor_split(x, layer.numSplits, layer.axis)


def _concat(layer: Any) -> Function:
    if layer.sequenceConcat:
        raise EngineError("a concat of sequences is not executed")
    return lambda *inputs: torch.cat(inputs, -3)


def _concat_nd(layer: Any) -> Function:
    if layer.interleave:
        raise EngineError("a concatND that interleaves is not executed")
    return lambda *inputs: torch.cat(inputs, layer.axis)


def _expand_dims(layer: Any) -> Function:
    def expanded(x: Tensor) -> Tensor:
        rank = x.dim() + len(layer.axes)
        for axis in sorted(axis % rank for axis in layer.axes):
            x = x.unsqueeze(axis)
        return x

    return expanded


def _squeeze(layer: Any) -> Function:
    axes = tuple(layer.axes)
    return lambda x: x.squeeze() if layer.squeezeAll else x.squeeze(axes)


def _rank_preserving_reshape(layer: Any) -> Function:
    """0 keeps the size of its axis, -1 takes what is left."""
    shape = tuple(layer.targetShape)
    return lambda x: x.reshape([size or x.shape[axis] for axis, size in enumerate(shape)])


def _reverse(layer: Any) -> Function:
    axes = [axis for axis, turned in enumerate(layer.reverseDim) if turned]
    return lambda x: x.flip(axes)


def _tile(layer: Any) -> Function:
    if not layer.reps:
        raise EngineError("a tile whose repetitions are an input is not executed")
    return lambda x: x.repeat(*layer.reps)


def _gather(layer: Any) -> Function:
    """The axis gives way to the axes of the indices."""

    def gathered(x: Tensor, index: Tensor) -> Tensor:
        axis = layer.axis % x.dim()
        slices = x.index_select(axis, index.long().reshape(-1))
        return slices.reshape(*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])

    return gathered


def _scatter(layer: Any) -> Function:
    """Puts updates where the indices say along one axis, or adds them to what is there."""
    modes = {0: Tensor.index_copy, 1: Tensor.index_add}  # SCATTER_UPDATE, SCATTER_ADD
    if layer.mode not in modes:
        raise EngineError("a scatter that neither puts nor adds is not executed")
    scatter = modes[layer.mode]

    def scattered(x: Tensor, index: Tensor, updates: Tensor) -> Tensor:
        axis = layer.axis % x.dim()
        index = index.long().reshape(-1)
        return scatter(x, axis, index, updates.reshape(*x.shape[:axis], index.numel(), *x.shape[axis + 1 :]))

    return scattered


def _cumulative_sum(layer: Any) -> Function:
    if layer.reverse or layer.excludeFinalSum:
        raise EngineError("a cumSum that runs backward or leaves out the last is not executed")
    return lambda x: x.cumsum(layer.axis)


def _load_constant(layer: Any) -> Function:
    constant = _weights(layer.data, *layer.shape)
    return lambda: constant


# ----------------------------------------------------------------------------------------------------------- arithmetic


def _folded(relation: Callable[[Tensor, Any], Tensor], *, has_alpha: bool = True) -> Layer:
    """Folds any number of tensors by the relation; a single one with `alpha`, where the layer has one."""

    def prepared(layer: Any) -> Function:
        def compute(first: Tensor, *others: Tensor) -> Tensor:
            for other in others or ([layer.alpha] if has_alpha else []):
                first = relation(first, other)
            return first

        return compute

    return prepared


def _compared(relation: Callable[[Tensor, Any], Tensor]) -> Layer:
    def prepared(layer: Any) -> Function:
        return lambda a, b=None: relation(a, layer.alpha if b is None else b).float()

    return prepared


def _logical(relation: Callable[..., Tensor]) -> Layer:
    return lambda layer: lambda *inputs: relation(*(x != 0 for x in inputs)).float()


def _plain(function: Callable[..., Tensor]) -> Layer:
    """A function without parameters."""
    return lambda layer: function


def _reduced(function: Callable[..., Tensor]) -> Layer:
    def prepared(layer: Any) -> Function:
        axes = tuple(layer.axes)

        def compute(x: Tensor) -> Tensor:
            return function(x, tuple(range(x.dim())) if layer.reduceAll else axes, keepdim=layer.keepDims)

        return compute

    return prepared


def _norm(x: Tensor, axes: tuple[int, ...], keepdim: bool) -> Tensor:
    return torch.linalg.vector_norm(x, dim=axes, keepdim=keepdim)


def _unary(layer: Any) -> Function:
    """Applies the function to scale x + shift."""
    name = type(layer).Operation.Name(layer.type)
    function = UNARY[name](layer)
    return lambda x: function(x * layer.scale + layer.shift)


def _gelu(layer: Any) -> Function:
    mode = type(layer).GeluMode.Name(layer.mode)
    if mode == "SIGMOID_APPROXIMATION":
        return lambda x: x * torch.sigmoid(1.702 * x)
    return lambda x: F.gelu(x, approximate="tanh" if mode == "TANH_APPROXIMATION" else "none")


def activation(layer: Any) -> Callable[[Tensor], Tensor]:
    kind = layer.WhichOneof("NonlinearityType")
    if kind not in ACTIVATIONS:
        raise EngineError(f"it is an activation {kind}, which the neuralnetwork engine does not know")
    return ACTIVATIONS[kind](getattr(layer, kind))


UNARY: dict[str, Callable[[Any], Callable[[Tensor], Tensor]]] = {
    "SQRT": lambda layer: torch.sqrt,
    "RSQRT": lambda layer: lambda x: torch.rsqrt(x + layer.epsilon),
    "INVERSE": lambda layer: lambda x: 1 / (x + layer.epsilon),
    "POWER": lambda layer: lambda x: x**layer.alpha,
    "EXP": lambda layer: torch.exp,
    "LOG": lambda layer: lambda x: torch.log(x + layer.epsilon),
    "ABS": lambda layer: torch.abs,
    "THRESHOLD": lambda layer: lambda x: x.clamp(min=layer.alpha),
}
ACTIVATIONS: dict[str, Callable[[Any], Callable[[Tensor], Tensor]]] = {
    "leakyReLU": lambda layer: lambda x: F.leaky_relu(x, layer.alpha),
    "linear": lambda layer: lambda x: layer.alpha * x + layer.beta,
    "ReLU": lambda layer: F.relu,
    "sigmoid": lambda layer: torch.sigmoid,
    "softplus": lambda layer: F.softplus,
    "tanh": lambda layer: torch.tanh,
}
LAYERS: dict[str, Layer] = {
    "activation": activation,
    "add": _folded(operator.add),
    "addBroadcastable": _plain(operator.add),
    "batchedMatmul": _batched_matmul,
    "batchnorm": _batchnorm,
    "clip": lambda layer: lambda x: x.clamp(layer.minVal, layer.maxVal),
    "concat": _concat,
    "concatND": _concat_nd,
    "constantPad": _constant_pad,
    "convolution": _convolution,
    "copy": _plain(lambda x: x),
    "crop": _crop,
    "cumSum": _cumulative_sum,
    "divideBroadcastable": _plain(operator.truediv),
    "embeddingND": _embedding,
    "equal": _compared(torch.eq),
    "erf": _plain(torch.erf),
    "expandDims": _expand_dims,
    "gather": _gather,
    "gelu": _gelu,
    "greaterEqual": _compared(torch.ge),
    "greaterThan": _compared(torch.gt),
    "innerProduct": _inner_product,
    "lessEqual": _compared(torch.le),
    "lessThan": _compared(torch.lt),
    "loadConstantND": _load_constant,
    "logicalAnd": _logical(torch.logical_and),
    "logicalNot": _logical(torch.logical_not),
    "logicalOr": _logical(torch.logical_or),
    "max": _folded(torch.maximum, has_alpha=False),
    "maxBroadcastable": _plain(torch.maximum),
    "min": _folded(torch.minimum, has_alpha=False),
    "minBroadcastable": _plain(torch.minimum),
    "multiply": _folded(operator.mul),
    "multiplyBroadcastable": _plain(operator.mul),
    "mvn": _mean_variance,
    "notEqual": _compared(torch.ne),
    "padding": _padding,
    "rankPreservingReshape": _rank_preserving_reshape,
    "reduceL2": _reduced(_norm),
    "reduceMax": _reduced(torch.amax),
    "reduceMean": _reduced(torch.mean),
    "reduceSum": _reduced(torch.sum),
    "reshapeStatic": lambda layer: lambda x: x.reshape(tuple(layer.targetShape)),
    "reverse": _reverse,
    "scale": _scale,
    "scatter": _scatter,
    "sign": _plain(torch.sign),
    "slice": _slice,
    "sliceStatic": _slice_static,
    "softmaxND": lambda layer: lambda x: torch.softmax(x, layer.axis),
    "splitND": _split,
    "squeeze": _squeeze,
    "stack": lambda layer: lambda *inputs: torch.stack(inputs, layer.axis),
    "subtractBroadcastable": _plain(operator.sub),
    "tile": _tile,
    "transpose": lambda layer: lambda x: x.permute(tuple(layer.axes)),
    "unary": _unary,
    "uniDirectionalLSTM": _lstm,
    "upsample": _upsample,
    "whereBroadcastable": _plain(lambda condition, a, b: torch.where(condition != 0, a, b)),
}
