"""Computes one call of a streamed network: a chunk's values, each in the interval that the plan says."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, fx

from ops.streaming.local import Carry, Fill
from ops.streaming.network import Network, Step, run_node
from ops.streaming.plan import Plan
from ops.streaming.span import Axis, Span


class Call:
    """The values of one call.

    `given`: the inputs, by node; `histories`: the kept positions before them and before other values; `carried`: the
    states of the recurrent layers; `ends`: how many frames lie before the chunk and from its start on, None away from
    the utterance's ends; `constant` gives a value that is the same in every call.
    """

    def __init__(
        self,
        network: Network,
        plan: Plan,
        given: Mapping[fx.Node, Tensor],
        histories: Mapping[fx.Node, Tensor],
        carried: Sequence[Tensor],
        ends: tuple[Tensor, Tensor] | None,
        constant: Callable[[fx.Node], Any],
    ) -> None:
        self.network, self.plan, self._ends, self._constant = network, plan, ends, constant
        self._histories, self._carried = histories, list(carried)
        self._values: dict[fx.Node, Any] = {}
        self._masks: dict[tuple[Fraction, int, Span], Tensor] = {}
        self.new_histories: dict[fx.Node, Tensor] = {}
        self.new_carried: list[Tensor] = []
        for node, value in given.items():
            if network.axes[node] is None:
                self._values[node] = value
        for node in network.once:
            self._values[node] = run_node(node, self._value)
        for node, value in given.items():
            if network.axes[node] is not None:
                self._dtype = value.dtype
                self._keep(node, value)
        for step in network.steps:
            if step.node in plan.spans:  # others no output needs
                self._compute(step)

    def interval(self, node: fx.Node, span: Span) -> Any:
        """Returns the positions of a value that varies in time."""
        value, known = self._values[node], self.plan.held(node)
        if known == span:
            return value
        bounds = self.network.axis(node).dim, span.lo - known.lo, span.hi - known.lo
        return cut(value, *bounds) if isinstance(value, Tensor) else tuple(cut(item, *bounds) for item in value)

    def _compute(self, step: Step) -> None:
        out, read = self.plan.spans[step.node], self.plan.read(step)
        sources = {name: self._filled(source, read, step.fill) for name, source in step.reads.items()}
        is_padded = step.node in self.plan.padded
        needed = read if is_padded else step.rule.reach.needs(out)
        if needed != read:  # what padding copies from is not read itself
            lo, hi = needed.lo - read.lo, needed.hi - read.lo
            dims = {name: self.network.axis(source).dim for name, source in step.reads.items()}
            sources = {name: cut(value, dims[name], lo, hi) for name, value in sources.items()}

        def get(argument: Any) -> Any:
            return fx.node.map_arg(argument, lambda node: sources[node] if node in sources else self._value(node))

        if step.rule.carry:
            self._recur(step, step.rule.carry, get, out)
            return
        value = (step.rule.same if is_padded and step.rule.same else step.rule.run)(get)
        if step.rule.grid is not None:  # the result may begin earlier and end later
            first = step.rule.grid[0] * needed.lo - step.rule.grid[1]
            value = cut(value, self.network.axis(step.node).dim, out.lo - first, out.hi - first)
        self._keep(step.node, value)

    def _recur(self, step: Step, carry: Carry, get: Any, out: Span) -> None:
        states = tuple(self._carried.pop(0) for _ in carry.initial)
        sequence, new = carry.run(get, states)
        if self._ends is not None:  # before the utterance's start the state stays what it was
            rate = self.network.axis(step.node).rate
            started = self._ends[0] * rate.numerator >= -out.lo * rate.denominator
            new = tuple(torch.where(started, value, state) for value, state in zip(new, states))
        self.new_carried += new
        self._values[step.node] = (sequence,)

    def _value(self, node: fx.Node) -> Any:
        """Returns the value of a node that does not vary in time."""
        return self._values[node] if node in self._values else self._constant(node)

    def _keep(self, node: fx.Node, value: Any) -> None:
        """Takes the value of a span and puts its history before it."""
        span = self.plan.spans[node]
        if node in self._histories:
            dim, count = self.network.axis(node).dim, self.plan.history[node]
            value = torch.cat([self._histories[node], value], dim)
            self.new_histories[node] = cut(value, dim, len(span), len(span) + count)
        self._values[node] = value

    def _filled(self, node: fx.Node, span: Span, fill: Fill | None) -> Any:
        """An interval; where positions lie outside the utterance, what the layer's padding has there."""
        value = self.interval(node, span)
        if fill is None or self._ends is None:
            return value
        axis = self.network.axis(node)
        if fill.mode == "constant":
            inside = self._inside(axis, span)
            inside = inside.reshape(-1, *[1] * (len(self.network.shapes[node]) - 1 - axis.dim))
            # Not `where`: coremltools would spread both sides to the full shape first.
            return value * inside if not fill.value else torch.where(inside > 0, value, fill.value)
        first = -_positions(self._ends[0], axis) - span.lo  # of the utterance, as an index into the interval
        end = _positions(self._ends[1], axis) + axis.extra - span.lo
        index = torch.arange(len(span), dtype=torch.int32)
        if fill.mode == "replicate":
            index = torch.minimum(torch.maximum(index, first), end - 1)
        else:
            index = torch.where(index < first, 2 * first - index, index)
            index = torch.where(index >= end, 2 * (end - 1) - index, index)
        return torch.index_select(value, axis.dim, index.clamp(0, len(span) - 1))

    def _inside(self, axis: Axis, span: Span) -> Tensor:
        """1 at the positions of the utterance, 0 outside it; intervals of a rate and length are cut from one."""
        key = (axis.rate, axis.extra, span)
        if key not in self._masks:
            whole = self._reads[axis.rate]
            if span != whole:
                self._masks[key] = cut(self._inside(axis, whole), 0, span.lo - whole.lo, span.hi - whole.lo)
                return self._masks[key]
            assert self._ends is not None
            position = torch.arange(span.lo, span.hi, dtype=torch.int32)
            after_start = position >= -_positions(self._ends[0], axis)
            before_end = position < _positions(self._ends[1], axis) + axis.extra
            self._masks[key] = torch.logical_and(after_start, before_end).to(self._dtype)
        return self._masks[key]

    @functools.cached_property
    def _reads(self) -> dict[Fraction, Span]:
        """Returns for each rate what is read with padding of all its values."""
        reads: dict[Fraction, Span] = {}
        for step in self.network.steps:
            if step.node in self.plan.spans and step.fill:
                rate, read = self.network.axis(step.sources[0]).rate, self.plan.read(step)
                reads[rate] = reads[rate].union(read) if rate in reads else read
        return reads


def cut(value: Tensor, dim: int, lo: int, hi: int | None) -> Tensor:
    """The positions lo <= q < hi along an axis."""
    return value[(slice(None),) * dim + (slice(lo, hi),)]


def _positions(frames: Tensor, axis: Axis) -> Tensor:
    """Counts so many frames in the samples of an axis. Chunks start where this is a whole number."""
    scaled = frames * axis.rate.numerator
    return scaled if axis.rate.denominator == 1 else torch.div(scaled, axis.rate.denominator, rounding_mode="floor")
