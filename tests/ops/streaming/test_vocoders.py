"""The proof on the vocoders of the field: streamed equals offline on every sample, first and last included."""

import functools

import pytest
import torch

from ops.streaming import read, stateful, window

from .player import example, lively, stream
from .vocoders import VOCODERS

CHUNKS = (1, 2, 3, 5, 8, 13, 32)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Many small operations: threads only get in each other's way."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@functools.cache
def network(name, width=8):
    build, inputs, shortest = VOCODERS[name]
    module = lively(build(width))
    return module, read(module, inputs(width)), inputs(width), shortest


def lengths(form, shortest):
    """One frame, around the receptive field, and a second of speech; what the network's own padding can take."""
    span = form.inputs[0].span
    field = len(span) - form.chunk + 1
    return sorted({max(length, shortest) for length in (1, field - 1, field, field + 1, 97)})


@pytest.mark.parametrize("name", VOCODERS)
@torch.no_grad()
def test_streamed_equals_offline_on_every_sample(name):
    module, net, inputs, shortest = network(name)
    wide = name in ("HiFi-GAN V1", "VITS decoder")  # the geometry of V2, with more channels
    for frames in lengths(window(net, 1), shortest):
        torch.manual_seed(frames)
        given = example(inputs, frames)
        offline = module(**given)
        assert frames < 97 or offline.std() > 0.02, "not silence"
        for chunk in (*CHUNKS, frames) if frames == 97 and not wide else (5, frames):
            for emit in (window, stateful):
                (streamed,) = stream(emit(net, chunk), given, frames)
                assert streamed.shape == offline.shape
                assert (streamed - offline).abs().max() < 1e-12, f"{emit.__name__}, chunk {chunk}, {frames} frames"


@torch.no_grad()
def test_in_single_precision_the_error_is_that_of_rounding():
    module, _, inputs, _ = network("HiFi-GAN V3")
    single = module.float()
    inputs = [type(item)(item.name, item.shape, item.axis, item.rate) for item in inputs]
    net, given = read(single, inputs), example(inputs, 40)
    for emit in (window, stateful):
        (streamed,) = stream(emit(net, 4), given, 40)
        assert 0 < (streamed - single(**given)).abs().max() < 5e-5
    module.double()


@torch.no_grad()
def test_without_edges_the_inside_is_the_same():
    module, net, inputs, _ = network("HiFi-GAN V3")
    given = example(inputs, 60)
    offline = module(**given)
    form = stateful(net, 4, edges=False)
    (streamed,) = stream(form, given, 60)
    reach = (len(window(net, 1).inputs[0].span)) * 256
    difference = (streamed - offline).abs()
    assert difference[..., reach:-reach].max() < 1e-12
    assert difference.max() > 1e-6, "at the edges padding shows"


def test_the_declared_delay_is_the_measured_one():
    _, net, inputs, _ = network("HiFi-GAN V2")
    (port,) = stateful(net, 4).outputs
    assert -port.span.lo == 3258, "facts: 3 · 256 + … samples, 147.8 ms at 22,050 Hz"
    given = example(inputs, 40)
    form = stateful(net, 1)
    changed = {"mel": given["mel"].clone()}
    changed["mel"][..., 20] += 1
    with torch.no_grad():
        (before,), (after,) = (stream(form, item, 40) for item in (given, changed))
    touched = (before != after).squeeze().nonzero()
    first_call = 20  # nothing before the call that takes frame 20 may change
    assert touched.min() >= first_call * 256 - 3258
    assert touched.min() < first_call * 256 - 3258 + 256
