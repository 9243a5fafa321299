"""Reductions along axes, and sums along one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from runtime.mil.ops import reduction
from runtime.mil.ops.tensor import cumsum
from runtime.neuralnetwork.layers.parameters import Function, Layer, number

_AXES = {"CHW": [-3, -2, -1], "HW": [-2, -1], "C": [-3], "H": [-2], "W": [-1]}


def _norm(x: Tensor, axes: list[int], keepdim: bool) -> Tensor:
    return torch.linalg.vector_norm(x, dim=axes, keepdim=keepdim)


def _reduced(function: Callable[..., Tensor]) -> Layer:
    def prepared(layer: Any) -> Function:
        axes = list(layer.axes)
        return lambda x: function(x, list(range(x.dim())) if layer.reduceAll else axes, layer.keepDims)

    return prepared


def _reduce(layer: Any) -> Function:
    """Reduces channels, height, width or several of them, which stay as axes of one."""
    axes, mode = _AXES[type(layer).ReduceAxis.Name(layer.axis)], type(layer).ReduceOperation.Name(layer.mode)
    epsilon = layer.epsilon or 1e-6
    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "SUM": lambda x: reduction.reduce_sum(x, axes, True),
        "AVG": lambda x: reduction.reduce_mean(x, axes, True),
        "PROD": lambda x: reduction.reduce_prod(x, axes, True),
        "LOGSUM": lambda x: torch.log(x + epsilon).sum(axes, True),
        "SUMSQUARE": lambda x: reduction.reduce_sum_square(x, axes, True),
        "L1": lambda x: reduction.reduce_l1_norm(x, axes, True),
        "L2": lambda x: _norm(x, axes, True),
        "MAX": lambda x: reduction.reduce_max(x, axes, True),
        "MIN": lambda x: reduction.reduce_min(x, axes, True),
        "ARGMAX": lambda x: torch.argmax(x, axes[0], keepdim=True).float(),
    }
    return functions[mode]


def _cumulative_sum(layer: Any) -> Function:
    """A second input is the axis."""

    def summed(x: Tensor, axis: Tensor | None = None) -> Tensor:
        along = layer.axis if axis is None else int(number(axis))
        return cumsum(x, along, layer.excludeFinalSum, layer.reverse)

    return summed


TABLE: dict[str, Layer] = {
    "cumSum": _cumulative_sum,
    "reduce": _reduce,
    "reduceL1": _reduced(reduction.reduce_l1_norm),
    "reduceL2": _reduced(_norm),
    "reduceLogSum": _reduced(reduction.reduce_log_sum),
    "reduceLogSumExp": _reduced(reduction.reduce_log_sum_exp),
    "reduceMax": _reduced(reduction.reduce_max),
    "reduceMean": _reduced(reduction.reduce_mean),
    "reduceMin": _reduced(reduction.reduce_min),
    "reduceProd": _reduced(reduction.reduce_prod),
    "reduceSum": _reduced(reduction.reduce_sum),
    "reduceSumSquare": _reduced(reduction.reduce_sum_square),
}
