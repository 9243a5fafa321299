"""Recurrent layers. Sequences are (T, B, I, 1, 1), states (1, B, H, 1, 1).

What runs backward gives its outputs in the order in which it computed them; of two directions side by side both are in
the order of time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from runtime.neuralnetwork.layers.arithmetic import activation
from runtime.neuralnetwork.layers.parameters import Function, Layer, weights
from runtime.neuralnetwork.weights import LSTM_GATES

_LIMIT = 50.0  # of what goes into an activation, and of an LSTM's cells where none is given

# Activations whose numbers are fixed in recurrent layers, whatever theirs say: NeuralNetwork.proto, Recurrent Layers.
_FIXED: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda x: x,
    "scaledTanh": torch.tanh,  # as coremltools' own tests have seen it; the specification has other factors
    "sigmoidHard": lambda x: (0.2 * x + 0.5).clamp(0, 1),
}

Steps = Callable[[Tensor, Sequence[Tensor]], tuple[Tensor, ...]]


def _recurrent(
    step: Steps,
    from_input: Callable[[Tensor], Tensor],
    size: int,
    *,
    states: int = 1,
    gives_all: bool,
    is_backward: bool = False,
) -> Function:
    """Builds the function of a sequence and its states, zeros where they are not given.

    `from_input` is what a step adds of the input (T, B, …), `step` gives the next states of that and of the states,
    the output first.
    """

    def run(x: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        zeros = x.new_zeros(x.shape[1], size)
        # coremltools' packed sequences come with states of the padded batch, a simple layer's with axes elsewhere
        held = tuple(state.reshape(-1, size)[: x.shape[1]] for state in given) or (zeros,) * states
        outputs = []
        for each in from_input(x.flip(0) if is_backward else x):
            held = step(each, held)
            outputs.append(held[0])
        every = torch.stack(outputs) if gives_all else held[0][None]
        return tuple(tensor[..., None, None] for tensor in (every, *(state[None] for state in held)))

    return run


def _activation(layer: Any) -> Callable[[Tensor], Tensor]:
    return _FIXED.get(layer.WhichOneof("NonlinearityType")) or activation(layer)


def _simple(layer: Any) -> Function:
    """y = f(W x + R y + b)."""
    size, function = layer.outputVectorSize, _activation(layer.activation)
    into, back = weights(layer.weightMatrix, size, layer.inputVectorSize), weights(layer.recursionMatrix, size, size)
    bias = weights(layer.biasVector, size) if layer.hasBiasVector else None

    def step(each: Tensor, held: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return (function((each + F.linear(held[0], back)).clamp(-_LIMIT, _LIMIT)),)

    return _recurrent(
        step,
        lambda x: F.linear(x[..., 0, 0], into, bias),
        size,
        gives_all=layer.sequenceOutput,
        is_backward=layer.reverseInput,
    )


def _gru(layer: Any) -> Function:
    """z, r = f(W x + R y + b); o = g(W x + R (r y) + b); y = (1 - z) o + z y."""
    size, gates = layer.outputVectorSize, ("updateGate", "resetGate", "outputGate")
    gate, output = (_activation(each) for each in layer.activations)

    def stacked(name: str, *shape: int) -> Tensor:
        return torch.cat([weights(getattr(layer, one + name), *shape) for one in gates])

    into, back = stacked("WeightMatrix", size, layer.inputVectorSize), stacked("RecursionMatrix", size, size)
    bias = stacked("BiasVector", size) if layer.hasBiasVectors else None

    def step(each: Tensor, held: Sequence[Tensor]) -> tuple[Tensor, ...]:
        (h,) = held
        both = gate((each[:, : 2 * size] + F.linear(h, back[: 2 * size])).clamp(-_LIMIT, _LIMIT))
        z, r = both.chunk(2, -1)
        o = output((each[:, 2 * size :] + F.linear(r * h, back[2 * size :])).clamp(-_LIMIT, _LIMIT))
        return ((1 - z) * o + z * h,)

    return _recurrent(
        step,
        lambda x: F.linear(x[..., 0, 0], into, bias),
        size,
        gives_all=layer.sequenceOutput,
        is_backward=layer.reverseInput,
    )


def _lstm_step(layer: Any, held_weights: Any, activations: Any) -> tuple[Steps, Callable[[Tensor], Tensor]]:
    """i, f = inner(… + p c), z = cell(…); c = f c + i z, clipped; h = inner(o + p c) output(c): NeuralNetwork.proto,
    LSTM. States are (h, c)."""
    options, size = layer.params, layer.outputVectorSize
    inner, cell, output = (_activation(each) for each in activations)
    clip = options.cellClipThreshold or _LIMIT

    def stacked(name: str, *shape: int) -> Tensor:
        return torch.cat([weights(getattr(held_weights, gate + name), *shape) for gate in LSTM_GATES])

    into, back = stacked("WeightMatrix", size, layer.inputVectorSize), stacked("RecursionMatrix", size, size)
    bias = stacked("BiasVector", size) if options.hasBiasVectors else None
    if options.forgetBias:
        bias = torch.zeros(4 * size) if bias is None else bias
        bias[size : 2 * size] += 1
    peepholes = [torch.zeros(())] * 3
    if options.hasPeepholeVectors:
        names = ("inputGate", "forgetGate", "outputGate")
        peepholes = [weights(getattr(held_weights, f"{name}PeepholeVector"), size) for name in names]

    def step(each: Tensor, held: Sequence[Tensor]) -> tuple[Tensor, ...]:
        h, c = held
        i, f, z, o = F.linear(h, back).add_(each).chunk(4, -1)
        if options.hasPeepholeVectors:
            i, f = i + peepholes[0] * c, f + peepholes[1] * c
        i = inner(i.clamp(-_LIMIT, _LIMIT))
        f = 1 - i if options.coupledInputAndForgetGate else inner(f.clamp(-_LIMIT, _LIMIT))
        c = (f * c + i * cell(z.clamp(-_LIMIT, _LIMIT))).clamp(-clip, clip)
        o = o + peepholes[2] * c if options.hasPeepholeVectors else o
        return inner(o.clamp(-_LIMIT, _LIMIT)) * output(c), c

    return step, lambda x: F.linear(x[..., 0, 0], into, bias)


def _lstm(layer: Any) -> Function:
    """x, h, c -> every output or the last, and the last h, c."""
    step, from_input = _lstm_step(layer, layer.weightParams, layer.activations)
    return _recurrent(
        step,
        from_input,
        layer.outputVectorSize,
        states=2,
        gives_all=layer.params.sequenceOutput,
        is_backward=layer.reverseInput,
    )


def _bidirectional_lstm(layer: Any) -> Function:
    """x, h, c, h back, c back -> outputs of both directions side by side, and the last states in that order."""
    size, gives_all = layer.outputVectorSize, layer.params.sequenceOutput
    activations = layer.activationsForwardLSTM, layer.activationsBackwardLSTM or layer.activationsForwardLSTM
    front, back = (
        _recurrent(*_lstm_step(layer, held, functions), size, states=2, gives_all=gives_all)
        for held, functions in zip(layer.weightParams, activations, strict=True)
    )

    def run(x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        first, *ends = front(x, *states[:2])
        second, *back_ends = back(x.flip(0), *states[2:])
        return (torch.cat([first, second.flip(0)], -3), *ends, *back_ends)

    return run


TABLE: dict[str, Layer] = {
    "biDirectionalLSTM": _bidirectional_lstm,
    "gru": _gru,
    "simpleRecurrent": _simple,
    "uniDirectionalLSTM": _lstm,
}
