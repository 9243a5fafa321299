"""Core ML files as other people publish them: old networks, classifiers, images, pipelines, odd types and bounds."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

import voxport
from runtime.bundle.store import BundleError
from runtime.engines import Execution, open_engine
from runtime.engines.predict import enable_predict
from runtime.errors import ArtefactError
from runtime.machine.coreml_tools import coremltools, quick_conversion

rng = np.random.default_rng(0)


def builder_of(inputs, rank_5=True, mode=None):
    """A network of these arrays' shapes that gives `y`."""
    ct = coremltools()
    features = [(name, ct.models.datatypes.Array(*shape)) for name, shape in inputs.items()]
    return ct.models.neural_network.NeuralNetworkBuilder(
        features, [("y", None)], mode, disable_rank5_shape_mapping=not rank_5
    )


def opened(spec, folder, name="net.mlmodel"):
    coremltools().utils.save_spec(spec, str(folder / name))
    return voxport.load(folder / name)


def old_classifier(image=False):
    """Version 1 of the specification: convolution, pooling, flatten, inner product and softmax over five axes."""
    weight, dense = (rng.standard_normal(shape).astype(np.float32) for shape in ((2, 3, 3, 3), (3, 18)))
    b = builder_of({"x": (3, 8, 8)}, mode="classifier")
    kernel = weight.transpose(2, 3, 1, 0)
    b.add_convolution("c", 3, 2, 3, 3, 1, 1, "valid", 1, kernel, None, False, input_name="x", output_name="c")
    b.add_activation("r", "RELU", "c", "r")
    b.add_pooling("p", 2, 2, 2, 2, "MAX", "VALID", "r", "p")
    b.add_flatten("f", 0, "p", "f")
    b.add_inner_product("i", dense, None, 18, 3, False, "f", "i")
    b.add_softmax("s", "i", "y")
    b.set_class_labels(["cat", "dog", "owl"], predicted_feature_name="label")
    spec = b.spec
    spec.specificationVersion = 1
    if image:
        feature = spec.description.input[0].type
        feature.imageType.width = feature.imageType.height = 8
        feature.imageType.colorSpace = feature.imageType.BGR
        scaler = spec.neuralNetworkClassifier.preprocessing.add(featureName="x").scaler
        scaler.channelScale, scaler.blueBias, scaler.greenBias, scaler.redBias = 1 / 127.5, -1.0, -0.5, 0.25

    def reference(x):
        y = torch.relu(torch.conv2d(torch.from_numpy(x)[None], torch.from_numpy(weight)))
        scores = torch.max_pool2d(y, 2).reshape(1, 18) @ torch.from_numpy(dense).T
        return dict(zip(["cat", "dog", "owl"], torch.softmax(scores, 1)[0].tolist()))

    return spec, reference


def test_a_classifier_of_the_first_specification_gives_its_class_and_scores(tmp_path):
    spec, reference = old_classifier()
    engine = opened(spec, tmp_path)
    x = rng.standard_normal((3, 8, 8)).astype(np.float32)
    outputs = engine.run({"x": x})
    wanted = reference(x)
    (scores,) = (value for value in outputs.values() if isinstance(value, dict))
    assert scores == pytest.approx(wanted, rel=1e-5)
    assert outputs["label"] == max(wanted, key=wanted.get)


def test_an_image_is_scaled_and_shifted_channel_by_channel(tmp_path):
    from PIL import Image

    spec, reference = old_classifier(image=True)
    enable_predict()
    model = coremltools().models.MLModel(spec)
    pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    outputs = model.predict({"x": Image.fromarray(pixels)})
    x = pixels[..., ::-1].transpose(2, 0, 1) / np.float32(127.5) + np.array([-1, -0.5, 0.25])[:, None, None]
    (scores,) = (value for value in outputs.values() if isinstance(value, dict))
    assert scores == pytest.approx(reference(x.astype(np.float32)), rel=1e-4)


def test_a_network_of_five_axes_takes_sequences_of_what_it_describes(tmp_path):
    b = builder_of({"x": (4,)})
    b.add_activation("l", "LINEAR", "x", "y", [2.0, 1.0])
    engine = opened(b.spec, tmp_path)
    for shape in ((4,), (6, 2, 4), (6, 2, 4, 1, 1)):
        x = rng.standard_normal(shape).astype(np.float32)
        assert engine.run({"x": x})["y"].reshape(-1) == pytest.approx((2 * x + 1).reshape(-1))


def linear(inputs, outputs, name, result, **options):
    ct = coremltools()
    module = torch.nn.Linear(inputs, outputs).eval()
    example = torch.rand(1, inputs)
    with quick_conversion():
        model = ct.convert(
            torch.jit.trace(module, example),
            inputs=[ct.TensorType(name, (1, inputs))],
            outputs=[ct.TensorType(result)],
            **options,
        )
    return module, model


def test_a_pipeline_of_programs_runs_them_in_turn(tmp_path):
    ct = coremltools()
    exact = {"minimum_deployment_target": ct.target.macOS13, "compute_precision": ct.precision.FLOAT32}
    first, one = linear(4, 2, "x", "h", **exact)
    second, other = linear(2, 3, "h", "y", **exact)
    path = tmp_path / "both.mlpackage"
    ct.utils.make_pipeline(one, other).save(str(path))
    x = torch.rand(1, 4)
    engine = voxport.load(path)
    assert engine.name == "neuralnetwork"
    np.testing.assert_allclose(engine.run({"x": x.numpy()})["y"], second(first(x)).detach(), rtol=1e-5, atol=1e-6)


def test_a_neural_network_in_a_package_is_one(tmp_path):
    module, model = linear(4, 2, "x", "y", convert_to="neuralnetwork")
    model.save(str(tmp_path / "net.mlpackage"))
    x = torch.rand(1, 4)
    engine = voxport.load(tmp_path / "net.mlpackage")
    np.testing.assert_allclose(engine.run({"x": x.numpy()})["y"], module(x).detach(), rtol=1e-5)


def test_predictions_have_the_types_that_coremltools_gives():
    """Half precision comes as single, and a tensor's history is left behind."""
    ct = coremltools()
    enable_predict()
    module, model = linear(4, 2, "x", "y", minimum_deployment_target=ct.target.macOS13)
    x = torch.full((1, 4), 300.0, requires_grad=True)
    (y,) = model.predict({"x": x}).values()
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, module(x).detach(), rtol=2e-2, atol=0.5)


@pytest.mark.parametrize("engine", ["mil", "onnx"])
def test_integers_of_eight_bits_go_in_and_out_of_a_program_of_ios_26(engine, tmp_path):
    ct = coremltools()

    class Eight(torch.nn.Module):
        def forward(self, x):
            return x.transpose(0, 1), (x.float() * 0.5).to(torch.int8), x.float() / 16

    x = torch.randint(-128, 128, (3, 4), dtype=torch.int8)
    with quick_conversion():
        model = ct.convert(
            torch.jit.trace(Eight(), x),
            inputs=[ct.TensorType("x", x.shape, np.int8)],
            outputs=[*(ct.TensorType(name, dtype=np.int8) for name in "ab"), ct.TensorType("c", dtype=np.float32)],
            minimum_deployment_target=ct.target.iOS26,
        )
    path = tmp_path / "eight.mlpackage"
    model.save(str(path))
    opened = open_engine(path, Execution(engine))
    assert opened.inputs[0].dtype == "int8"
    results = opened.run({"x": x.numpy()})
    for name, wanted in zip("abc", Eight()(x)):
        assert results[name].dtype == wanted.numpy().dtype
        np.testing.assert_array_equal(results[name], wanted)


def test_a_compiled_model_is_said_to_be_one(tmp_path):
    compiled = tmp_path / "model.mlmodelc"
    compiled.mkdir()
    with pytest.raises(
        BundleError, match=r"model\.mlmodelc is compiled for Core ML, .* an \.mlpackage or an \.mlmodel"
    ):
        voxport.load(compiled)


@pytest.mark.parametrize("kind", ["INT8", "UINT8", "INT16", "UINT16", "UINT32", "UINT64", "BOOL", "DOUBLE"])
def test_an_onnx_file_takes_every_type_of_numbers(kind, tmp_path):
    engine = voxport.load(identity(kind, tmp_path))
    x = np.array([[0, 1, 1, 0]], engine.inputs[0].dtype)
    y = engine.run({"x": x})["y"]
    assert y.dtype == x.dtype
    assert (y == x).all()


@pytest.mark.parametrize("kind", ["STRING", "BFLOAT16"])
def test_an_onnx_file_of_other_types_is_refused_by_the_name_of_its_input(kind, tmp_path):
    with pytest.raises(ArtefactError, match=rf"'x' is a tensor\({kind.lower()}\)"):
        voxport.load(identity(kind, tmp_path))


def identity(kind, folder):
    values = [helper.make_tensor_value_info(name, getattr(TensorProto, kind), [1, 4]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", values[:1], values[1:])
    path = folder / "id.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.mark.parametrize("engine", ["mil", "onnx"])
def test_a_flexible_axis_may_have_a_default_of_one_and_a_lower_bound_of_none(engine, tmp_path):
    """coremltools' own default of a RangeDim is its lower bound."""
    ct = coremltools()

    class Frames(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.dense = torch.nn.Conv2d(1, 4, (5, 1)), torch.nn.Linear(16, 3)

        def forward(self, x):
            return self.dense(self.conv(x[:, None, :, None]).permute(0, 2, 1, 3).reshape(-1, 16))

    module = Frames().eval()
    with quick_conversion():
        model = ct.convert(
            torch.jit.trace(module, torch.rand(1, 8)),
            inputs=[ct.TensorType("x", (ct.RangeDim(0, 16, default=1), 8))],
            outputs=[ct.TensorType("y")],
            minimum_deployment_target=ct.target.macOS13,
            compute_precision=ct.precision.FLOAT32,
        )
    path = tmp_path / "frames.mlpackage"
    model.save(str(path))
    opened = open_engine(path, Execution(engine))
    for frames in (1, 5):
        x = torch.rand(frames, 8)
        np.testing.assert_allclose(opened.run({"x": x.numpy()})["y"], module(x).detach(), rtol=1e-4, atol=1e-6)
