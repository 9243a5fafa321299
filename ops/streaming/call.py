"""Computes one call of a streamed network: a chunk's values, each in the interval that the plan says."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

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
        self._masked: dict[tuple[fx.Node, float], Tensor] = {}  # what `_outside` has, with its constants in place
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
            whole = self._outside[node, fill.value]
            if (node, fill.value) not in self._masked:
                self._masked[node, fill.value] = self._with_constant(node, whole, fill.value)
            value = self._masked[node, fill.value]
            return value if span == whole else cut(value, axis.dim, span.lo - whole.lo, span.hi - whole.lo)
        first = -_positions(self._ends[0], axis) - span.lo  # of the utterance, as an index into the interval
        end = _positions(self._ends[1], axis) + axis.extra - span.lo
        index = torch.arange(len(span), dtype=torch.int32)
        if fill.mode == "replicate":
            index = torch.minimum(torch.maximum(index, first), end - 1)
        else:
            index = torch.where(index < first, 2 * first - index, index)
            index = torch.where(index >= end, 2 * (end - 1) - index, index)
        return torch.index_select(value, axis.dim, index.clamp(0, len(span) - 1))

    def _with_constant(self, node: fx.Node, span: Span, constant: float) -> Tensor:
        """An interval with a constant at its positions outside the utterance."""
        axis, value = self.network.axis(node), self.interval(node, span)
        inside = self._insides[_Mask(axis.rate, axis.extra, span)]
        inside = inside.reshape(-1, *[1] * (len(self.network.shapes[node]) - 1 - axis.dim))
        # Not `where`: coremltools would spread both sides to the full shape first.
        return value * inside if not constant else torch.where(inside > 0, value, constant)

    @functools.cached_property
    def _outside(self) -> dict[tuple[fx.Node, float], Span]:
        """Returns what of a value is read with a constant outside the utterance, by all its readers together."""
        spans: dict[tuple[fx.Node, float], Span] = {}
        for step in self.network.steps:
            if step.node not in self.plan.spans or step.fill is None or step.fill.mode != "constant":
                continue
            for source in step.reads.values():
                key, read = (source, step.fill.value), self.plan.read(step)
                spans[key] = spans[key].union(read) if key in spans else read
        return spans

    @functools.cached_property
    def _insides(self) -> dict[_Mask, Tensor]:
        """Returns 1 at the positions of the utterance, 0 outside it, for all that `_outside` has.

        On a phone each operation costs a dispatch, so all are read at once from a short table, and split. A position p
        of rate n / d is inside from floor(n before / d) before the chunk on, and before floor(n after / d) + extra: for
        whole numbers that is -floor(d p / n) <= before and ceil(d (p - extra + 1) / n) <= after, two numbers of frames
        that most positions share with others.
        """
        assert self._ends is not None
        axes = {node: self.network.axis(node) for node, _ in self._outside}
        masks = list(
            dict.fromkeys(_Mask(axes[node].rate, axes[node].extra, span) for (node, _), span in self._outside.items())
        )
        rows: dict[tuple[int, int], int] = {}
        places = [
            rows.setdefault((-math.floor(p / mask.rate), math.ceil((p - mask.extra + 1) / mask.rate)), len(rows))
            for mask in masks
            for p in range(mask.span.lo, mask.span.hi)
        ]
        before, after = (torch.tensor(frames, dtype=torch.int32) for frames in zip(*rows))
        table = torch.logical_and(before <= self._ends[0], after <= self._ends[1]).to(self._dtype)
        inside = table.index_select(0, torch.tensor(places, dtype=torch.int32))
        return dict(zip(masks, inside.split([len(mask.span) for mask in masks])))


class _Mask(NamedTuple):
    """Whose positions inside the utterance are marked: those of an interval of an axis."""

    rate: Fraction
    extra: int
    span: Span


def cut(value: Tensor, dim: int, lo: int, hi: int | None) -> Tensor:
    """The positions lo <= q < hi along an axis."""
    return value[(slice(None),) * dim + (slice(lo, hi),)]


def _positions(frames: Tensor, axis: Axis) -> Tensor:
    """Counts so many frames in the samples of an axis. Chunks start where this is a whole number."""
    scaled = frames * axis.rate.numerator
    return scaled if axis.rate.denominator == 1 else torch.div(scaled, axis.rate.denominator, rounding_mode="floor")
