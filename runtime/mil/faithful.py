"""Faithful execution: every op computed in float32, its result rounded to the dtype that the program declares.

`compiled` does it in one Python function, which is what the engine runs; `Faithful` node by node, for those who look
at each value on its way.
"""

from __future__ import annotations

from collections.abc import Sequence
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
        return declared(value, n.meta["mil"].dtypes)


def compiled(module: fx.GraphModule) -> fx.GraphModule:
    """Returns a graph whose every value is rounded by a node of its own; `forward` gives what `Faithful.run` does.

    An interpreter spends more time on looking values up than on the ops of a small streaming chunk. Constants are
    rounded here, once.
    """
    graph, root = fx.Graph(), torch.nn.Module()
    copies: dict[fx.Node, Any] = {}
    for node in module.graph.nodes:
        copies[node] = graph.node_copy(node, copies.__getitem__)
        if node.op == "get_attr":
            name, value = str(node.target), getattr(module, str(node.target))
            if isinstance(value, fx.GraphModule):
                root.add_module(name, compiled(value))
                continue
            constant = declared(value, node.meta["mil"].dtypes)
            root.register_buffer(name, value if torch.equal(constant, value) else constant)
        elif "mil" in node.meta:
            copies[node] = graph.call_function(declared, (copies[node], node.meta["mil"].dtypes))
    return fx.GraphModule(root, graph)


def declared(value: Any, dtypes: Sequence[torch.dtype | None]) -> Any:
    """Returns what an op gives, a tensor or a tuple of several, in the types that the program declares."""
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
