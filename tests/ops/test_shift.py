import pytest
import torch
import torch.nn.functional as F

from ops.shift import shifted


@pytest.mark.parametrize("by", [-2, -1, 0, 1, 3])
def test_it_is_moved_and_zeros_follow(by):
    x = torch.randn(1, 2, 7)
    assert torch.equal(shifted(x, by), F.pad(x, (by, -by)))


def test_coremltools_takes_it(tmp_path):
    from runtime.machine.coreml_tools import coremltools

    class Both(torch.nn.Module):
        def forward(self, x):
            return shifted(x, 2) * shifted(x, -2)

    ct = coremltools()
    traced = torch.jit.trace(Both(), torch.randn(1, 2, 7))
    program = ct.convert(
        traced, inputs=[ct.TensorType("x", (1, 2, 7))], convert_to="mlprogram", skip_model_load=True,
        minimum_deployment_target=ct.target.macOS15,
    )  # fmt: skip
    assert program.get_spec().description.output
