"""Shapes: what joins, splits, repeats, turns and reshapes tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from runtime.mil.ops.tensor import concat, flatten2d
from runtime.mil.ops.transformation import expand_dims, reshape, reverse_sequence, sliding_windows
from runtime.neuralnetwork.layers.parameters import Function, Layer, integers, plain


def _concat(layer: Any) -> Function:
    axis = -5 if layer.sequenceConcat else -3
    return lambda *inputs: torch.cat(inputs, axis)


def _split(layer: Any) -> Function:
    sizes = list(layer.splitSizes)
    if sizes:
        return lambda x: torch.split(x, sizes, layer.axis)
    return lambda x: torch.tensor_split(x, layer.numSplits, layer.axis)


def _squeeze(layer: Any) -> Function:
    axes = tuple(layer.axes)
    return lambda x: x.squeeze() if layer.squeezeAll else x.squeeze(axes)


def _rank_preserving_reshape(layer: Any) -> Function:
    """0 keeps the size of its axis, -1 takes what is left."""
    shape = tuple(layer.targetShape)
    return lambda x: x.reshape([size or x.shape[axis] for axis, size in enumerate(shape)])


def _reshape(layer: Any) -> Function:
    """To (C, H, W) behind the axes before, or to (T, C, H, W) with the batch between; `CHANNEL_LAST` reads and writes
    the channels last."""
    *sequence, channels, height, width = layer.targetShape
    is_channel_last = type(layer).ReshapeOrder.Name(layer.mode) == "CHANNEL_LAST"

    def reshaped(x: Tensor) -> Tensor:
        before = [*sequence, *x.shape[1:-3]] if sequence else list(x.shape[:-3])
        if not is_channel_last:
            return x.reshape(*before, channels, height, width)
        return x.movedim(-3, -1).reshape(*before, height, width, channels).movedim(-1, -3)

    return reshaped


def _flatten(layer: Any) -> Function:
    """(…, C, H, W) -> (…, C H W, 1, 1)."""
    is_channel_last = type(layer).FlattenOrder.Name(layer.mode) == "CHANNEL_LAST"
    return lambda x: (x.movedim(-3, -1) if is_channel_last else x).flatten(-3)[..., None, None]


def _permute(layer: Any) -> Function:
    """Permutes sequence, channels, height and width of five axes; the batch between stays."""
    positions = (0, 2, 3, 4)
    sequence, *image = (positions[axis] for axis in layer.axis or range(4))
    return lambda x: x.permute(sequence, 1, *image)


def _transpose(layer: Any) -> Function:
    """Permutes the last axes where there are more of them than the layer knows of, as with images."""
    axes = tuple(layer.axes)

    def turned(x: Tensor) -> Tensor:
        before = x.dim() - len(axes)
        return x.permute(*range(before), *(before + axis for axis in axes))

    return turned


def _reverse(layer: Any) -> Function:
    axes = [axis for axis, turned in enumerate(layer.reverseDim) if turned]
    return lambda x: x.flip(axes)


def _tile(layer: Any) -> Function:
    return lambda x, reps=None: x.tile(tuple(layer.reps) if reps is None else tuple(integers(reps)))


def _sequence_repeat(layer: Any) -> Function:
    times = max(layer.nRepetitions, 1)
    return lambda x: torch.cat([x] * times, -5)


TABLE: dict[str, Layer] = {
    "broadcastToDynamic": plain(lambda x, shape: x.expand(integers(shape))),
    "broadcastToLike": plain(lambda x, like: x.expand(like.shape)),
    "broadcastToStatic": lambda layer: lambda x: x.expand(tuple(layer.targetShape)),
    "concat": _concat,
    "concatND": lambda layer: lambda *inputs: concat(list(inputs), layer.axis, layer.interleave),
    "copy": plain(lambda x: x),
    "expandDims": lambda layer: lambda x: expand_dims(x, list(layer.axes)),
    "flatten": _flatten,
    "flattenTo2D": lambda layer: lambda x: flatten2d(x, layer.axis),
    "getShape": plain(lambda x: torch.tensor(x.shape, dtype=torch.float32)),
    "permute": _permute,
    "rankPreservingReshape": _rank_preserving_reshape,
    "reshape": _reshape,
    "reshapeDynamic": plain(lambda x, shape: reshape(x, integers(shape))),
    "reshapeLike": plain(lambda x, like: x.reshape(like.shape)),
    "reshapeStatic": lambda layer: lambda x: x.reshape(tuple(layer.targetShape)),
    "reverse": _reverse,
    "reverseSeq": lambda layer: lambda x, lengths: reverse_sequence(x, lengths, layer.sequenceAxis, layer.batchAxis),
    "sequenceRepeat": _sequence_repeat,
    "slidingWindows": lambda layer: lambda x: sliding_windows(x, layer.axis, layer.windowSize, layer.step or 1),
    "split": lambda layer: lambda x: torch.chunk(x, layer.nOutputs, -3),
    "splitND": _split,
    "squeeze": _squeeze,
    "stack": lambda layer: lambda *inputs: torch.stack(inputs, layer.axis),
    "tile": _tile,
    "transpose": _transpose,
}
