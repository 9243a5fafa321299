"""Core ML's `neuralnetwork` off a Mac: the layers that voxport's artefacts are made of, read from the `.mlmodel`.

A custom layer HiFiGANUpsample runs the very Metal text that ships in the bundle, compiled as C++ (ops/metal/host). For
correctness, not speed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ops.metal.host import NoCompiler, library, upsample
from ops.metal.layout import UpsampleShape
from ops.metal.package import stale_kernels
from ops.metal.twin import evaluate
from runtime.bundle.spec import checked_inputs
from runtime.engines import State, cpu_name
from runtime.errors import ArtefactError, EngineError, no_artefact
from runtime.machine.cache import cache_folder
from runtime.neuralnetwork import every_layer, interface, read_network, values
from runtime.neuralnetwork.layers import LAYERS, Function

Scope = dict[str, Tensor]
Step = Callable[[Scope], None]


class NeuralNetworkEngine:
    """Computes in float32. Custom layers with half weights run the texture kernel, in half as a GPU has them; those
    with single weights what the layer does on the CPU (ops/metal/twin.py)."""

    name = "neuralnetwork"

    def __init__(self, path: Path, threads: int | None = None) -> None:
        if path.suffix != ".mlmodel":
            raise ArtefactError(f"the neuralnetwork engine executes an .mlmodel, not {path.name}")
        self.device = cpu_name()
        self._path = path
        with no_artefact(path):
            spec = read_network(path)
            self.inputs, self.outputs = interface(spec)
            layers = spec.neuralNetwork.layers
            self._steps = list(zip(_steps(layers, path), _last_read(layers, {output.name for output in self.outputs})))
        if threads:
            torch.set_num_threads(threads)

    def new_state(self) -> State:
        return {}

    def run(self, inputs: Mapping[str, np.ndarray], state: State | None = None) -> dict[str, np.ndarray]:
        arrays = checked_inputs(self.inputs, inputs)
        held = {name: torch.from_numpy(array).float() for name, array in arrays.items()}
        with torch.inference_mode(), no_artefact(self._path):
            for step, done in self._steps:
                step(held)
                for name in done:
                    held.pop(name, None)  # what a loop of no turns would have given is not there
            return {spec.name: held[spec.name].numpy().astype(spec.dtype, copy=False) for spec in self.outputs}


def _last_read(layers: Sequence[Any], kept: set[str]) -> list[list[str]]:
    """The tensors that nobody reads after each layer: what a network has computed would fill gigabytes."""
    last: dict[str, int] = {}
    for number, layer in enumerate(layers):
        for inner in every_layer([layer]):
            last |= dict.fromkeys((*inner.input, *inner.output), number)
        if layer.WhichOneof("layer") == "loop":
            last[layer.loop.conditionVar] = number
    done: list[list[str]] = [[] for _ in layers]
    for name, number in last.items():
        if name not in kept:
            done[number].append(name)
    return done


def _steps(layers: Sequence[Any], path: Path) -> list[Step]:
    return [_step(layer, path) for layer in layers]


def _step(layer: Any, path: Path) -> Step:
    """Builds what a layer does to the tensors that are there. Raises EngineError for what is not executed, with its
    name."""
    kind = layer.WhichOneof("layer")
    where = f"{path.name}: layer {layer.name!r}"
    if kind == "loop":
        return _loop(layer.loop, path)
    if kind != "custom" and kind not in LAYERS:
        raise EngineError(f"{where} is a {kind}, which the neuralnetwork engine does not know; it knows {_known()}")
    try:
        function = _Custom(layer.custom, path) if kind == "custom" else LAYERS[kind](getattr(layer, kind))
    except EngineError as error:
        raise EngineError(f"{where}: {error}") from error
    return _called(function, tuple(layer.input), tuple(layer.output))


def _called(function: Function, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Step:
    def step(held: Scope) -> None:
        result = function(*(held[name] for name in inputs))
        held.update(zip(outputs, (result,) if isinstance(result, Tensor) else result))

    return step


def _loop(layer: Any, path: Path) -> Step:
    """Builds a loop, whose networks read and write the tensors of the network around them. `maxLoopIterations` 0 sets
    no limit."""
    condition, body = (_steps(network.layers, path) for network in (layer.conditionNetwork, layer.bodyNetwork))

    def step(held: Scope) -> None:
        turns = 0
        while not layer.maxLoopIterations or turns < layer.maxLoopIterations:
            for inner in condition:
                inner(held)
            if layer.conditionVar and not held[layer.conditionVar].any():
                return
            for inner in body:
                inner(held)
            turns += 1

    return step


class _Custom:
    def __init__(self, layer: Any, path: Path) -> None:
        sizes = {name: parameter.intValue for name, parameter in layer.parameters.items() if name != "slope"}
        self.sizes, self.slope = sizes, layer.parameters["slope"].doubleValue
        weights, bias = map(values, layer.weights)
        self.weight = weights.reshape(sizes["channels_in"], sizes["channels_out"], sizes["kernel_size"])
        self.bias = bias.astype(np.float32)
        stale = stale_kernels(path.parent / "custom_layer")
        if stale:
            raise ArtefactError(f"{path.parent.name}: {', '.join(stale)} are not this voxport's kernels: convert again")
        self.kernels = None
        if weights.dtype == np.float32:
            return
        try:
            self.kernels = library(cache_folder() / "metal")
        except NoCompiler as error:
            raise EngineError(f"{path.name} has custom layers: {error}") from error

    def shape(self, frames: int, has_condition: bool) -> UpsampleShape:
        return UpsampleShape(**self.sizes, frames=frames, slope=self.slope, has_condition=has_condition)

    def __call__(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """x (1, C, 1, T), conditioning (1, C, 1, 1) -> (1, D, 1, samples)."""
        shape = self.shape(x.shape[3], condition is not None)
        frames = x[0, :, 0].numpy().astype(self.weight.dtype)
        added = None if condition is None else condition[0, :, 0, 0].numpy().astype(self.weight.dtype)
        if self.kernels is None:
            y = evaluate(shape, frames, self.weight, self.bias, added)
        else:
            y = upsample(self.kernels, "texture", shape, frames, self.weight, self.bias, added)
        return torch.from_numpy(y.astype(np.float32))[None, :, None]


def _known() -> str:
    return ", ".join(sorted({*LAYERS, "custom", "loop"}))
