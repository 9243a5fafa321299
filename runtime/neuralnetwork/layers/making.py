"""Tensors out of nothing but a shape: constants, ranges, fillings, random numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from runtime.mil.ops.random import random_bernoulli, random_categorical, random_normal, random_uniform
from runtime.neuralnetwork.layers.parameters import Function, Layer, integers, number, weights


def _constant(layer: Any) -> Function:
    """(C, H, W) as (1, 1, C, H, W)."""
    constant = weights(layer.data, 1, 1, *layer.shape)
    return lambda: constant


def _constant_nd(layer: Any) -> Function:
    constant = weights(layer.data, *layer.shape)
    return lambda: constant


def _range(layer: Any) -> Function:
    """Inputs, as many as there are, are end, start and step."""

    def counted(*given: Tensor) -> Tensor:
        values = [getattr(layer, "endValue", 0.0), layer.startValue, layer.stepSizeValue]
        values[: len(given)] = [number(x) for x in given]
        end, start, step = values
        return torch.arange(start, end, step, dtype=torch.float32)

    return counted


def _shaped(make: Callable[[Any, list[int]], Tensor], suffix: str, shape_field: str) -> Layer:
    """Makes the entry of a layer that makes a tensor of its own shape (`Static`), of that which an input holds
    (`Dynamic`) or of an input's (`Like`)."""

    def prepared(layer: Any) -> Function:
        if suffix == "Static":
            return lambda: make(layer, list(getattr(layer, shape_field)))
        return lambda x: make(layer, integers(x) if suffix == "Dynamic" else list(x.shape))

    return prepared


def _categorical(layer: Any) -> Function:
    """Draws from the last axis of x; without logits its numbers are probabilities."""

    def drawn(x: Tensor) -> Tensor:
        logits = x if layer.isLogits else torch.log(x + (layer.eps or 1e-10))
        return random_categorical(logits / (layer.temperature or 1.0), "logits", layer.numSamples, layer.seed)

    return drawn


_MAKERS: dict[str, tuple[Callable[[Any, list[int]], Tensor], str]] = {
    "fill": (lambda layer, shape: torch.full(shape, layer.value), "targetShape"),
    "randomBernoulli": (lambda layer, shape: random_bernoulli(shape, layer.prob, layer.seed), "outputShape"),
    "randomNormal": (lambda layer, shape: random_normal(shape, layer.mean, layer.stdDev, layer.seed), "outputShape"),
    "randomUniform": (
        lambda layer, shape: random_uniform(shape, layer.minVal, layer.maxVal, layer.seed),
        "outputShape",
    ),
}
TABLE: dict[str, Layer] = {
    "categoricalDistribution": _categorical,
    "loadConstant": _constant,
    "loadConstantND": _constant_nd,
    "rangeDynamic": _range,
    "rangeStatic": _range,
    **{
        name + suffix: _shaped(make, suffix, field)
        for name, (make, field) in _MAKERS.items()
        for suffix in ("Static", "Dynamic", "Like")
    },
}
