"""What a call computes of every value of a network, and what of it is carried to the next call.

A value is *kept*, its last positions carried as state, or *computed again* where an earlier call had it: longer then,
of values that are kept or of the inputs. With nothing kept that is the window form, with everything the stateful one
layer by layer; what lies between them is chosen in `ops.streaming.keeping`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from torch import Tensor, fx

from ops.streaming.network import Network, Step
from ops.streaming.span import Reach, Span


@dataclass(frozen=True)
class Plan:
    """`spans`: what is computed of each value in one call; `history`: how many positions before that are carried;
    `inputs`: what a call takes of each input, `outputs`: what it gives; `filled`: the intervals that the outputs depend
    on and that are read with padding around the utterance's ends.

    The convolutions in `padded` give as many positions as they take: those at the ends are made of zeros in the place
    of what is not there, and no output depends on them. What they are joined with needs no cutting then.
    """

    spans: Mapping[fx.Node, Span]
    history: Mapping[fx.Node, int]
    inputs: Mapping[fx.Node, Span]
    outputs: Mapping[fx.Node, Span]
    filled: Mapping[fx.Node, Span]
    padded: frozenset[fx.Node] = frozenset()

    def held(self, node: fx.Node) -> Span:
        """What there is of a value in a call: what it computes, and the history before it."""
        span = self.spans[node]
        return Span(span.lo - self.history[node], span.hi) if node in self.history else span

    def read(self, step: Step) -> Span:
        """What a step reads of its sources, the positions that padding copies from included."""
        return self.spans[step.node] if step.node in self.padded else step.reach.needs(self.spans[step.node])


class Planner:
    """Plans calls of `chunk` input frames.

    Raises ValueError for a chunk that does not fit: positions would lie between those of the chunk before.
    """

    def __init__(self, network: Network, chunk: int) -> None:
        self.network, self.chunk = network, chunk
        self.steps = needed_steps(network)
        self._counts = {step.node: self._count(step.node) for step in self.steps}
        self._pointwise = {step.node for step in self.steps if is_pointwise(step)}
        carrying = {step.node for step in self.steps if step.rule.carry}
        # Recurrent layers, and the sequences among their results: the states fit the end of one call alone.
        self._recurrent = {s.node for s in self.steps if s.node in carrying or not carrying.isdisjoint(s.sources)}
        self._ends = self._possible()

    @property
    def joins(self) -> list[fx.Node]:
        """The values that are made of several."""
        return [step.node for step in self.steps if len(set(step.sources)) > 1]

    def window(self) -> Plan:
        """Plans a call from the outputs back to the inputs: the union of what each consumer needs. Keeps nothing."""
        outputs = {node: Span(0, self._count(node)) for node in self.network.outputs}
        return self._planned(outputs, frozenset(), {})

    def kept(
        self, kept: Collection[fx.Node], early: Collection[fx.Node] = (), padded: Collection[fx.Node] = ()
    ) -> Plan:
        """Plans from the inputs on what a new chunk makes possible, and from the outputs back what they need.

        A kept value that is needed later only is computed later: what it is made of is carried then, which several may
        share. One in `early` is computed at once. `padded`: the convolutions that may be (see `Plan`).
        """
        outputs = {node: Span(self._ends[node] - self._count(node), self._ends[node]) for node in self.network.outputs}
        at = {node: self._ends[node] for node in (*self._recurrent, *early)}
        single = {node for node in kept if isinstance(node.meta.get("val"), Tensor)}  # not the parts of a split
        plan = self._planned(outputs, self._recurrent | single, at)
        return self._widened(replace(plan, padded=frozenset(padded)))

    def _possible(self) -> dict[fx.Node, int]:
        """The end of what can be computed of each value as soon as a chunk is there."""
        network = self.network
        ends = {network.placeholders[i.name]: self.chunk * i.rate for i in network.inputs if i.axis is not None}
        for step in self.steps:
            count = self._counts[step.node]
            hi = min(count, *(step.reach.gives(ends[source]) for source in step.sources))
            if step.rule.carry:  # a call lies before the utterance's start as a whole, or not at all
                hi = hi // count * count
            ends[step.node] = hi
        return ends

    def _count(self, node: fx.Node) -> int:
        return self.network.axis(node).per_chunk(self.chunk)

    def _planned(self, outputs: Mapping[fx.Node, Span], kept: Collection[fx.Node], at: Mapping[fx.Node, int]) -> Plan:
        spans: dict[fx.Node, Span] = {}
        history: dict[fx.Node, int] = {}
        filled: dict[fx.Node, Span] = {}
        needs: dict[fx.Node, Span] = dict(outputs)
        for step in reversed(self.steps):
            node, span = step.node, needs[step.node]
            if node in kept:
                hi = at.get(node, span.hi)
                spans[node] = Span(hi - self._counts[node], hi)
                history[node] = spans[node].lo - span.lo
            else:
                spans[node] = span
            needed = step.reach.needs(spans[node])
            for source in step.sources:
                needs[source] = needs[source].union(needed) if source in needs else needed
                if step.fill:
                    filled[source] = filled[source].union(needed) if source in filled else needed
        inputs = {}
        for item in self.network.inputs:
            node = self.network.placeholders[item.name]
            if node in needs and node in kept:
                inputs[node] = spans[node] = Span(0, self.chunk * item.rate)
                history[node] = -needs[node].lo
            elif node in needs:
                inputs[node] = spans[node] = needs[node]
        history = {node: count for node, count in history.items() if count > 0}
        return Plan(spans, history, inputs, outputs, filled)

    def _widened(self, plan: Plan) -> Plan:
        """Computes more where that spares cutting: pointwise operations all that there is of what they read, the padded
        convolutions as many positions as they take."""
        spans, padded = dict(plan.spans), set()
        wide = replace(plan, spans=spans)
        for step in self.steps:
            node, (source, *others) = step.node, step.sources
            there = wide.held(source)
            if node in plan.history or step.rule.carry or not there.covers(spans[node]):
                continue
            if any(wide.held(other) != there for other in others):
                continue
            if node in self._pointwise:
                spans[node] = there
            elif node in plan.padded:
                spans[node] = there
                padded.add(node)
        return replace(wide, padded=frozenset(padded))


def is_pointwise(step: Step) -> bool:
    """Whether position q of the result is made of position q of what is read, and of nothing else."""
    rule = step.rule
    return step.reach == Reach() and rule.fill is None and rule.grid is None and rule.shift is None


def can_be_padded(step: Step) -> bool:
    """Whether a step has a form that gives as many positions as it takes, each where it is."""
    rule = step.rule
    is_centred = rule.reach.first == -rule.reach.last and rule.reach == step.reach
    return rule.same is not None and is_centred and (step.fill is None or step.fill.mode == "constant")


def needed_steps(network: Network) -> list[Step]:
    """The steps that an output follows from, in order."""
    nodes, steps = set(network.outputs), []
    for step in reversed(network.steps):
        if step.node in nodes:
            steps.append(step)
            nodes.update(step.sources)
    return steps[::-1]
