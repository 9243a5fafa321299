"""A toy family that converts by three components in a row, with noise, out of one voice and into another."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from checkpoints.load import LoadedCheckpoint
from converters.component import Component
from converters.options import Shape
from ops.streaming import Input, frames_reached
from runtime.bundle.conversion import Conversion, FeatureStage, LocalStage
from runtime.bundle.spec import TensorSpec, TimeAxis
from runtime.speech.features import Sound
from tests.converters.audio_to_audio.family import (
    CHANNELS,
    FRAME,
    MEL,
    RATE,
    SPECTRUM,
    TARGET,
    TargetEncoder,
    target_encoder,
)


class Chain(nn.Module):
    """A spectrum with noise to latents, these from one voice to another, and to samples."""

    def __init__(self) -> None:
        super().__init__()
        self.reader = Reader()
        self.encoder = TargetEncoder()
        self.flow = Flow()
        self.player = Player()


class Reader(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Conv1d(SPECTRUM.channels, CHANNELS, 5, padding=2)

    def forward(self, spectrum: Tensor) -> Tensor:
        return torch.tanh(self.into(spectrum[:, : SPECTRUM.channels])) + spectrum[:, SPECTRUM.channels :] / 10


class Flow(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.within = nn.Conv1d(CHANNELS, CHANNELS, 15, padding=7)
        self.condition = nn.Conv1d(TARGET, CHANNELS, 1)

    def forward(self, encoded: Tensor, source: Tensor, target: Tensor) -> Tensor:
        return torch.tanh(self.within(encoded) + 3 * self.condition(target) - 3 * self.condition(source))


class Player(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose1d(CHANNELS, 1, 2 * FRAME, stride=FRAME, padding=FRAME // 2)

    def forward(self, converted: Tensor) -> Tensor:
        return self.up(converted)


def load(checkpoint: LoadedCheckpoint) -> nn.Module:
    module = Chain()
    module.load_state_dict(checkpoint.weights_for(module, ("",)))
    return module.eval().requires_grad_(False)


def components(module: Chain, checkpoint: LoadedCheckpoint, shape: Shape) -> list[Component]:
    def along(name: str, part: nn.Module, channels: int, given: str, made: str, *voices: str) -> Component:
        inputs = (
            TensorSpec(given, (1, channels, shape.frames), "float32", ""),
            *(TensorSpec(voice, (1, TARGET, 1), "float32", "embedding") for voice in voices),
        )
        is_last = made == "audio"
        size = (1, 1, shape.frames * FRAME) if is_last else (1, CHANNELS, shape.frames)
        reach = frames_reached(
            part, [Input(spec.name, spec.default_shape, 2 if spec.name == given else None) for spec in inputs]
        )
        encoders = dict.fromkeys(voices, "target_encoder")
        return Component(
            name, part, inputs, (TensorSpec(made, size, "float32", ""),),
            lambda: {spec.name: torch.randn(spec.default_shape) for spec in inputs}, name,
            TimeAxis(given, made, 2, 2, FRAME if is_last else 1, *reach, RATE, hop_length=1 if is_last else FRAME),
            sound=Sound(RATE, MEL) if is_last else None,
            targets={name: one for name, one in encoders.items() if name == "target"},
            sources={name: one for name, one in encoders.items() if name == "source"},
        )  # fmt: skip

    return [
        along("reader", module.reader, SPECTRUM.channels + CHANNELS, "spectrum", "encoded"),
        along("flow", module.flow, CHANNELS, "encoded", "converted", "source", "target"),
        along("player", module.player, CHANNELS, "converted", "audio"),
        target_encoder(module.encoder),
    ]


def conversion(module: nn.Module, parts: Mapping[str, Component]) -> Conversion:
    return Conversion(
        (
            FeatureStage("spectrum", SPECTRUM),
            LocalStage("reader", "reader", ("spectrum",), noise_rows=CHANNELS),
            LocalStage("flow", "flow", ("reader",)),
            LocalStage("player", "player", ("flow",)),
        ),
        target="embedding",
    )
