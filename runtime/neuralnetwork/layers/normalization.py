"""Normalisations. Channels are the third axis from the end."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from runtime.mil.ops.normalization import l2_norm
from runtime.neuralnetwork.layers.parameters import Function, Layer, on_images, plain, weights


def _batchnorm(layer: Any) -> Function:
    epsilon = layer.epsilon or 1e-5
    shape = (layer.channels, 1, 1)
    gamma, beta = weights(layer.gamma, *shape), weights(layer.beta, *shape)
    if layer.computeMeanVar:
        axes = (2, 3) if layer.instanceNormalization else (0, 2, 3)

        def computed(x: Tensor) -> Tensor:
            variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
            return (x - mean) / torch.sqrt(variance + epsilon) * gamma + beta

        return on_images(computed)
    mean, variance = weights(layer.mean, *shape), weights(layer.variance, *shape)
    scale = gamma / torch.sqrt(variance + epsilon)
    shift = beta - mean * scale
    return lambda x: x * scale + shift


def _mean_variance(layer: Any) -> Function:
    axes = (-3, -2, -1) if layer.acrossChannels else (-2, -1)
    epsilon = layer.epsilon or 1e-6

    def normalised(x: Tensor) -> Tensor:
        centred = x - x.mean(axes, keepdim=True)
        if not layer.normalizeVariance:
            return centred
        return centred / torch.sqrt((centred * centred).mean(axes, keepdim=True) + epsilon)

    return normalised


def _local_response(layer: Any) -> Function:
    """x / (k + alpha / size sum x^2)^beta, the sum over so many channels around each."""
    size, alpha, beta, k = layer.localSize, layer.alpha, layer.beta, layer.k or 1.0
    return on_images(lambda x: F.local_response_norm(x, size, alpha, beta, k))


def _layer_normalisation(layer: Any) -> Function:
    shape = tuple(layer.normalizedShape)
    gamma, beta = weights(layer.gamma, *shape), weights(layer.beta, *shape)
    return lambda x: F.layer_norm(x, shape, gamma, beta, layer.eps)


def _scale(layer: Any) -> Function:
    scale = _image(weights(layer.scale, *layer.shapeScale))
    bias = _image(weights(layer.bias, *layer.shapeBias)) if layer.hasBias else 0.0
    return lambda x: x * scale + bias


def _bias(layer: Any) -> Function:
    bias = _image(weights(layer.bias, *layer.shape))
    return lambda x: x + bias


def _image(numbers: Tensor) -> Tensor:
    """(C,) stands for (C, 1, 1)."""
    return numbers[:, None, None] if numbers.dim() == 1 else numbers


TABLE: dict[str, Layer] = {
    "batchnorm": _batchnorm,
    "bias": _bias,
    "l2normalize": lambda layer: lambda x: l2_norm(x, layer.epsilon or 1e-6),
    "layerNormalization": _layer_normalisation,
    "lrn": _local_response,
    "mvn": _mean_variance,
    "scale": _scale,
    "softmax": plain(lambda x: torch.softmax(x, -3)),
    "softmaxND": lambda layer: lambda x: torch.softmax(x, layer.axis),
}
