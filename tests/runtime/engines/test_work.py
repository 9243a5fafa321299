"""What a call does, counted in the artefact, is what its layers are known to do."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from converters.component import Component, format_
from converters.options import FormatOptions, PrecisionOptions
from runtime.bundle.spec import TensorSpec
from runtime.engines.work import work_of

CONVOLUTIONS = nn.Sequential(
    nn.Conv1d(4, 6, 5, 1, 2, groups=2), nn.LeakyReLU(0.1), nn.ConvTranspose1d(6, 3, 4, 2, 1), nn.Tanh()
)
POSITIONS = 20


@pytest.mark.parametrize("name", ["mlprogram", "onnx"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_multiply_adds_bytes_and_operations_are_those_of_the_layers(name, precision, tmp_path):
    spec = TensorSpec("x", (1, 4, POSITIONS), "float32")
    made = TensorSpec("y", (1, 3, 2 * POSITIONS), "float32")
    given = {"x": torch.randn(spec.default_shape)}
    part = Component("part", CONVOLUTIONS.eval(), (spec,), (made,), lambda: given, "a test's layers")
    path = format_(name).convert(part, PrecisionOptions(precision), FormatOptions(name), tmp_path).path
    work = work_of(path)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        CONVOLUTIONS(given["x"])
    assert work.multiply_adds == counter.get_total_flops() / 2
    element = {"fp32": 4, "fp16": 2}[precision]
    weights = sum(parameter.numel() for parameter in CONVOLUTIONS.parameters())
    assert element * weights <= work.weight_bytes < element * weights + 64, "and what says how layers are padded"
    casts = {"fp32": 0, "fp16": 2}[precision]
    assert work.operations == 4 + casts
    values = [4, 6, 6, 6, 6, 2 * 3, 2 * 3, 2 * 3]  # that each layer reads and writes, of an input position
    ends = (4 + 2 * 3) * (4 + element) if casts else 0
    assert work.bytes == POSITIONS * (element * sum(values) + ends)


def test_an_axis_of_any_length_leaves_nothing_to_count(tmp_path):
    class Any(nn.Module):
        def forward(self, x):
            return x + 1

    torch.onnx.export(
        Any(), (torch.zeros(1, 4),), tmp_path / "any.onnx", dynamo=True, verbose=False,
        dynamic_shapes={"x": {0: torch.export.Dim("rows")}},
    )  # fmt: skip
    assert work_of(tmp_path / "any.onnx") is None
