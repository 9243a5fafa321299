import numpy as np
import pytest
import torch

from converters.upstream.coqui import import_coqui
from ops.location_variable import location_variable_conv


@pytest.mark.parametrize("taps", [1, 3, 5])
def test_it_equals_coqui_s_six_axes(taps):
    block = import_coqui("TTS.vocoder.layers.lvc_block").LVCBlock
    torch.manual_seed(0)
    x, kernels, bias = torch.randn(1, 4, 7 * 8), torch.randn(1, 4, 6, taps, 7), torch.randn(1, 6, 7)
    wanted = block.location_variable_convolution(x, kernels, bias, 1, 8)
    made = location_variable_conv(x, kernels[0], bias[0], 8)
    np.testing.assert_allclose(made, wanted, atol=2e-6)
    with torch.no_grad():
        program = torch.export.export(lambda_module(), (x, kernels[0], bias[0]))
    ranks = [node.meta["val"].dim() for node in program.graph.nodes if hasattr(node.meta.get("val"), "dim")]
    assert max(ranks) <= 4


def lambda_module():
    class Module(torch.nn.Module):
        def forward(self, x, kernels, bias):
            return location_variable_conv(x, kernels, bias, 8)

    return Module()
