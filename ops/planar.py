"""A network over (N, C, T) computed on (N, C, 1, T), so that a format whose tensors are images needs no reshaping.

Core ML's `neuralnetwork` wraps every 1-D convolution in expandDims and squeeze; around a custom layer such layers make
it leave the GPU (coremltools 1387 and 1391). Here everything between the first and the last layer has four axes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from ops.metal.fused import OPERATOR

_ATEN = torch.ops.aten


class Planar(nn.Module):
    """The graph of a network (`ops.metal.fused.read_graph`) in four axes, with its inputs and outputs as they were."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__()
        self.network = graph

    def forward(self, *inputs: Tensor) -> Any:
        results = _FourAxes(self.network).run(*inputs)
        return results[0] if isinstance(results, tuple) and len(results) == 1 else results


class _FourAxes(fx.Interpreter):
    """A value of three axes in the graph, (a, b, c), is held as (a, b, 1, c). An operation without a rule here gets and
    gives its own axes, at the price of a squeeze and an expandDims around it."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.planar: set[fx.Node] = set()

    def run_node(self, n: fx.Node) -> Any:
        if n.op == "output":
            return fx.node.map_arg(n.args[0], self._plain)
        if n.op != "call_function":
            return self._hold(n, super().run_node(n))
        assert callable(n.target)
        if n.target in _COPIES:
            return self._hold(n, self._plain(n.all_input_nodes[0]))
        rule = _RULES.get(n.target)
        if rule is not None and self._is_planar(n):
            self.planar.add(n)
            return rule(*fx.node.map_arg(n.args, self.env.__getitem__), **n.kwargs)
        return self._hold(n, n.target(*fx.node.map_arg(n.args, self._plain), **n.kwargs))

    def _is_planar(self, node: fx.Node) -> bool:
        """Whether the result has three axes and so have the tensors, but for numbers, masks along the last axis and a
        convolution's bias."""
        if node.meta["val"].dim() != 3:
            return False
        if node.target in _RESHAPES:
            return True
        return all(term in self.planar or self.env[term].dim() <= 1 for term in node.all_input_nodes)

    def _plain(self, node: fx.Node) -> Any:
        return self.env[node].squeeze(2) if node in self.planar else self.env[node]

    def _hold(self, node: fx.Node, value: Any) -> Any:
        if not isinstance(value, Tensor) or value.dim() != 3:
            return value
        self.planar.add(node)
        return value.unsqueeze(2)


def _conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sequence[int] = (1,),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    groups: int = 1,
) -> Tensor:
    return F.conv2d(x, weight, bias, (1, *stride), (0, *padding), (1, *dilation), groups)


def _conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sequence[int] = (1,),
    padding: Sequence[int] = (0,),
    output_padding: Sequence[int] = (0,),
    groups: int = 1,
    dilation: Sequence[int] = (1,),
) -> Tensor:
    return F.conv_transpose2d(
        x, weight, bias, (1, *stride), (0, *padding), (0, *output_padding), groups, (1, *dilation)
    )


def _reshape(x: Tensor, sizes: Sequence[int]) -> Tensor:
    return x.reshape(sizes[0], sizes[1], 1, sizes[2])


def _slice(x: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Tensor:
    return _ATEN.slice.Tensor(x, _axis(dim), start, end, step)


def _cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    return torch.cat(list(tensors), _axis(dim))


def _pad(x: Tensor, amounts: Sequence[int], value: float = 0.0) -> Tensor:
    """Pads the last axis; the amounts of further ones move by one axis."""
    return F.pad(x, (*amounts[:2], 0, 0, *amounts[2:]) if len(amounts) > 2 else tuple(amounts), value=value)


def _axis(dim: int) -> int:
    return (0, 1, 3)[dim]


_COPIES = (_ATEN.alias.default, _ATEN.clone.default, _ATEN.lift_fresh_copy.default)
_RESHAPES = (_ATEN.reshape.default, _ATEN.view.default)
_SAME: tuple[Callable[..., Tensor], ...] = (
    *(_ATEN.leaky_relu.default, _ATEN.relu.default, _ATEN.tanh.default, _ATEN.sigmoid.default),
    *(_ATEN.add.Tensor, _ATEN.sub.Tensor, _ATEN.mul.Tensor, _ATEN.div.Tensor, OPERATOR),
    *(_ATEN.add_.Tensor, _ATEN.mul_.Tensor, _ATEN.leaky_relu_.default, _ATEN.relu_.default),
)
_RULES: dict[Any, Callable[..., Tensor]] = {
    **{target: target for target in _SAME},
    **dict.fromkeys(_RESHAPES, _reshape),
    _ATEN.conv1d.default: _conv,
    _ATEN.conv_transpose1d.default: _conv_transpose,
    _ATEN.slice.Tensor: _slice,
    _ATEN.cat.default: _cat,
    _ATEN.constant_pad_nd.default: _pad,
}
