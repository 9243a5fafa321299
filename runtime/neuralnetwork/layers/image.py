"""Padding, cropping and resizing of height and width, the last two axes."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from runtime.mil.ops.image import crop_resize, resize_bilinear, upsample_bilinear, upsample_nearest_neighbor
from runtime.mil.ops.tensor import non_maximum_suppression
from runtime.mil.ops.transformation import depth_to_space, space_to_depth
from runtime.neuralnetwork.layers.convolution import borders
from runtime.neuralnetwork.layers.parameters import Function, Layer, integers, number, on_images

# Core ML's names of how grid points lie, and MIL's.
_SAMPLING = {
    "STRICT_ALIGN_ENDPOINTS_MODE": "STRICT_ALIGN_CORNERS",
    "ALIGN_ENDPOINTS_MODE": "ALIGN_CORNERS",
    "UPSAMPLE_MODE": "DEFAULT",
    "ROI_ALIGN_MODE": "OFFSET_CORNERS",
}


def _padding(layer: Any) -> Function:
    """torch mirrors and repeats two axes of four only: the others become one."""
    (top, bottom), (left, right) = borders(layer.paddingAmounts)
    kind = layer.WhichOneof("PaddingType") or "constant"
    if kind == "constant":
        return lambda x: F.pad(x, (left, right, top, bottom), value=layer.constant.value)
    mode = {"reflection": "reflect", "replication": "replicate"}[kind]

    def padded(x: Tensor) -> Tensor:
        planes = x.reshape(1, -1, *x.shape[-2:])
        return (y := F.pad(planes, (left, right, top, bottom), mode)).reshape(*x.shape[:-2], *y.shape[-2:])

    return padded


def _constant_pad(layer: Any) -> Function:
    """Pads every axis by (before, after), or to a size on one side of each, as the layer or a second input says."""

    def padded(x: Tensor, amounts: Tensor | None = None) -> Tensor:
        numbers = list(layer.padAmounts) if amounts is None else integers(amounts)
        pairs = list(zip(numbers[::2], numbers[1::2]))
        if layer.padToGivenOutputSizeMode:
            first = x.dim() - len(pairs)
            pairs = [
                tuple(max(size - x.shape[first + axis], 0) if size else 0 for size in pair)  # type: ignore[misc]
                for axis, pair in enumerate(pairs)
            ]
        return F.pad(x, [amount for pair in reversed(pairs) for amount in pair], value=layer.value)

    return padded


def _crop(layer: Any) -> Function:
    (top, bottom), (left, right) = borders(layer.cropAmounts)
    high, wide = tuple(layer.offset) or (0, 0)

    def cropped(x: Tensor, like: Tensor | None = None) -> Tensor:
        if like is None:
            return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]
        return x[..., high : high + like.shape[-2], wide : wide + like.shape[-1]]

    return cropped


def _upsample(layer: Any) -> Function:
    high, wide = tuple(layer.fractionalScalingFactor) or tuple(layer.scalingFactor) or (1, 1)
    if type(layer).InterpolationMode.Name(layer.mode) == "BILINEAR":
        mode = type(layer).LinearUpsampleMode.Name(layer.linearUpsampleMode)
        if mode == "DEFAULT":
            return lambda x: upsample_bilinear(x, high, wide, align_corners=False, half_pixel_centers=False)
        return lambda x: upsample_bilinear(x, high, wide, align_corners=mode == "ALIGN_CORNERS_TRUE")
    if high == int(high) and wide == int(wide):
        return lambda x: x.repeat_interleave(int(high), -2).repeat_interleave(int(wide), -1)
    return lambda x: upsample_nearest_neighbor(x, high, wide)


def _resize_bilinear(layer: Any) -> Function:
    height, width = tuple(layer.targetSize) or (1, 1)
    mode = _sampling(layer)
    return lambda x: resize_bilinear(x, height, width, mode)


def _sampling(layer: Any) -> str:
    return _SAMPLING[type(layer.mode).Method.Name(layer.mode.samplingMethod)]


def _crop_resize(layer: Any) -> Function:
    """x (1, B, C, H, W), boxes (N, 1, 4 or 5, 1, 1) -> (N, B or 1, C, h, w)."""
    height, width = tuple(layer.targetSize) or (1, 1)
    boxes = type(layer.boxIndicesMode).Coordinates.Name(layer.boxIndicesMode.boxMode)

    def resized(x: Tensor, roi: Tensor) -> Tensor:
        return crop_resize(
            x[0],
            roi,
            target_height=height,
            target_width=width,
            normalized_coordinates=layer.normalizedCoordinates,
            spatial_scale=layer.spatialScale or 1.0,
            box_coordinate_mode=boxes,
            sampling_mode=_sampling(layer),
        )

    return resized


def _reorganised(layer: Any) -> Function:
    size = layer.blockSize
    functions = {
        "SPACE_TO_DEPTH": lambda x: space_to_depth(x, size),
        "DEPTH_TO_SPACE": lambda x: depth_to_space(x, size),
        "PIXEL_SHUFFLE": lambda x: F.pixel_shuffle(x, size),
    }
    return on_images(functions[type(layer).ReorganizationType.Name(layer.mode)])


def _suppressed(layer: Any) -> Function:
    """Boxes (B, N, 4), scores (B, N, K) and perhaps the thresholds and how many -> boxes, scores, indices, counts."""

    def chosen(boxes: Tensor, scores: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        values = [layer.iouThreshold, layer.scoreThreshold, layer.maxBoxes]
        values[: len(given)] = [number(x) for x in given]
        overlap, score, most = values
        results = non_maximum_suppression(boxes, scores, overlap, int(most), score, layer.perClassSuppression)
        return tuple(result.float() for result in results)

    return chosen


TABLE: dict[str, Layer] = {
    "NonMaximumSuppression": _suppressed,
    "constantPad": _constant_pad,
    "crop": _crop,
    "cropResize": _crop_resize,
    "padding": _padding,
    "reorganizeData": _reorganised,
    "resizeBilinear": _resize_bilinear,
    "upsample": _upsample,
}
