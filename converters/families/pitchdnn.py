"""PitchDNN, the detector of pitch of opus 1.5 (BSD-3, 66 k parameters): causal, a frame of 10 ms.

One component, `pitch`: phases and correlations of the excitation in; out the frequency, and how alike to itself the
excitation is after that period. Its weights are C source, as opus has them (dnn/pitchdnn_data.c). opus also rounds to 8
bits what its layers of integers take; here that stays as it is, which moves the pitch by a fifth of a cent.
"""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from checkpoints.load import LoadedCheckpoint
from converters.component import Component
from converters.options import Shape
from converters.parts import part_component, time_axis
from converters.upstream.opus import OpusLayers
from runtime.bundle.spec import TensorSpec, TimeAxis
from runtime.speech.excitation import LONGEST, SHORTEST, Excitation

FEATURES = Excitation()
PERIODS = LONGEST - SHORTEST
PHASES = FEATURES.channels - 2 * PERIODS
HIDDEN, STATE, MAPS = 64, 64, 4
BINS, OUTPUTS = 180, 192  # three octaves of 60 from 62.5 Hz on; the outputs beyond them are not read
_PER_OCTAVE = 60
_BESIDE = 2  # bins on both sides of the highest that are averaged (compute_pitchdnn)
_STEEP = 5.0  # of opus's curve from a correlation to how voiced a frame is (compute_frame_features)
# Frames that an artefact without state takes before its own. The recurrent layer remembers longer, but not by much.
_REMEMBERED = 100


class PitchDNN(nn.Module):
    """The network under names of its own."""

    frequencies: Tensor  # (bins, 1) in Hz
    ranks: Tensor  # (bins, 1), the number of bins down to 1
    periods: Tensor  # (bins,), rows of the correlations

    def __init__(self) -> None:
        super().__init__()
        self.phases_1, self.phases_2 = nn.Conv1d(PHASES, HIDDEN, 1), nn.Conv1d(HIDDEN, HIDDEN, 1)
        # two frames before and none after: what the padding after the end makes is cut off
        self.periods_1, self.periods_2 = nn.Conv2d(1, MAPS, 3, padding=(1, 2)), nn.Conv2d(MAPS, 1, 3, padding=(1, 2))
        self.joined = nn.Conv1d(PERIODS + HIDDEN, HIDDEN, 1)
        self.recurrent = nn.GRU(HIDDEN, STATE, batch_first=True)
        self.salience = nn.Conv1d(STATE, OUTPUTS, 1)
        bins = torch.arange(BINS)[:, None]
        frequencies = FEATURES.sample_rate / LONGEST * 2 ** (bins / _PER_OCTAVE)
        periods = LONGEST - (FEATURES.sample_rate / frequencies).round().long()
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.register_buffer("ranks", (BINS - bins).float(), persistent=False)
        self.register_buffer("periods", periods[:, 0].clamp(max=PERIODS - 1), persistent=False)

    def forward(self, excitation: Tensor) -> Tensor:
        """excitation (1, 536, T) as `Excitation` gives it -> frequency in Hz and confidence of 0 to 1 (1, 2, T)."""
        phases, correlations = excitation[:, :PHASES], excitation[:, PHASES : PHASES + PERIODS]
        low = excitation[:, PHASES + PERIODS :].index_select(1, self.periods)  # (1, bins, T)
        phases = torch.tanh(self.phases_2(torch.tanh(self.phases_1(phases))))
        maps = correlations.unsqueeze(1)  # (1, 1, periods, T)
        for layer in (self.periods_1, self.periods_2):
            maps = torch.tanh(layer(maps)[..., :-2])
        joined = torch.tanh(self.joined(torch.cat([maps.squeeze(1), phases], dim=1)))
        states, _ = self.recurrent(joined.transpose(1, 2))
        logits = self.salience(states.transpose(1, 2))[:, :BINS]
        highest = logits.amax(dim=1, keepdim=True)
        ranks = torch.where(logits == highest, self.ranks, 0.0)
        peak = torch.where(ranks == ranks.amax(dim=1, keepdim=True), 1.0, 0.0)
        correlation = (peak * low).sum(dim=1, keepdim=True)
        confidence = F.softplus(_STEEP * correlation) / math.log1p(math.exp(_STEEP))
        return torch.cat([self._frequency(torch.exp(logits - highest), peak), confidence], dim=1)

    def _frequency(self, weights: Tensor, peak: Tensor) -> Tensor:
        """weights and peak (1, bins, T) -> Hz (1, 1, T): the mean of the bins within two of the peak."""
        moved, total = torch.zeros_like(peak[:, :1]), torch.ones_like(peak[:, :1])
        for distance in range(1, _BESIDE + 1):
            above = (peak[:, :-distance] * weights[:, distance:]).sum(dim=1, keepdim=True)
            below = (peak[:, distance:] * weights[:, :-distance]).sum(dim=1, keepdim=True)
            moved, total = moved + distance * (above - below), total + above + below
        return (peak * self.frequencies).sum(dim=1, keepdim=True) * torch.exp(math.log(2) / _PER_OCTAVE * moved / total)


def load(checkpoint: LoadedCheckpoint) -> PitchDNN:
    """The network with its weights in eval mode. Raises CheckpointError for what is no pitchdnn_data.c of opus."""
    module = PitchDNN()
    layers, weights = OpusLayers(checkpoint, "pitchdnn_data.c"), dict[str, Tensor]()
    for ours, (theirs, kind) in _LAYERS.items():
        if kind == "conv2d":
            weights |= _maps(layers, theirs, ours, module.get_submodule(ours))
            continue
        weight = layers.integers(theirs)
        bias = layers.array(f"{theirs}_bias", len(weight))
        if kind == "dense":
            weights |= {f"{ours}.weight": weight[:, :, None], f"{ours}.bias": bias}
        else:
            weights |= {f"recurrent.weight_{kind}_l0": layers.gates(weight)}
            weights |= {f"recurrent.bias_{kind}_l0": layers.gates(bias)}
    module.load_state_dict(dataclasses.replace(checkpoint, weights=weights).weights_for(module, ("",)))
    return module.eval().requires_grad_(False)


def _maps(layers: OpusLayers, theirs: str, ours: str, layer: nn.Module) -> dict[str, Tensor]:
    """A convolution over time and periods, which opus has in this order, PyTorch's here in the other."""
    weight, bias = (getattr(layer, kind) for kind in ("weight", "bias"))
    values = layers.array(f"{theirs}_weight_float", weight.numel())
    return {
        f"{ours}.weight": values.reshape(weight.shape).transpose(2, 3).contiguous(),
        f"{ours}.bias": layers.array(f"{theirs}_bias", len(bias)),
    }


def components(module: PitchDNN, checkpoint: LoadedCheckpoint, shape: Shape) -> list[Component]:
    """The one component of the family: `excitation (1, 536, T)` -> `pitch (1, 2, T)`."""
    frames = time_axis(shape)
    excitation = TensorSpec("excitation", (1, FEATURES.channels, frames), "float32", FEATURES.unit)
    pitch = TensorSpec("pitch", (1, 2, frames), "float32", "Hz; confidence")
    time = TimeAxis(
        "excitation", "pitch", 2, 2, 1, _REMEMBERED, 0, FEATURES.sample_rate, hop_length=FEATURES.hop_length
    )
    component = part_component(
        module, "pitch", (excitation,), (pitch,), "compute_pitchdnn of opus 1.5.2, and its correlation", time=time
    )
    return [dataclasses.replace(component, features=FEATURES, padded=False)]


# Our layer -> opus's, and how it is laid out.
_LAYERS = {
    "phases_1": ("dense_if_upsampler_1", "dense"),
    "phases_2": ("dense_if_upsampler_2", "dense"),
    "periods_1": ("conv2d_1", "conv2d"),
    "periods_2": ("conv2d_2", "conv2d"),
    "joined": ("dense_downsampler", "dense"),
    "recurrent_input": ("gru_1_input", "ih"),
    "recurrent_state": ("gru_1_recurrent", "hh"),
    "salience": ("dense_final_upsampler", "dense"),
}
