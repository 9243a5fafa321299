"""A module computed in another floating-point type than its inputs and outputs."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

DTYPES = {"fp32": torch.float32, "fp16": torch.float16}


class InPrecision(nn.Module):
    """A copy of a module in another floating-point type between float32 ends."""

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.module, self.dtype = copy.deepcopy(module).to(dtype), dtype

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        inputs = tuple(x.to(self.dtype) if x.is_floating_point() else x for x in inputs)
        results = self.module(*inputs)
        return tuple(result.float() for result in results) if isinstance(results, tuple) else results.float()
