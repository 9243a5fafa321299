"""Chooses the ops to keep in fp32: a choice over values and their neighbours, without executing anything.

A value is exact where the op that makes it and every op that reads it stay in fp32. Else it is rounded by its maker, or
by the cast between it and a reader, and each of the two has its price at the outputs (converters/precision/mixed.py).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import fx


@dataclass(frozen=True, eq=False)
class Value:
    """A value, and energies at the outputs, as shares of theirs. `added`: of its rounding by an op in fp16, whose
    inputs were rounded already; `cast`: of the rounding of the exact value, between an op in fp32 (or none: a weight,
    an input) and a reader in fp16."""

    producer: fx.Node | None
    readers: frozenset[fx.Node]
    added: float
    cast: float

    def energy(self, kept: set[fx.Node]) -> float:
        if self.producer is not None and self.producer not in kept:
            return self.added
        return 0.0 if self.readers <= kept else self.cast

    @functools.cached_property
    def around(self) -> frozenset[fx.Node]:
        return self.readers if self.producer is None else self.readers | {self.producer}


def fewest_ops(
    values: Sequence[Value], selectable: set[fx.Node], most: float, kept: Iterable[fx.Node] = ()
) -> set[fx.Node]:
    """Ops to keep, beside `kept`, until the energy left is at most `most`, by the values that, made exact, remove
    most per op."""
    touching: dict[fx.Node, list[Value]] = {}
    products: dict[fx.Node, Value] = {}
    for value in values:
        for op in value.around:
            touching.setdefault(op, []).append(value)
        if value.producer is not None:
            products[value.producer] = value

    def needed(value: Value) -> frozenset[fx.Node]:
        """Returns the ops that make it exact: its maker and its readers. Where these only pass it on (a reshape, a
        sign), theirs too: a cast behind them would cost what the one before them did."""
        ops, ahead = set(value.around), list(value.readers)
        while ahead:
            passed = products.get(ahead.pop())
            if passed is not None and passed.added < passed.cast / 2 and passed.readers:
                ahead += passed.readers - ops
                ops |= passed.readers
        return frozenset(ops)

    # in the program's order throughout: of equals the first is taken, and a search can be repeated
    moves = [move for move in dict.fromkeys(map(needed, values)) if move and move <= selectable]
    rank = {value: number for number, value in enumerate(values)}
    near = {move: sorted({value for op in move for value in touching[op]}, key=rank.__getitem__) for move in moves}
    concerned: dict[Value, list[frozenset[fx.Node]]] = {}
    for move, values_near in near.items():
        for value in values_near:
            concerned.setdefault(value, []).append(move)
    chosen = set(kept)

    def removed(move: frozenset[fx.Node]) -> float:
        """Energy, per op that is added."""
        grown, added = chosen | move, move - chosen
        after = [(value, value.energy(grown)) for value in near[move] if not value.around.isdisjoint(added)]
        gained = sum(value.energy(chosen) - energy for value, energy in after if energy < math.inf)
        return gained / max(1, len(added))

    gains = {move: removed(move) for move in moves if not move <= chosen}
    while sum(value.energy(chosen) for value in values) > most:
        best = max(gains, key=gains.__getitem__, default=None)
        if best is None or gains[best] <= 0:
            return set(selectable)
        changed = [value for op in best - chosen for value in touching[op]]
        chosen |= best
        for move in {move for value in changed for move in concerned.get(value, ())}:
            if move <= chosen:
                gains.pop(move, None)
            elif move in gains:
                gains[move] = removed(move)
    return chosen
