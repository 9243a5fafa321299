"""Networks through the path of the main job, with PyTorch in the place of an engine: emitted form, specs, player."""

from __future__ import annotations

from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from converters.component import Component
from converters.options import StreamOptions
from converters.streaming import StreamingComponent, emit
from ops.streaming import PRICES, Input, Network, Price
from runtime.bundle.spec import TensorSpec, TimeAxis
from runtime.playing.stream import Stream, StreamingArtefact


class ModuleEngine:
    """Calls a component's own module."""

    name, device = "module", "test"

    def __init__(self, component: Component) -> None:
        self.module, self.inputs, self.outputs = component.module, component.inputs, component.outputs

    def new_state(self) -> dict[str, np.ndarray]:
        return {}

    def run(self, inputs, state=None):
        assert set(inputs) == {spec.name for spec in self.inputs}
        for spec in self.inputs:
            assert inputs[spec.name].shape == spec.default_shape, spec.name
        with torch.no_grad():
            results = self.module(*(torch.from_numpy(inputs[spec.name]) for spec in self.inputs))
        for spec, result in zip(self.outputs, results, strict=True):
            assert tuple(result.shape) == spec.default_shape, spec.name
        return {spec.name: result.numpy().copy() for spec, result in zip(self.outputs, results)}


# What a streaming form can be made of: the mode, and of a stateful one where it keeps state.
FORMS = ("window", "stateful", "stateful-layer", "stateful-stage")


def streaming(network: Network, form: str, chunk: int, steady: bool = True, **options: int) -> StreamingComponent:
    """The functions and form that a conversion would make of a network, were operations cheap: a network as small as
    those of these tests is else computed again as a whole and keeps no state."""
    mode, _, keep = form.partition("-")
    with mock.patch.dict(PRICES, onnx=Price(0.023, 0.143, 500.0)):
        return emit(described(network), network, StreamOptions(mode, chunk, keep=keep or "auto", **options), steady)


def described(network: Network) -> Component:
    """A component around a network that was read; offline it is not called."""
    inputs = [TensorSpec(i.name, tuple(size or 1 for size in i.shape), _dtype(i.dtype)) for i in network.inputs]
    outputs = [
        TensorSpec(f"output_{index}", network.shapes[node], _dtype(node.meta["val"].dtype))
        for index, node in enumerate(network.outputs)
    ]
    (first, *_) = (item for item in network.inputs if item.axis is not None)
    axis = network.axis(network.outputs[0])
    time = TimeAxis(first.name, "output_0", first.axis or 0, axis.dim, int(axis.rate), 0, 0, 22050)
    return Component("network", nn.Identity(), tuple(inputs), tuple(outputs), dict, "a test's network", time)


def _dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def artefact(made: StreamingComponent) -> StreamingArtefact:
    steady = made.functions.get("steady")
    return StreamingArtefact(made.form, ModuleEngine(made.functions["edge"]), steady and ModuleEngine(steady))


def play(played: StreamingArtefact, inputs: dict[str, Tensor], pushes: list[int] | None = None) -> list[Tensor]:
    """The outputs of a whole utterance: nothing cropped. `pushes`: frames at a time [a chunk]."""
    form = played.form
    stream = Stream(played, {name: inputs[name].numpy() for name in form.constants})
    return drive(stream, inputs, pushes)


def drive(stream: Stream, inputs: dict[str, Tensor], pushes: list[int] | None = None) -> list[Tensor]:
    form = stream.form
    total = inputs[form.inputs[0].name].shape[form.inputs[0].axis] // form.inputs[0].rate
    pieces = []
    start = 0
    for count in pushes or [form.chunk] * -(-total // form.chunk):
        part = {
            port.name: inputs[port.name].numpy()[
                (slice(None),) * port.axis + (slice(start * port.rate, (start + count) * port.rate),)
            ]
            for port in form.inputs
        }
        pieces.append(stream.push(part))
        start += count
    assert start >= total
    pieces += [stream.flush(), stream.flush()]
    assert not any(value.size for value in pieces[-1].values()), "flush is idempotent"
    return [
        torch.from_numpy(np.concatenate([piece[port.name] for piece in pieces], port.axis)) for port in form.outputs
    ]


def example(inputs: list[Input], frames: int) -> dict[str, Tensor]:
    """Random inputs for an utterance."""
    return {item.name: torch.randn_like(item.example(frames)) for item in inputs}


def lively(module: nn.Module, gain: float = 1.3) -> nn.Module:
    """Random weights whose biases show at the edges and whose outputs are of the size of speech; float64."""
    generator = torch.Generator().manual_seed(0)
    for layer in module.modules():
        if not isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d)):
            continue
        weight = layer.weight
        transposed = isinstance(layer, nn.ConvTranspose1d)
        fan_in = weight.shape[0] * weight.shape[2] / layer.stride[0] if transposed else weight[0].numel()
        weight.data = torch.randn(weight.shape, generator=generator) * (gain / fan_in) ** 0.5
        if layer.bias is not None:
            layer.bias.data = 0.1 * torch.randn(layer.bias.shape, generator=generator)
    return module.double().eval()
