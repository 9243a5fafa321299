"""Faithful execution: every op computed in float32, its result rounded to the dtype that the program declares."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx


class Faithful(fx.Interpreter):
    """Runs a graph of graph.py as the program says: fp16 overflow and rounding show.

    Values travel as float32 tensors that hold only what their declared dtype can hold.
    """

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        return value if n.op in ("output", "get_attr") else rounded(value, n.meta["mil"].dtype)


def rounded(value: Tensor, dtype: torch.dtype) -> Tensor:
    """`value` restricted to what `dtype` can hold; floating point stays in a float32 tensor."""
    if dtype.is_floating_point:
        return value.float() if dtype == torch.float32 else value.to(dtype).float()
    return value.to(dtype)
