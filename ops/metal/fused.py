"""The fused stage as one PyTorch operator, and the pass that finds it in a network."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from ops.metal.layout import UpsampleShape

_ATEN = torch.ops.aten


@torch.library.custom_op("voxport::upsample", mutates_args=())
def upsample(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    condition: Tensor | None,
    stride: int,
    padding: int,
    output_padding: int,
    slope: float,
) -> Tensor:
    """conv_transpose1d(leaky_relu(x + condition, slope), weight, bias, stride, padding, output_padding).

    x (N, C, T) or (N, C, 1, T), weight (C, D, K) or (C, D, 1, K), bias (D,), condition (N, C, 1[, 1]); the result has
    as many axes as x.
    """
    line = x if x.dim() == 3 else x.squeeze(2)
    if condition is not None:
        line = line + condition.reshape(*condition.shape[:2], 1)
    line = F.leaky_relu(line, slope)
    y = F.conv_transpose1d(line, weight.flatten(2), bias, stride, padding, output_padding)
    return y if x.dim() == 3 else y.unsqueeze(2)


@upsample.register_fake
def _(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    condition: Tensor | None,
    stride: int,
    padding: int,
    output_padding: int,
    slope: float,
) -> Tensor:
    samples = (x.shape[-1] - 1) * stride - 2 * padding + weight.shape[-1] + output_padding
    return x.new_empty(*x.shape[:1], weight.shape[1], *x.shape[2:-1], samples)


OPERATOR = torch.ops.voxport.upsample.default


def read_graph(module: nn.Module, example: Sequence[Tensor]) -> fx.GraphModule:
    """The network as a graph of ATen operations at the example's sizes."""
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module, tuple(example), strict=False)
    exported = program.module(check_guards=False)
    assert isinstance(exported, fx.GraphModule)
    return fx.GraphModule(exported, exported.graph)  # an exported module refuses `eval()`


def fuse(graph: fx.GraphModule) -> None:
    """Replaces every leaky ReLU that only a transposed convolution reads, and that convolution, by `voxport::upsample`;
    also the sum with conditioning that only that leaky ReLU reads. A transposed convolution after anything else gets
    slope 1.

    Raises ValueError for a transposed convolution with groups or dilation (by name).
    """
    for node in list(graph.graph.nodes):
        if node.target is not _ATEN.conv_transpose1d.default:
            continue
        x, weight, bias, stride, padding, output_padding, groups, dilation = _arguments(node)
        if groups != 1 or dilation != 1:
            raise ValueError(f"{node.name}: the metal form takes groups=1 and dilation=1, not {groups} and {dilation}")
        slope, condition, removed = 1.0, None, [node]
        if x.target in (_ATEN.leaky_relu.default, _ATEN.leaky_relu_.default) and len(x.users) == 1:
            removed.append(x)
            slope, x = float(x.args[1]) if len(x.args) > 1 else 0.01, x.args[0]
            if _adds_conditioning(x):
                removed.append(x)
                x, condition = sorted(x.args, key=lambda term: _shape(term)[2] == 1)
        with graph.graph.inserting_before(node):
            arguments = (x, weight, bias, condition, stride, padding, output_padding, slope)
            fused = graph.graph.call_function(OPERATOR, arguments)
        fused.meta["val"] = node.meta["val"]
        node.replace_all_uses_with(fused)
        for old in removed:
            graph.graph.erase_node(old)
    graph.recompile()


def stages(graph: fx.GraphModule) -> list[UpsampleShape]:
    """The fused stages of a network in order."""
    return [stage_of(node) for node in graph.graph.nodes if node.target is OPERATOR]


def stage_of(node: fx.Node) -> UpsampleShape:
    x, weight, _, condition, stride, padding, output_padding, slope = cast("tuple[Any, ...]", node.args)
    channels_in, channels_out, kernel_size = _shape(weight)
    sizes = (channels_in, channels_out, kernel_size, stride, padding, _shape(x)[2], output_padding)
    return UpsampleShape(*sizes, slope=slope, has_condition=condition is not None)


def _arguments(node: fx.Node) -> tuple[Any, ...]:
    """x, weight, bias, stride, padding, output_padding, groups, dilation: numbers, not lists."""
    arguments = [*node.args, *[None] * (8 - len(node.args))]
    numbers = [value[0] if isinstance(value, Sequence) else value for value in arguments[3:]]
    defaults = (1, 0, 0, 1, 1)
    return (*arguments[:3], *(default if value is None else value for value, default in zip(numbers, defaults)))


def _adds_conditioning(node: fx.Node) -> bool:
    """Whether it is x (N, C, T) + c (N, C, 1), read by nobody else."""
    if node.target is not _ATEN.add.Tensor or len(node.users) != 1 or node.kwargs:
        return False
    if not all(isinstance(term, fx.Node) for term in node.args):
        return False
    shapes = [_shape(cast(fx.Node, term)) for term in node.args]
    lengths = sorted(shape[2] if len(shape) == 3 else 0 for shape in shapes)
    return lengths[0] == 1 and lengths[1] == _shape(node)[2] > 1


def _shape(node: fx.Node) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)
