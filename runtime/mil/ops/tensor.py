"""Making, joining, sorting and counting (coremltools: ops/defs/*/tensor_operation.py, elementwise_unary.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Half precision is the interpreter's business: it rounds where the program declares it.
DTYPES = {
    "fp16": torch.float32,
    "fp32": torch.float32,
    "int8": torch.int8,
    "uint8": torch.uint8,
    "int16": torch.int16,
    "uint16": torch.int32,  # unsigned types travel in wider signed ones
    "int32": torch.int32,
    "uint32": torch.int64,
    "bool": torch.bool,
}


def argsort(x: Tensor, axis: int = -1, ascending: bool = False) -> Tensor:
    return torch.argsort(x, dim=axis, descending=not ascending, stable=True)


def band_part(x: Tensor, lower: int = -1, upper: int = -1) -> Tensor:
    rows = torch.arange(x.shape[-2])[:, None]
    columns = torch.arange(x.shape[-1])[None]
    kept = torch.ones(x.shape[-2:], dtype=torch.bool)
    if lower >= 0:
        kept = kept & (rows - columns <= lower)
    if upper >= 0:
        kept = kept & (columns - rows <= upper)
    return torch.where(kept, x, torch.zeros_like(x))


def cast(x: Tensor, dtype: str) -> Tensor:
    """Floating point to integer cuts towards zero."""
    target = DTYPES[dtype]
    if target == torch.bool:
        return x != 0
    if x.is_floating_point() and not target.is_floating_point:
        return torch.trunc(x).to(torch.int64).to(target)
    return x.to(target)


def classify(probabilities: Tensor, classes: list[Any]) -> tuple[Any, dict[Any, float]]:
    """The likeliest class, and each class with its probability."""
    values = probabilities.reshape(-1).tolist()
    classes = [getattr(label, "item", lambda label=label: label)() for label in classes]
    return classes[values.index(max(values))], dict(zip(classes, values))


def concat(values: list[Tensor], axis: int, interleave: bool = False) -> Tensor:
    """Scalars join into a vector."""
    values = [value.reshape(1) if value.dim() == 0 else value for value in values]
    if interleave:
        axis = axis % values[0].dim()
        return torch.stack(values, dim=axis + 1).flatten(axis, axis + 1)
    return torch.cat(values, dim=axis)


def cumsum(x: Tensor, axis: int = 0, exclusive: bool = False, reverse: bool = False) -> Tensor:
    x = x.flip(axis) if reverse else x
    total = torch.cumsum(x, axis)
    if exclusive:
        total = total - x
    return total.flip(axis) if reverse else total


def fill(shape: list[int], value: float = 0.0) -> Tensor:
    return torch.full(shape, value)


def fill_like(ref_tensor: Tensor, value: float = 0.0) -> Tensor:
    return torch.full(ref_tensor.shape, value)


def flatten2d(x: Tensor, axis: int = 1) -> Tensor:
    axis = axis % x.dim() if axis < 0 else axis
    rows = 1
    for size in x.shape[:axis]:
        rows = rows * size
    return x.reshape(rows, -1)


def identity(x: Tensor) -> Tensor:
    return x


def non_maximum_suppression(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float,
    max_boxes: int,
    score_threshold: float | None = None,
    per_class_suppression: bool = False,
) -> tuple[Tensor, ...]:
    """boxes (n, B, 4) as (x, y, w, h) from the centre and scores (n, B, K); from iOS 17 the last axes swapped.

    Gives the chosen boxes, their scores, their indices (-1 where there are fewer than max_boxes) and, up to
    iOS 16, how many there are.
    """
    is_ios17 = score_threshold is None
    if is_ios17:
        boxes, scores = boxes.transpose(1, 2), scores.transpose(1, 2)
    n, _, classes = scores.shape
    out_boxes = boxes.new_zeros(n, max_boxes, 4)
    out_scores = scores.new_zeros(n, max_boxes, classes)
    indices = torch.full((n, max_boxes), -1)
    counts = torch.zeros(n, dtype=torch.int32)
    for image in range(n):
        best, labels = scores[image].max(1)
        chosen: list[int] = []
        for candidate in torch.argsort(best, descending=True, stable=True).tolist():
            if len(chosen) == max_boxes or (score_threshold is not None and best[candidate] < score_threshold):
                break
            rivals = [k for k in chosen if not per_class_suppression or labels[k] == labels[candidate]]
            if all(_overlap(boxes[image, candidate], boxes[image, k]) <= iou_threshold for k in rivals):
                chosen.append(candidate)
        out_boxes[image, : len(chosen)] = boxes[image, chosen]
        out_scores[image, : len(chosen)] = scores[image, chosen]
        indices[image, : len(chosen)] = torch.tensor(chosen, dtype=torch.int64)
        counts[image] = len(chosen)
    if is_ios17:
        return out_boxes.transpose(1, 2), out_scores.transpose(1, 2), indices
    return out_boxes, out_scores, indices, counts


def _overlap(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of two boxes given by centre and size."""
    low = torch.maximum(a[:2] - a[2:] / 2, b[:2] - b[2:] / 2)
    high = torch.minimum(a[:2] + a[2:] / 2, b[:2] + b[2:] / 2)
    common = torch.clamp(high - low, min=0).prod()
    return common / (a[2:].prod() + b[2:].prod() - common)


def non_zero(x: Tensor) -> Tensor:
    return torch.nonzero(x)


def one_hot(
    indices: Tensor, one_hot_vector_size: int, axis: int = -1, on_value: Tensor | None = None,
    off_value: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """An index out of range gives a vector of off values."""
    on = torch.tensor(1) if on_value is None else on_value
    off = torch.tensor(0) if off_value is None else off_value
    axis = axis % (indices.dim() + 1)
    classes = torch.arange(one_hot_vector_size).reshape([-1 if i == axis else 1 for i in range(indices.dim() + 1)])
    return torch.where(indices.unsqueeze(axis) == classes, on, off)


def pad(x: Tensor, pad: list[int], mode: str = "constant", constant_val: float = 0.0) -> Tensor:
    """pad: (before, after) for each of the last len(pad) / 2 axes."""
    pairs = list(zip(pad[0::2], pad[1::2]))
    if mode == "constant":
        return F.pad(x, [amount for pair in reversed(pairs) for amount in pair], value=constant_val)
    for i, (before, after) in enumerate(pairs):
        if before or after:
            axis = x.dim() - len(pairs) + i
            length = x.shape[axis]
            at = torch.arange(-before, length + after)
            if mode == "reflect":
                at = torch.where(at < 0, -at, at)
                at = torch.where(at >= length, 2 * (length - 1) - at, at)
            else:  # replicate
                at = torch.clamp(at, 0, length - 1)
            x = x.index_select(axis, at)
    return x


def range_1d(end: float, start: float, step: float) -> Tensor:
    return torch.arange(start, end, step)


def shape(x: Tensor) -> Tensor:
    return torch.tensor(x.shape, dtype=torch.int32)


def split(
    x: Tensor, axis: int, num_splits: int | None = None, split_sizes: list[int] | None = None
) -> tuple[Tensor, ...]:
    if split_sizes:
        return torch.split(x, split_sizes, axis)
    assert num_splits is not None
    return torch.chunk(x, num_splits, axis)


def stack(values: list[Tensor], axis: int) -> Tensor:
    return torch.stack(values, axis)


def tile(x: Tensor, reps: list[int]) -> Tensor:
    return torch.tile(x, reps)


def topk(
    x: Tensor,
    k: int = 1,
    axis: int = -1,
    ascending: bool = False,
    sort: bool = True,
    return_indices: bool = True,
    output_indices_dtype: str = "int32",
) -> tuple[Tensor, ...]:
    k = x.shape[axis] if k == -1 else k
    values, indices = torch.topk(x, k, axis, largest=not ascending, sorted=True)
    return (values, indices) if return_indices else (values,)


OPS: dict[str, Callable[..., Any]] = {
    "argsort": argsort,
    "band_part": band_part,
    "cast": cast,
    "classify": classify,
    "concat": concat,
    "cumsum": cumsum,
    "fill": fill,
    "fill_like": fill_like,
    "flatten2d": flatten2d,
    "identity": identity,
    "non_maximum_suppression": non_maximum_suppression,
    "non_zero": non_zero,
    "one_hot": one_hot,
    "pad": pad,
    "range_1d": range_1d,
    "shape": shape,
    "split": split,
    "stack": stack,
    "tile": tile,
    "topk": topk,
}
