"""Convolutions and pooling, over two axes and over three."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from runtime.mil.ops.conv import conv, conv_transpose, spatial_padding
from runtime.mil.ops.pool import avg_pool, l2_pool, max_pool
from runtime.neuralnetwork.layers.parameters import Function, Layer, bias_of, on_images, weights


def _convolution(layer: Any) -> Function:
    """Weights: (C_out, C_in / groups, H, W), or (C_in, C_out / groups, H, W) of a transposed one; or an input of that
    shape."""
    groups, kernel = max(layer.nGroups, 1), tuple(layer.kernelSize) or (3, 3)
    stride, dilation = tuple(layer.stride) or (1, 1), tuple(layer.dilationFactor) or (1, 1)
    is_same = layer.WhichOneof("ConvolutionPaddingType") == "same"
    (top, bottom), (left, right) = borders(layer.valid.paddingAmounts)
    output_shape = tuple(layer.outputShape)

    def convolved(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        rows, columns = (top, bottom), (left, right)
        if is_same:
            reach = [(size - 1) * dilation[axis] for axis, size in enumerate(weight.shape[2:])]
            rows, columns = spatial_padding(same(layer), None, list(x.shape[2:]), list(stride), reach)
        return F.conv2d(F.pad(x, (*columns, *rows)), weight, bias, stride, 0, dilation, groups)

    def transposed(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if is_same and not output_shape:
            return conv_transpose(x, weight, bias, None, None, same(layer), list(stride), list(dilation), groups)
        y = F.conv_transpose2d(x, weight, bias, stride, 0, 0, groups, dilation)
        height, width = output_shape or (y.shape[2] - top - bottom, y.shape[3] - left - right)
        missing = top + height - y.shape[2], left + width - y.shape[3]  # output_padding reads beyond the full output
        y = F.pad(y, (0, max(missing[1], 0), 0, max(missing[0], 0)))
        return y[:, :, top : top + height, left : left + width]

    function = transposed if layer.isDeconvolution else convolved
    fixed_bias = bias_of(layer, layer.outputChannels)
    if not layer.weights.ListFields():
        return lambda x, weight, bias=fixed_bias: on_images(lambda images: function(images, weight, bias))(x)
    if layer.isDeconvolution:
        shape, axis = (layer.kernelChannels, layer.outputChannels // groups, *kernel), 1
    else:
        shape, axis = (layer.outputChannels, layer.kernelChannels, *kernel), 0
    fixed = weights(layer.weights, *shape, channel_axis=axis)
    return on_images(lambda images: function(images, fixed, fixed_bias))


def borders(amounts: Any) -> list[tuple[int, int]]:
    """Returns (top, bottom), (left, right) of a BorderAmounts."""
    return [(edge.startEdgeSize, edge.endEdgeSize) for edge in amounts.borderAmounts] or [(0, 0), (0, 0)]


def same(layer: Any) -> str:
    """Returns MIL's word for a layer's padding `same`: where the larger half of an odd amount goes."""
    return "same" if layer.same.asymmetryMode == 0 else "same_lower"  # BOTTOM_RIGHT_HEAVY, TOP_LEFT_HEAVY


def _convolution_3d(layer: Any) -> Function:
    """x (N, C, D, H, W); weights as those of two axes."""
    groups = max(layer.nGroups, 1)
    kernel, stride, dilation = (
        [getattr(layer, name + axis) or 1 for axis in ("Depth", "Height", "Width")]
        for name in ("kernel", "stride", "dilation")
    )
    pad_type, pad = _padding_3d(layer)
    bias = bias_of(layer, layer.outputChannels)
    if not layer.isDeconvolution:
        weight = weights(layer.weights, layer.outputChannels, layer.inputChannels // groups, *kernel)
        return lambda x: conv(x, weight, bias, stride, pad_type, pad, dilation, groups)
    weight = weights(layer.weights, layer.inputChannels, layer.outputChannels // groups, *kernel, channel_axis=1)
    shape = [0, 0, *layer.outputShape] if layer.outputShape else None
    return lambda x: conv_transpose(x, weight, bias, pad, shape, pad_type, stride, dilation, groups)


def _padding_3d(layer: Any) -> tuple[str, list[int]]:
    """MIL's pad type, and (before, after) of depth, height and width."""
    sides = ("Front", "Back", "Top", "Bottom", "Left", "Right")
    pad_type = {0: "custom", 1: "valid", 2: "same"}[layer.paddingType]  # CUSTOM, VALID, SAME
    return pad_type, [getattr(layer, f"customPadding{side}") for side in sides]


_POOLS: tuple[Callable[..., Tensor], ...] = (max_pool, avg_pool, l2_pool)  # MAX, AVERAGE, L2


def _pooled(kind: int, x: Tensor, kernel: list[int], leave_out_padding: bool, *arguments: Any) -> Tensor:
    """Pools with strides, pad type, padding and ceil mode as `arguments`."""
    strides, pad_type, pad, ceil_mode = arguments
    if kind == 1:
        return avg_pool(x, kernel, strides, pad_type, pad, leave_out_padding, ceil_mode)
    return _POOLS[kind](x, kernel, strides, pad_type, pad, ceil_mode)


def _pooling(layer: Any) -> Function:
    if layer.globalPooling:
        return on_images(lambda x: _pooled(layer.type, x, list(x.shape[2:]), False, None, "valid", None, False))
    kernel, stride = list(layer.kernelSize) or [3, 3], list(layer.stride) or [1, 1]
    kind = layer.WhichOneof("PoolingPaddingType")
    pad_type, pad = "custom", [amount for pair in borders(layer.valid.paddingAmounts) for amount in pair]
    if kind == "same":
        pad_type = same(layer)
    elif kind == "includeLastPixel":
        high, wide = list(layer.includeLastPixel.paddingAmounts) or [0, 0]
        pad = [high, high, wide, wide]
    arguments = stride, pad_type, pad, kind == "includeLastPixel"
    return on_images(lambda x: _pooled(layer.type, x, kernel, layer.avgPoolExcludePadding, *arguments))


def _pooling_3d(layer: Any) -> Function:
    kernel, stride = (
        [getattr(layer, name + axis) or 1 for axis in ("Depth", "Height", "Width")] for name in ("kernel", "stride")
    )
    arguments = stride, *_padding_3d(layer), False
    return lambda x: _pooled(layer.type, x, kernel, layer.countExcludePadding, *arguments)


def _global_pooling_3d(layer: Any) -> Function:
    return lambda x: _pooled(layer.type, x, list(x.shape[2:]), False, None, "valid", None, False)


TABLE: dict[str, Layer] = {
    "convolution": _convolution,
    "convolution3d": _convolution_3d,
    "globalPooling3d": _global_pooling_3d,
    "pooling": _pooling,
    "pooling3d": _pooling_3d,
}
