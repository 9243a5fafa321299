"""Faithful execution: every op computed in float32, its result rounded to the dtype that the program declares."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx


class Faithful(fx.Interpreter):
    """Runs a graph of graph.py as the program says: fp16 overflow and rounding show, in blocks too.

    Values travel as float32 tensors that hold only what their declared dtype can hold.
    """

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.op == "get_attr" and isinstance(value, fx.GraphModule):
            return Faithful(value).run
        return value if "mil" not in n.meta else self.declared(n, value)

    def declared(self, n: fx.Node, value: Any) -> Any:
        """Returns a node's value, as computed, in the types that the program declares."""
        dtypes = n.meta["mil"].dtypes
        if isinstance(value, tuple):
            return tuple(_declared(item, dtype) for item, dtype in zip(value, dtypes))
        return _declared(value, dtypes[0])


def _declared(value: Any, dtype: torch.dtype | None) -> Any:
    """A list's elements were rounded when they were made."""
    return value if dtype is None or not isinstance(value, Tensor) else rounded(value, dtype)


def rounded(value: Tensor, dtype: torch.dtype) -> Tensor:
    """`value` restricted to what `dtype` can hold, in the type that values travel in (graph.carried)."""
    if dtype.is_floating_point:
        return value.float() if dtype == torch.float32 else value.to(dtype).float()
    if value.is_floating_point() and dtype != torch.bool:
        value = torch.trunc(value)
    if dtype in _WRAPPED:
        carrier, modulus = _WRAPPED[dtype]
        return torch.remainder(value.to(torch.int64), modulus).to(carrier)
    return value.to(dtype)


# unsigned types travel in wider signed ones
_WRAPPED = {torch.uint16: (torch.int32, 2**16), torch.uint32: (torch.int64, 2**32)}
