"""Each op of the tables against numpy or torch, through a program built with coremltools, saved and read back."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from runtime.engines.mil import MilEngine
from runtime.machine.coreml_tools import coremltools, quick_conversion

ct = coremltools()
from coremltools.converters.mil import Builder as mb  # noqa: E402

RNG = np.random.default_rng(0)


def _run(tmp_path, program, arrays, precision):
    with quick_conversion():
        model = ct.convert(
            program,
            convert_to="mlprogram",
            compute_precision={"fp32": ct.precision.FLOAT32, "fp16": ct.precision.FLOAT16}[precision],
            pass_pipeline=ct.PassPipeline.EMPTY if precision == "fp32" else ct.PassPipeline.DEFAULT,
            minimum_deployment_target=ct.target.iOS18,
            skip_model_load=True,
        )
    path = tmp_path / "m.mlpackage"
    model.save(str(path))
    (result,) = MilEngine(path).run({name: value.astype(np.float32) for name, value in arrays.items()}).values()
    return result


def one_input(tmp_path, build, x, precision="fp32"):
    @mb.program(input_specs=[mb.TensorSpec(shape=x.shape)], opset_version=ct.target.iOS18)
    def program(x):
        return build(x)

    return _run(tmp_path, program, {"x": x}, precision)


X = RNG.normal(size=(2, 6, 11)).astype(np.float32)

UNARY = {
    "leaky_relu": (lambda x: mb.leaky_relu(x=x, alpha=0.1), lambda x: np.where(x > 0, x, 0.1 * x)),
    "relu": (lambda x: mb.relu(x=x), lambda x: np.maximum(x, 0)),
    "sigmoid": (lambda x: mb.sigmoid(x=x), lambda x: 1 / (1 + np.exp(-x))),
    "tanh": (lambda x: mb.tanh(x=x), np.tanh),
    "add": (lambda x: mb.add(x=x, y=np.float32(3)), lambda x: x + 3),
    "sub": (lambda x: mb.sub(x=np.float32(3), y=x), lambda x: 3 - x),
    "mul": (lambda x: mb.mul(x=x, y=X[:1]), lambda x: x * X[:1]),
    "real_div": (lambda x: mb.real_div(x=x, y=X[:, :1] + 4), lambda x: x / (X[:, :1] + 4)),
    "identity": (lambda x: mb.identity(x=x), lambda x: x),
    "expand_dims": (lambda x: mb.expand_dims(x=x, axes=[0, -1]), lambda x: x[None, ..., None]),
    "squeeze": (lambda x: mb.squeeze(x=mb.expand_dims(x=x, axes=[1, 3]), axes=[1, -2]), lambda x: x),
    "reshape": (lambda x: mb.reshape(x=x, shape=[2, 3, 2, -1]), lambda x: x.reshape(2, 3, 2, 11)),
    "reshape with zeros from the right": (
        lambda x: mb.reshape(x=x, shape=[1, 0, -1, 6, 0]),
        lambda x: x.reshape(1, 1, 2, 6, 11),
    ),
    "reshape keeping a size": (lambda x: mb.reshape(x=x, shape=[-1, 0, 11]), lambda x: x),
    "transpose": (lambda x: mb.transpose(x=x, perm=[2, 0, 1]), lambda x: x.transpose(2, 0, 1)),
    "concat": (lambda x: mb.concat(values=[x, x], axis=1), lambda x: np.concatenate([x, x], 1)),
    "concat interleaved": (
        lambda x: mb.concat(values=[x, mb.add(x=x, y=np.float32(1))], axis=1, interleave=True),
        lambda x: np.stack([x, x + 1], 2).reshape(2, 12, 11),
    ),
    "pad constant": (
        lambda x: mb.pad(x=x, pad=[0, 0, 1, 0, 2, 3], mode="constant", constant_val=np.float32(7)),
        lambda x: np.pad(x, [(0, 0), (1, 0), (2, 3)], constant_values=7),
    ),
    "pad reflect": (
        lambda x: mb.pad(x=x, pad=[0, 0, 2, 3], mode="reflect"),
        lambda x: np.pad(x, [(0, 0), (0, 0), (2, 3)], mode="reflect"),
    ),
    "pad replicate": (
        lambda x: mb.pad(x=x, pad=[0, 0, 2, 3], mode="replicate"),
        lambda x: np.pad(x, [(0, 0), (0, 0), (2, 3)], mode="edge"),
    ),
    "slice": (
        lambda x: mb.slice_by_index(x=x, begin=[0, 1, 2], end=[2, 5, 9], stride=[1, 2, 3]),
        lambda x: x[0:2, 1:5:2, 2:9:3],
    ),
    "slice masked and squeezed": (
        lambda x: mb.slice_by_index(
            x=x, begin=[1, 0, -4], end=[2, 0, 0], begin_mask=[False, True, False], end_mask=[False, True, True],
            squeeze_mask=[True, False, False],
        ),
        lambda x: x[1, :, -4:],
    ),
    "slice backwards": (
        lambda x: mb.slice_by_index(
            x=x, begin=[0, 0, 9], end=[2, 6, 2], stride=[1, 1, -2],
        ),
        lambda x: x[:, :, 9:2:-2],
    ),
    "slice backwards to the start": (
        lambda x: mb.slice_by_index(
            x=x, begin=[0, 0, 0], end=[2, 6, 0], stride=[1, 1, -1], begin_mask=[False, False, True],
            end_mask=[False, False, True],
        ),
        lambda x: x[:, :, ::-1],
    ),
    "cast": (lambda x: mb.cast(x=mb.cast(x=x, dtype="int32"), dtype="fp32"), np.trunc),
}  # fmt: skip


@pytest.mark.parametrize("name", UNARY)
def test_op_equals_numpy(tmp_path, name):
    build, expected = UNARY[name]
    actual = one_input(tmp_path, build, X)
    np.testing.assert_allclose(actual, expected(X), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "padding", "options"),
    [
        ({"pad_type": "valid"}, (0, 0), {}),
        ({"pad_type": "custom", "pad": [2, 2]}, (2, 2), {}),
        ({"pad_type": "custom", "pad": [1, 3]}, (1, 3), {}),
        ({"pad_type": "same"}, (2, 2), {}),
        ({"pad_type": "same", "strides": [2]}, (2, 2), {"stride": 2}),
        ({"pad_type": "same_lower", "strides": [3]}, (2, 1), {"stride": 3}),
        ({"pad_type": "valid", "dilations": [2]}, (0, 0), {"dilation": 2}),
        ({"pad_type": "valid", "groups": 2}, (0, 0), {"groups": 2}),
    ],
)
def test_conv_equals_torch(tmp_path, arguments, padding, options):
    weight = RNG.normal(size=(4, 6 // arguments.get("groups", 1), 5)).astype(np.float32)
    bias = RNG.normal(size=4).astype(np.float32)
    actual = one_input(tmp_path, lambda x: mb.conv(x=x, weight=weight, bias=bias, **arguments), X)
    padded = F.pad(torch.from_numpy(X), padding)
    expected = F.conv1d(padded, torch.from_numpy(weight), torch.from_numpy(bias), **options)
    np.testing.assert_allclose(actual, expected.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "output_padding"), [(16, 8, 4, 0), (4, 2, 1, 0), (5, 3, 1, 1), (3, 4, 0, 0)]
)
def test_conv_transpose_equals_torch(tmp_path, kernel, stride, padding, output_padding):
    layer = torch.nn.ConvTranspose1d(6, 4, kernel, stride, padding, output_padding)
    x = torch.from_numpy(X[:1])
    with torch.no_grad():
        expected = layer(x).numpy()
        traced = torch.jit.trace(layer, x)
    with quick_conversion():
        model = ct.convert(
            traced,
            inputs=[ct.TensorType("x", shape=x.shape)],
            compute_precision=ct.precision.FLOAT32,
            minimum_deployment_target=ct.target.iOS18,
            skip_model_load=True,
        )
    model.save(str(tmp_path / "m.mlpackage"))
    (actual,) = MilEngine(tmp_path / "m.mlpackage").run({"x": X[:1]}).values()
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_half_precision_overflow_shows(tmp_path):
    x = np.array([100.0, 300.0], np.float32)
    actual = one_input(tmp_path, lambda x: mb.mul(x=mb.mul(x=x, y=x), y=np.float32(0.001)), x, "fp16")
    assert actual[0] == pytest.approx(10, rel=2e-3)
    assert np.isinf(actual[1]), "300 * 300 is more than half precision holds"


def test_half_precision_rounds_after_every_op(tmp_path):
    x = np.array([1.0], np.float32)
    tiny = np.float32(2.0**-11)  # half of one ulp at 1.0: lost twice when added twice
    actual = one_input(tmp_path, lambda x: mb.sub(x=mb.add(x=mb.add(x=x, y=tiny), y=tiny), y=np.float32(1)), x, "fp16")
    assert actual[0] == 0.0
