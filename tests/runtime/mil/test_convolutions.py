"""A convolution over two axes in place of one: the same numbers."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper, shape_inference

from runtime.mil.convolutions import MANY, rewrite_convolutions

# (channels, channels out, kernel, dilation, padding, groups, stride, bias), positions in
WIDE = {
    "dilated": ((64, 256, 5, 4, 0, 1, 1, True), 18),
    "of one tap": ((256, 256, 1, 1, 0, 1, 1, True), 2),
    "without a bias": ((128, 256, 2, 1, 0, 1, 1, False), 3),
    "of one position": ((80, 128, 7, 1, 0, 1, 1, True), 7),
    "with a stride": ((128, 256, 8, 1, 0, 1, 4, True), 12),
    "of one tap with a stride": ((256, 256, 1, 1, 0, 1, 2, True), 6),
    "to many": ((16, 32, 11, 5, 0, 1, 1, True), 562),
    "padded": ((16, 16, 5, 1, 2, 1, 1, False), 64),
    "padded with a stride": ((16, 32, 9, 1, 4, 1, 4, True), 64),
}
LEFT = {
    "in groups": ((256, 512, 3, 1, 0, 2, 1, True), 4),
    "of few channels": ((10, 16, 3, 1, 0, 1, 1, True), 4),
    "to one channel": ((16, 1, 7, 1, 0, 1, 1, True), 256),
    "to very many": ((16, 16, 3, 1, 0, 1, 1, True), MANY + 3),
}
CASES = WIDE | LEFT


def model_of(layer, length, follows):
    """x -> leaky ReLU -> convolution -> what follows."""
    channels, channels_out, kernel, dilation, padding, groups, stride, has_bias = layer
    random = np.random.default_rng(0)
    weights = {"w": random.standard_normal((channels_out, channels // groups, kernel)) / np.sqrt(channels * kernel)}
    if has_bias:
        weights["b"] = random.standard_normal(channels_out)
    made = "y" if follows == "nothing" else "c"
    settings = {"dilations": [dilation], "pads": [padding] * 2, "group": groups, "strides": [stride]}
    nodes = [
        helper.make_node("LeakyRelu", ["x"], ["r"], alpha=0.1),
        helper.make_node("Conv", ["r", *weights], [made], kernel_shape=[kernel], **settings),
    ]
    if follows != "nothing":
        nodes.append(helper.make_node("LeakyRelu", ["c"], ["y" if follows == "a leaky ReLU" else "l"], alpha=0.3))
    if follows == "a sum":
        nodes.append(helper.make_node("Add", ["c", "l"], ["y"]))
    graph = helper.make_graph(
        nodes, "one", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels, length])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    return shape_inference.infer_shapes(model)


def run(model, given):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": given})[0]


@pytest.mark.parametrize("follows", ["nothing", "a leaky ReLU", "a sum"])
@pytest.mark.parametrize("name", CASES)
def test_it_gives_what_the_convolution_does(name, follows):
    layer, length = CASES[name]
    before = model_of(layer, length, follows)
    rewritten = ir.from_proto(before)
    assert rewrite_convolutions(rewritten) == (name in WIDE)
    after = ir.to_proto(rewritten)
    onnx.checker.check_model(after)
    kinds = [node.op_type for node in after.graph.node]
    assert kinds.count("Conv") == 1 and kinds.count("Reshape") == 2 * (name in WIDE)
    if name in WIDE and follows == "a leaky ReLU":
        assert kinds[kinds.index("Conv") + 1] == "LeakyRelu", "the two are computed in one"
    given = np.random.default_rng(1).standard_normal((1, layer[0], length)).astype(np.float32)
    np.testing.assert_allclose(run(after, given), run(before, given), atol=1e-5)
