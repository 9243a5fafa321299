"""The law, on networks that nobody chose: streamed equals offline on every sample."""

import random
from contextlib import nullcontext
from unittest.mock import patch

import pytest
import torch
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from ops.streaming import Input, read
from ops.streaming.plan import Planner, can_be_padded

from .networks import CHANNELS, Padded, Recurrent, frame, networks
from .player import FORMS, artefact, example, lively, play, streaming

LAW = settings(
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],  # a smaller example is not worth the minutes that it takes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def offline(module, inputs):
    """None where the utterance is too short for the network's own padding."""
    try:
        with torch.no_grad():
            return module(**inputs)
    except RuntimeError:
        return None


class Named(torch.nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x)


def prepared(network, dtype=torch.float64):
    torch.manual_seed(0)
    module = lively(Named(network)).to(dtype)
    return module, [Input("x", (1, CHANNELS, 0), 2, frame(network), dtype)]


def kept_anywhere(seed):
    """Plans that no cost would choose: any values kept, computed early or late, with or without padding."""
    chance = random.Random(seed)

    def some(nodes, share):
        return [node for node in nodes if chance.random() < share]

    def plan(network, chunk, keep, price):
        planner = Planner(network, chunk)
        padded = [step.node for step in planner.steps if can_be_padded(step)]
        nodes = some([*network.placeholders.values(), *(step.node for step in planner.steps)], chance.random())
        return planner.kept(nodes, some(planner.joins, 0.5), some(padded, chance.random()))

    return patch("ops.streaming.forms.planned", plan)


def check(network, mode, chunk, frames, polyphase):
    module, inputs = prepared(network)
    whole = example(inputs, frames)
    expected = offline(module, whole)
    assume(expected is not None and expected.shape[-1] > 0)
    net = read(module, inputs, polyphase)
    with kept_anywhere(frames) if mode == "stateful-anywhere" else nullcontext():
        made = streaming(net, mode.removesuffix("-anywhere"), chunk)
    (streamed,) = play(artefact(made), whole)
    assert streamed.shape == expected.shape
    assert (streamed - expected).abs().max() < 1e-12


MODES = st.sampled_from([*FORMS, "stateful-anywhere"])
ANY = given(networks(), MODES, st.integers(1, 6), st.integers(1, 30), st.booleans())


@settings(LAW, max_examples=14)
@ANY
def test_of_any_local_network(network, mode, chunk, frames, polyphase):
    check(network, mode, chunk, frames, polyphase)


@pytest.mark.proof
@settings(LAW, max_examples=100)
@ANY
def test_of_many_local_networks(network, mode, chunk, frames, polyphase):
    check(network, mode, chunk, frames, polyphase)


class Branches(torch.nn.Module):
    """The first operation of both branches is the same; what follows is not."""

    def __init__(self):
        super().__init__()
        self.wide, self.narrow = (torch.nn.Conv1d(CHANNELS, CHANNELS, k, padding=k // 2) for k in (7, 3))

    def forward(self, x):
        rectified = torch.nn.functional.leaky_relu
        return self.wide(rectified(x, 0.1)) + self.narrow(rectified(x, 0.1)) + rectified(x, 0.2)


def test_what_branches_compute_alike_is_computed_once():
    module, inputs = prepared(torch.nn.Sequential(Branches()))
    net = read(module, inputs)
    assert [step.node.target.overloadpacket for step in net.steps].count(torch.ops.aten.leaky_relu) == 2
    whole = example(inputs, 20)
    (streamed,) = play(artefact(streaming(net, "stateful", 3)), whole)
    assert (streamed - offline(module, whole)).abs().max() < 1e-12


@pytest.mark.parametrize(("lookahead", "chunk"), [(0, 1), (0, 3), (2, 2), (3, 1)])
def test_layers_that_pad_the_past_wait_for_no_frame_of_the_future(lookahead, chunk):
    """A causal network waits for its lookahead alone, however many layers it has."""
    layers = [Padded(5, 4 - lookahead, lookahead, "constant"), *(Padded(3, 2, 0, "constant") for _ in range(4))]
    module, inputs = prepared(torch.nn.Sequential(*layers))
    played = artefact(streaming(read(module, inputs), "stateful", chunk))
    assert (played.form.lookahead, played.form.delay, played.form.ahead) == (lookahead, lookahead, chunk)
    whole = example(inputs, 20)
    assert (play(played, whole)[0] - offline(module, whole)).abs().max() < 1e-12


@pytest.mark.proof
@settings(LAW, max_examples=12)
@given(networks(True), MODES.filter(lambda mode: mode != "window"), st.integers(1, 6), st.integers(1, 16))
def test_of_any_local_network_with_a_recurrent_layer(network, mode, chunk, frames):
    check(network, mode, chunk, frames, True)


@pytest.mark.parametrize("kind", [torch.nn.LSTM, pytest.param(torch.nn.GRU, marks=pytest.mark.proof)])
def test_a_recurrent_layer_has_no_window(kind):
    module, inputs = prepared(torch.nn.Sequential(Recurrent(kind, 1)))
    with pytest.raises(Exception, match="depends on everything before it; use the stateful form"):
        streaming(read(module, inputs), "window", 4)
