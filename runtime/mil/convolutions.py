"""Convolutions along one axis in the form that ONNX Runtime computes fastest: over two axes, the first of them of one
position.

Along one axis it multiplies weights by columns, sixteen at a time however few there are. For two axes it has kernels of
its own, which spare the columns. Of a stream's chunks, whose weights come anew from memory at every call, they take a
half to three quarters of the time (benchmarks/live.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

MANY = 8192  # positions; up to these one thread takes 0.64 to 0.93 of the time (16 to 128 channels, kernels 3 to 11)
_CHANNELS = 16  # that the kernels over two axes take at once


def rewrite_convolutions(model: Any) -> int:
    """Gives convolutions of an onnx_ir model a second axis. Returns how many."""
    nodes = [node for node in model.graph if node.op_type == "Conv" and _is_plain(node) and _is_in_blocks(node)]
    for node in nodes:
        _widen(model.graph, node)
    return len(nodes)


def _is_plain(node: Any) -> bool:
    """Of one axis, known sizes and not too many positions, in one piece."""
    given, made = _sizes(node.inputs[0]), _sizes(node.outputs[0])
    if given is None or made is None or len(given) != 3 or given[0] != 1 or node.inputs[1].const_value is None:
        return False
    group, auto = (_attribute(node, name) for name in ("group", "auto_pad"))
    return made[2] <= MANY and (group or 1) == 1 and auto in (None, "NOTSET")


def _is_in_blocks(node: Any) -> bool:
    channels_out, channels, _ = node.inputs[1].const_value.shape
    return channels_out % _CHANNELS == 0 and channels % _CHANNELS == 0


@dataclass
class _Written:
    """Nodes and constants that take a node's place, named after its output."""

    graph: Any
    name: str
    nodes: list[Any] = field(default_factory=list)

    def constant(self, name: str, value: np.ndarray) -> Any:
        import onnx_ir as ir

        tensor = ir.tensor(np.ascontiguousarray(value), name=f"{self.name}_{name}")
        added = ir.Value(name=tensor.name, type=ir.TensorType(tensor.dtype), shape=tensor.shape, const_value=tensor)
        self.graph.initializers[tensor.name] = added
        return added

    def op(self, kind: str, inputs: list[Any], **attributes: Any) -> Any:
        import onnx_ir as ir

        self.nodes.append(ir.node(kind, inputs, attributes=attributes))
        return self.nodes[-1].outputs[0]

    def shaped(self, value: Any, name: str, *sizes: int) -> Any:
        return self.op("Reshape", [value, self.constant(name, np.array(sizes, np.int64))])

    def replace(self, node: Any, result: Any) -> None:
        """Puts what was written where `node` stood, `result` in place of its output."""
        old = node.outputs[0]
        result.name, result.type, result.shape = old.name, old.type, old.shape
        old.name = f"{old.name}_before"
        self.graph.insert_before(node, self.nodes)
        old.replace_all_uses_with(result, replace_graph_outputs=True)
        self.graph.remove(node, safe=True)


def _widen(graph: Any, node: Any) -> None:
    """Puts one over (1, C, 1, L) in its place. A leaky ReLU that alone reads the result comes before it is turned back,
    as ONNX Runtime computes both in one."""
    x, weight, bias = (*node.inputs, None)[:3]
    array = weight.const_value.numpy()
    sizes, made = _sizes(x), _sizes(node.outputs[0])
    assert sizes is not None
    assert made is not None
    before, after = _attribute(node, "pads") or [0, 0]
    (dilation,), (stride,) = (_attribute(node, name) or [1] for name in ("dilations", "strides"))
    users = node.outputs[0].uses()
    follower = users[0].node if len(users) == 1 and users[0].node.op_type == "LeakyRelu" else None
    last = node if follower is None or node.outputs[0].is_graph_output() else follower
    written = _Written(graph, last.outputs[0].name)
    wide = written.shaped(x, "wide", 1, sizes[1], 1, sizes[2])
    kernel = written.constant("kernel", array[:, :, None])
    result = written.op(
        "Conv", [wide, kernel, *([] if bias is None else [bias])],
        dilations=[1, dilation], pads=[0, before, 0, after], kernel_shape=[1, array.shape[2]], strides=[1, stride],
    )  # fmt: skip
    if last is not node:
        result = written.op("LeakyRelu", [result], alpha=_attribute(last, "alpha"))
    written.replace(last, written.shaped(result, "narrow", *made))
    if last is not node:
        graph.remove(node, safe=True)


def _sizes(value: Any) -> list[int] | None:
    """The shape of a value where all of it is known."""
    if value.shape is None or not all(isinstance(size, int) for size in value.shape):
        return None
    return [int(size) for size in value.shape]


def _attribute(node: Any, name: str) -> Any:
    attribute = node.attributes.get(name)
    return None if attribute is None else attribute.value
