"""Resizing, cropping and sampling of the last two axes (coremltools: ops/defs/*/image_resizing.py)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def crop(x: Tensor, crop_height: list[int], crop_width: list[int]) -> Tensor:
    height, width = x.shape[-2:]
    return x[..., crop_height[0] : height - crop_height[1], crop_width[0] : width - crop_width[1]]


def upsample_nearest_neighbor(x: Tensor, scale_factor_height: float = 1, scale_factor_width: float = 1) -> Tensor:
    height, width = torch.sym_int(x.shape[-2] * scale_factor_height), torch.sym_int(x.shape[-1] * scale_factor_width)
    return resize_nearest_neighbor(x, height, width)


def resize_nearest_neighbor(x: Tensor, target_size_height: int, target_size_width: int) -> Tensor:
    rows = _nearest_indices(x.shape[-2], target_size_height)
    columns = _nearest_indices(x.shape[-1], target_size_width)
    return x.index_select(-2, rows).index_select(-1, columns)


def _nearest_indices(length: int, size: int) -> Tensor:
    return torch.arange(size) * length // size


def upsample_bilinear(
    x: Tensor,
    scale_factor_height: float = 1,
    scale_factor_width: float = 1,
    align_corners: bool = True,
    half_pixel_centers: bool | None = None,
) -> Tensor:
    """The scale is computed again from the rounded output size."""
    height, width = torch.sym_int(x.shape[-2] * scale_factor_height), torch.sym_int(x.shape[-1] * scale_factor_width)
    centred = "DEFAULT" if half_pixel_centers is False else "UNALIGN_CORNERS"
    return resize_bilinear(x, height, width, "STRICT_ALIGN_CORNERS" if align_corners else centred)


def resize_bilinear(
    x: Tensor, target_size_height: int = 1, target_size_width: int = 1, sampling_mode: str = "DEFAULT"
) -> Tensor:
    rows = grid_points(x.shape[-2], target_size_height, sampling_mode)
    columns = grid_points(x.shape[-1], target_size_width, sampling_mode)
    return _interpolated(_interpolated(x, rows, -2), columns, -1)


def resize(
    x: Tensor,
    shape: list[int],
    resized_dims: int,
    interpolation_mode: str = "LINEAR",
    sampling_mode: str = "DEFAULT",
) -> Tensor:
    """The last `resized_dims` axes take the last sizes of `shape`; 0 keeps a size."""
    for i in range(resized_dims):
        axis = x.dim() - resized_dims + i
        size = shape[len(shape) - resized_dims + i] or x.shape[axis]
        points = grid_points(x.shape[axis], size, sampling_mode)
        if interpolation_mode == "NEAREST_NEIGHBOR":
            x = x.index_select(axis, torch.clamp((points + 0.5).floor().long(), 0, x.shape[axis] - 1))
        else:
            x = _interpolated(x, points, axis)
    return x


def grid_points(length: int, count: int, mode: str) -> Tensor:
    """Returns where `count` samples lie on [0, length - 1] (coremltools' notes on resize_bilinear)."""
    index = torch.arange(count, dtype=torch.float32)
    if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        if count == 1:
            return torch.full((1,), (length - 1) / 2 if mode == "ALIGN_CORNERS" else 0.0)
        points = index * ((length - 1) / (count - 1))
    elif mode == "DEFAULT":
        points = index * (length / count)
    elif mode == "OFFSET_CORNERS":
        delta = max(1, length - 1) / count
        points = 0.5 * delta + index * delta
    else:  # UNALIGN_CORNERS
        spacing = length / count
        points = index * spacing + 0.5 * spacing - 0.5
    return torch.clamp(points, 0, length - 1)


def _interpolated(x: Tensor, points: Tensor, axis: int) -> Tensor:
    low = points.floor().long()
    high = torch.clamp(low + 1, max=x.shape[axis] - 1)
    weight = (points - low).reshape([-1 if i == axis % x.dim() else 1 for i in range(x.dim())])
    return x.index_select(axis, low) * (1 - weight) + x.index_select(axis, high) * weight


def resample(
    x: Tensor,
    coordinates: Tensor,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    align_corners: bool,
) -> Tensor:
    """x: (B, C, H, W), coordinates: (B, H2, W2, 2) as (x, y) -> (B, C, H2, W2)."""
    height, width = x.shape[-2:]
    sizes = torch.tensor([width, height], dtype=torch.float32)
    at = coordinates.float()
    if coordinates_mode != "unnormalized":
        unit = (at + 1) / 2 if coordinates_mode == "normalized_minus_one_to_one" else at
        at = unit * (sizes - 1) if align_corners else unit * sizes - 0.5
    at_x, at_y = (_folded(at[..., i], int(sizes[i]), padding_mode, align_corners) for i in range(2))
    if sampling_mode == "nearest":
        return _pixels(x, torch.round(at_x), torch.round(at_y), padding_value)
    left, top = at_x.floor(), at_y.floor()
    weight_x, weight_y = (at_x - left)[:, None], (at_y - top)[:, None]
    upper = _pixels(x, left, top, padding_value) * (1 - weight_x) + _pixels(x, left + 1, top, padding_value) * weight_x
    below = _pixels(x, left, top + 1, padding_value) * (1 - weight_x)
    below = below + _pixels(x, left + 1, top + 1, padding_value) * weight_x
    return upper * (1 - weight_y) + below * weight_y


def _folded(at: Tensor, size: int, padding_mode: str, align_corners: bool) -> Tensor:
    """Coordinates brought back into the image as the padding mode says; `constant` leaves them."""
    if padding_mode == "constant":
        return at
    if padding_mode in ("reflection", "symmetric"):
        low, span = (0.0, size - 1.0) if padding_mode == "reflection" else (-0.5, float(size))
        if padding_mode == "reflection" and not align_corners:
            low, span = -0.5, float(size)
        if span == 0:
            return torch.zeros_like(at)
        distance = torch.abs(at - low)
        turns, rest = torch.floor(distance / span), torch.remainder(distance, span)
        at = torch.where(torch.remainder(turns, 2) == 0, rest + low, span - rest + low)
    return torch.clamp(at, 0, size - 1)


def _pixels(x: Tensor, column: Tensor, row: Tensor, outside: float) -> Tensor:
    """x (B, C, H, W) at whole coordinates (B, h, w); `outside` beyond the image."""
    batch, channels, height, width = x.shape
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    flat = torch.clamp(row, 0, height - 1).long() * width + torch.clamp(column, 0, width - 1).long()
    picked = x.reshape(batch, channels, -1).gather(2, flat.reshape(batch, 1, -1).expand(-1, channels, -1))
    picked = picked.reshape(batch, channels, *column.shape[1:])
    return torch.where(inside[:, None], picked, torch.full_like(picked, outside))


def affine(
    x: Tensor,
    transform_matrix: Tensor,
    output_height: int,
    output_width: int,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    align_corners: bool,
) -> Tensor:
    """transform_matrix: (B or 1, 6), from output to input coordinates in [-1, 1]."""
    matrix = transform_matrix.reshape(-1, 2, 3).expand(x.shape[0], 2, 3)
    columns = torch.linspace(-1, 1, output_width)
    rows = torch.linspace(-1, 1, output_height)
    grid_y, grid_x = torch.meshgrid(rows, columns, indexing="ij")
    grid = torch.stack([grid_x, grid_y, torch.ones_like(grid_x)], -1)
    at = torch.einsum("bij,hwj->bhwi", matrix, grid)
    return resample(x, at, sampling_mode, padding_mode, padding_value, coordinates_mode, align_corners)


def crop_resize(
    x: Tensor,
    roi: Tensor | None = None,
    boxes: Tensor | None = None,
    box_indices: Tensor | None = None,
    target_height: int = 1,
    target_width: int = 1,
    normalized_coordinates: bool = False,
    spatial_scale: float = 1.0,
    box_coordinate_mode: str = "CORNERS_HEIGHT_FIRST",
    sampling_mode: str = "DEFAULT",
    pad_value: float | None = None,
) -> Tensor:
    """Resizes each box of x to (target_height, target_width).

    Up to iOS 16 `roi` (N, 1, 4 or 5, 1, 1), output (N, B or 1, C, h, w); from iOS 17 `boxes` (N, 4) with
    `box_indices` (N,), output (N, C, h, w).
    """
    if roi is not None:
        rows = roi.reshape(roi.shape[0], -1)
        images = [x[int(row[0])][None] if len(row) == 5 else x for row in rows]
        corners = rows[:, -4:]
    else:
        assert boxes is not None
        corners = boxes.reshape(-1, 4)
        picks = torch.arange(len(corners)) if box_indices is None else box_indices
        images = [x[int(pick)][None] for pick in picks]
    crops = []
    for image, box in zip(images, corners):
        h0, w0, h1, w1 = _corners(box.float() * spatial_scale, box_coordinate_mode)
        if normalized_coordinates:
            # Undocumented; of the op before it had a pad value, coremltools' own test has seen the whole image.
            if pad_value is None and (h1 < h0 or w1 < w0):
                h0, w0, h1, w1 = torch.tensor([0.0, 0.0, 1.0, 1.0])
            h0, h1 = h0 * (x.shape[-2] - 1), h1 * (x.shape[-2] - 1)
            w0, w1 = w0 * (x.shape[-1] - 1), w1 * (x.shape[-1] - 1)
        ys = _box_points(h0, h1, target_height, sampling_mode)
        xs = _box_points(w0, w1, target_width, sampling_mode)
        grid_y, grid_x = torch.meshgrid(ys, xs, indexing="ij")
        at = torch.stack([grid_x, grid_y], -1)[None].expand(image.shape[0], -1, -1, -1)
        inside = (grid_y >= 0) & (grid_y <= x.shape[-2] - 1) & (grid_x >= 0) & (grid_x <= x.shape[-1] - 1)
        sampled = resample(image, at, "bilinear", "border", 0.0, "unnormalized", True)
        crops.append(torch.where(inside, sampled, torch.full_like(sampled, pad_value or 0.0)))
    stacked = torch.stack(crops)
    return stacked if roi is not None else stacked[:, 0]


def _corners(box: Tensor, mode: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(h0, w0, h1, w1) from any of the four box conventions."""
    a, b, c, d = box.unbind()
    if mode.endswith("WIDTH_FIRST"):
        a, b, c, d = b, a, d, c
    if mode.startswith("CENTER_SIZE"):
        return a - c / 2, b - d / 2, a + c / 2, b + d / 2
    return a, b, c, d


def _box_points(low: Tensor, high: Tensor, count: int, mode: str) -> Tensor:
    index = torch.arange(count, dtype=torch.float32)
    if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        if count == 1:
            return ((low + high) / 2 if mode == "ALIGN_CORNERS" else low).reshape(1)
        return low + index * (high - low) / (count - 1)
    if mode == "DEFAULT":
        return low + index * (high - low + 1) / count
    if mode == "OFFSET_CORNERS":
        delta = (high - low) / count
        return low + (index + 0.5) * delta
    spacing = (high - low + 1) / count  # UNALIGN_CORNERS
    return low + (index + 0.5) * spacing - 0.5


OPS: dict[str, Callable[..., Tensor]] = {
    "affine": affine,
    "crop": crop,
    "crop_resize": crop_resize,
    "resample": resample,
    "resize": resize,
    "resize_bilinear": resize_bilinear,
    "resize_nearest_neighbor": resize_nearest_neighbor,
    "upsample_bilinear": upsample_bilinear,
    "upsample_nearest_neighbor": upsample_nearest_neighbor,
}
