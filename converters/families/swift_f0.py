"""SwiftF0, a small convolutional detector of pitch (MIT, PyPI swift-f0, 18,558 parameters).

One component, `pitch`: bands of three spectra in, the frequency and the confidence that it is voiced out, each frame
depending on seven on both sides. It is a bundle of its own, or the pitch of a conversion (`model.parts.pitch`).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from checkpoints import CheckpointError
from checkpoints.load import LoadedCheckpoint
from converters.component import Component
from converters.options import Shape
from converters.parts import along_time, time_axis
from runtime.bundle.spec import TensorSpec
from runtime.speech.bands import LogBands

FEATURES = LogBands()
CHANNELS, NARROW, HIDDEN = 12, 4, 16
# Kernels of a block's two convolutions, in bands and frames, and their dilation in bands: of harmonics, which lie at
# distances of log(2), log(3), … whatever the pitch: 17 bands are an octave.
_BLOCKS = (((7, 3), 1), ((7, 1), 17), ((5, 1), 27), ((3, 1), 40), ((3, 1), 48), ((7, 3), 2))
_STEP = float(np.log(FEATURES.fmax / FEATURES.fmin)) / (FEATURES.bands_to_fmax - 1)  # of log frequency, a band's


class Block(nn.Module):
    """Two convolutions over bands and frames, added to what they are given."""

    def __init__(self, kernel: tuple[int, int], dilation: int) -> None:
        super().__init__()
        padding = (kernel[0] // 2 * dilation, kernel[1] // 2)
        self.first, self.second = (
            nn.Conv2d(CHANNELS, CHANNELS, kernel, padding=padding, dilation=(dilation, 1)) for _ in range(2)
        )

    def forward(self, maps: Tensor) -> Tensor:
        """maps (1, channels, bands, T) -> the same."""
        return F.relu(maps + self.second(F.relu(self.first(maps))))


class SwiftF0(nn.Module):
    """The network of model.onnx, its steps from logits to frequency included."""

    frequencies: Tensor  # (bins, 1) in Hz
    ranks: Tensor  # (bins, 1), the number of bins down to 1

    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Conv2d(len(FEATURES.windows), CHANNELS, 3, padding=1)
        self.blocks = nn.ModuleList(Block(kernel, dilation) for kernel, dilation in _BLOCKS)
        self.narrow = nn.Conv2d(CHANNELS, NARROW, 3, padding=(0, 1))
        self.voicing = nn.Conv2d(NARROW, NARROW, (5, 1), padding=(2, 0))
        self.salience = nn.Conv2d(NARROW, 1, 1)
        self.wide, self.voiced = nn.Conv1d(NARROW + 1, HIDDEN, 3, padding=1), nn.Conv1d(HIDDEN, 1, 1)
        bins = torch.arange(FEATURES.bands_to_fmax)[:, None]
        self.register_buffer("frequencies", FEATURES.fmin * torch.exp(bins.double() * _STEP).float(), persistent=False)
        self.register_buffer("ranks", (len(bins) - bins).float(), persistent=False)

    def forward(self, bands: Tensor) -> Tensor:
        """bands (1, 385, T) as `LogBands` gives them -> frequency in Hz and confidence of 0 to 1 (1, 2, T)."""
        rows = len(FEATURES.windows) * FEATURES.n_bands
        spectra, is_sound = bands[:, :rows], bands[:, rows:]
        spectra = spectra.unflatten(1, (len(FEATURES.windows), FEATURES.n_bands))
        maps = F.relu(self.into(spectra))
        for block in self.blocks:
            maps = block(maps)
        # one band more than there are frequencies, and none below the lowest
        maps = F.relu(self.narrow(F.pad(maps[:, :, : FEATURES.bands_to_fmax + 1], (0, 0, 1, 0))))
        level = spectra.mean(dim=(1, 2)).unsqueeze(1)
        wide = F.relu(self.wide(torch.cat([self.voicing(maps).amax(dim=2), level], dim=1)))
        # digital silence is like nothing that the network was trained on (SILENCE_PEAK of core.py)
        confidence = torch.sigmoid(self.voiced(wide)) * is_sound
        return torch.cat([self._frequency(self.salience(maps).squeeze(1)), confidence], dim=1)

    def _frequency(self, logits: Tensor) -> Tensor:
        """logits (1, bins, T) -> Hz (1, 1, T), the mean log frequency of the first highest bin and the two beside it.

        Their weights are a softmax of the three. It is computed as the distance from the highest bin, which half
        precision holds to a cent.
        """
        highest = logits.amax(dim=1, keepdim=True)
        ranks = torch.where(logits == highest, self.ranks, 0.0)
        peak = torch.where(ranks == ranks.amax(dim=1, keepdim=True), 1.0, 0.0)
        weights = torch.exp(logits - highest)
        above = (peak[:, :-1] * weights[:, 1:]).sum(dim=1, keepdim=True)
        below = (peak[:, 1:] * weights[:, :-1]).sum(dim=1, keepdim=True)
        middle = (peak * self.frequencies).sum(dim=1, keepdim=True)
        return middle * torch.exp(_STEP * (above - below) / (1 + above + below))


def load(checkpoint: LoadedCheckpoint) -> SwiftF0:
    """The network with its weights in eval mode. Raises CheckpointError for what is no model.onnx of swift-f0."""
    module = SwiftF0()
    named = dict(module.named_modules())
    for index, name in enumerate(_NODES):
        layer = checkpoint.layers.get(f"convolutions.{index}")
        dilation = named[name].dilation
        if layer is None or tuple(layer.get("dilations") or dilation) != dilation:
            raise CheckpointError(
                f"checkpoint {checkpoint.name} is no SwiftF0: convolution {index} of its graph is missing, or has "
                f"another dilation than {dilation}"
            )
    if len(checkpoint.layers) != len(_NODES):
        raise CheckpointError(
            f"checkpoint {checkpoint.name} is no SwiftF0: its graph has {len(checkpoint.layers)} convolutions, not "
            f"{len(_NODES)}"
        )
    renamed = {
        f"{name}.{kind}": checkpoint.weights[f"convolutions.{index}.{kind}"]
        for index, name in enumerate(_NODES)
        for kind in ("weight", "bias")
        if f"convolutions.{index}.{kind}" in checkpoint.weights
    }
    module.load_state_dict(dataclasses.replace(checkpoint, weights=renamed).weights_for(module, ("",)))
    return module.eval().requires_grad_(False)


def components(module: SwiftF0, checkpoint: LoadedCheckpoint, shape: Shape) -> list[Component]:
    """The one component of the family: `bands (1, 385, T)` -> `pitch (1, 2, T)`."""
    frames = time_axis(shape)
    bands = TensorSpec("bands", (1, FEATURES.channels, frames), "float32", FEATURES.unit)
    pitch = TensorSpec("pitch", (1, 2, frames), "float32", "Hz; confidence")
    component = along_time(
        module, "pitch", (bands,), pitch, "model.onnx of swift-f0 behind its spectra",
        FEATURES.sample_rate, hop_length=FEATURES.hop_length,
    )  # fmt: skip
    return [dataclasses.replace(component, features=FEATURES)]


# Our layers in the order of the graph's convolutions.
_NODES = (
    "into",
    *(f"blocks.{index}.{name}" for index in range(len(_BLOCKS)) for name in ("first", "second")),
    "narrow",
    "voicing",
    "salience",
    "wide",
    "voiced",
)
