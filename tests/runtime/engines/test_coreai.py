"""Core AI's artefacts in Apple's own Linux runtime: an independent check of the reference engine, op by op."""

import dataclasses
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from converters.component import Component, format_
from converters.formats import coreai
from converters.options import ConversionError, FormatOptions, PrecisionOptions
from ops.upsample import rewrite_upsampling
from runtime.bundle.spec import TensorSpec
from runtime.engines import Execution, open_engine
from runtime.engines.inspect import op_histogram
from runtime.engines.load import load
from runtime.errors import ArtefactError, EngineError
from runtime.speech.metrics import snr_db

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or sys.implementation.name != "cpython", reason="Apple's wheels are for Linux and macOS"
)
X = torch.randn(1, 64, 48, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    def __init__(self, compute, *layers):
        super().__init__()
        self.compute, self.layers = compute, nn.ModuleList(layers)

    def forward(self, x):
        return self.compute(x, *self.layers)


def layer(layer, transposed=False):
    return Net(lambda x, m: m(x.transpose(1, 2) if transposed else x), layer)


torch.manual_seed(0)
# Apple's runtime sums products in half precision; voxport's engine, like the GPU, in single.
SUMS = {
    "conv": layer(nn.Conv1d(64, 32, 7, padding=9, dilation=3)),
    "conv, groups": layer(nn.Conv1d(64, 64, 3, padding=1, groups=4)),
    "conv_transpose": layer(nn.ConvTranspose1d(64, 32, 16, 8, 4)),
    "linear": layer(nn.Linear(64, 48), transposed=True),
    "matmul": Net(lambda x: x @ x.transpose(1, 2)),
    "cumsum": Net(lambda x: torch.cumsum(x, 2)),
}
# coremltools writes another formula: a product with 1/3, Core ML's own leaky_relu and gelu.
OTHER_FORMULAS = {
    "div": Net(lambda x: x / 3),
    "leaky_relu": Net(lambda x: F.leaky_relu(x, 0.1)),
    "gelu": Net(F.gelu),
}
SAME = {
    "tanh": Net(torch.tanh),
    "sigmoid": Net(torch.sigmoid),
    "exp": Net(torch.exp),
    "softmax": Net(lambda x: torch.softmax(x, 1)),
    "sin": Net(torch.sin),
    "mean": Net(lambda x: x.mean(1, keepdim=True)),
    "softplus": Net(F.softplus),
    "log": Net(lambda x: torch.log(x.abs() + 0.1)),
    "layer_norm": layer(nn.LayerNorm(64), transposed=True),
}


def both(net, precision, folder):
    """(voxport's reference engine on the ML program, Apple's runtime on the Core AI program, PyTorch in float32)."""
    with torch.inference_mode():
        wanted = net.eval()(X).numpy()
    spec = TensorSpec("x", tuple(X.shape))
    component = Component("net", net, (spec,), (TensorSpec("y", wanted.shape),), lambda: {"x": X}, "a test")
    outputs = []
    for name, engine in (("mlprogram", "mil"), ("coreai", "coreai")):
        place = folder / f"{name}-{precision}"
        place.mkdir()
        path = format_(name).convert(component, PrecisionOptions(precision), FormatOptions(), place).path
        outputs.append(open_engine(path, Execution(engine)).run({"x": X.numpy()})["y"])
    return *outputs, wanted


QUICK = ("conv", "conv_transpose", "linear", "div", "gelu", "softmax", "layer_norm")  # two of each kind and one


@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.proof)
        for name in (*SUMS, *OTHER_FORMULAS, *SAME)
    ],
)
def test_apple_s_runtime_and_the_reference_engine_agree_op_by_op(name, tmp_path, monkeypatch):
    monkeypatch.setattr("runtime.engines.coreai._try", lambda path: None)  # what was made here needs no trial
    net = {**SUMS, **OTHER_FORMULAS, **SAME}[name]
    ours, apple, wanted = both(net, "fp32", tmp_path)
    level = np.abs(wanted).max()
    assert np.abs(ours - apple).max() < 2e-6 * level
    ours, apple, wanted = both(net, "fp16", tmp_path)
    half = 2.0**-11
    assert np.abs(ours - wanted).max() < 2.5 * half * level, "one rounding of the input, one of the result"
    if name in SAME:
        assert np.abs(ours - apple).max() < 1e-6 * level, "the same bits, up to the order of a sum"
    elif name in OTHER_FORMULAS:
        assert np.abs(ours - apple).max() < 2.5 * half * level
    else:
        assert np.abs(ours - wanted).max() < np.abs(apple - wanted).max() < 16 * half * level


@pytest.fixture(scope="module")
def short(generator):
    """The bundled generator at 12 frames: Apple's runtime is slow here."""
    mel = torch.randn(1, 80, 12, generator=torch.Generator().manual_seed(0)) * 2 - 5
    return dataclasses.replace(
        generator,
        inputs=(dataclasses.replace(generator.inputs[0], shape=(1, 80, 12)),),
        outputs=(dataclasses.replace(generator.outputs[0], shape=(1, 1, 12 * 256)),),
        example=lambda: {"mel": mel},
    )


@pytest.mark.parametrize(
    "upsampler", [*(pytest.param(name, marks=pytest.mark.proof) for name in ("native", "polyphase")), "metal"]
)
def test_a_whole_vocoder_agrees_in_both(short, width, upsampler, tmp_path):
    mel = short.example()["mel"]
    with torch.inference_mode():
        wanted = short.module(mel).numpy()
    component = dataclasses.replace(short, module=rewrite_upsampling(short.module, upsampler, [mel]))
    path = coreai.convert(component, PrecisionOptions("fp32"), FormatOptions(), tmp_path).path
    if upsampler == "metal":
        assert op_histogram(path)["metal4_kernel"] == {"small": 2, "full": 4}[width]
        with pytest.raises(EngineError, match=r"has Metal kernels, which run on a Mac only"):
            open_engine(path, Execution("coreai"))
        path = tmp_path / "twin" / path.name
        assert "metal4_kernel" not in op_histogram(path)
    output = open_engine(path, Execution("coreai")).run({"mel": mel.numpy()})["audio"]
    assert snr_db(wanted, output) > 100
    if upsampler == "polyphase":
        (tmp_path / "mil").mkdir()
        program = (
            format_("mlprogram").convert(component, PrecisionOptions("fp32"), FormatOptions(), tmp_path / "mil").path
        )
        assert snr_db(open_engine(program, Execution("mil")).run({"mel": mel.numpy()})["audio"], output) > 100


def test_the_kernel_s_source_is_the_tested_text_with_a_call(short, tmp_path):
    from ops.metal.layout import COREAI, UpsampleShape, text

    shape = UpsampleShape(9, 6, 5, 3, 1, 7, slope=0.1, has_condition=True)
    kernel = coreai.kernel_of(shape)
    assert kernel.helpers == text(COREAI)
    assert kernel.src == (
        "upsample_coreai<ELEMENT>(x, condition, y, weights, bias, "
        f"UpsampleShape{{9, 6, 7, {shape.samples}, 5, 3, 1, 2, 1, 0.1f, 0}}, at);"
    )
    assert "ELEMENT" not in text(COREAI), "Core AI replaces the word in the text, too"
    stage = coreai.Kernel(shape, torch.randn(9, 6, 5), torch.randn(6))
    reference = coreai.Reference(shape, torch.zeros(9, 6, 5), None)
    assert stage(torch.randn(1, 9, 7), torch.randn(1, 9, 1)).shape == reference(torch.zeros(1, 9, 7)).shape


def test_a_bundle_s_kernels_are_executed_by_their_twin(convert_job):
    # measured in PyTorch only: at full width three clips take Apple's runtime most of a minute here
    outcome = convert_job("format=coreai", "upsampler=metal", "shape.frames=30", "measure.engines=[torch]")
    component = outcome.bundle.component()
    assert component.validated_by == "twin/generator.aimodel"
    assert outcome.bundle.executable(component) == outcome.bundle.path / "twin" / "generator.aimodel"
    engine = load(outcome.bundle.path)
    assert engine.name == "coreai"
    case = outcome.bundle.goldens(component)[0]
    mel = case.inputs["mel"][:, :, 40:70]
    wanted = load(outcome.bundle.path, Execution("torch")).run({"mel": mel})["audio"]
    assert snr_db(wanted, engine.run({"mel": mel})["audio"]) > 30
    assert any("Metal kernels run on a Mac only" in note for note in outcome.bundle.manifest.notes)


@pytest.mark.parametrize("upsampler", [pytest.param("polyphase", marks=pytest.mark.proof), "metal"])
def test_functions_share_their_weights(upsampler, tmp_path):
    """By size of the input; with Metal kernels in the twin too."""

    def sized(frames):
        x = X[..., :frames]
        module = rewrite_upsampling(net, upsampler, [x])
        shapes = TensorSpec("x", tuple(x.shape)), TensorSpec("y", (1, 64, frames * 2))
        return Component("net", module, (shapes[0],), (shapes[1],), lambda: {"x": x}, "a test")

    def size(path):
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())

    net = layer(nn.ConvTranspose1d(64, 64, 16, 2, 7)).eval()
    functions = {f"size{frames}": sized(frames) for frames in (24, 48)}
    for name, chosen in (("both", functions), ("one", {"size24": functions["size24"]})):
        (tmp_path / name).mkdir()
        coreai.convert_functions(chosen, PrecisionOptions("fp32"), FormatOptions(), tmp_path / name)
    path = tmp_path / "both" / "net.aimodel"
    assert size(path) < size(tmp_path / "one" / "net.aimodel") + 40_000 < 2 * 64 * 64 * 16 * 4
    if upsampler == "metal":
        assert op_histogram(path)["metal4_kernel"] == 2
        path = tmp_path / "both" / "twin" / "net.aimodel"
    for frames in (24, 48):
        x = X[..., :frames]
        with torch.inference_mode():
            wanted = net(x).numpy()
        output = load(path, function=f"size{frames}").run({"x": x.numpy()})["y"]
        np.testing.assert_allclose(output, wanted, atol=1e-5)
    assert load(path).inputs[0].shape == (1, 64, 24), "the first, where none is named"
    with pytest.raises(EngineError, match=r"net\.aimodel: .*size3"):
        load(path, function="size3")


def test_damage_and_bad_choices_are_sentences(short, tmp_path):
    with pytest.raises(ArtefactError, match="missing or no Core AI model"):
        open_engine(tmp_path / "none.aimodel", Execution("coreai"))
    with pytest.raises(ArtefactError, match=r"executes an \.aimodel, not net\.onnx"):
        open_engine(tmp_path / "net.onnx", Execution("coreai"))
    path = coreai.convert(short, PrecisionOptions("fp16"), FormatOptions(), tmp_path).path
    (program,) = path.glob("*.mlirb")
    program.write_bytes(program.read_bytes()[:1000])
    with pytest.raises((ArtefactError, EngineError), match=r"generator\.aimodel"):
        open_engine(path, Execution("coreai"))
    with pytest.raises(ConversionError, match="no precision 'int8'"):
        coreai.convert(short, PrecisionOptions("int8"), FormatOptions(), tmp_path)
