import dataclasses
import itertools

import numpy as np
import pytest
import torch

from converters.component import family, format_
from converters.options import ConversionError, FormatOptions, PrecisionOptions
from ops.upsample import rewrite_upsampling
from runtime.engines import Execution, open_engine
from runtime.engines.inspect import op_histogram
from runtime.speech.metrics import snr_db

# (format, precision, engine that judges) -> what a random mel must at least give
FLOORS = {
    ("mlprogram", "fp32", "mil"): 95,
    ("mlprogram", "fp16", "mil"): 35,
    ("onnx", "fp32", "onnx"): 95,
    ("onnx", "fp16", "onnx"): 35,
}


def grid():
    """All combinations in `make proof`; in `make test` the half of them in which every two choices meet."""
    for judged, upsampler, shape in itertools.product(FLOORS, ("native", "polyphase"), ("fixed", "flexible")):
        name, precision, _ = judged
        is_odd = (precision == "fp16") ^ (upsampler == "polyphase") ^ (shape == "flexible")
        label = f"{name}-{precision}-{upsampler}-{shape}"
        marks = [pytest.mark.proof] if is_odd else []
        yield pytest.param(*judged, upsampler, shape == "flexible", id=label, marks=marks)


@pytest.mark.parametrize(("name", "precision", "engine", "upsampler", "flexible"), grid())
def test_every_combination_converts_and_executes(generator, tmp_path, name, precision, engine, upsampler, flexible):
    from runtime.bundle.spec import Dim, TensorSpec

    component = dataclasses.replace(generator, module=rewrite_upsampling(generator.module, upsampler))
    if flexible:
        component = dataclasses.replace(component, inputs=(TensorSpec("mel", (1, 80, Dim(8, 128, 64))),))
    artefact = format_(name).convert(component, PrecisionOptions(precision), FormatOptions(name), tmp_path).path
    opened = open_engine(artefact, Execution(engine))
    for frames in (64, 20, 100) if flexible else (64,):
        mel = torch.randn(1, 80, frames, generator=torch.Generator().manual_seed(1)) * 2 - 4
        with torch.no_grad():
            reference = generator.module(mel).numpy()
        output = opened.run({"mel": mel.numpy()})["audio"]
        assert output.dtype == np.float32
        assert snr_db(reference.reshape(-1), output.reshape(-1)) > FLOORS[name, precision, engine]
    ops = op_histogram(artefact)
    has_transposed = "conv_transpose" in ops or "ConvTranspose" in ops
    assert has_transposed == (upsampler == "native")


def test_unknown_names_are_sentences(generator, tmp_path):
    with pytest.raises(ConversionError, match="there is no family 'hifgan'"):
        family("hifgan")
    with pytest.raises(ConversionError, match="there is: coreai, mlprogram, neuralnetwork, onnx"):
        format_("coreml")
    with pytest.raises(ConversionError, match="no precision 'int9'; it has: fp32, fp16, mixed"):
        format_("mlprogram").convert(generator, PrecisionOptions("int9"), FormatOptions(), tmp_path)
    with pytest.raises(ConversionError, match="no target 'macOS99'"):
        format_("mlprogram").convert(generator, PrecisionOptions("fp16"), FormatOptions(target="macOS99"), tmp_path)
    with pytest.raises(ConversionError, match="no precision 'int8'"):
        format_("onnx").convert(generator, PrecisionOptions("int8"), FormatOptions("onnx"), tmp_path)


def test_every_name_of_the_tables_imports():
    from converters.component import FAMILIES, FORMATS

    assert all(hasattr(family(name), "components") for name in FAMILIES)
    assert all(hasattr(format_(name), "convert") for name in FORMATS)


def test_a_custom_layer_in_any_block_of_an_ml_program_is_refused(fp16, tmp_path):
    """coremltools writes one without an error, and no Mac compiles it."""
    import shutil

    from converters.formats.mlprogram import refuse_custom_layers
    from runtime.engines.inspect import custom_layers
    from runtime.mil.package import files_of, read_specification

    path = tmp_path / "net.mlpackage"
    shutil.copytree(fp16.bundle.artefact(fp16.bundle.component()), path)
    refuse_custom_layers(path)
    spec = read_specification(path)
    (block,) = spec.mlProgram.functions["main"].block_specializations.values()
    outer = next(op for op in block.operations if op.type == "conv")
    inner = outer.blocks.add().operations.add()
    inner.type = "custom_layer"
    files_of(path)[0].write_bytes(spec.SerializeToString())
    assert len(custom_layers(path)) == 1
    with pytest.raises(ConversionError, match=r"no Mac compiles .*format=neuralnetwork or format=coreai"):
        refuse_custom_layers(path)
