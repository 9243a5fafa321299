"""FARGAN, the vocoder of opus 1.5 (Valin, Mustafa and Büthe 2024, arXiv 2405.21069; BSD-3, 0.82 M parameters), 16 kHz.

Two components. `conditions`: features -> conditioning, a column of 10 ms, local in time. `block`: 160 samples from a
column, in four sub-frames of 40 one after another within the graph; each reads the excitation a period ago and the 40
samples before, so that what they leave behind is handed from call to call (runtime/playing/sampling.py).

Networks and names are those of xiph's training code (dnn/torch/fargan/fargan.py), without the noise that it trains
with: its checkpoints load as they are, and so do the C arrays that opus ships, whose integers become floats. opus also
rounds to 8 bits what its layers of integers take; here that stays as it is.
"""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from checkpoints import CheckpointError
from checkpoints.load import LoadedCheckpoint
from converters.component import Component
from converters.options import Shape
from converters.parts import along_time, time_axis
from converters.upstream.opus import OpusLayers
from converters.upstream.recurrent import gru_cell
from runtime.bundle.sampler import Sampler
from runtime.bundle.spec import TensorSpec
from runtime.speech.bark import Bark
from runtime.speech.features import Sound
from runtime.speech.mel import Mel

FEATURES = Bark()
SHORTEST, LONGEST = 32, 256  # periods in samples (dnn/lpcnet.h)
SUBFRAME, SUBFRAMES = 40, 4
COND = 80  # channels of a sub-frame
_BESIDE = 2  # samples on both sides of the 40 that a period ago gives (run_fargan_subframe)
_TAPS = SUBFRAME + 2 * _BESIDE
_EMPHASIS = 0.85  # of the filter that is undone at the end
_LEAST_GAIN = 1e-5  # added to the gain that samples are divided by
# Within the graph samples are as many times louder: the smallest gains and what they divide then fit half precision.
_SCALE = 256.0
# In which its audio is compared with the reference: no part of the vocoder.
JUDGED = Mel(sample_rate=16000, n_fft=640, win_length=640, hop_length=160, fmax=8000.0, framing="inset",
             log_base=math.e, gain=1.0, amplitude_floor=1e-5, signal_norm=False)  # fmt: skip


class GLU(nn.Module):
    """A gated linear unit whose signal is its input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, width) -> the same."""
        return x * torch.sigmoid(self.gate(x))


class FWConv(nn.Module):
    """A convolution over this sub-frame and the one before."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Linear(2 * inputs, outputs, bias=False)
        self.glu = GLU(outputs)


class CondNet(nn.Module):
    """The frames' network."""

    def __init__(self) -> None:
        super().__init__()
        self.pembed = nn.Embedding(LONGEST - SHORTEST, 12)
        self.fdense1 = nn.Linear(FEATURES.rows + 12, 64, bias=False)
        self.fconv1 = nn.Conv1d(64, 128, 3, bias=False)
        self.fdense2 = nn.Linear(128, SUBFRAMES * COND, bias=False)


class SigNet(nn.Module):
    """The sub-frames' network."""

    def __init__(self) -> None:
        super().__init__()
        samples = 2 * SUBFRAME  # of a period ago, and before
        self.cond_gain_dense = nn.Linear(COND, 1)
        self.fwc0 = FWConv(COND + _TAPS + SUBFRAME, 192)
        self.gru1 = nn.GRUCell(192 + samples, 160, bias=False)
        self.gru2 = nn.GRUCell(160 + samples, 128, bias=False)
        self.gru3 = nn.GRUCell(128 + samples, 128, bias=False)
        self.gru1_glu, self.gru2_glu, self.gru3_glu, self.skip_glu = GLU(160), GLU(128), GLU(128), GLU(128)
        self.skip_dense = nn.Linear(160 + 128 + 128 + 192 + samples, 128, bias=False)
        self.sig_dense_out = nn.Linear(128, SUBFRAME, bias=False)
        self.gain_dense_out = nn.Linear(192, 4)


class Fargan(nn.Module):
    """Both networks, under the names of xiph's training code."""

    def __init__(self) -> None:
        super().__init__()
        self.cond_net, self.sig_net = CondNet(), SigNet()


def load(checkpoint: LoadedCheckpoint) -> Fargan:
    """The networks with their weights in eval mode, of opus's fargan_data.c or of a checkpoint of xiph's training code.

    Raises CheckpointError for what is neither.
    """
    module = Fargan()
    if any(name.endswith("_weights_int8") for name in checkpoint.weights):
        weights = _of_arrays(OpusLayers(checkpoint, "fargan_data.c"), module)
        checkpoint = dataclasses.replace(checkpoint, weights=weights)
    module.load_state_dict(checkpoint.weights_for(module, ("",)))
    return module.eval().requires_grad_(False)


def components(module: Fargan, checkpoint: LoadedCheckpoint, shape: Shape) -> list[Component]:
    """`conditions`: features (1, 21, T) -> conditioning (1, 321, T); `block`: a column of it, carried -> 160 samples,
    next_carried."""
    hop = FEATURES.hop_length
    block = Block(module)
    frames = time_axis(shape)
    features = TensorSpec("features", (1, FEATURES.channels, frames), "float32", FEATURES.unit)
    channels = SUBFRAMES * COND + 1
    conditioning = TensorSpec("conditioning", (1, channels, frames), "float32", "4 sub-frames of 80; period in samples")
    carried = TensorSpec("carried", (1, block.carried), "float32", "GRUs, last column, excitation, last sample")
    conditions = along_time(
        Conditions(module), "conditions", (features,), conditioning, "compute_fargan_cond of opus 1.5.2",
        FEATURES.sample_rate, samples_per_frame=hop, sound=Sound(FEATURES.sample_rate, JUDGED),
    )  # fmt: skip
    assert conditions.time is not None
    return [
        dataclasses.replace(
            conditions,
            time=dataclasses.replace(conditions.time, output="audio"),
            features=FEATURES,
            sampler=Sampler("block", conditioning.name, hop, block.carried, hop_length=hop),
        ),
        Component(
            name="block",
            module=block.eval(),
            inputs=(dataclasses.replace(conditioning, shape=(1, channels, 1)), carried),
            outputs=(
                TensorSpec("samples", (1, hop), "float32", "amplitude, full scale 1.0"),
                dataclasses.replace(carried, name="next_carried"),
            ),
            example=lambda: {
                "conditioning": torch.randn(1, channels, 1, generator=torch.Generator().manual_seed(0)),
                "carried": torch.zeros(1, block.carried),
            },
            computes="4 calls of run_fargan_subframe of opus 1.5.2",
        ),
    ]


# ---------------------------------------------------------------------------------------------------- components


class Conditions(nn.Module):
    """The frames' network as convolutions; the row of an embedding is chosen by comparison."""

    periods: Tensor  # (rows of the embedding, 1), in samples
    one: Tensor  # in the precision that the network is computed in, which a number would not follow

    def __init__(self, model: Fargan) -> None:
        super().__init__()
        net = model.cond_net
        self.register_buffer("periods", torch.arange(SHORTEST, LONGEST).float()[:, None], persistent=False)
        self.register_buffer("one", torch.ones(1), persistent=False)
        self.pembed = _pointwise(net.pembed.weight.T)
        self.fdense1, self.fdense2 = _pointwise(net.fdense1.weight), _pointwise(net.fdense2.weight)
        self.fconv1 = nn.Conv1d(64, 128, 3, padding=1, bias=False)
        self.fconv1.weight.data = net.fconv1.weight.detach().clone()

    def forward(self, features: Tensor) -> Tensor:
        """features (1, 21, T) as `Bark` gives them -> conditioning (1, 321, T): that of sub-frames, and the period."""
        rows, period = features[:, : FEATURES.rows], features[:, FEATURES.rows :]
        chosen = torch.where(torch.clamp(period, SHORTEST, LONGEST - 1) == self.periods, self.one, 0.0)
        x = torch.tanh(self.fdense1(torch.cat([rows, self.pembed(chosen)], 1)))
        x = torch.tanh(self.fconv1(x))
        return torch.cat([torch.tanh(self.fdense2(x)), period], 1)


class Block(nn.Module):
    """The samples of one frame. What depends on no sample is computed for its four sub-frames at once.

    The samples a period ago are chosen by a product with a matrix of ones and zeros: Core ML has that everywhere, and
    places up to 256 are exact in half precision.
    """

    positions: Tensor
    filter: Tensor
    one: Tensor

    def __init__(self, model: Fargan) -> None:
        super().__init__()
        net = model.sig_net
        self.widths = (160, 128, 128)
        self.carried = sum(self.widths) + COND + _TAPS + SUBFRAME + LONGEST + 1
        self.gain = _linear(net.cond_gain_dense.weight, net.cond_gain_dense.bias + math.log(_SCALE))
        conv, samples = net.fwc0.conv.weight, _TAPS + SUBFRAME
        old, new = conv.split(COND + samples, 1)
        self.from_cond = _linear(torch.cat([old[:, :COND], new[:, :COND]], 1))
        self.from_samples = _linear(torch.cat([old[:, COND:], new[:, COND:]], 1))
        self.fwc0_glu, self.pitch_gates = net.fwc0.glu, net.gain_dense_out
        self.inputs = nn.ModuleList(_linear(cell.weight_ih) for cell in (net.gru1, net.gru2, net.gru3))
        self.hidden = nn.ModuleList(_linear(cell.weight_hh) for cell in (net.gru1, net.gru2, net.gru3))
        self.glus = nn.ModuleList((net.gru1_glu, net.gru2_glu, net.gru3_glu))
        self.skip, self.skip_glu, self.out = net.skip_dense, net.skip_glu, net.sig_dense_out
        self.register_buffer("one", torch.ones(1), persistent=False)
        self.register_buffer("positions", torch.arange(LONGEST).float(), persistent=False)
        count = SUBFRAMES * SUBFRAME
        lags = torch.arange(count)[:, None] - torch.arange(-1, count)[None]
        powers = torch.where(lags >= 0, _EMPHASIS ** lags.clamp(min=0).double(), 0.0)
        self.register_buffer("filter", powers.float(), persistent=False)

    def forward(self, conditioning: Tensor, carried: Tensor) -> tuple[Tensor, Tensor]:
        """conditioning (1, 321, 1), carried (1, 837), zeros at first -> samples (1, 160), next_carried (1, 837)."""
        column = conditioning[:, :, 0]
        cond = column[:, :-1].reshape(1, SUBFRAMES, COND)
        hidden = list(carried[:, : sum(self.widths)].split(self.widths, 1))
        rest = carried[:, sum(self.widths) :]
        last_cond, old = rest[:, :COND], rest[:, COND : COND + _TAPS + SUBFRAME]
        excitation, last = rest[:, COND + _TAPS + SUBFRAME : -1], rest[:, -1:]
        gains = torch.exp(self.gain(cond))  # (1, 4, 1)
        inverse = 1.0 / (gains + _SCALE * _LEAST_GAIN)
        before = torch.cat([last_cond.unsqueeze(1), cond[:, :-1]], 1)
        from_cond = self.from_cond(torch.cat([before, cond], 2))
        chosen = self._chosen(column[:, -1:])
        for subframe in range(SUBFRAMES):
            gain, scale = gains[:, subframe], inverse[:, subframe]
            taps = torch.clamp(torch.matmul(chosen, excitation.unsqueeze(2)).squeeze(2) * scale, -1.0, 1.0)
            before_now = torch.clamp(excitation[:, -SUBFRAME:] * scale, -1.0, 1.0)
            new = torch.cat([taps, before_now], 1)
            first = torch.tanh(from_cond[:, subframe] + self.from_samples(torch.cat([old, new], 1)))
            first = self.fwc0_glu(first)
            gates = torch.sigmoid(self.pitch_gates(first))
            period_ago, x, outputs = taps[:, _BESIDE:-_BESIDE], first, []
            for index, (layer, recurrent, glu) in enumerate(zip(self.inputs, self.hidden, self.glus)):
                x = torch.cat([x, gates[:, index : index + 1] * period_ago, before_now], 1)
                hidden[index] = gru_cell(layer(x), recurrent(hidden[index]), hidden[index])
                x = glu(hidden[index])
                outputs.append(x)
            x = torch.cat([*outputs, first, gates[:, 3:] * period_ago, before_now], 1)
            x = self.skip_glu(torch.tanh(self.skip(x)))
            samples = torch.tanh(self.out(x)) * gain
            excitation, old = torch.cat([excitation[:, SUBFRAME:], samples], 1), new
        made = excitation[:, -SUBFRAMES * SUBFRAME :]
        audio = F.linear(made, self.filter[:, 1:]) + last * self.filter[:, 0]
        return audio * (1 / _SCALE), torch.cat([*hidden, cond[:, -1], old, excitation, audio[:, -1:]], 1)

    def _chosen(self, period: Tensor) -> Tensor:
        """period (1, 1) -> (1, 44, 256): the places of the excitation that a period ago is at, and two more on both
        sides; what would lie ahead is a period earlier still."""
        period = torch.clamp(period, SHORTEST, LONGEST)
        places = LONGEST - _BESIDE - period + self.positions[:_TAPS]
        places = torch.where(places >= LONGEST, places - period, places)
        return torch.where(torch.clamp(places, min=0.0).unsqueeze(2) == self.positions, self.one, 0.0)


def _pointwise(weight: Tensor) -> nn.Conv1d:
    """A layer (outputs, inputs) over channels."""
    layer = nn.Conv1d(weight.shape[1], weight.shape[0], 1, bias=False)
    layer.weight.data = weight.detach().clone().unsqueeze(2)
    return layer.requires_grad_(False)


def _linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight.data = weight.detach().clone()
    if bias is not None:
        layer.bias.data = bias.detach().clone()
    return layer.requires_grad_(False)


# ---------------------------------------------------------------------------------------------------- opus's arrays


def _of_arrays(layers: OpusLayers, module: Fargan) -> dict[str, Tensor]:
    """The C arrays under the names of `module`. Layers without a bias have one of zeros there, which is left out.

    Raises CheckpointError for what is missing, of another size, or such a bias that is not zero.
    """
    arrays, state, weights = layers.checkpoint.weights, module.state_dict(), dict[str, Tensor]()
    for name, value in state.items():
        path, _, kind = name.rpartition(".")
        theirs = path.replace(".", "_")
        unused = arrays.get(f"{theirs}_bias")
        if unused is not None and f"{path}.bias" not in state and unused.any():
            raise CheckpointError(
                f"checkpoint {layers.checkpoint.name}: {theirs}_bias is not zero: this is no FARGAN of opus 1.5"
            )
        if kind == "bias":
            weights[name] = layers.array(f"{theirs}_bias", len(value))
        elif kind in _CELL:
            weights[name] = layers.gates(layers.integers(f"{theirs}_{_CELL[kind]}"))
        elif path == "cond_net.pembed":
            weights[name] = layers.array(f"{theirs}_weights_float", value.numel()).reshape(value.shape)
        elif path in _FLOATS:
            weights[name] = layers.floats(theirs, len(value))
        elif value.dim() == 3:  # a frame's inputs after another's
            rows = layers.integers(theirs)
            weights[name] = rows.reshape(len(rows), value.shape[2], -1).transpose(1, 2).contiguous()
        else:
            weights[name] = layers.integers(theirs)
    return weights


_CELL = {"weight_ih": "input", "weight_hh": "recurrent"}
_FLOATS = ("cond_net.fdense1", "sig_net.cond_gain_dense", "sig_net.gain_dense_out")  # which opus does not round
