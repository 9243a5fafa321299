"""Where a stateful form keeps state: after every layer, before every stage, or wherever a call takes the least time.

A value is kept at the price of operations that move it (read out of the state, joined with what is new, its end put
back), or computed again at the price of arithmetic: the halo that its readers need before the chunk. Which is less
depends on rate and width: HiFi-GAN's last stage has 1,024 positions in four frames, and 120 more of them are little;
its first has 32. `Price` says what arithmetic, bytes and operations cost an engine.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal, get_args

import torch
from torch import fx

from ops.streaming.network import Network, Step
from ops.streaming.plan import Plan, Planner, can_be_padded, is_pointwise
from ops.streaming.span import Span

Keep = Literal["auto", "layer", "stage"]
KEEPS = get_args(Keep)

_ROUNDS = 4  # of trying every change once; fewer where none makes a call cheaper


@dataclass(frozen=True)
class Work:
    """What a call does away from the utterance's ends: multiply-adds, bytes read and written by its operations without
    their weights, and operations."""

    multiply_adds: float
    bytes: float
    operations: int


@dataclass(frozen=True)
class Price:
    """Nanoseconds that an engine takes for a multiply-add, a byte and an operation."""

    multiply_add: float
    byte: float
    operation: float

    def of(self, work: Work) -> float:
        """The nanoseconds of a call."""
        return work.multiply_adds * self.multiply_add + work.bytes * self.byte + work.operations * self.operation


# By engine, of eight plans of HiFi-GAN V1 and of the bundled vocoder in chunks of four frames; each at its dearest, of
# one thread (0.0231, 0.113, 2533: means of three runs, within 2.4 % of every call) and of two (0.0140, 0.071, 8859: of
# two runs, within 10.4 %), which wait for each other at the end of every operation. ONNX Runtime 1.32, two cores of an
# AMD EPYC. With an operation at 1418 or at 8859 plans of V1 take the same time, as near as it can be measured with
# either number of threads; the latter has 20 operations fewer, and a phone pays for each.
PRICES = {"onnx": Price(0.0231, 0.113, 8859.0)}


def planned(network: Network, chunk: int, keep: Keep, price: Price = PRICES["onnx"]) -> Plan:
    """The plan of a stateful form. `auto`: the cheapest that is found by changing one value or one stage after another.

    Raises ValueError for a chunk that does not fit.
    """
    planner = Planner(network, chunk)
    if keep == "stage":
        return planner.kept(_between_stages(planner))
    nodes = [*network.placeholders.values(), *(step.node for step in planner.steps)]
    layers = planner.kept(nodes, early=planner.joins)
    return layers if keep == "layer" else _Search(planner, price).cheapest(layers)


@dataclass(frozen=True)
class _Choice:
    kept: frozenset[fx.Node]
    early: frozenset[fx.Node] = frozenset()
    padded: frozenset[fx.Node] = frozenset()

    def toggled(self, name: str, nodes: Collection[fx.Node]) -> _Choice:
        """Takes nodes out of a set, or puts them in where not all of them are there."""
        old = getattr(self, name)
        changed = old - set(nodes) if old.issuperset(nodes) else old | set(nodes)
        return replace(self, **{name: changed})


class _Search:
    """Looks for the cheapest plan of a network."""

    def __init__(self, planner: Planner, price: Price) -> None:
        self.planner, self.price, self.counting = planner, price, Counting(planner)
        self._costs: dict[_Choice, float] = {}

    def cheapest(self, otherwise: Plan) -> Plan:
        """The cheapest plan that is reached from the cheapest of four simple ones, or another if that is cheaper."""
        planner = self.planner
        candidates = [step.node for step in planner.steps if _is_worth_keeping(step)]
        several = _read_by_several(planner.steps).intersection(candidates)
        starts = [_Choice(frozenset(kept)) for kept in (candidates, several, _between_stages(planner))]
        starts.append(_Choice(frozenset(candidates), early=frozenset(planner.joins)))
        choice = min(starts, key=self._cost)
        moves = self._moves(candidates)
        for _ in range(_ROUNDS):
            before = choice
            for name, nodes in moves:
                choice = min(choice, choice.toggled(name, nodes), key=self._cost)
            if choice == before:
                break
        return min(self._plan(choice), otherwise, key=lambda plan: self.price.of(self.counting.work(plan)))

    def _moves(self, candidates: Sequence[fx.Node]) -> list[tuple[str, list[fx.Node]]]:
        """What may be changed at once: whole stages first, then value by value."""
        stages = groupby(self.planner.steps, lambda step: self.planner.network.axis(step.node).rate)
        moves = []
        for stage in [list(group) for _, group in stages]:
            nodes = {step.node for step in stage}
            moves.append(("padded", [step.node for step in stage if can_be_padded(step)]))
            moves.append(("kept", [node for node in candidates if node in nodes]))
        moves += [("kept", [node]) for node in reversed(candidates)]
        moves += [("early", [node]) for node in self.planner.joins]
        return [(name, nodes) for name, nodes in moves if nodes]

    def _plan(self, choice: _Choice) -> Plan:
        return self.planner.kept(choice.kept, choice.early, choice.padded)

    def _cost(self, choice: _Choice) -> float:
        if choice not in self._costs:
            self._costs[choice] = self.price.of(self.counting.work(self._plan(choice)))
        return self._costs[choice]


def _is_worth_keeping(step: Step) -> bool:
    """Whether a value is more than a pointwise result of one other, which is computed again for almost nothing."""
    is_tensor = isinstance(step.node.meta.get("val"), torch.Tensor)
    return is_tensor and (len(set(step.sources)) > 1 or not is_pointwise(step))


def _read_by_several(steps: list[Step]) -> set[fx.Node]:
    readers: dict[fx.Node, int] = {}
    for step in steps:
        for source in set(step.sources):
            readers[source] = readers.get(source, 0) + 1
    return {node for node, count in readers.items() if count > 1}


def _between_stages(planner: Planner) -> set[fx.Node]:
    """What a change of rate is made of, or further back what that is a pointwise result of."""
    network, made_by = planner.network, {step.node: step for step in planner.steps}
    found = set()
    for step in planner.steps:
        for source in step.sources:
            if network.axis(source).rate != network.axis(step.node).rate:
                while source in made_by and not _is_worth_keeping(made_by[source]):
                    (source, *_) = made_by[source].sources
                if source in made_by:
                    found.add(source)
    return found


def work_of(network: Network, chunk: int, plan: Plan) -> Work:
    """What a call of a plan does."""
    return Counting(Planner(network, chunk)).work(plan)


class Counting:
    """Counts the work of plans of one network without computing them."""

    def __init__(self, planner: Planner) -> None:
        network, steps = planner.network, planner.steps
        self.network, self.steps = network, steps
        self._size = {node: _size(network, node) for node in _values(steps)}
        self._adds = {step.node: _multiply_adds(network, step) for step in steps}

    def work(self, plan: Plan) -> Work:
        adds, moved, operations = 0.0, 0.0, 0
        cuts: set[tuple[fx.Node, Span]] = set()
        for step in self.steps:
            out, read = plan.spans[step.node], plan.read(step)
            size = self._size[step.node]
            adds += self._adds[step.node] * len(out)
            moved += size * len(out) * (4 if step.rule.stored else 1)
            operations += 4 if step.rule.stored else 1
            for source in dict.fromkeys(step.sources):
                moved += self._size[source] * len(read)
                if plan.held(source) != read and (source, read) not in cuts:
                    cuts.add((source, read))
                    moved += 2 * self._size[source] * len(read)
                    operations += 1
            if step.rule.grid is not None and step.rule.grid[0] * read.lo - step.rule.grid[1] != out.lo:
                moved += 2 * size * len(out)
                operations += 1
        shapes = set()
        for node, count in plan.history.items():
            size = self._size.get(node) or _size(self.network, node)
            moved += 2 * size * (len(plan.held(node)) + 3 * count)
            operations += 2
            shapes.add((size, self.network.axis(node).rate if node not in self._size else 0))
        return Work(adds, 4 * moved, operations + 2 * len(shapes))


def _values(steps: Iterable[Step]) -> set[fx.Node]:
    return {node for step in steps for node in (step.node, *step.sources)}


def _size(network: Network, node: fx.Node) -> int:
    """Elements of a position."""
    shape, dim = network.shapes[node], network.axis(node).dim
    return math.prod(size for index, size in enumerate(shape) if index != dim)


def _multiply_adds(network: Network, step: Step) -> float:
    """Multiply-adds of a position of the result: of every element of it, the weights that it is made with."""
    weights = [
        network.shapes[node]
        for node in step.node.all_input_nodes
        if network.axes[node] is None and len(network.shapes.get(node, ())) > 1
    ]
    if not weights:
        return 0.0
    if step.rule.reach.up > 1:  # transposed: (in, out, kernel), each input position with all of it
        return sum(map(math.prod, weights)) / step.rule.reach.up
    return sum(math.prod(shape) * _size(network, step.node) / shape[0] for shape in weights)
