"""What small errors inside a program do to its outputs, to first order.

An error d of a value moves the outputs by J d, J the Jacobian of the outputs by that value. With random directions v of
the outputs, unit variance in every sample, the mean of (v' J d)^2 is |J d|^2 (Hutchinson, 1990): a few backward passes
rank every value of a program at once.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

DIRECTIONS = 8  # the estimate of |J d|^2 scatters by sqrt(2 / 8), some 2 dB; with three inputs, by half of it


class Exact(fx.Interpreter):
    """Runs a graph of graph.py in float32 without rounding anything, and keeps every value, for gradients too.

    `values`: of each node that is a floating-point tensor or a tuple of them, constants among them.
    """

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph, garbage_collect_values=False)
        self.values: dict[fx.Node, tuple[Tensor, ...]] = {}
        self.outputs: tuple[Tensor, ...] = ()

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.op == "output":
            self.outputs = tuple(floats(value))
            return value
        if n.target is operator.getitem or not _has_floats(value):
            return value
        items = value if isinstance(value, tuple) else (value,)
        tracked = tuple(_tracked(item) for item in items)
        self.values[n] = tuple(floats(tracked))
        return tracked if isinstance(value, tuple) else tracked[0]


def effects(
    exact: Exact, *errors: Mapping[fx.Node, Sequence[Tensor]], directions: int = DIRECTIONS, seed: int = 0
) -> tuple[dict[fx.Node, float], ...]:
    """Returns for each set of errors: value -> energy that its error has in the outputs, as a share of theirs. A share
    of 0.01 is an SNR of 20 dB were it the only one; several outputs count alike. errors: of a value's tensors, in their
    shapes."""
    nodes = list(dict.fromkeys(node for error_set in errors for node in error_set))
    flat = [item for node in nodes for item in exact.values[node]]
    energies: tuple[dict[fx.Node, float], ...] = tuple(dict.fromkeys(error_set, 0.0) for error_set in errors)
    generator = torch.Generator().manual_seed(seed)
    reached = [output for output in exact.outputs if output.requires_grad]
    for _ in range(directions if reached else 0):
        total = random_projection(reached, generator)
        gradients = iter(torch.autograd.grad(total, flat, retain_graph=True, allow_unused=True))
        for node in nodes:
            node_gradients = [next(gradients) for _ in exact.values[node]]
            for error_set, sums in zip(errors, energies):
                if node in error_set:
                    sums[node] += _moved(node_gradients, error_set[node]) ** 2 / directions
    return energies


def random_projection(outputs: Sequence[Tensor], generator: torch.Generator) -> Tensor:
    """Projects outputs onto a random direction, each as a share of its own energy: this is what is differentiated."""
    total = torch.zeros(())
    for output in outputs:
        scale = output.detach().double().square().sum().clamp_min(1e-30).sqrt().float()
        total = total + (output * torch.randn(output.shape, generator=generator)).sum() / scale
    return total / len(outputs) ** 0.5


def _moved(gradients: Sequence[Tensor | None], errors: Sequence[Tensor]) -> float:
    pairs = zip(gradients, errors, strict=True)
    return sum(float(torch.dot(slope.reshape(-1), error.reshape(-1))) for slope, error in pairs if slope is not None)


def agreement_db(references: Sequence[Sequence[Tensor]], outputs: Sequence[Sequence[Tensor]]) -> float:
    """SNR of a program's outputs over several cases, as `effects` counts: each output of each case alike. -inf where
    one is not finite, or of another length because the program computes it."""
    shares = [
        _share(*pair)
        for reference, output in zip(references, outputs, strict=True)
        for pair in zip(reference, output, strict=True)
    ]
    return decibels(len(shares), sum(shares))


def energy_between(reference: Tensor, output: Tensor) -> float:
    """Returns the energy of the difference; inf where the lengths differ or it is not finite."""
    if reference.shape != output.shape:
        return math.inf
    energy = float((reference.double() - output.double()).square().sum())
    return energy if math.isfinite(energy) else math.inf


def decibels(signal: float, noise: float) -> float:
    """10 log10(signal / noise): inf without noise, -inf with an infinite one, or without a signal."""
    if noise == 0:
        return math.inf
    if signal == 0 or math.isinf(noise):
        return -math.inf
    return 10 * math.log10(signal / noise)


def floats(values: Iterable[Any]) -> list[Tensor]:
    """The floating-point tensors among values."""
    return [value for value in values if is_float(value)]


def is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _share(reference: Tensor, output: Tensor) -> float:
    """Energy of the error over that of the reference."""
    return energy_between(reference, output) / max(float(reference.double().square().sum()), 1e-30)


def run_exact(graph: fx.GraphModule, inputs: Sequence[Tensor]) -> Exact:
    interpreter = Exact(graph)
    with torch.enable_grad():
        interpreter.run(*inputs)
    return interpreter


def _has_floats(value: Any) -> bool:
    return any(map(is_float, value)) if isinstance(value, tuple) else is_float(value)


def _tracked(value: Any) -> Any:
    """The value where it depends on one that is tracked, else a leaf of its own."""
    return value if not is_float(value) or value.requires_grad else value.detach().requires_grad_()
