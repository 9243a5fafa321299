"""A graph of SwiftF0's network with drawn weights, its nodes without names as in the wheel's model.onnx."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

BLOCKS = ((7, 3, 1), (7, 1, 17), (5, 1, 27), (3, 1, 40), (3, 1, 48), (7, 3, 2))  # kernel, dilation in bands


def write_small_swift_f0(path: Path) -> None:
    """`spectra (1, 3, 128, T)` -> `logits (1, 95, T)`, `confidence (1, 1, T)`."""
    random, nodes, tensors = np.random.default_rng(0), [], []

    def named(value: np.ndarray) -> str:
        tensors.append(numpy_helper.from_array(value, f"v{len(tensors)}"))
        return tensors[-1].name

    def node(kind: str, *given: str, gives: str = "", **attributes: object) -> str:
        gives = gives or f"n{len(nodes)}"
        nodes.append(helper.make_node(kind, given, [gives], **attributes))
        return gives

    def convolved(
        given: str, channels: int, wide: int, kernel: tuple[int, ...], pads: tuple[int, ...], dilation: int = 1
    ) -> str:
        scale = 1.5 / np.sqrt(channels * np.prod(kernel))
        weight = named((scale * random.standard_normal((wide, channels, *kernel))).astype(np.float32))
        bias = named((random.standard_normal(wide) / 5 + (wide == 1)).astype(np.float32))  # about half is voiced
        dilations = [dilation, 1] if len(kernel) == 2 else [1]
        return node("Conv", given, weight, bias, kernel_shape=kernel, pads=pads, dilations=dilations)

    maps = node("Relu", convolved("spectra", 3, 12, (3, 3), (1, 1, 1, 1)))
    for tall, wide, dilation in BLOCKS:
        pads = (tall // 2 * dilation, wide // 2) * 2
        inner = node("Relu", convolved(maps, 12, 12, (tall, wide), pads, dilation))
        maps = node("Relu", node("Add", maps, convolved(inner, 12, 12, (tall, wide), pads, dilation)))
    first, last, bands, one = (named(np.array([value], np.int64)) for value in (0, 96, 2, 1))
    narrow = node("Relu", convolved(node("Slice", maps, first, last, bands), 12, 4, (3, 3), (1, 1, 0, 1)))
    voicing = node("ReduceMax", convolved(narrow, 4, 4, (5, 1), (2, 0, 2, 0)), bands, keepdims=0)
    level = node("Squeeze", node("ReduceMean", "spectra", named(np.array([1, 2], np.int64))), one)
    node("Squeeze", convolved(narrow, 4, 1, (1, 1), (0, 0, 0, 0)), one, gives="logits")
    hidden = node("Relu", convolved(node("Concat", voicing, level, axis=1), 5, 16, (3,), (1, 1)))
    node("Sigmoid", convolved(hidden, 16, 1, (1,), (0, 0)), gives="confidence")
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (
            ("spectra", (1, 3, 128, "T")), ("logits", (1, 95, "T")), ("confidence", (1, 1, "T")),
        )
    ]  # fmt: skip
    graph = helper.make_graph(nodes, "small", values[:1], values[1:], tensors)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
