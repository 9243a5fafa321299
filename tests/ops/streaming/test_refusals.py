"""What is not local in time is refused by name, as is what the rewrite does not know."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ops.streaming import Input, NotLocal, read, stateful, window


class Net(nn.Module):
    """A layer called `layer`, or a function, between two convolutions."""

    def __init__(self, layer):
        super().__init__()
        self.first, self.last = nn.Conv1d(4, 4, 3, padding=1), nn.Conv1d(4, 4, 3, padding=1)
        self.layer = layer

    def forward(self, x):
        return self.last(self.layer(self.first(x)))


class Attention(nn.Module):
    def forward(self, x):
        y = x.transpose(1, 2)
        return F.scaled_dot_product_attention(y, y, y).transpose(1, 2)


class OwnAttention(nn.Module):
    def forward(self, x):
        return x @ torch.softmax(x.transpose(1, 2) @ x, -1)


class Both(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.rnn, self.join = kind(4, 4, batch_first=True, bidirectional=True), nn.Linear(8, 4)

    def forward(self, x):
        return self.join(self.rnn(x.transpose(1, 2))[0]).transpose(1, 2)


class LastState(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(4, 4, batch_first=True)

    def forward(self, x):
        return x + self.rnn(x.transpose(1, 2))[1].transpose(0, 1).transpose(1, 2)


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


CASES = {
    "attention": (Attention(), "layer layer, scaled_dot_product_attention: attention looks at the whole utterance"),
    "attention by hand": (OwnAttention(), "compares positions with positions, over the whole utterance"),
    "instance norm": (nn.InstanceNorm1d(4), "layer layer, instance_norm: its mean and variance over time"),
    "group norm": (nn.GroupNorm(2, 4), "layer layer, group_norm: its mean and variance over time"),
    "bidirectional LSTM": (Both(nn.LSTM), "layer layer.rnn, lstm: bidirectional, it reads the utterance from its end"),
    "bidirectional GRU": (Both(nn.GRU), "layer layer.rnn, gru: bidirectional"),
    "last state": (LastState(), "layer layer.rnn, getitem: gives one value for the whole utterance"),
    "running sum": (Function(lambda x: torch.cumsum(x, 2)), "cumsum: a running sum looks at the whole utterance"),
    "mean over time": (Function(lambda x: x - x.mean(2, keepdim=True)), "mean: "),
    "softmax over time": (Function(lambda x: x.softmax(2)), "softmax: works along time, over the whole utterance"),
    "reversed": (Function(lambda x: x.flip(2)), "flip: turns the utterance round"),
    "sorted": (Function(lambda x: x.sort(2)[0]), "sort: looks at the whole utterance"),
    "noise": (Function(lambda x: x + torch.randn_like(x)), "the streaming rewrite does not know this operation"),
    "unknown": (Function(lambda x: torch.special.airy_ai(x)), "special_airy_ai: the streaming rewrite does not know"),
    "positions": (Function(lambda x: x + torch.arange(x.shape[2])), "makes values along time from nothing"),
    "dropout": (nn.Dropout(0.5), "dropout: in training mode; call eval() first"),
    "layer norm": (Function(lambda x: F.layer_norm(x, x.shape[1:])), "layer_norm: normalises over time"),
    "aligned corners": (
        Function(lambda x: F.interpolate(x, scale_factor=2, mode="linear", align_corners=True)),
        "align_corners=True depends on the utterance's length",
    ),
    "dilated maximum": (nn.MaxPool1d(3, 1, 1, 2), "a maximum with dilation and padding is not known here"),
    "adaptive pooling": (nn.AdaptiveAvgPool1d(1), ""),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_not_local_is_refused_by_name(name):
    layer, words = CASES[name]
    network = Net(layer).train(name == "dropout")
    with pytest.raises(NotLocal) as refusal:
        read(network, [Input("x", (1, 4, 0), 2)])
    assert words in str(refusal.value)


def test_statistics_over_channels_or_from_training_are_local():
    for layer in (nn.InstanceNorm1d(4, track_running_stats=True), nn.BatchNorm1d(4), nn.Dropout(0.5)):
        read(Net(layer).eval(), [Input("x", (1, 4, 0), 2)])


def test_a_chunk_must_give_whole_positions_inside_the_network():
    network = nn.Sequential(nn.Conv1d(4, 4, 4, 4), nn.ConvTranspose1d(4, 4, 4, 4))

    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, x):
            return self.network(x)

    net = read(Wrapped(), [Input("x", (1, 4, 0), 2)])
    for emit in (window, stateful):
        emit(net, 8)
        with pytest.raises(ValueError, match=r"a chunk of 6 frames .* take a multiple of 4 frames"):
            emit(net, 6)


def test_an_output_that_is_slower_than_its_frames_is_refused():
    with pytest.raises(NotLocal, match="give the input a rate of 2"):
        window(read(Net(nn.AvgPool1d(2)), [Input("x", (1, 4, 0), 2)]), 4)
