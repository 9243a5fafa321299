"""torchvision's pure-Python half beside a PyTorch without CUDA: its compiled half does not load there.

torchvision registers meta kernels for its compiled operators when it is imported, and fails where they do not exist.
They are declared here; `nms` is computed too, because coremltools' tests compare with it.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor

_DECLARED = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "roi_align": (
        "(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
        "int sampling_ratio, bool aligned) -> Tensor"
    ),
}
_library: torch.library.Library | None = None  # its registrations live as long as it does


def provide_torchvision() -> None:
    """Makes `import torchvision` work, where it is installed and its compiled half did not load."""
    global _library
    try:
        importlib.import_module("torchvision")
    except ModuleNotFoundError:
        return
    except (RuntimeError, OSError):
        _library = torch.library.Library("torchvision", "DEF")
        for name, schema in _DECLARED.items():
            _library.define(name + schema)
        _library.impl("nms", nms, "CPU")
        importlib.import_module("torchvision")
        boxes: Any = importlib.import_module("torchvision.ops.boxes")
        boxes._assert_has_ops = lambda: None  # it asks for the compiled half


def nms(dets: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Greedy non-maximum suppression. dets: (N, 4) as x1, y1, x2, y2; scores: (N,). Gives kept indices, best first."""
    areas = (dets[:, 2] - dets[:, 0]) * (dets[:, 3] - dets[:, 1])
    remaining = scores.argsort(descending=True, stable=True)
    kept = []
    while len(remaining):
        best, rest = remaining[0], remaining[1:]
        kept.append(best)
        corner_low = torch.maximum(dets[best, :2], dets[rest, :2])
        corner_high = torch.minimum(dets[best, 2:], dets[rest, 2:])
        overlap = (corner_high - corner_low).clamp(min=0).prod(dim=1)
        shares = overlap / (areas[best] + areas[rest] - overlap)
        remaining = rest[shares.double() <= iou_threshold]  # the threshold stays in double, as in torchvision's kernel
    return torch.stack(kept) if kept else torch.empty(0, dtype=torch.int64)
