"""What coremltools converts without an error, and no Mac executes."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from runtime.bundle.spec import TensorSpec
from runtime.engines.mil import MilEngine
from runtime.errors import ArtefactError
from runtime.machine.coreml_tools import coremltools
from runtime.mil import graph
from runtime.mil.interface import Interface
from runtime.mil.package import open_package
from runtime.mil.refusals import refuse_what_core_ml_refuses

ct = coremltools()
from coremltools.converters.mil import Builder as mb  # noqa: E402


def test_a_custom_layer_in_an_ml_program_is_refused(mlpackage, tmp_path):
    def customise(spec):
        block = next(iter(spec.mlProgram.functions["main"].block_specializations.values()))
        next(op for op in block.operations if op.type == "tanh").type = "custom_layer"

    with pytest.raises(ArtefactError, match="custom_layer"):
        open_package(changed(mlpackage, tmp_path, customise))


def test_a_tensor_of_rank_six_is_refused():
    @mb.program(input_specs=[mb.TensorSpec(shape=(2, 4))], opset_version=ct.target.iOS18)
    def program(x):
        return mb.reduce_sum(x=mb.reshape(x=x, shape=[2, 1, 2, 1, 2, 1], name="six"), axes=[0, 1, 2])

    interface = Interface((TensorSpec("x", (2, 4)),), ())
    with pytest.raises(ArtefactError, match=r"m: op 'reshape' \(output 'six'\) gives a tensor of rank 6; .* at most 5"):
        refuse_what_core_ml_refuses(program.functions["main"], interface, Path("m"))


def test_compressed_weights_may_have_more_axes(saved, tmp_path):
    import coremltools.optimize as cto

    torch.manual_seed(0)
    layer = torch.nn.Conv2d(32, 64, 3)
    inputs = [ct.TensorType("x", shape=(1, 32, 5, 5))]
    model = ct.models.MLModel(str(saved(torch.jit.trace(layer, torch.zeros(1, 32, 5, 5)), inputs=inputs)))
    config = cto.coreml.OptimizationConfig(
        cto.coreml.OpPalettizerConfig(nbits=4, mode="uniform", granularity="per_grouped_channel", group_size=4)
    )
    cto.coreml.palettize_weights(model, config).save(str(tmp_path / "p.mlpackage"))
    assert "constexpr_lut_to_dense" in str(open_package(tmp_path / "p.mlpackage").program)
    x = torch.randn(1, 32, 5, 5)
    (result,) = MilEngine(tmp_path / "p.mlpackage").run({"x": x.numpy()}).values()
    expected = layer(x).detach().numpy()
    assert np.sqrt(((result - expected) ** 2).mean() / (expected**2).mean()) < 0.2


def test_a_state_of_flexible_shape_is_refused(saved, tmp_path):
    class Count(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("total", torch.zeros(3, dtype=torch.float16))

        def forward(self, x):
            self.total.add_(x)
            return self.total * 2

    path = saved(
        torch.jit.trace(Count(), torch.zeros(3, dtype=torch.float16)),
        "fp16",
        inputs=[ct.TensorType("x", shape=(3,), dtype=np.float16)],
        states=[ct.StateType(wrapped_type=ct.TensorType(shape=(3,), dtype=np.float16), name="total")],
    )

    def loosen(spec):
        sizes = spec.description.state[0].type.stateType.arrayType.shapeRange.sizeRanges.add()
        sizes.lowerBound, sizes.upperBound = 1, 8

    with pytest.raises(ArtefactError, match="the state 'total' has a flexible shape, which Core ML refuses"):
        open_package(changed(path, tmp_path, loosen))


def test_values_of_unequal_declared_shapes_are_not_stacked(saved):
    class Stack(torch.nn.Module):
        def forward(self, x, y):
            return torch.stack([x, y])

    sizes = [ct.RangeDim(2, 9, default) for default in (4, 5)]
    path = saved(
        torch.jit.trace(Stack(), (torch.zeros(4), torch.zeros(4))),
        inputs=[ct.TensorType(name, shape=(size,)) for name, size in zip("xy", sizes)],
    )
    with pytest.raises(ArtefactError, match=r"op 'stack' .* unequal shapes: \(4,\), \(5,\)"):
        open_package(path)


def test_a_dtype_that_is_not_known_is_named_with_value_and_file(saved, monkeypatch):
    @mb.program(input_specs=[mb.TensorSpec(shape=(3,))], opset_version=ct.target.iOS18)
    def program(x):
        return mb.cast(x=mb.cast(x=x, dtype="int16", name="narrow"), dtype="fp32")

    path = saved(program, pass_pipeline=ct.PassPipeline.EMPTY)
    (result,) = MilEngine(path).run({"x": np.array([1.7, -1.7, 3], np.float32)}).values()
    np.testing.assert_array_equal(result, [1, -1, 3])
    monkeypatch.delitem(graph.TORCH_DTYPES, "int16")
    with pytest.raises(ArtefactError, match=r"dtype 'int16' \(value 'narrow' in .*model0\.mlpackage\)"):
        MilEngine(path)


def changed(package, tmp_path, change):
    """A copy of a package with another specification."""
    from coremltools.proto import Model_pb2

    copy = shutil.copytree(package, tmp_path / "changed.mlpackage")
    path = next(copy.rglob("model.mlmodel"))
    spec = Model_pb2.Model()
    spec.ParseFromString(path.read_bytes())
    change(spec)
    path.write_bytes(spec.SerializeToString())
    return copy
