"""format=neuralnetwork: custom layers with their weights, four axes, and a validator that sees what is wrong."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from checkpoints.coqui_audio import mel_settings
from converters.component import Component
from converters.formats import neuralnetwork
from converters.options import ConversionError, FormatOptions, PrecisionOptions
from ops.upsample import rewrite_upsampling
from runtime.bundle.spec import Dim, TensorSpec
from runtime.engines import Execution, open_engine
from runtime.neuralnetwork import CUSTOM_CLASS, problems, read_network
from runtime.speech.metrics import snr_db

OPTIONS = FormatOptions(name="neuralnetwork")


def written(component, upsampler, precision, folder):
    example = component.example()
    arguments = [example[spec.name] for spec in component.inputs]
    module = rewrite_upsampling(component.module, upsampler, arguments)
    folder.mkdir(exist_ok=True)
    return neuralnetwork.convert(
        dataclasses.replace(component, module=module), PrecisionOptions(precision), OPTIONS, folder
    ).path


@pytest.fixture(scope="module")
def speech(checkpoint):
    """64 frames of a bundled clip."""
    from runtime.speech.clips import clip_paths, read_clip

    features = mel_settings(checkpoint.audio, checkpoint.stats)
    recording = read_clip(clip_paths()[0], features.sample_rate, features.hop_length)
    return features.of(recording)[None][:, :, 100:164]


@pytest.fixture(scope="module")
def metal(generator, tmp_path_factory):
    return written(generator, "metal", "fp16", tmp_path_factory.mktemp("metal"))


LEAST_DB = {"fp32": 105, "fp16": 45}
QUICK = {("fp32", "native"), ("fp32", "polyphase"), ("fp16", "metal")}


@pytest.mark.parametrize(
    ("precision", "upsampler"),
    [
        pair if pair in QUICK else pytest.param(*pair, marks=pytest.mark.proof)
        for pair in itertools.product(LEAST_DB, ("native", "polyphase", "metal"))
    ],
)
def test_the_saved_network_computes_what_pytorch_does(generator, speech, tmp_path, precision, upsampler):
    path = written(generator, upsampler, precision, tmp_path / "out")
    (output,) = open_engine(path, Execution("neuralnetwork")).run({"mel": speech}).values()
    with torch.inference_mode():
        wanted = generator.module(torch.from_numpy(speech)).numpy()
    assert output.shape == wanted.shape
    assert snr_db(wanted, output) > LEAST_DB[precision]
    assert (path.parent / "custom_layer").is_dir() == (upsampler == "metal")


def test_a_stage_is_one_custom_layer_with_its_parameters_and_half_weights(metal, generator, width):
    layers = read_network(metal).neuralNetwork.layers
    custom = [layer.custom for layer in layers if layer.WhichOneof("layer") == "custom"]
    assert [layer.className for layer in custom] == [CUSTOM_CLASS] * {"small": 2, "full": 4}[width]
    first = custom[0]
    sizes = {name: value.intValue for name, value in first.parameters.items() if name != "slope"}
    original = next(m for m in generator.module.modules() if isinstance(m, nn.ConvTranspose1d))
    assert sizes == {
        "channels_in": original.in_channels, "channels_out": original.out_channels, "output_padding": 0,
        "kernel_size": original.kernel_size[0], "stride": original.stride[0], "padding": original.padding[0],
    }  # fmt: skip
    assert first.parameters["slope"].doubleValue == pytest.approx(0.1)
    stored = np.frombuffer(first.weights[0].float16Value, np.float16).reshape(original.weight.shape)
    np.testing.assert_array_equal(stored, original.weight.detach().half().numpy())
    assert len(first.weights[1].float16Value) == 2 * original.out_channels
    # every layer its own weights
    assert custom[1].weights[0].float16Value != first.weights[0].float16Value


def test_convolutions_are_stored_in_half_and_nothing_reshapes_between_the_ends(metal):
    layers = list(read_network(metal).neuralNetwork.layers)
    kinds = [layer.WhichOneof("layer") for layer in layers]
    assert kinds[0] == "expandDims" and kinds[-1] == "squeeze"
    assert not {"expandDims", "squeeze", "transpose", "reshapeStatic"} & set(kinds[1:-1])
    convolutions = [layer.convolution for layer in layers if layer.WhichOneof("layer") == "convolution"]
    assert convolutions and all(c.weights.float16Value and not c.weights.floatValue for c in convolutions)


class Conditioned(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.pre, self.up = nn.Conv1d(5, 12, 3, padding=1), nn.ConvTranspose1d(12, 6, 8, 4, 2)

    def forward(self, x, speaker):
        return self.up(F.leaky_relu(self.pre(x) + speaker, 0.1))


def conditioned(frames=10):
    inputs = (TensorSpec("x", (1, 5, frames)), TensorSpec("speaker", (1, 12, 1)))
    torch.manual_seed(1)
    example = {spec.name: torch.randn(spec.shape) for spec in inputs}
    return Component(
        "net", Conditioned().eval(), inputs, (TensorSpec("y", (1, 6, 4 * frames)),), lambda: example, "a test"
    )


@pytest.mark.parametrize(("precision", "least"), [("fp32", 110), ("fp16", 55)])
def test_conditioning_is_the_custom_layer_s_second_input(tmp_path, precision, least):
    component = conditioned()
    path = written(component, "metal", precision, tmp_path / "out")
    (custom,) = (layer for layer in read_network(path).neuralNetwork.layers if layer.WhichOneof("layer") == "custom")
    assert len(custom.input) == 2
    example = component.example()
    output = open_engine(path, Execution("neuralnetwork")).run({name: x.numpy() for name, x in example.items()})["y"]
    with torch.inference_mode():
        assert snr_db(component.module(*example.values()).numpy(), output) > least


def test_what_the_format_cannot_hold_is_refused(generator, tmp_path):
    wide = dataclasses.replace(
        generator,
        inputs=(dataclasses.replace(generator.inputs[0], shape=(1, 80, 65)),),
        example=lambda: {"mel": torch.randn(1, 80, 65)},
    )
    with pytest.raises(ConversionError, match=r"16640 samples is wider than a texture .*shape\.frames=64"):
        written(wide, "metal", "fp16", tmp_path)
    flexible = dataclasses.replace(
        generator, inputs=(dataclasses.replace(generator.inputs[0], shape=(1, 80, Dim(8, 80, 64))),)
    )
    with pytest.raises(ConversionError, match="shape=flexible"):
        neuralnetwork.convert(flexible, PrecisionOptions("fp16"), OPTIONS, tmp_path)
    with pytest.raises(ConversionError, match="no precision 'int8'"):
        neuralnetwork.convert(generator, PrecisionOptions("int8"), OPTIONS, tmp_path)
    loud = conditioned()
    loud.module.up.weight.data[0, 0, 0] = 70000.0
    with pytest.raises(ConversionError, match=r"a weight of 70000: use precision=fp32"):
        written(loud, "metal", "fp16", tmp_path / "loud")


def custom_of(spec):
    return next(layer for layer in spec.neuralNetwork.layers if layer.WhichOneof("layer") == "custom")


def convolution_of(spec):
    return next(layer for layer in spec.neuralNetwork.layers if layer.WhichOneof("layer") == "convolution")


DAMAGE = {
    "its class is ''": lambda spec: custom_of(spec).custom.ClearField("className"),
    "parameters missing or unknown: stride": lambda spec: custom_of(spec).custom.parameters.pop("stride"),
    "parameter slope is a intValue": lambda spec: setattr(custom_of(spec).custom.parameters["slope"], "intValue", 1),
    "impossible sizes": lambda spec: setattr(custom_of(spec).custom.parameters["stride"], "intValue", 0),
    "it has 1 arrays of weights": lambda spec: custom_of(spec).custom.weights.pop(),
    "bias hold 63 numbers, not": lambda spec: setattr(custom_of(spec).custom.weights[1], "float16Value", b"\0" * 126),
    "weights must be stored once": lambda spec: custom_of(spec).custom.weights[0].floatValue.append(1.0),
    "weights hold": lambda spec: setattr(convolution_of(spec).convolution.weights, "float16Value", b"\0\0"),
    "they are in none": lambda spec: convolution_of(spec).convolution.bias.ClearField("float16Value"),
    "half-precision weights need": lambda spec: setattr(spec, "specificationVersion", 1),
    "reads 'nobody', which nothing before it gives": lambda spec: custom_of(spec).input.__setitem__(0, "nobody"),
    "which is there already": lambda spec: custom_of(spec).output.__setitem__(0, "mel"),
    "two layers are called": lambda spec: setattr(custom_of(spec), "name", convolution_of(spec).name),
    "has no kind": lambda spec: custom_of(spec).ClearField("custom"),
    "output 'audio' is given by no layer": lambda spec: spec.neuralNetwork.layers.pop(),
}


@pytest.mark.parametrize("sentence", DAMAGE)
def test_the_validator_says_what_is_wrong(metal, sentence):
    spec = read_network(metal)
    assert problems(spec) == []
    DAMAGE[sentence](spec)
    assert any(sentence in found for found in problems(spec)), problems(spec)
