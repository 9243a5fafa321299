"""The forms of a streaming network: `window`, `stateful` and `low_latency`, each a module for one chunk.

All of them compute the same intervals in the same way; they differ in where the inputs before the chunk come from.
`window` takes a longer piece of input every time and trims each layer to what the chunk needs of it; `stateful` carries
the last inputs of each layer from call to call. Both know where the utterance starts and ends, in frames from the
chunk's start: outside it every layer reads its own padding, not values that do not exist offline.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, fx, nn

from ops.streaming.call import Call, cut
from ops.streaming.keeping import PRICES, Keep, Price, planned
from ops.streaming.local import NotLocal, where
from ops.streaming.network import Input, Network, read
from ops.streaming.plan import Plan, Planner
from ops.streaming.span import Span

POSITION = ("before", "after")  # the names of the two inputs that say where the utterance starts and ends


@dataclass(frozen=True)
class Port:
    """An input or output of a streamed module along time: each call takes or gives the positions lo <= q < hi, counted
    from the chunk's first frame at `rate` positions per frame."""

    name: str
    axis: int
    rate: int
    span: Span
    extra: int = 0  # an utterance of T frames has rate * T + extra positions


@dataclass(frozen=True)
class State:
    """A packed state: the first call takes `initial`."""

    name: str
    initial: Tensor


class Streamed(nn.Module):
    """One chunk of a network: `forward(*inputs, *states)` gives the outputs, then the new states.

    `inputs`, `outputs`: the ports along time; constant inputs follow the first. With `edges` two more inputs follow,
    int32 of shape (1,): how many frames of the utterance lie before this chunk, and how many from its first frame to
    the end. Both may be capped at `horizon` frames.
    """

    def __init__(self, network: Network, chunk: int, plan: Plan, edges: bool, repeated: int = 0) -> None:
        super().__init__()
        self.network, self.chunk, self.plan, self.edges, self.repeated = network, chunk, plan, edges, repeated
        for rate in (network.axis(node).rate for node in network.outputs):
            if rate.denominator != 1:
                raise NotLocal(f"an output has {rate} positions per frame: give the input a rate of {rate.denominator}")
        self.constants: dict[fx.Node, Any] = {}
        for index, (node, value) in enumerate(network.constants.items()):
            if isinstance(value, Tensor):
                name = network.names.get(node, f"constant_{index}").replace(".", "_")
                self.register_buffer(name, value)
                self.constants[node] = name
            else:
                self.constants[node] = value
        self.inputs = tuple(
            Port(item.name, item.axis, item.rate, Span(span.lo, span.hi - repeated * item.rate))
            for item in network.inputs
            if item.axis is not None
            for span in [plan.inputs[network.placeholders[item.name]]]
        )
        self.fixed_inputs = tuple(item for item in network.inputs if item.axis is None)
        self.outputs = tuple(
            Port(f"output_{index}", axis.dim, int(axis.rate), plan.outputs[node], axis.extra)
            for index, (node, axis) in enumerate((node, network.axis(node)) for node in network.outputs)
        )
        self.layout = _layout(network, plan)
        self.recurrent = [step for step in network.steps if step.rule.carry]

    @property
    def states(self) -> tuple[State, ...]:
        """The states that the first call takes."""
        packed = [torch.zeros(group.shape, dtype=group.dtype) for group in self.layout]
        carries = [step.rule.carry for step in self.recurrent if step.rule.carry]
        carried = [self._initial(value) for carry in carries for value in carry.initial]
        return tuple(State(f"state_{index}", value) for index, value in enumerate([*packed, *carried]))

    @property
    def horizon(self) -> int:
        """The frames from an end of the utterance beyond which no position of a call is outside it."""
        frames = [
            max(-span.lo, span.hi + abs(axis.extra)) / axis.rate
            for node, span in self.plan.filled.items()
            for axis in [self.network.axis(node)]
        ]
        frames += [-self.plan.spans[step.node].lo / self.network.axis(step.node).rate for step in self.recurrent]
        return int(max(frames, default=0)) + self.chunk + 1

    @property
    def ahead(self) -> int:
        """The frames from the chunk's first that must be there before a call, unless the utterance ends earlier."""
        ends = [Fraction(port.span.hi, port.rate) for port in self.inputs]
        if not self.repeated:  # what a layer reads as padding if the utterance ended there must not be padding
            axes = {node: self.network.axis(node) for node in self.plan.filled}
            ends += [(span.hi - axes[node].extra) / axes[node].rate for node, span in self.plan.filled.items()]
        return max(math.ceil(end) for end in ends)

    def without_ends(self) -> Streamed:
        """The same calls for away from the utterance's ends: no inputs that say where they are, and no masks."""
        return Streamed(self.network, self.chunk, self.plan, False, self.repeated)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        waiting = list(inputs)
        placeholders = self.network.placeholders
        given = {
            node: self._with_repeated_frames(node, waiting.pop(0))
            for node in (placeholders[port.name] for port in self.inputs)
        }
        given |= {placeholders[item.name]: waiting.pop(0) for item in self.fixed_inputs}
        ends = (waiting.pop(0), waiting.pop(0)) if self.edges else None
        histories: dict[fx.Node, Tensor] = {}
        for group in self.layout:
            histories |= group.unpacked(waiting.pop(0))
        call = Call(self.network, self.plan, given, histories, waiting, ends, self._constant)
        outputs = [call.interval(node, span) for node, span in self.plan.outputs.items()]
        packed = [group.packed(call.new_histories) for group in self.layout]
        return (*outputs, *packed, *call.new_carried)

    def _with_repeated_frames(self, node: fx.Node, value: Tensor) -> Tensor:
        if not self.repeated:
            return value
        axis = self.network.axis(node)
        last = cut(value, axis.dim, -1, None)
        return torch.cat([value] + [last] * int(self.repeated * axis.rate), axis.dim)

    def _constant(self, node: fx.Node) -> Any:
        constant = self.constants[node]
        return self.get_buffer(constant) if isinstance(constant, str) else constant

    def __deepcopy__(self, memo: dict[int, Any]) -> Streamed:
        """Copies have weights of their own and share what never changes."""
        shared = (self.network, self.plan, self.constants, self.layout, self.recurrent)
        memo.update({id(part): part for part in shared})
        copied = self.__class__.__new__(self.__class__)
        memo[id(self)] = copied
        copied.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return copied

    def _initial(self, value: Any) -> Tensor:
        if not isinstance(value, fx.Node) or value not in self.constants:
            raise NotLocal("a recurrent layer whose first state is no constant")
        constant = self.constants[value]
        return self.get_buffer(constant) if isinstance(constant, str) else constant


def window(network: Network, chunk: int) -> Streamed:
    """Builds the form without state: a call takes the chunk with all that it depends on, and computes no more than it
    needs.

    Raises NotLocal for recurrent layers, which depend on everything before; ValueError for a chunk that does not fit.
    """
    for step in network.steps:
        if step.rule.carry:
            raise NotLocal(f"{where(step.node)}: depends on everything before it; use the stateful form")
    return Streamed(network, chunk, Planner(network, chunk).window(), True)


def frames_reached(module: nn.Module, inputs: Sequence[Input]) -> tuple[int, int]:
    """Frames before and after its own that a frame of output can depend on. Raises NotLocal as `read` and `window`."""
    ports = window(read(module, inputs), 1).inputs
    left = max(-(-max(-port.span.lo, 0) // port.rate) for port in ports)
    return left, max(-(-max(port.span.hi - port.rate, 0) // port.rate) for port in ports)


def stateful(network: Network, chunk: int, keep: Keep = "auto", price: Price | None = None) -> Streamed:
    """Builds the form with state: each call takes `chunk` new frames and gives as many output positions, delayed.

    `keep`: where state is kept (`ops.streaming.keeping`); `price`: what decides of `auto`, ONNX Runtime's by
    default. Raises ValueError for a chunk that does not fit.
    """
    return Streamed(network, chunk, planned(network, chunk, keep, price or PRICES["onnx"]), True)


def low_latency(network: Network, chunk: int, lookahead: int) -> Streamed:
    """Builds `window` with no more than `lookahead` frames ahead: beyond them the last frame is repeated.

    Approximate. Raises NotLocal and ValueError as `window` does.
    """
    exact = window(network, chunk)
    repeated = max(port.span.hi - chunk * port.rate - lookahead * port.rate for port in exact.inputs)
    return Streamed(network, chunk, exact.plan, True, max(repeated, 0))


@dataclass(frozen=True)
class _Group:
    """Histories of equal shape but for their lengths, side by side along time in one tensor."""

    shape: tuple[int, ...]
    dim: int
    dtype: torch.dtype
    parts: tuple[tuple[fx.Node, int], ...]

    def unpacked(self, state: Tensor) -> dict[fx.Node, Tensor]:
        counts = [count for _, count in self.parts]
        pieces = torch.split(state, counts, self.dim) if len(counts) > 1 else [state]
        return {node: piece for (node, _), piece in zip(self.parts, pieces)}

    def packed(self, histories: Mapping[fx.Node, Tensor]) -> Tensor:
        pieces = [histories[node] for node, _ in self.parts]
        return torch.cat(pieces, self.dim) if len(pieces) > 1 else pieces[0]


def _layout(network: Network, plan: Plan) -> tuple[_Group, ...]:
    groups: dict[tuple[Any, ...], list[tuple[fx.Node, int]]] = {}
    for node, count in plan.history.items():
        axis, shape = network.axis(node), list(network.shapes[node])
        shape[axis.dim] = 0
        groups.setdefault((tuple(shape), axis.dim, _dtype(node)), []).append((node, count))
    layout = []
    for (shape, dim, dtype), parts in groups.items():
        sized = [sum(count for _, count in parts) if index == dim else size for index, size in enumerate(shape)]
        layout.append(_Group(tuple(sized), dim, dtype, tuple(parts)))
    return tuple(layout)


def _dtype(node: fx.Node) -> torch.dtype:
    dtype = node.meta["val"].dtype
    assert isinstance(dtype, torch.dtype)
    return dtype
