"""Export of graphs that compute with sizes: `shape → gather → concat → reshape` and the like stay exact.

While torch.export traces a graph, sizes of flexible axes are symbols. Ops that compute with sizes alone are evaluated
on arrays of those symbols, so that a computed parameter is a symbol too; as a tensor it would have no known value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from runtime.mil.graph import to_python
from runtime.mil.opaque import Opaque
from runtime.mil.ops import OPS

_LARGEST_CONSTANT = 64  # elements; integer constants up to this take part


class Traced(nn.Module):
    """A graph of graph.py, for torch.export: the same inputs and outputs."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__()
        self.program = graph
        self.constants = {
            name: buffer.numpy().astype(object)
            for name, buffer in graph.named_buffers(recurse=False)
            if not buffer.is_floating_point() and buffer.numel() <= _LARGEST_CONSTANT
        }

    def forward(self, *inputs: Tensor) -> Any:
        with Opaque():
            return _WithSizes(self.program, self.constants).run(*inputs)


class _WithSizes(fx.Interpreter):
    """`sizes` holds the nodes whose value is known as an array of integers and symbols; others are tensors in `env`."""

    def __init__(self, graph: fx.GraphModule, constants: dict[str, np.ndarray]) -> None:
        super().__init__(graph)
        self.constants = constants
        self.sizes: dict[fx.Node, np.ndarray] = {}

    def run_node(self, n: fx.Node) -> Any:
        known = all(node in self.sizes or node.target is to_python for node in n.all_input_nodes)
        if n.op == "get_attr" and n.target in self.constants:
            self.sizes[n] = self.constants[str(n.target)]
        elif n.target is OPS["shape"]:
            self.sizes[n] = np.array(list(self.env[n.all_input_nodes[0]].shape), dtype=object)
            return None  # a tensor only where one is needed
        elif n.target is to_python and known:
            return self.sizes[n.all_input_nodes[0]].tolist()
        elif n.target in _ON_SIZES and known:
            arguments: Any = fx.node.map_arg(n.kwargs, self._known)
            self.sizes[n] = np.asarray(_ON_SIZES[n.target](**arguments), dtype=object)
            return None
        for node in n.all_input_nodes:
            if self.env[node] is None and node in self.sizes:
                self.env[node] = _tensor(self.sizes[node])
        return super().run_node(n)

    def _known(self, node: fx.Node) -> Any:
        """Arrays for values; a parameter that is computed is plain already."""
        return self.sizes[node] if node in self.sizes else self.env[node]


def _tensor(sizes: np.ndarray) -> Tensor:
    flat = [torch.scalar_tensor(value, dtype=torch.int32) for value in sizes.reshape(-1)]
    return torch.stack(flat).reshape(sizes.shape) if flat else torch.zeros(sizes.shape, dtype=torch.int32)


def _slice_by_index(
    x: np.ndarray,
    begin: list[int],
    end: list[int],
    stride: list[int] | None = None,
    begin_mask: list[bool] | None = None,
    end_mask: list[bool] | None = None,
    squeeze_mask: list[bool] | None = None,
) -> np.ndarray:
    no = [False] * x.ndim
    axes = zip(begin, end, stride or [1] * x.ndim, begin_mask or no, end_mask or no, squeeze_mask or no)
    return x[
        tuple(
            start if squeezed else slice(None if open_start else start, None if open_stop else stop, step)
            for start, stop, step, open_start, open_stop, squeezed in axes
        )
    ]


def _expand_dims(x: np.ndarray, axes: list[int]) -> np.ndarray:
    return np.expand_dims(x, tuple(axes))


def _squeeze(x: np.ndarray, axes: list[int] | None = None) -> np.ndarray:
    return np.squeeze(x, None if axes is None else tuple(axes))


def _concat(values: list[np.ndarray], axis: int, interleave: bool = False) -> np.ndarray:
    return np.concatenate([np.atleast_1d(value) for value in values], axis)


def _gather(x: np.ndarray, indices: np.ndarray, axis: int = 0, **_: Any) -> np.ndarray:
    return np.take(x, indices.astype(np.int64), axis)


# The structural and integer ops that shape computations are made of, on arrays of integers and symbols.
_BY_NAME: dict[str, Callable[..., Any]] = {
    "add": lambda x, y: x + y,
    "cast": lambda x, dtype: x,
    "concat": _concat,
    "expand_dims": _expand_dims,
    "floor_div": lambda x, y: x // y,
    "gather": _gather,
    "identity": lambda x: x,
    "mul": lambda x, y: x * y,
    "reduce_prod": lambda x, axes=None, keep_dims=False: np.prod(x, tuple(axes) if axes else None, keepdims=keep_dims),
    "reshape": lambda x, shape: x.reshape(shape),
    "slice_by_index": _slice_by_index,
    "squeeze": _squeeze,
    "stack": lambda values, axis: np.stack(values, axis),
    "sub": lambda x, y: x - y,
}
_ON_SIZES = {OPS[name]: compute for name, compute in _BY_NAME.items()}
