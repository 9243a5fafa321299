"""The proof on the vocoders of the field: streamed equals offline on every sample, first and last included."""

import dataclasses
import functools
import itertools

import numpy as np
import pytest
import torch

from ops.streaming import KEEPS, PRICES, Price, planned, read, work_of
from runtime.playing.stream import Stream

from .player import FORMS, artefact, drive, example, lively, play, streaming
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
def network(name, width=8, polyphase=True):
    build, inputs, shortest = VOCODERS[name]
    module = lively(build(width))
    return module, read(module, inputs(width), polyphase), inputs(width), shortest


@functools.cache
def receptive_field(name):
    """Frames that one frame's output depends on."""
    (port, *_) = streaming(network(name)[1], "window", 1).form.inputs
    return len(port)


def ragged(frames, seed):
    """Pushes of any size, nothing among them."""
    rng, pushes = np.random.default_rng(seed), []
    while sum(pushes) < frames:
        pushes.append(int(rng.integers(0, 20)))
    return [*pushes[:-1], frames - sum(pushes[:-1])]


# Of the others each has the geometry of one of these, or takes a minute by itself.
QUICK = ("HiFi-GAN V3", "MelGAN", "UnivNet")


@pytest.mark.parametrize(
    ("name", "is_quick"),
    [*((name, True) for name in QUICK), *(pytest.param(name, False, marks=pytest.mark.proof) for name in VOCODERS)],
)
@torch.no_grad()
def test_streamed_equals_offline_on_every_sample(name, is_quick):
    module, net, inputs, shortest = network(name)
    field = receptive_field(name)
    # V2's geometry with more channels, or a minute by itself
    wide = name in ("HiFi-GAN V1", "VITS decoder", "Parallel WaveGAN", "UnivNet")
    turns = itertools.cycle(FORMS)
    lengths = (1, field, 97) if is_quick else (1, field - 1, field, field + 1, 97)
    for frames in sorted({max(length, shortest) for length in lengths}):
        torch.manual_seed(frames)
        given = example(inputs, frames)
        offline = module(**given)
        assert frames < 97 or offline.std() > 0.02, "not silence"
        for chunk in (*CHUNKS, frames) if frames == 97 and not wide else (5, frames):
            for form in (next(turns), next(turns)) if is_quick else FORMS:
                (streamed,) = play(
                    artefact(streaming(net, form, chunk)), given, ragged(frames, 1) if chunk == 5 else None
                )
                assert streamed.shape == offline.shape
                assert (streamed - offline).abs().max() < 1e-12, f"{form}, chunk {chunk}, {frames} frames"


@torch.no_grad()
@pytest.mark.parametrize("form", FORMS)
def test_upsampling_without_the_polyphase_rewrite_is_exact_too(form):
    module, net, inputs, _ = network("HiFi-GAN V3", polyphase=False)
    given = example(inputs, 40)
    (streamed,) = play(artefact(streaming(net, form, 4)), given)
    assert (streamed - module(**given)).abs().max() < 1e-12


@torch.no_grad()
@pytest.mark.parametrize("mode", FORMS)
def test_in_single_precision_the_error_is_that_of_rounding(mode):
    build, _, _ = VOCODERS["HiFi-GAN V3"]
    single = lively(build(8)).float()
    inputs = [type(item)(item.name, item.shape, item.axis, item.rate) for item in network("HiFi-GAN V3")[2]]
    given = example(inputs, 40)
    (streamed,) = play(artefact(streaming(read(single, inputs), mode, 4)), given)
    assert 0 < (streamed - single(**given)).abs().max() < 5e-5


@torch.no_grad()
@pytest.mark.parametrize("mode", FORMS)
def test_function_steady_is_used_away_from_the_ends_and_function_edge_near_them(mode):
    _, net, inputs, _ = network("HiFi-GAN V3")
    played = artefact(streaming(net, mode, 4))
    calls = []
    for engine, name in ((played.edge, "edge"), (played.steady, "steady")):
        run = engine.run
        engine.run = lambda given, state=None, run=run, name=name: (calls.append(name), run(given, state))[1]
    play(played, example(inputs, 97))
    used = "".join(name[0] for name in calls)
    assert used.strip("e").strip("s") == "" and used.count("s") > 8, used
    assert used.startswith("eee") and used.endswith("ee"), used


@torch.no_grad()
@pytest.mark.parametrize("mode", FORMS)
def test_a_reset_stream_repeats_itself_and_two_streams_do_not_meet(mode):
    _, net, inputs, _ = network("HiFi-GAN V3")
    played = artefact(streaming(net, mode, 4))
    torch.manual_seed(0)
    first, second = example(inputs, 37), example(inputs, 37)
    stream = Stream(played)
    (once,) = drive(stream, first)
    stream.reset()
    stream.push({"mel": second["mel"].numpy()})  # left in the middle
    stream.reset()
    (again,) = drive(stream, first)
    assert torch.equal(once, again)
    one, two = Stream(played), Stream(played)
    pieces = []
    for at in range(0, 37, 3):
        pieces.append(one.push({"mel": first["mel"].numpy()[..., at : at + 3]})["output_0"])
        two.push({"mel": second["mel"].numpy()[..., at : at + 3]})
    pieces.append(one.flush()["output_0"])
    assert np.array_equal(np.concatenate(pieces, -1), once.numpy())


@pytest.mark.parametrize("chunk", [1, 4, 8])
def test_what_is_chosen_costs_no_more_than_what_could_be_asked_for(chunk):
    net = network("HiFi-GAN V3")[1]
    for price in (PRICES["onnx"], Price(1, 0, 0), Price(0, 0, 1)):
        works = {keep: work_of(net, chunk, planned(net, chunk, keep, price)) for keep in KEEPS}
        assert price.of(works["auto"]) <= min(map(price.of, works.values()))
        assert works["stage"].operations < works["layer"].operations
        assert works["stage"].multiply_adds > works["layer"].multiply_adds


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "delay"), [pytest.param("HiFi-GAN V2", 3258, marks=pytest.mark.proof), ("HiFi-GAN V3", 2582)]
)
def test_the_declared_delay_is_the_measured_one(name, delay):
    """147.8 and 117.1 ms at 22,050 Hz. A change of one frame shows first in the call that takes it, at its start."""
    _, net, inputs, _ = network(name)
    played = artefact(streaming(net, "stateful", 1))
    assert played.form.delay == delay
    given = example(inputs, 40)
    changed = {"mel": given["mel"].clone()}
    changed["mel"][..., 20] += 1
    (before,), (after,) = (play(played, item) for item in (given, changed))
    touched = (before != after).squeeze().nonzero()
    assert 20 * 256 - delay <= touched.min() < 20 * 256 - delay + 256


@torch.no_grad()
def test_a_bounded_lookahead_repeats_the_last_frame_it_knows():
    module, net, inputs, _ = network("HiFi-GAN V3")
    given = example(inputs, 60)
    played = artefact(streaming(net, "lowlat", 2, lookahead=5))
    assert not played.form.exact and played.form.lookahead == 5
    (streamed,) = play(played, given)
    start = 30  # a chunk in the middle, offline: known up to its lookahead, then the last frame again and again
    mel = given["mel"][..., : start + 2 + 5]
    longer = torch.cat([mel, mel[..., -1:].expand(-1, -1, 20)], -1)
    piece = slice(start * 256, (start + 2) * 256)
    assert (streamed[..., piece] - module(longer)[..., piece]).abs().max() < 1e-12
    enough = artefact(streaming(net, "lowlat", 2, lookahead=20))
    assert enough.form.exact
    assert (play(enough, given)[0] - module(**given)).abs().max() < 1e-12


def _port(**changes):
    """An output or input port with some of its numbers changed by so much."""

    def mutate(form, kind):
        ports = tuple(
            dataclasses.replace(port, **{name: getattr(port, name) + by for name, by in changes.items()})
            for port in getattr(form, kind)
        )
        return dataclasses.replace(form, **{kind: ports})

    return mutate


def _ends(**changes):
    def mutate(engine):
        run = engine.run
        engine.run = lambda given, state=None: run(
            {name: value + changes.get(name, 0) if name in changes else value for name, value in given.items()}, state
        )

    return mutate


def _states(engine):
    """Each state one position late."""
    run = engine.run
    engine.run = lambda given, state=None: run(
        {name: np.roll(value, 1, -1) if name.startswith("state_") else value for name, value in given.items()}, state
    )


MUTATIONS = {
    "delay too long": ("stateful", lambda form: _port(lo=-1, hi=-1)(form, "outputs"), None),
    "delay too short": ("stateful", lambda form: _port(lo=1, hi=1)(form, "outputs"), None),
    "window too early": ("window", lambda form: _port(lo=-1, hi=-1)(form, "inputs"), None),
    "window too late": ("window", lambda form: _port(lo=1, hi=1)(form, "inputs"), None),
    "steady too soon at the start": ("window", lambda form: dataclasses.replace(form, horizon=8), None),
    "steady too soon at the start, stateful": ("stateful", lambda form: dataclasses.replace(form, horizon=4), None),
    "called too soon": ("window", lambda form: dataclasses.replace(form, ahead=form.ahead - 1), None),
    "start mask early": ("window", None, _ends(before=np.int32(1))),
    "start mask late": ("window", None, _ends(before=np.int32(-1))),
    "end mask late": ("window", None, _ends(after=np.int32(1))),
    "end mask early": ("window", None, _ends(after=np.int32(-1))),
    "start mask early, stateful": ("stateful", None, _ends(before=np.int32(1))),
    "end mask late, stateful": ("stateful", None, _ends(after=np.int32(1))),
    **{f"state, {form}": (form, None, _states) for form in FORMS if form != "window"},
}


@torch.no_grad()
@pytest.mark.parametrize("mutation", MUTATIONS)
def test_an_error_of_one_shows(mutation):
    mode, change_form, change_engine = MUTATIONS[mutation]
    module, net, inputs, _ = network("HiFi-GAN V3")
    torch.manual_seed(3)
    given = example(inputs, 45)
    made = streaming(net, mode, 4)
    played = artefact(dataclasses.replace(made, form=change_form(made.form)) if change_form else made)
    if change_engine:
        change_engine(played.edge)
    (streamed,) = play(played, given, [1] * 45)
    offline = module(**given)
    common = min(streamed.shape[-1], offline.shape[-1])
    differs = (streamed[..., :common] - offline[..., :common]).abs().max() > 1e-9
    assert differs or streamed.shape != offline.shape
