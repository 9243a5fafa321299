"""The vocoders of the field through converted artefacts: streamed equals offline, in both engines.

In `make test` one of them at an eighth of its channels; in `make proof` all of them at their published width, through
artefacts and in float64. UnivNet's location-variable convolution has six axes, which no Core ML program can.
"""

import copy
import dataclasses
import functools

import pytest
import torch

from converters.component import format_
from converters.options import FormatOptions, PrecisionOptions
from ops.streaming import read
from ops.upsample import rewrite_upsampling
from runtime.engines import Execution, open_engine
from runtime.speech.metrics import snr_db
from tests.ops.streaming.player import FORMS, artefact, described, example, lively, play, streaming
from tests.ops.streaming.vocoders import VOCODERS

from .test_streaming import converted, opened

CHUNK = 8
CONVERTIBLE = [name for name in VOCODERS if name != "UnivNet"]


@functools.lru_cache(1)
def network(name, width, dtype):
    build, inputs, _ = VOCODERS[name]
    module = lively(build(width)).to(dtype)
    taken = [type(item)(item.name, item.shape, item.axis, item.rate, dtype) for item in inputs(width)]
    return module, read(module, taken, polyphase=True), taken


def offline_artefact(module, net, given, precision, folder):
    """The network itself, with the upsampling that the streamed one has, converted for one length."""
    component = described(net)
    inputs = [dataclasses.replace(spec, shape=tuple(given[spec.name].shape)) for spec in component.inputs]
    rewritten = rewrite_upsampling(module, "polyphase")
    whole = dataclasses.replace(component, module=rewritten, inputs=tuple(inputs), example=lambda: given, time=None)
    return format_("mlprogram").convert(whole, PrecisionOptions(precision), FormatOptions(), folder).path


def streams_through_its_artefacts(name, width, modes, precisions, frames, folder):
    """fp32 within 5e-5 of PyTorch, or three times its rounding; fp16 as near to it as the offline fp16 artefact is."""
    module, net, inputs = network(name, width, torch.float32)
    torch.manual_seed(0)
    given = example(inputs, frames)
    with torch.inference_mode():
        offline = module(**given)
        double = copy.deepcopy(module).double()(**{name: value.double() for name, value in given.items()})
    assert offline.std() > 0.02, "not silence"
    # Random weights saturate some networks so that PyTorch's own rounding in float32 is more than that.
    limit = max(5e-5, 3 * float((offline - double).abs().max()))
    folder.mkdir()
    whole = offline_artefact(module, net, given, "fp16", folder) if "fp16" in precisions else None
    arrays = {key: value.numpy() for key, value in given.items()}
    for mode in modes:
        made = streaming(net, mode, CHUNK)
        for precision in precisions:
            place = folder / f"{mode}-{precision}"
            place.mkdir()
            path = converted(made, precision, "mlprogram", place)
            for engine in ("mil", "onnx"):
                (streamed,) = play(opened(path, made.form, engine), given)
                assert streamed.shape == offline.shape
                if precision == "fp32":
                    assert (streamed - offline).abs().max() < limit, (mode, engine)
                    continue
                (at_once,) = open_engine(whole, Execution(engine)).run(arrays).values()
                rounding = snr_db(offline.numpy(), at_once)
                # as near to single precision; and as near to each other as two roundings of the same values are
                assert snr_db(offline.numpy(), streamed.numpy()) >= rounding - 1, (mode, engine)
                assert snr_db(at_once, streamed.numpy()) >= rounding - 3, (mode, engine)


@pytest.mark.proof
def test_multi_band_melgan_streams_through_its_artefact(tmp_path):
    forms = ["stateful", "stateful-stage"]
    streams_through_its_artefacts("multi-band MelGAN", 8, forms, ["fp32"], 40, tmp_path / "artefacts")


@pytest.mark.proof
@pytest.mark.parametrize("name", CONVERTIBLE)
def test_every_vocoder_streams_through_its_artefacts_at_full_width(name, tmp_path):
    streams_through_its_artefacts(name, 1, FORMS, ["fp32", "fp16"], 97, tmp_path / "artefacts")


@pytest.mark.proof
@pytest.mark.parametrize("name", VOCODERS)
@torch.no_grad()
def test_every_vocoder_streams_at_full_width(name):
    module, net, inputs = network(name, 1, torch.float64)
    _, _, shortest = VOCODERS[name]
    field = len(streaming(net, "window", 1).form.inputs[0])
    for frames in sorted({max(length, shortest) for length in (1, field - 1, field, field + 1, 97)}):
        torch.manual_seed(frames)
        given = example(inputs, frames)
        offline = module(**given)
        for mode in FORMS:
            (streamed,) = play(artefact(streaming(net, mode, CHUNK)), given)
            assert streamed.shape == offline.shape
            assert (streamed - offline).abs().max() < 1e-12, f"{mode}, {frames} frames"
