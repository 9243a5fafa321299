"""Convolutions to few positions as matrix products, in an ONNX model.

ONNX Runtime computes a convolution over one axis as weights times columns, sixteen columns at a time however few there
are. The chunk of a stream is two frames: turned round, columns times weights, it takes half as long.
"""

from __future__ import annotations

from typing import Any

import numpy as np

FEW = 8  # positions; 8 take three quarters of a convolution's time, 16 as long
_LARGE = 1 << 15  # weights; below that what lies around the product takes as long


def multiply_narrow(model: Any) -> int:
    """Rewrites the convolutions of an onnx_ir model that give at most `FEW` positions; returns how many."""
    nodes = [node for node in model.graph if node.op_type == "Conv" and _is_narrow(node)]
    for node in nodes:
        _multiply(model.graph, node)
    return len(nodes)


def _is_narrow(node: Any) -> bool:
    x, weight = node.inputs[:2]
    given, made = _sizes(x), _sizes(node.outputs[0])
    if given is None or made is None or len(given) != 3 or given[0] != 1 or weight.const_value is None:
        return False
    strides, pads, group = (_attribute(node, name) for name in ("strides", "pads", "group"))
    is_plain = set(strides or [1]) == {1} and not any(pads or []) and (group or 1) == 1
    return is_plain and _attribute(node, "auto_pad") in (None, "NOTSET") and made[2] <= FEW and _is_large(weight)


def _is_large(weight: Any) -> bool:
    return int(np.prod(weight.const_value.shape)) >= _LARGE


def _multiply(graph: Any, node: Any) -> None:
    """x (1, C, L) -> columns (N, C K) -> times weights (C K, O) -> (1, O, N)."""
    import onnx_ir as ir

    x, weight, bias = (*node.inputs, None)[:3]
    array = weight.const_value.numpy()  # (O, C, K)
    (channels_out, channels, kernel), count = array.shape, _sizes(node.outputs[0])[2]  # type: ignore[index]
    (dilation,) = _attribute(node, "dilations") or [1]
    made: list[Any] = []

    def constant(name: str, value: np.ndarray) -> Any:
        tensor = ir.tensor(np.ascontiguousarray(value), name=f"{node.outputs[0].name}_{name}")
        added = ir.Value(name=tensor.name, type=ir.TensorType(tensor.dtype), shape=tensor.shape, const_value=tensor)
        graph.initializers[tensor.name] = added
        return added

    def op(kind: str, inputs: list[Any], **attributes: Any) -> Any:
        made.append(ir.node(kind, inputs, attributes=attributes))
        return made[-1].outputs[0]

    def shaped(value: Any, name: str, *sizes: int) -> Any:
        return op("Reshape", [value, constant(name, np.array(sizes, np.int64))])

    taps = (np.arange(count)[:, None] + dilation * np.arange(kernel)).reshape(-1)
    columns = x if kernel == 1 else op("Gather", [x, constant("taps", taps.astype(np.int64))], axis=2)
    columns = op("Transpose", [shaped(columns, "taken", channels, count, kernel)], perm=[1, 0, 2])
    columns = shaped(columns, "columns", count, channels * kernel)
    turned = constant("weight", array.transpose(1, 2, 0).reshape(channels * kernel, channels_out))
    product = op("Gemm", [columns, turned, *([] if bias is None else [bias])])
    result = shaped(op("Transpose", [product], perm=[1, 0]), "given", 1, channels_out, count)
    old = node.outputs[0]
    result.name, result.type, result.shape = old.name, old.type, old.shape
    old.name = f"{old.name}_convolved"
    graph.insert_before(node, made)
    old.replace_all_uses_with(result, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def _sizes(value: Any) -> list[int] | None:
    """The shape of a value where all of it is known."""
    if value.shape is None or not all(isinstance(size, int) for size in value.shape):
        return None
    return [int(size) for size in value.shape]


def _attribute(node: Any, name: str) -> Any:
    attribute = node.attributes.get(name)
    return None if attribute is None else attribute.value
