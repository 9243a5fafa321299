"""Convolutions along one axis in the forms that ONNX Runtime computes fastest, in an ONNX model.

It computes one as weights times columns, sixteen columns at a time however few there are. The chunk of a stream is two
frames: turned round, columns times weights, that takes half as long. Of more positions, one over two axes has kernels
of its own, which spare the columns: a tenth to a third less.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

FEW = 8  # positions; 8 take three quarters of a convolution's time, 16 as long
MANY = 1024
_LARGE = 1 << 15  # weights of a product; below that what lies around it takes as long
_CHANNELS = 16  # that the kernels over two axes take at once


def rewrite_convolutions(model: Any) -> tuple[int, int]:
    """Rewrites convolutions of an onnx_ir model. Returns how many became products, and how many have two axes."""
    nodes = [node for node in model.graph if node.op_type == "Conv" and _is_plain(node)]
    few = [node for node in nodes if _positions(node) <= FEW and not _is_padded(node) and _weights(node) >= _LARGE]
    many = [node for node in nodes if FEW < _positions(node) <= MANY and _is_in_blocks(node)]
    for node in few:
        _multiply(model.graph, node)
    for node in many:
        _widen(model.graph, node)
    return len(few), len(many)


def _is_plain(node: Any) -> bool:
    """Of one axis and known sizes, in one piece, without strides."""
    given, made = _sizes(node.inputs[0]), _sizes(node.outputs[0])
    if given is None or made is None or len(given) != 3 or given[0] != 1 or node.inputs[1].const_value is None:
        return False
    strides, group, auto = (_attribute(node, name) for name in ("strides", "group", "auto_pad"))
    return set(strides or [1]) == {1} and (group or 1) == 1 and auto in (None, "NOTSET")


def _is_padded(node: Any) -> bool:
    return any(_attribute(node, "pads") or [])


def _is_in_blocks(node: Any) -> bool:
    channels_out, channels, _ = node.inputs[1].const_value.shape
    return channels_out % _CHANNELS == 0 and channels % _CHANNELS == 0


def _positions(node: Any) -> int:
    return int(node.outputs[0].shape[2])


def _weights(node: Any) -> int:
    return int(np.prod(node.inputs[1].const_value.shape))


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


def _multiply(graph: Any, node: Any) -> None:
    """x (1, C, L) -> columns (C K, N), turned -> times weights (C K, O) -> (1, O, N)."""
    x, weight, bias = (*node.inputs, None)[:3]
    array = weight.const_value.numpy()  # (O, C, K)
    (channels_out, channels, kernel), count = array.shape, _positions(node)
    (dilation,) = _attribute(node, "dilations") or [1]
    written = _Written(graph, node.outputs[0].name)
    taps = (dilation * np.arange(kernel)[:, None] + np.arange(count)).reshape(-1)
    columns = x
    if kernel > 1:
        columns = written.op("Gather", [x, written.constant("taps", taps.astype(np.int64))], axis=2)
    columns = written.shaped(columns, "columns", channels * kernel, count)
    turned = written.constant("weight", array.transpose(1, 2, 0).reshape(channels * kernel, channels_out))
    product = written.op("Gemm", [columns, turned, *([] if bias is None else [bias])], transA=1)
    turned_back = written.op("Transpose", [product], perm=[1, 0])
    written.replace(node, written.shaped(turned_back, "given", 1, channels_out, count))


def _widen(graph: Any, node: Any) -> None:
    """The same over (1, C, 1, L). A leaky ReLU that alone reads the result comes before it is turned back, as ONNX
    Runtime computes both in one."""
    x, weight, bias = (*node.inputs, None)[:3]
    array = weight.const_value.numpy()
    sizes, made = _sizes(x), _sizes(node.outputs[0])
    assert sizes is not None
    assert made is not None
    before, after = _attribute(node, "pads") or [0, 0]
    (dilation,) = _attribute(node, "dilations") or [1]
    users = node.outputs[0].uses()
    follower = users[0].node if len(users) == 1 and users[0].node.op_type == "LeakyRelu" else None
    last = node if follower is None or node.outputs[0].is_graph_output() else follower
    written = _Written(graph, last.outputs[0].name)
    wide = written.shaped(x, "wide", 1, sizes[1], 1, sizes[2])
    kernel = written.constant("kernel", array[:, :, None])
    result = written.op(
        "Conv", [wide, kernel, *([] if bias is None else [bias])],
        dilations=[1, dilation], pads=[0, before, 0, after], kernel_shape=[1, array.shape[2]], strides=[1, 1], group=1,
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
