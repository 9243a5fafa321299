"""A neural network of Core ML as a function of its inputs: layers in their order, with loops and branches.

A custom layer HiFiGANUpsample runs the very Metal text that ships in the bundle, compiled as C++ (ops/metal/host).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ops.metal.host import NoCompiler, library, upsample
from ops.metal.layout import UpsampleShape
from ops.metal.package import stale_kernels
from ops.metal.twin import evaluate
from runtime.errors import ArtefactError, EngineError
from runtime.machine.cache import cache_folder
from runtime.mil.ops.tensor import classify
from runtime.neuralnetwork import interface, network_of
from runtime.neuralnetwork.features import entries, result
from runtime.neuralnetwork.layers import LAYERS
from runtime.neuralnetwork.layers.parameters import Function
from runtime.neuralnetwork.weights import every_layer, values

Scope = dict[str, Tensor]
Step = Callable[[Scope], None]
_TRUTH = 1e-6  # what is larger is a condition that holds: NeuralNetwork.proto, BranchLayerParams


class Network:
    """Computes in float32. Custom layers with half weights run the texture kernel, in half as a GPU has them; those
    with single weights what the layer does on the CPU (ops/metal/twin.py).

    Raises EngineError, with the layer's name, for what is not executed.
    """

    def __init__(self, spec: Any, path: Path) -> None:
        self.interface = interface(spec)
        network = network_of(spec)
        self._entries = entries(spec)
        self._is_rank_5 = network.arrayInputShapeMapping == 0
        self._classes, self._scores = _classifier(spec)
        self._label_names = (spec.description.predictedFeatureName, spec.description.predictedProbabilitiesName)
        kept = {output.name for output in self.interface.outputs} | {self._scores}
        layers = network.layers
        self.steps = list(zip(_steps(layers, path), _last_read(layers, kept)))

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Returns the outputs for inputs that fit: arrays, and a classifier's class and scores."""
        held = {name: entry(torch.from_numpy(arrays[name])) for name, entry in self._entries.items()}
        for step, done in self.steps:
            step(held)
            for name in done:
                held.pop(name, None)  # what a loop of no turns would have given is not there
        outputs: dict[str, Any] = {
            spec.name: result(held[spec.name], spec, is_rank_5=self._is_rank_5) for spec in self.interface.outputs
        }
        if self._classes:
            labels = dict(zip(self._label_names, classify(held[self._scores], self._classes)))
            outputs |= {name: labels[name] for name in self.interface.labels}
        return outputs


def _classifier(spec: Any) -> tuple[list[Any], str]:
    """A classifier's classes and the tensor of their scores, which is what the last layer gives where no other is
    named; none of another network."""
    if spec.WhichOneof("Type") != "neuralNetworkClassifier":
        return [], ""
    network = network_of(spec)
    kind = network.WhichOneof("ClassLabels")
    if kind is None:
        raise ArtefactError("a classifier without classes")
    return list(getattr(network, kind).vector), network.labelProbabilityLayerName or network.layers[-1].output[0]


def _last_read(layers: Sequence[Any], kept: set[str]) -> list[list[str]]:
    """The tensors that nobody reads after each layer: what a network has computed would fill gigabytes."""
    last: dict[str, int] = {}
    for number, layer in enumerate(layers):
        for inner in every_layer([layer]):
            last |= dict.fromkeys((*inner.input, *inner.output), number)
            if inner.WhichOneof("layer") == "loop":
                last[inner.loop.conditionVar] = number
    done: list[list[str]] = [[] for _ in layers]
    for name, number in last.items():
        if name not in kept:
            done[number].append(name)
    return done


def _steps(layers: Iterable[Any], path: Path) -> list[Step]:
    return [_step(layer, path) for layer in layers]


def _step(layer: Any, path: Path) -> Step:
    """Builds what a layer does to the tensors that are there."""
    kind = layer.WhichOneof("layer")
    where = f"{path.name}: layer {layer.name!r}"
    if kind in _FLOW:
        return _FLOW[kind](layer, path)
    if kind != "custom" and kind not in LAYERS:
        raise EngineError(
            f"{where} is of kind {kind}, which the neuralnetwork engine does not know; it knows {_known()}"
        )
    try:
        function = _Custom(layer.custom, path) if kind == "custom" else LAYERS[kind](getattr(layer, kind))
    except (EngineError, ArtefactError) as error:
        raise type(error)(f"{where}: {error}") from error
    return _called(function, tuple(layer.input), tuple(layer.output))


def _called(function: Function, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Step:
    def step(held: Scope) -> None:
        given = function(*(held[name] for name in inputs))
        results = (given,) if isinstance(given, Tensor) else given
        held.update(zip(outputs, (x if x.dim() else x.reshape(1) for x in results)))  # a tensor has an axis at least

    return step


class _Break(Exception):
    """Ends the loop around."""


class _Continue(Exception):
    """Ends a turn of the loop around."""


def _raising(signal: type[Exception]) -> Callable[[Any, Path], Step]:
    def prepared(layer: Any, path: Path) -> Step:
        def step(held: Scope) -> None:
            raise signal

        return step

    return prepared


def _branch(layer: Any, path: Path) -> Step:
    (condition,) = layer.input
    ways = [_steps(network.layers, path) for network in (layer.branch.elseBranch, layer.branch.ifBranch)]

    def step(held: Scope) -> None:
        for inner in ways[bool(held[condition].abs().max() > _TRUTH)]:
            inner(held)

    return step


def _loop(layer: Any, path: Path) -> Step:
    """Builds a loop, whose networks read and write the tensors of the network around them. `maxLoopIterations` 0 sets
    no limit; an input is the limit in its place."""
    loop = layer.loop
    condition, body = (_steps(network.layers, path) for network in (loop.conditionNetwork, loop.bodyNetwork))

    def step(held: Scope) -> None:
        limit = int(held[layer.input[0]].reshape(-1)[0]) if layer.input else loop.maxLoopIterations or None
        turns = 0
        while limit is None or turns < limit:
            for inner in condition:
                inner(held)
            if loop.conditionVar and not held[loop.conditionVar].any():
                return
            try:
                for inner in body:
                    inner(held)
            except _Continue:
                pass
            except _Break:
                return
            turns += 1

    return step


_FLOW: dict[str, Callable[[Any, Path], Step]] = {
    "branch": _branch,
    "loop": _loop,
    "loopBreak": _raising(_Break),
    "loopContinue": _raising(_Continue),
}


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
    return ", ".join(sorted({*LAYERS, *_FLOW, "custom"}))
