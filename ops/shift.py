"""A tensor moved along its last axis: `F.pad` with a negative amount is one, which coremltools refuses."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def shifted(x: Tensor, by: int) -> Tensor:
    """x (..., T) moved `by` steps towards its end (or, below 0, its beginning): of the same length, zeros behind."""
    if by == 0:
        return x
    return F.pad(x, (by, 0))[..., :-by] if by > 0 else F.pad(x, (0, -by))[..., -by:]
