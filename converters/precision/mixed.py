"""Mixed precision: the fewest ops in fp32 that bring an fp16 program as close to float32 as it is asked to be.

coremltools casts the inputs of every op that it is told to, and its outputs back. So a value is exact only where the op
that makes it *and* every op that reads it stay in fp32: what counts is not an op but a value with its neighbours. The
search runs on the program converted once with no op in fp16:

1. each value's rounding error is carried to the outputs to first order (runtime/rounding/effects.py);
2. values are made exact by the best ratio of error removed to ops added, until what is left meets the budget
   (converters/precision/choice.py);
3. that choice is *simulated*, exactly as the casts would round, and 2 repeated until the simulation meets it too;
4. ops without which it still does are put back into fp16, and the choice is converted and executed.

Simulations are kept in the cache: a search that was broken off goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import tempfile
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from converters.options import PrecisionOptions
from converters.precision.choice import Value, fewest_ops
from converters.precision.compression import digest
from runtime.bundle.store import MixedRecord
from runtime.engines.inspect import fingerprint
from runtime.engines.mil import MilEngine
from runtime.machine.cache import cache_folder
from runtime.machine.coreml_tools import coremltools
from runtime.machine.files import write_json
from runtime.mil.package import open_package
from runtime.rounding.effects import agreement_db, effects, floats, is_float, run_exact

LEAST_DB = 40.0  # wanted even where fp16 alone gives next to nothing
_TIGHTENINGS, _PUT_BACK = 12, 24  # simulations at most, of steps 3 and 4
_LARGE = 2048  # elements of a tensor that matters on disk


@dataclass(frozen=True)
class Kept:
    """The parts that stay in fp32: ops by the names of their outputs, large weights by their `digest`."""

    ops: frozenset[str] = frozenset()
    weights: frozenset[str] = frozenset()


def search(
    convert: Callable[[Any], Any],
    cases: Sequence[Mapping[str, np.ndarray]],
    precision: PrecisionOptions,
    shared: Kept | None = None,
) -> tuple[Any, MixedRecord, Kept]:
    """The converted program, what was found, and what stays in fp32. At most `precision.conversions` conversions, of
    which the last counts, reached or not.

    convert: of a coremltools precision, gives the `MLModel`; cases: real inputs; shared: what stays in fp32 in another
    function over the same weights: the same ops do here if that will do, and else no other weights, which would be
    stored twice.
    """
    with tempfile.TemporaryDirectory(prefix="voxport-mixed-") as folder:
        selectable: set[str] = set()
        exact = _saved(convert(_selection(_Everything(), selectable)), Path(folder, "fp32.mlpackage"))
        trial = _Trial(exact, cases, selectable, shared or Kept())
        fp16_db = trial.snr_db(frozenset())
        budget_db = max(fp16_db + precision.gain_db if math.isfinite(fp16_db) else -math.inf, LEAST_DB)
        wanted_db = budget_db
        for conversions in range(2, precision.conversions + 1):
            kept = trial.choose(wanted_db)
            program = convert(_selection(kept))
            path = _saved(program, Path(folder, f"mixed{conversions}.mlpackage"))
            reached_db = trial.measured_db(path)
            if reached_db >= budget_db or len(kept) == len(trial.ops):
                break
            wanted_db += max(0.5, min(budget_db - reached_db, 20.0))
    record = MixedRecord(
        kept=dict.fromkeys(sorted(kept), ""),
        ops=len(trial.ops),
        fp16_db=max(fp16_db, -LEAST_DB),
        budget_db=budget_db,
        reached_db=max(reached_db, -LEAST_DB),
        conversions=conversions,
        simulations=trial.simulations,
    )
    return program, record, Kept(kept, trial.weights_of(kept))


def mil_name(name: str) -> str:
    """Writes the name of a TorchScript value as coremltools does in a program."""
    cleaned = re.sub(r"[^a-zA-Z0-9_]", "_", name)
    return f"var_{cleaned}" if cleaned[:1].isdigit() else cleaned


def _selection(kept: Container[str], seen: set[str] | None = None) -> Any:
    """coremltools' transform that casts all ops but those kept; notes in `seen` those that it may cast."""

    def is_cast(op: Any) -> bool:
        if op.op_type == "const" or not op.outputs:
            return False  # a constant is cast where it is read
        name = mil_name(op.outputs[0].name)
        if seen is not None:
            seen.add(name)
        return name not in kept

    return coremltools().transform.FP16ComputePrecision(op_selector=is_cast)


class _Everything:
    def __contains__(self, name: object) -> bool:
        return True


def _saved(program: Any, path: Path) -> Path:
    program.save(str(path))
    return path


class _Trial:
    """Choices of ops, judged on one program in float32 and one set of real inputs."""

    def __init__(
        self,
        path: Path,
        cases: Sequence[Mapping[str, np.ndarray]],
        selectable: set[str],
        shared: Kept,
    ) -> None:
        engine = MilEngine(path)
        self.graph, self.inputs = engine.graph, cases
        self.cases = [engine.tensors(case, engine.new_state()) for case in cases]
        self.castable = _castable(engine, path)
        named = {node: node.meta["mil"].outputs[0] for node in self.castable}
        self.ops = {node: name for node, name in named.items() if name in selectable}
        with torch.inference_mode():
            self.references = [_outputs(fx.Interpreter(self.graph), tensors) for tensors in self.cases]
        self.memory = _Memory(fingerprint(path), cases)
        self.simulations = 0
        self.weights = {node: self._weights(node) for node in self.ops}
        self.shared_ops: set[fx.Node] = set()  # that stay in fp32 in another function over the same weights
        self.closed: set[fx.Node] = set()  # that do not
        self.shared = shared
        if shared.ops:
            self.shared_ops = {node for node, weights in self.weights.items() if weights & shared.weights}
            self.closed = {node for node, weights in self.weights.items() if weights} - self.shared_ops
        self._values: list[Value] = []

    def snr_db(self, kept: frozenset[str]) -> float:
        """Returns the SNR with these ops in fp32, as the casts would round, over all cases and outputs alike."""
        known = self.memory.get(kept)
        if known is not None:
            return known
        self.simulations += 1
        simulation = _Simulation(self.graph, self._cast_but(kept))
        with torch.inference_mode():
            snr = agreement_db(self.references, [_outputs(simulation, tensors) for tensors in self.cases])
        self.memory.put(kept, snr)
        return snr

    def measured_db(self, path: Path) -> float:
        """The same of an artefact."""
        engine = MilEngine(path)
        results = [floats(map(torch.from_numpy, engine.run(case).values())) for case in self.inputs]
        return agreement_db(self.references, results)

    def weights_of(self, kept: Container[str]) -> frozenset[str]:
        return frozenset(one for node, name in self.ops.items() if name in kept for one in self.weights[node])

    def _weights(self, node: fx.Node) -> frozenset[str]:
        """`digest` of the large tensors that an op reads."""
        tensors = [getattr(self.graph, str(one.target)) for one in node.all_input_nodes if one.op == "get_attr"]
        large = [one for one in tensors if isinstance(one, Tensor) and one.numel() >= _LARGE]
        return frozenset(digest(one.numpy()) for one in large)

    def choose(self, wanted_db: float) -> frozenset[str]:
        """The ops to keep so that the simulation gives what is wanted, as few as can be."""
        if self.shared.ops and self.shared.ops <= set(self.ops.values()) and self.snr_db(self.shared.ops) >= wanted_db:
            return self.shared.ops
        kept = self._chosen(wanted_db, set(self.ops) - self.closed)
        if self.closed and self.snr_db(kept) < wanted_db:
            kept = self._chosen(wanted_db, set(self.ops))
        return self._put_back(kept, wanted_db)

    def _chosen(self, wanted_db: float, selectable: set[fx.Node]) -> frozenset[str]:
        values, model_db = self._valued(), wanted_db
        kept: frozenset[str] = frozenset()
        for _ in range(_TIGHTENINGS):
            chosen = fewest_ops(values, selectable, 10 ** (-model_db / 10), self.shared_ops)
            kept = frozenset(self.ops[node] for node in chosen)
            reached = self.snr_db(kept)
            if reached >= wanted_db or len(chosen) == len(selectable):
                break
            model_db += max(0.3, min(wanted_db - reached, 6.0))
        return kept

    def _put_back(self, kept: frozenset[str], wanted_db: float) -> frozenset[str]:
        """Without the ops that are not needed, the least useful first; half of those left at once while that holds."""
        values = self._valued()
        nodes = {name: node for node, name in self.ops.items()}
        chosen = {nodes[name] for name in kept}
        free = [name for name in kept if nodes[name] not in self.shared_ops]
        loss = {name: sum(value.energy(chosen - {nodes[name]}) for value in values) for name in free}
        order = sorted(free, key=lambda name: (loss[name], name))
        size, left = max(1, len(order) // 2), _PUT_BACK
        while order and left:
            batch, left = order[:size], left - 1
            if self.snr_db(kept - set(batch)) >= wanted_db:
                kept, order = kept - set(batch), order[size:]
                size = max(1, min(size, len(order) // 2))
            elif size == 1:
                order = order[1:]
            else:
                size //= 2
        return kept

    def _cast_but(self, kept: frozenset[str]) -> set[fx.Node]:
        return {node for node in self.castable if self.ops.get(node, "") not in kept}

    def _valued(self) -> list[Value]:
        """Returns every value that fp16 rounds, with what that costs."""
        if self._values:
            return self._values
        energies: dict[fx.Node, tuple[float, float]] = {}
        for tensors in self.cases:
            for node, energy in self._energies(tensors).items():
                before = energies.get(node, (0.0, 0.0))
                energies[node] = (before[0] + energy[0] / len(self.cases), before[1] + energy[1] / len(self.cases))
        for node, (added, cast) in energies.items():
            producer = node if node in self.castable else None
            readers = frozenset(one for one in _readers(node) if one in self.castable)
            if (added and producer) or (cast and readers):
                self._values.append(Value(producer, readers, added, cast))
        return self._values

    def _energies(self, tensors: Sequence[Tensor]) -> dict[fx.Node, tuple[float, float]]:
        """Returns for each value the `added` and `cast` of a `Value`."""
        exact = run_exact(self.graph, tensors)
        simulation = _Simulation(self.graph, self.castable)
        with torch.inference_mode():
            simulation.run(*tensors)
        added: dict[fx.Node, list[Tensor]] = {}
        cast: dict[fx.Node, list[Tensor]] = {}
        overflows = set()
        for node, items in exact.values.items():
            originals = [item.detach() for item in items]
            lost = [_half(item) - item for item in originals]
            if any(bool((item.isfinite() & ~error.isfinite()).any()) for item, error in zip(originals, lost)):
                overflows.add(node)
            cast[node] = [error.nan_to_num(0.0, 0.0, 0.0) for error in lost]
            if node in self.castable:  # where its inputs overflowed, the rounding of the exact value stands in
                pairs = zip(simulation.errors[node], cast[node])
                added[node] = [torch.where(one.isfinite(), one, other) for one, other in pairs]
        by_op, by_cast = effects(exact, added, cast)
        energies = {node: (by_op.get(node, 0.0), energy) for node, energy in by_cast.items()}
        return energies | dict.fromkeys(overflows, (math.inf, math.inf))


class _Simulation(fx.Interpreter):
    """The program in float32 but for ops whose inputs and outputs are rounded to half precision."""

    def __init__(self, graph: fx.GraphModule, cast: set[fx.Node]) -> None:
        super().__init__(graph)
        self.cast = cast
        self.errors: dict[fx.Node, list[Tensor]] = {}

    def run_node(self, n: fx.Node) -> Any:
        if n not in self.cast:
            return super().run_node(n)
        arguments: Any = fx.node.map_aggregate(self.map_nodes_to_values(n.kwargs, n), _rounded)
        value = n.target(**arguments)  # type: ignore[operator]  # of a call_function
        output = tuple(map(_rounded, value)) if isinstance(value, tuple) else _rounded(value)
        pairs = zip(value, output) if isinstance(value, tuple) else ((value, output),)
        self.errors[n] = [after - before for before, after in pairs if is_float(before)]
        return output


def _castable(engine: MilEngine, path: Path) -> set[fx.Node]:
    """Nodes of the ops that coremltools may cast, of those that have to do with floating point."""
    package = open_package(path)
    check = coremltools().transform.FP16ComputePrecision()
    valid = {
        op.outputs[0].name
        for op in package.program.functions[package.function].operations
        if op.outputs and op.op_type != "const" and check.is_valid_op(op)
    }
    nodes = {node for node in engine.graph.graph.nodes if node.op == "call_function" and "mil" in node.meta}
    return {node for node in nodes if node.meta["mil"].outputs[0] in valid}


def _readers(node: fx.Node) -> list[fx.Node]:
    readers = []
    for user in node.users:
        readers += [user] if "mil" in user.meta else _readers(user) if user.op == "call_function" else []
    return readers


def _rounded(value: Any) -> Any:
    return _half(value) if is_float(value) else value


def _half(value: Tensor) -> Tensor:
    return value.half().float()


def _outputs(interpreter: fx.Interpreter, tensors: Sequence[Tensor]) -> list[Tensor]:
    return floats(interpreter.run(*tensors))


class _Memory:
    """Simulations of one program on one set of inputs, in the cache."""

    def __init__(self, program: str, cases: Sequence[Mapping[str, np.ndarray]]) -> None:
        key = hashlib.sha256(program.encode())
        for case in cases:
            for name in sorted(case):
                key.update(name.encode() + case[name].tobytes())
        self.path = cache_folder() / "mixed" / f"{key.hexdigest()[:32]}.json"
        try:
            self.known: dict[str, float] = {
                key: float(value) for key, value in json.loads(self.path.read_text()).items()
            }
        except (OSError, ValueError, AttributeError):
            self.known = {}

    def get(self, kept: frozenset[str]) -> float | None:
        return self.known.get(_key(kept))

    def put(self, kept: frozenset[str], snr_db: float) -> None:
        self.known[_key(kept)] = snr_db
        write_json(self.path, self.known)


def _key(kept: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(kept)).encode()).hexdigest()[:32]
