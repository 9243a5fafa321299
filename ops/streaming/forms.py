"""The forms of a streaming network: `window`, `stateful` and `low_latency`, each a module for one chunk.

All of them compute the same intervals in the same way; they differ in where the inputs before the chunk come from.
`window` takes a longer piece of input every time and trims each layer to what the chunk needs of it; `stateful` carries
the last inputs of each layer from call to call. Both know where the utterance starts and ends, in frames from the
chunk's start: outside it every layer reads its own padding, not values that do not exist offline.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, fx, nn

from ops.streaming.local import Carry, Fill, NotLocal, where
from ops.streaming.network import Input, Network, Step, read, run_node
from ops.streaming.span import Axis, Span

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

    def __init__(self, network: Network, chunk: int, plan: _Plan, edges: bool, repeated: int = 0) -> None:
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
            Port(f"output_{index}", axis.dim, int(axis.rate), plan.spans[node], axis.extra)
            for index, (node, axis) in enumerate((node, network.axis(node)) for node in network.outputs)
        )
        self.layout = _layout(network, plan)
        self.recurrent = [step for step in network.steps if step.rule.carry]

    @property
    def states(self) -> tuple[State, ...]:
        """The states that the first call takes."""
        packed = [torch.zeros(group.shape, dtype=group.dtype) for group in self.layout]
        carried = [self._initial(value) for step in self.recurrent for value in _carry(step).initial]
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

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        run = _Run(self, inputs)
        for step in self.network.steps:
            run.step(step)
        outputs = tuple(run.interval(node, self.plan.spans[node]) for node in self.network.outputs)
        return outputs + run.new_states()

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


def window(network: Network, chunk: int, edges: bool = True) -> Streamed:
    """Builds the form without state: a call takes the chunk with all that it depends on, and computes no more than it
    needs.

    Raises NotLocal for recurrent layers, which depend on everything before; ValueError for a chunk that does not fit.
    """
    for step in network.steps:
        if step.rule.carry:
            raise NotLocal(f"{where(step.node)}: depends on everything before it; use the stateful form")
    return Streamed(network, chunk, _window_plan(network, chunk), edges)


def frames_reached(module: nn.Module, inputs: Sequence[Input]) -> tuple[int, int]:
    """Frames before and after its own that a frame of output can depend on. Raises NotLocal as `read` and `window`."""
    ports = window(read(module, inputs), 1, False).inputs
    left = max(-(-max(-port.span.lo, 0) // port.rate) for port in ports)
    return left, max(-(-max(port.span.hi - port.rate, 0) // port.rate) for port in ports)


def stateful(network: Network, chunk: int, edges: bool = True) -> Streamed:
    """Builds the form with state: each call takes `chunk` new frames and gives as many output positions, delayed.

    Raises ValueError for a chunk that does not fit.
    """
    return Streamed(network, chunk, _stateful_plan(network, chunk), edges)


def low_latency(network: Network, chunk: int, lookahead: int, edges: bool = True) -> Streamed:
    """Builds `window` with no more than `lookahead` frames ahead: beyond them the last frame is repeated.

    Approximate. Raises NotLocal and ValueError as `window` does.
    """
    exact = window(network, chunk)
    repeated = max(port.span.hi - chunk * port.rate - lookahead * port.rate for port in exact.inputs)
    return Streamed(network, chunk, exact.plan, edges, max(repeated, 0))


# ------------------------------------------------------------------------------------------------------- the plan


@dataclass(frozen=True)
class _Plan:
    """`spans`: what is computed of each value in one call; `history`: how many positions before that are carried;
    `inputs`: what a call takes of each input; `filled`: the intervals that are read with padding around the ends."""

    spans: Mapping[fx.Node, Span]
    history: Mapping[fx.Node, int]
    inputs: Mapping[fx.Node, Span]
    filled: Mapping[fx.Node, Span]


def _window_plan(network: Network, chunk: int) -> _Plan:
    """Plans from the outputs back to the inputs: the union of what each consumer needs."""
    spans: dict[fx.Node, Span] = {}
    filled: dict[fx.Node, Span] = {}
    for node in network.outputs:
        spans[node] = Span(0, network.axis(node).per_chunk(chunk))
    for step in reversed(network.steps):
        if step.node not in spans:
            continue
        network.axis(step.node).per_chunk(chunk)  # or its positions would lie between those of the last chunk
        needed = step.reach.needs(spans[step.node])
        for source in step.sources:
            spans[source] = spans[source].union(needed) if source in spans else needed
            if step.fill:
                filled[source] = filled[source].union(needed) if source in filled else needed
    inputs = {node: spans[node] for node in network.placeholders.values() if node in spans}
    return _Plan(spans, {}, inputs, filled)


def _stateful_plan(network: Network, chunk: int) -> _Plan:
    """Plans from the inputs on: the positions that a new chunk makes possible, and what they need of earlier ones.

    A value that is made of one other and needed later only is computed later: what it is made of is carried then, which
    several may share. A join is computed at once: one value is carried instead of several.
    """
    steps = _needed(network)
    ends = {network.placeholders[i.name]: chunk * i.rate for i in network.inputs if i.axis is not None}
    for step in steps:
        count = network.axis(step.node).per_chunk(chunk)
        hi = min(count, *(step.reach.gives(ends[source]) for source in step.sources))
        if step.rule.carry:  # a call lies before the utterance's start as a whole, or not at all
            hi = hi // count * count
        ends[step.node] = hi
    spans = {node: Span(ends[node] - network.axis(node).per_chunk(chunk), ends[node]) for node in network.outputs}
    history: dict[fx.Node, int] = {}
    filled: dict[fx.Node, Span] = {}
    needs: dict[fx.Node, Span] = dict(spans)
    for step in reversed(steps):
        count = network.axis(step.node).per_chunk(chunk)
        is_join = len(set(step.sources)) > 1
        hi = ends[step.node] if is_join or _is_recurrent(step, network) else needs[step.node].hi
        spans[step.node] = Span(hi - count, hi)
        history[step.node] = spans[step.node].lo - needs[step.node].lo
        needed = step.reach.needs(spans[step.node])
        for source in step.sources:
            needs[source] = needs[source].union(needed) if source in needs else needed
            if step.fill:
                filled[source] = filled[source].union(needed) if source in filled else needed
    inputs = {}
    for item in network.inputs:
        node = network.placeholders[item.name]
        if node in needs:
            inputs[node] = spans[node] = Span(0, chunk * item.rate)
            history[node] = -needs[node].lo
    return _Plan(spans, {node: count for node, count in history.items() if count > 0}, inputs, filled)


def _is_recurrent(step: Step, network: Network) -> bool:
    """A recurrent layer, or the sequence among its results: the states fit the end of one call alone."""
    carrying = {other.node for other in network.steps if other.rule.carry}
    return step.node in carrying or not carrying.isdisjoint(step.sources)


def _needed(network: Network) -> list[Step]:
    """The steps that an output follows from, in order."""
    nodes, steps = set(network.outputs), []
    for step in reversed(network.steps):
        if step.node in nodes:
            steps.append(step)
            nodes.update(step.sources)
    return steps[::-1]


# ------------------------------------------------------------------------------------------------------- the state


@dataclass(frozen=True)
class _Group:
    """Histories of equal shape but for their lengths, side by side along time in one tensor."""

    shape: tuple[int, ...]
    dim: int
    dtype: torch.dtype
    parts: tuple[tuple[fx.Node, int], ...]


def _layout(network: Network, plan: _Plan) -> tuple[_Group, ...]:
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


def _carry(step: Step) -> Carry:
    assert step.rule.carry is not None
    return step.rule.carry


# --------------------------------------------------------------------------------------------------------- a call


class _Run:
    """The values of one call."""

    def __init__(self, module: Streamed, inputs: tuple[Tensor, ...]) -> None:
        self.module, self.network, self.plan = module, module.network, module.plan
        waiting = list(inputs)
        self.values: dict[fx.Node, Any] = {}
        self.spans: dict[fx.Node, Span] = {}  # of the values, their histories included
        self.histories: dict[fx.Node, Tensor] = {}
        timed = [(self.network.placeholders[port.name], waiting.pop(0)) for port in module.inputs]
        for item in module.fixed_inputs:
            self.values[self.network.placeholders[item.name]] = waiting.pop(0)
        self.before: Tensor | None = waiting.pop(0) if module.edges else None
        self.after: Tensor | None = waiting.pop(0) if module.edges else None
        for group in module.layout:
            packed, at = waiting.pop(0), 0
            for node, count in group.parts:
                self.histories[node] = _cut(packed, group.dim, at, at + count)
                at += count
        self.carried = waiting
        self.masks: dict[tuple[Fraction, int], Tensor] = {}
        self.dtype = timed[0][1].dtype
        self.new_carried: list[Tensor] = []
        self.new_histories: dict[fx.Node, Tensor] = {}
        for node in self.network.once:
            self.values[node] = run_node(node, self._value)
        for node, value in timed:
            self._keep(node, self._with_repeated_frames(node, value))

    def _with_repeated_frames(self, node: fx.Node, value: Tensor) -> Tensor:
        if not self.module.repeated:
            return value
        axis = self.network.axis(node)
        last = _cut(value, axis.dim, -1, None)
        return torch.cat([value] + [last] * int(self.module.repeated * axis.rate), axis.dim)

    def step(self, step: Step) -> None:
        if step.node not in self.plan.spans:
            return  # nothing that the outputs need
        out = self.plan.spans[step.node]
        needed, filled = step.rule.reach.needs(out), step.reach.needs(out)
        sources = {name: self._filled(source, filled, step.fill) for name, source in step.reads.items()}
        if filled != needed:  # what padding copies from is not read itself
            lo, hi = needed.lo - filled.lo, needed.hi - filled.lo
            sources = {name: _cut(value, self._dim(step, name), lo, hi) for name, value in sources.items()}

        def get(argument: Any) -> Any:
            return fx.node.map_arg(argument, lambda node: sources[node] if node in sources else self._value(node))

        if step.rule.carry:
            self._recur(step, step.rule.carry, get, out)
            return
        value = step.rule.run(get)
        if step.rule.grid is not None:  # the result may begin earlier and end later
            first = step.rule.grid[0] * needed.lo - step.rule.grid[1]
            value = _cut(value, self.network.axis(step.node).dim, out.lo - first, out.hi - first)
        self._keep(step.node, value)

    def _dim(self, step: Step, name: fx.Node) -> int:
        return self.network.axis(step.reads[name]).dim

    def _recur(self, step: Step, carry: Carry, get: Any, out: Span) -> None:
        states = tuple(self.carried.pop(0) for _ in carry.initial)
        sequence, new = carry.run(get, states)
        if self.before is not None:  # before the utterance's start the state stays what it was
            started = self.before * self.network.axis(step.node).rate.numerator >= -out.lo * (
                self.network.axis(step.node).rate.denominator
            )
            new = tuple(torch.where(started, value, state) for value, state in zip(new, states))
        self.new_carried += new
        self.values[step.node], self.spans[step.node] = (sequence,), out

    def _value(self, node: fx.Node) -> Any:
        """Returns the value of a node that does not vary in time."""
        if node in self.values:
            return self.values[node]
        constant = self.module.constants[node]
        return self.module.get_buffer(constant) if isinstance(constant, str) else constant

    def _keep(self, node: fx.Node, value: Any) -> None:
        """Takes the value of a span and puts its history before it."""
        span = self.plan.spans[node]
        if node in self.histories:
            dim, count = self.network.axis(node).dim, self.plan.history[node]
            value = torch.cat([self.histories[node], value], dim)
            self.new_histories[node] = _cut(value, dim, len(span), len(span) + count)
            span = Span(span.lo - count, span.hi)
        self.values[node], self.spans[node] = value, span

    def interval(self, node: fx.Node, span: Span) -> Any:
        value, known = self.values[node], self.spans[node]
        if known == span or not isinstance(value, Tensor):
            return value
        return _cut(value, self.network.axis(node).dim, span.lo - known.lo, span.hi - known.lo)

    def _filled(self, node: fx.Node, span: Span, fill: Fill | None) -> Any:
        """An interval; where positions lie outside the utterance, what the layer's padding has there."""
        value = self.interval(node, span)
        if fill is None or self.before is None or self.after is None:
            return value
        axis = self.network.axis(node)
        if fill.mode == "constant":
            inside = _cut(
                self._inside(axis), 0, span.lo - self._reads[axis.rate].lo, span.hi - self._reads[axis.rate].lo
            )
            inside = inside.reshape(-1, *[1] * (len(self.network.shapes[node]) - 1 - axis.dim))
            # Not `where`: coremltools would spread both sides to the full shape first.
            return value * inside if not fill.value else torch.where(inside > 0, value, fill.value)
        first = -_positions(self.before, axis) - span.lo  # of the utterance, as an index into the interval
        end = _positions(self.after, axis) + axis.extra - span.lo
        index = torch.arange(len(span), dtype=torch.int32)
        if fill.mode == "replicate":
            index = torch.minimum(torch.maximum(index, first), end - 1)
        else:
            index = torch.where(index < first, 2 * first - index, index)
            index = torch.where(index >= end, 2 * (end - 1) - index, index)
        return torch.index_select(value, axis.dim, index.clamp(0, len(span) - 1))

    def _inside(self, axis: Axis) -> Tensor:
        """1 at the positions of the utterance, 0 outside it; one for all layers of a rate and length."""
        key = (axis.rate, axis.extra)
        if key not in self.masks:
            assert self.before is not None
            assert self.after is not None
            reads = self._reads[axis.rate]
            position = torch.arange(reads.lo, reads.hi, dtype=torch.int32)
            after_start = position >= -_positions(self.before, axis)
            before_end = position < _positions(self.after, axis) + axis.extra
            self.masks[key] = torch.logical_and(after_start, before_end).to(self.dtype)
        return self.masks[key]

    @functools.cached_property
    def _reads(self) -> dict[Fraction, Span]:
        """Returns for each rate what is read with padding of all its values."""
        reads: dict[Fraction, Span] = {}
        for node, span in self.plan.filled.items():
            rate = self.network.axis(node).rate
            reads[rate] = reads[rate].union(span) if rate in reads else span
        return reads

    def new_states(self) -> tuple[Tensor, ...]:
        packed = [
            torch.cat([self.new_histories[node] for node, _ in group.parts], group.dim) for group in self.module.layout
        ]
        return (*packed, *self.new_carried)


def _cut(value: Tensor, dim: int, lo: int, hi: int | None) -> Tensor:
    return value[(slice(None),) * dim + (slice(lo, hi),)]


def _positions(frames: Tensor, axis: Axis) -> Tensor:
    """Counts so many frames in the samples of an axis. Chunks start where this is a whole number."""
    scaled = frames * axis.rate.numerator
    return scaled if axis.rate.denominator == 1 else torch.div(scaled, axis.rate.denominator, rounding_mode="floor")


__all__ = ["Input", "Port", "State", "Streamed", "low_latency", "stateful", "window"]
