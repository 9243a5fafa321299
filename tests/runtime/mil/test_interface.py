"""What programs take and give beyond fixed arrays: functions, images, classes, optional inputs, flexible sizes."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from runtime.bundle.spec import InputError
from runtime.engines.mil import MilEngine
from runtime.engines.onnx import OnnxEngine
from runtime.engines.predict import enable_predict
from runtime.errors import ArtefactError, NotLowered
from runtime.machine.coreml_tools import coremltools
from runtime.mil.interface import Interface
from runtime.mil.package import open_package

ct = coremltools()
from coremltools.converters.mil import Builder as mb  # noqa: E402

BOTH = pytest.mark.parametrize("engine_class", [MilEngine, OnnxEngine])


@pytest.fixture
def two_functions(saved, tmp_path):
    """`double` and, as the default, `triple`."""
    descriptor = ct.utils.MultiFunctionDescriptor()
    for name, factor in (("double", 2), ("triple", 3)):
        descriptor.add_function(str(saved(multiplication(factor))), "main", name)
    descriptor.default_function_name = "triple"
    path = tmp_path / "two.mlpackage"
    ct.utils.save_multifunction(descriptor, str(path))
    return path


def multiplication(factor):
    @mb.program(input_specs=[mb.TensorSpec(shape=(3,))], opset_version=ct.target.iOS18)
    def program(x):
        return mb.mul(x=x, y=np.float32(factor), name="y")

    return program


@BOTH
def test_a_function_is_chosen_by_name_or_is_the_default(two_functions, engine_class):
    x = {"x": np.ones(3, np.float32)}
    for name, factor in ((None, 3), ("double", 2), ("triple", 3)):
        np.testing.assert_array_equal(engine_class(two_functions, function=name).run(x)["y"], factor)
    with pytest.raises(ArtefactError, match=r"no function 'quadruple'; it has: .*double"):
        engine_class(two_functions, function="quadruple")


def test_enable_predict_takes_the_model_s_function(two_functions):
    enable_predict()
    model = ct.models.MLModel(str(two_functions), function_name="double", skip_model_load=True)
    np.testing.assert_array_equal(model.predict({"x": np.ones(3)})["y"], 2)


class Negative(torch.nn.Module):
    def forward(self, x):
        return 255 - x


@pytest.mark.parametrize("colour", ["RGB", "BGR", "GRAYSCALE"])
def test_images_come_and_go_in_their_layout(saved, colour):
    layout = getattr(ct.colorlayout, colour)
    channels = 1 if colour == "GRAYSCALE" else 3
    path = saved(
        torch.jit.trace(Negative(), torch.zeros(1, channels, 4, 6)),
        inputs=[ct.ImageType("image", shape=(1, channels, 4, 6), color_layout=layout)],
        outputs=[ct.ImageType("negative", color_layout=layout)],
    )
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    image = Image.fromarray(pixels[..., 0] if colour == "GRAYSCALE" else pixels)
    enable_predict()
    result = ct.models.MLModel(str(path), skip_model_load=True).predict({"image": image})["negative"]
    np.testing.assert_array_equal(np.asarray(result), 255 - np.asarray(image))


def test_the_order_of_colours_reaches_the_program(saved):
    path = saved(
        torch.jit.trace(torch.nn.ReLU(), torch.zeros(1, 3, 2, 2)),
        inputs=[ct.ImageType("image", shape=(1, 3, 2, 2), color_layout=ct.colorlayout.BGR, scale=0.5, bias=[1, 2, 3])],
        outputs=[ct.TensorType("y")],
    )
    enable_predict()
    red = Image.new("RGB", (2, 2), (10, 0, 0))
    y = ct.models.MLModel(str(path), skip_model_load=True).predict({"image": red})["y"]
    np.testing.assert_array_equal(y[0, :, 0, 0], [1, 2, 8])  # blue, green, red; each halved, then shifted


def test_what_is_no_image_or_has_no_such_name_is_refused_as_on_a_mac(saved):
    path = saved(
        torch.jit.trace(Negative(), torch.zeros(1, 1, 4, 6)),
        inputs=[ct.ImageType("image", shape=(1, 1, 4, 6), color_layout=ct.colorlayout.GRAYSCALE)],
        outputs=[ct.TensorType("negative")],
    )
    enable_predict()
    model = ct.models.MLModel(str(path), skip_model_load=True)
    with pytest.raises(TypeError, match=r"PIL\.Image"):
        model.predict({"image": np.zeros((1, 1, 4, 6))})
    with pytest.raises(KeyError, match="other"):
        model.predict({"other": np.zeros(3)})
    with pytest.raises(InputError, match="'image' has length 5 on axis 2, wants 4"):
        model.predict({"image": Image.new("L", (6, 5))})


@pytest.mark.parametrize("labels", [["cat", "dog", "owl"], [10, 20, 30]])
def test_a_classifier_gives_its_label_and_the_probabilities(saved, labels):
    path = saved(
        torch.jit.trace(torch.nn.Softmax(dim=1), torch.zeros(1, 3)),
        inputs=[ct.TensorType("x", shape=(1, 3))],
        classifier_config=ct.ClassifierConfig(labels),
    )
    enable_predict()
    x = np.array([[0.0, 2.0, 1.0]], np.float32)
    result = ct.models.MLModel(str(path), skip_model_load=True).predict({"x": x})
    assert result["classLabel"] == labels[1]
    probabilities = result["classLabel_probs"]
    expected = torch.softmax(torch.from_numpy(x), 1)[0].tolist()
    assert probabilities == {label: pytest.approx(p, abs=1e-6) for label, p in zip(labels, expected)}
    with pytest.raises(NotLowered, match="class labels"):
        OnnxEngine(path)


@BOTH
def test_an_optional_input_has_a_default(saved, engine_class):
    path = saved(
        torch.jit.trace(Sum(), (torch.zeros(2, 3), torch.zeros(2, 3))),
        inputs=[
            ct.TensorType("x", shape=(2, 3)),
            ct.TensorType("y", shape=(2, 3), default_value=np.full((2, 3), 0.5, np.float32)),
        ],
        outputs=[ct.TensorType("sum")],
    )
    engine, x = engine_class(path), np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(engine.run({"x": x})["sum"], 1.5)
    np.testing.assert_array_equal(engine.run({"x": x, "y": x})["sum"], 2)
    with pytest.raises(InputError, match="'x' is missing"):
        engine.run({"y": x})


class Sum(torch.nn.Module):
    def forward(self, x, y):
        return x + y


def test_an_interface_survives_the_cache(saved):
    size = ct.RangeDim(2, 9, 4)
    path = saved(
        torch.jit.trace(Sum(), (torch.zeros(1, 4), torch.zeros(1, 4))),
        inputs=[ct.TensorType(name, shape=(1, size)) for name in "xy"],
    )
    interface = open_package(path).interface
    assert str(interface.inputs[0]) == "x (1, 2..9) float32"
    assert Interface.from_json(interface.to_json()) == interface


class Attention(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.projection = torch.nn.Linear(8, 24)

    def forward(self, x):
        batch, _, length = x.shape
        q, k, v = (
            part.view(batch, length, 2, 4).transpose(1, 2) for part in self.projection(x.transpose(1, 2)).chunk(3, -1)
        )
        mixed = torch.softmax(q @ k.transpose(-1, -2), -1) @ v
        return mixed.transpose(1, 2).reshape(batch, length, 8)


class RelativePositions(torch.nn.Module):
    """The padding and reshaping by which VITS turns relative positions into absolute ones."""

    def forward(self, x):
        batch, _, length = x.shape
        scores = torch.matmul(x.transpose(1, 2), torch.cat([x, x[:, :, 1:]], -1))
        flat = F.pad(scores, (0, 1)).reshape(batch, 2 * length * length)
        padded = torch.cat([flat, torch.zeros(batch, length - 1)], -1)
        return padded.reshape(batch, length + 1, 2 * length - 1)[:, :length, length - 1 :]


class Extended(torch.nn.Module):
    def forward(self, x):
        steps = torch.arange(x.shape[2])
        masked = F.pad(x, (2, 3), mode="reflect")[:, :, 1:-4] * (steps < 5).float()
        return torch.cat([masked.repeat(1, 1, 2), torch.zeros(1, 8, 3)], -1)


class Recurrent(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = torch.nn.LSTM(8, 5, batch_first=True, bidirectional=True)

    def forward(self, x):
        return self.lstm(x.transpose(1, 2))[0]


@pytest.mark.parametrize("module", [Attention, RelativePositions, Extended, Recurrent])
def test_flexible_lengths_hold_in_both_engines(saved, module):
    torch.manual_seed(0)
    network = module().eval()
    inputs = [ct.TensorType("x", shape=(1, 8, ct.RangeDim(8, 64, 16)))]
    path = saved(torch.jit.trace(network, torch.randn(1, 8, 16)), inputs=inputs)
    reference, fast = MilEngine(path), OnnxEngine(path)
    for length in (8, 16, 33, 64):
        x = torch.randn(1, 8, length)
        expected = network(x).detach().numpy()
        for engine in (reference, fast):
            (result,) = engine.run({"x": x.numpy()}).values()
            np.testing.assert_allclose(result, expected, atol=2e-5)
