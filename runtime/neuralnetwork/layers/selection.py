"""Parts of tensors by place: slices, gathering and scattering, sorting, the places of values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from runtime.mil.ops.scatter_gather import (
    gather,
    gather_along_axis,
    gather_nd,
    scatter,
    scatter_along_axis,
    scatter_nd,
)
from runtime.mil.ops.tensor import argsort, band_part, one_hot
from runtime.mil.ops.transformation import slice_by_index
from runtime.neuralnetwork.layers.parameters import Function, Layer, integers, number, plain


def _slice(layer: Any) -> Function:
    """Slices channels, height or width: the last three axes."""
    part = slice(layer.startIndex, layer.endIndex, layer.stride or 1)
    index = (..., part, *[slice(None)] * (2 - layer.axis))
    return lambda x: x[index]


def _slice_static(layer: Any) -> Function:
    begin, end, strides = list(layer.beginIds), list(layer.endIds), list(layer.strides)
    masks = list(layer.beginMasks), list(layer.endMasks), list(layer.squeezeMasks)
    return lambda x: slice_by_index(x, begin, end, strides, *masks)


def _slice_dynamic(layer: Any) -> Function:
    """The inputs after x, as many as there are, say where slices begin and end, the strides and the masks; the layer
    has the others."""

    def sliced(x: Tensor, *given: Tensor) -> Tensor:
        fixed: tuple[Sequence[int], ...] = (
            [],
            layer.endIds,
            layer.strides,
            layer.beginMasks,
            layer.endMasks,
            layer.squeezeMasks,
        )
        begin, end, strides, *masks = (
            integers(given[place]) if place < len(given) else list(values) for place, values in enumerate(fixed)
        )
        return slice_by_index(x, begin, end, strides, *([bool(one) for one in mask] for mask in masks))

    return sliced


def _slice_by_size(layer: Any) -> Function:
    def sliced(x: Tensor, begin: Tensor) -> Tensor:
        start = int(number(begin))
        return x.narrow(layer.axis, start % x.shape[layer.axis], layer.size)

    return sliced


def _scatter(function: Callable[..., Tensor], *, has_axis: bool = True) -> Layer:
    """Puts updates where the indices say, or reckons with what is there."""
    modes = ("update", "add", "sub", "mul", "div", "max", "min")  # ScatterMode

    def prepared(layer: Any) -> Function:
        place = {"axis": layer.axis} if has_axis else {}
        return lambda x, index, updates: function(x, index, updates, mode=modes[layer.mode], **place)

    return prepared


def _top(layer: Any) -> Function:
    """The first of equals come first."""

    def best(x: Tensor, count: Tensor | None = None) -> tuple[Tensor, ...]:
        k = layer.K if count is None else int(number(count))
        indices = argsort(x, layer.axis, ascending=layer.useBottomK).narrow(layer.axis, 0, k)
        return x.gather(layer.axis, indices), indices.float()

    return best


def _arg(function: Callable[..., Tensor]) -> Layer:
    def prepared(layer: Any) -> Function:
        return lambda x: function(x, layer.axis, keepdim=not layer.removeDim).float()

    return prepared


def _one_hot(layer: Any) -> Function:
    def encoded(index: Tensor, *given: Tensor) -> Tensor:
        values = [layer.oneHotVectorSize, layer.onValue, layer.offValue]
        values[: len(given)] = [number(x) for x in given]
        size, on, off = values
        return one_hot(index, int(size), layer.axis, torch.tensor(float(on)), torch.tensor(float(off)))

    return encoded


TABLE: dict[str, Layer] = {
    "argMax": _arg(torch.argmax),
    "argMin": _arg(torch.argmin),
    "argSort": lambda layer: lambda x: argsort(x, layer.axis, ascending=not layer.descending).float(),
    "gather": lambda layer: lambda x, index: gather(x, index, layer.axis),
    "gatherAlongAxis": lambda layer: lambda x, index: gather_along_axis(x, index, layer.axis),
    "gatherND": plain(gather_nd),
    "lowerTriangular": lambda layer: lambda x: torch.tril(x, layer.k),
    "matrixBandPart": lambda layer: lambda x: band_part(x, layer.numLower, layer.numUpper),
    "oneHot": _one_hot,
    "scatter": _scatter(scatter),
    "scatterAlongAxis": _scatter(scatter_along_axis),
    "scatterND": _scatter(scatter_nd, has_axis=False),
    "slice": _slice,
    "sliceBySize": _slice_by_size,
    "sliceDynamic": _slice_dynamic,
    "sliceStatic": _slice_static,
    "topK": _top,
    "upperTriangular": lambda layer: lambda x: torch.triu(x, layer.k),
    "whereBroadcastable": plain(lambda condition, a, b: torch.where(condition != 0, a, b)),
    "whereNonZero": plain(lambda x: torch.nonzero(x).float()),
}
