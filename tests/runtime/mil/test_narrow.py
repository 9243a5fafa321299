"""A convolution to few positions as a matrix product: the same numbers."""

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from torch import nn

from runtime.mil.narrow import FEW, multiply_narrow

CASES = {
    "dilated": (nn.Conv1d(64, 256, 5, dilation=4), 18),
    "of one tap": (nn.Conv1d(256, 256, 1), 2),
    "without a bias": (nn.Conv1d(128, 256, 2, bias=False), 3),
    "of one position": (nn.Conv1d(80, 128, 7), 7),
    "to as many as are few": (nn.Conv1d(128, 256, 3), FEW + 2),
}
LEFT = {
    "to more": (nn.Conv1d(128, 256, 3), FEW + 3),
    "padded": (nn.Conv1d(128, 256, 3, padding=1), 4),
    "in groups": (nn.Conv1d(256, 512, 3, groups=2), 4),
    "with a stride": (nn.Conv1d(128, 256, 3, stride=2), 9),
    "small": (nn.Conv1d(16, 16, 3), 4),
}


def exported(network, given):
    """An ONNX model of a network between two sums, so that it has a neighbour on either side."""
    module = nn.Sequential(nn.LeakyReLU(0.1), network)
    return torch.onnx.export(module.eval(), (given,), dynamo=True, verbose=False, optimize=False).model


def run(model, given):
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: given})[0]


@pytest.mark.parametrize("name", [*CASES, *LEFT])
def test_it_gives_what_the_convolution_does(name):
    network, length = (CASES | LEFT)[name]
    given = torch.randn(1, network.in_channels, length, generator=torch.Generator().manual_seed(0))
    model = exported(network, given)
    assert multiply_narrow(model) == (name in CASES)
    kinds = {node.op_type for node in model.graph}
    assert ("Conv" in kinds) != (name in CASES) and ("Gemm" in kinds) == (name in CASES)
    with torch.no_grad():
        wanted = network(nn.functional.leaky_relu(given, 0.1)).numpy()
    np.testing.assert_allclose(run(model, given.numpy()), wanted, atol=1e-5)
