"""A toy family from audio to audio, of the two kinds that there are: samples in, or a spectrum and whose voice.

A checkpoint's `reads` says which. Its weights mean nothing: what is tested is the way through the job.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from checkpoints.load import LoadedCheckpoint
from converters.component import Component
from converters.options import Shape
from ops.streaming import Input, frames_reached
from runtime.bundle.spec import Dim, TensorSpec, TimeAxis
from runtime.speech.features import Linear, Samples, Sound
from runtime.speech.mel import Mel

RATE, FRAME = 22050, 128
SPECTRUM = Linear(RATE, 512, 512, FRAME)
MEL = Mel(sample_rate=RATE, n_fft=512, win_length=512, hop_length=FRAME)
CHANNELS, TARGET, WINDOW = 8, 4, 40  # frames of a window of the target's
AMPLITUDE = "amplitude, full scale 1.0"


class Filter(nn.Module):
    """Samples (1, 1, N) down to frames and up again."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv1d(1, CHANNELS, 2 * FRAME, stride=FRAME, padding=FRAME // 2)
        self.within = nn.Conv1d(CHANNELS, CHANNELS, 3, padding=1)
        self.up = nn.ConvTranspose1d(CHANNELS, 1, 2 * FRAME, stride=FRAME, padding=FRAME // 2)

    def forward(self, samples: Tensor) -> Tensor:
        return self.up(torch.tanh(self.within(torch.tanh(self.down(samples)))))


class Converter(nn.Module):
    """A spectrum (1, bins, T) and a target (1, D, 1) to samples."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = TargetEncoder()
        self.into = nn.Conv1d(SPECTRUM.channels, CHANNELS, 3, padding=1)
        self.condition = nn.Conv1d(TARGET, CHANNELS, 1)
        self.up = nn.ConvTranspose1d(CHANNELS, 1, 2 * FRAME, stride=FRAME, padding=FRAME // 2)

    def forward(self, spectrum: Tensor, target: Tensor) -> Tensor:
        return self.up(torch.tanh(self.into(spectrum) + self.condition(target)))


class TargetEncoder(nn.Module):
    """Windows of a target's spectrum (rows, bins, WINDOW) to (rows, D, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Conv1d(SPECTRUM.channels, TARGET, 3, padding=1)

    def forward(self, windows: Tensor) -> Tensor:
        return torch.tanh(self.into(windows)).mean(2, keepdim=True)


NETWORKS = {"samples": Filter, "spectrum": Converter}


def load(checkpoint: LoadedCheckpoint) -> nn.Module:
    module = NETWORKS[checkpoint.config["reads"]]()
    module.load_state_dict(checkpoint.weights_for(module, ("",)))
    return module.eval().requires_grad_(False)


def components(module: nn.Module, checkpoint: LoadedCheckpoint, shape: Shape) -> list[Component]:
    audio = (TensorSpec("audio", (1, 1, shape.frames * FRAME), "float32", AMPLITUDE),)
    if isinstance(module, Filter):
        samples = TensorSpec("samples", (1, 1, shape.frames * FRAME), "float32", AMPLITUDE)
        reach = frames_reached(module, [Input("samples", (1, 1, 0), 2, FRAME)])
        time = TimeAxis("samples", "audio", 2, 2, FRAME, *reach, RATE, positions=FRAME)
        given = {"samples": torch.randn(samples.default_shape)}
        features = Samples(RATE, FRAME)
        return [
            Component("filter", module, (samples,), audio, lambda: given, "Filter", time, features, Sound(RATE, MEL))
        ]
    spectrum = TensorSpec("spectrum", (1, SPECTRUM.channels, shape.frames), "float32", SPECTRUM.unit)
    target = TensorSpec("target", (1, TARGET, 1), "float32", "embedding")
    reach = frames_reached(module, [Input("spectrum", (1, SPECTRUM.channels, 0), 2), Input("target", (1, TARGET, 1))])
    inputs = {"spectrum": torch.rand(spectrum.default_shape), "target": torch.randn(1, TARGET, 1)}
    return [
        Component(
            "converter", module, (spectrum, target), audio, lambda: inputs, "Converter",
            TimeAxis("spectrum", "audio", 2, 2, FRAME, *reach, RATE), SPECTRUM, Sound(RATE, MEL),
            targets={"target": "target_encoder"},
        ),
        target_encoder(module.encoder),
    ]  # fmt: skip


def target_encoder(module: nn.Module) -> Component:
    windows = TensorSpec("windows", (Dim(1, 64, 2), SPECTRUM.channels, WINDOW), "float32", SPECTRUM.unit)
    rows = TensorSpec("rows", (Dim(1, 64, 2), TARGET, 1), "float32", "embedding")
    return Component(
        "target_encoder", module, (windows,), (rows,), lambda: {"windows": torch.rand(2, SPECTRUM.channels, WINDOW)},
        "TargetEncoder", features=SPECTRUM, sizes=(1, 4),
    )  # fmt: skip
