"""Where a program loses precision: each op on real inputs, against the same program computed in float32.

Of an op are told: *local*, what rounding its output to the declared type does, given the inputs that it really gets;
*accumulated*, how far its output is from the exact one after everything before it was rounded too; its *range*, from
overflow down to what is lost as zero; and *effect*, what its local error alone would do to the outputs (effects.py), by
which ops are sorted. Weights are taken as the artefact has them: what rounding these cost is not seen here.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from runtime.bundle.store import MODULES, Bundle, ComponentRecord
from runtime.engines.mil import MilEngine
from runtime.mil.faithful import Faithful
from runtime.mil.graph import MilOp
from runtime.rounding.cases import function_of, horizon_of, real_inputs
from runtime.rounding.effects import Exact, agreement_db, decibels, effects, energy_between, floats, run_exact
from runtime.rounding.record import SCHEMA_VERSION, Audit, OpAudit, ProgramAudit

MOST_CASES = 3


def audit_bundle(bundle: Bundle) -> Audit:
    """Audits every component of a bundle on its goldens. Raises ArtefactError where one is no ML program."""
    programs = []
    for record in bundle.manifest.components:
        function = function_of(record)
        engine = MilEngine(bundle.artefact(record), function=function)
        cases = [_tensors(engine, case.inputs, record) for case in bundle.goldens(record)[:MOST_CASES]]
        modules = _modules(bundle, record, function or "main")
        programs.append(_audited(engine, record.name, function or "", cases, modules))
    return Audit(SCHEMA_VERSION, bundle.manifest.name, bundle.manifest.key, tuple(programs))


def audit_package(path: Path, inputs: Mapping[str, np.ndarray], function: str | None = None) -> Audit:
    """Audits a bare `.mlpackage` on inputs by name. Raises ArtefactError, and InputError for inputs that do not fit."""
    engine = MilEngine(path, function=function)
    cases = [engine.tensors(inputs, engine.new_state())]
    return Audit(SCHEMA_VERSION, path.name, "", (_audited(engine, path.stem, function or "", cases, {}),))


def _tensors(engine: MilEngine, golden: Mapping[str, np.ndarray], record: ComponentRecord) -> list[Tensor]:
    """A golden's inputs in the function's shapes; of a stream, amid the audio."""
    state = engine.new_state()
    feeds = real_inputs(
        engine.inputs,
        golden,
        lambda inputs: engine.run(inputs, state),
        horizon=horizon_of(record),
        has_state=bool(state),
    )
    return engine.tensors(feeds, state)


def _audited(
    engine: MilEngine,
    component: str,
    function: str,
    cases: Sequence[Sequence[Tensor]],
    modules: Mapping[str, str],
) -> ProgramAudit:
    tallies: dict[fx.Node, _Tally] = {}
    references: list[list[Tensor]] = []
    outputs: list[list[Tensor]] = []
    for tensors in cases:
        exact = run_exact(engine.graph, tensors)
        rounding = _Rounding(engine.graph, exact)
        with torch.inference_mode():
            results = rounding.run(*tensors)
        references.append([output.detach() for output in exact.outputs])
        outputs.append(floats(results))
        (effect,) = effects(exact, rounding.local)
        for node, local in rounding.local.items():
            tally = tallies.setdefault(node, _Tally(node.meta["mil"].dtypes))
            tally.add(exact.values[node], local, rounding.accumulated[node], effect.get(node, 0.0) / len(cases))
    where = _Modules(engine.graph, modules)
    numbered = enumerate(tallies.items(), 1)
    rows = [tally.row(position, node.meta["mil"], where.of(node)) for position, (node, tally) in numbered]
    rows.sort(key=lambda row: (row.overflowed == 0, row.effect_db))
    return ProgramAudit(component, function, len(cases), agreement_db(references, outputs), tuple(rows))


def _float_types(dtypes: Sequence[torch.dtype | None]) -> list[torch.dtype]:
    return [dtype for dtype in dtypes if dtype is not None and dtype.is_floating_point]


class _Rounding(Faithful):
    """Executes a program and rounds as it declares. Keeps of each op what its own rounding does to what it computed
    from rounded inputs, and how far (energy) its outputs are from the exact ones."""

    def __init__(self, graph: fx.GraphModule, exact: Exact) -> None:
        super().__init__(graph)
        self.exact = exact
        self.local: dict[fx.Node, list[Tensor]] = {}
        self.accumulated: dict[fx.Node, float] = {}

    def declared(self, n: fx.Node, value: Any) -> Any:
        output = super().declared(n, value)
        if n.op == "call_function" and n in self.exact.values:
            computed = self._without_rounding(n) if any(map(_is_block, n.all_input_nodes)) else value
            pairs = list(zip(_items(computed), _items(output)))
            self.local[n] = [(rounded - item).nan_to_num(0.0, 0.0, 0.0) for item, rounded in pairs]
            exact = [item.detach() for item in self.exact.values[n]]
            self.accumulated[n] = sum(energy_between(reference, item) for reference, item in zip(exact, _items(output)))
        return output

    def _without_rounding(self, n: fx.Node) -> Any:
        """Computes an op with blocks, which round inside themselves, without that rounding."""
        arguments = dict(self.map_nodes_to_values(n.kwargs, n))  # type: ignore[arg-type]  # its stub says any argument
        for name, node in n.kwargs.items():
            if isinstance(node, fx.Node) and _is_block(node):
                arguments[name] = self.fetch_attr(str(node.target))
        return n.target(**arguments)  # type: ignore[operator]  # of a call_function


def _is_block(node: fx.Node) -> bool:
    return node.op == "get_attr" and "mil" not in node.meta


def _items(value: Any) -> list[Tensor]:
    return floats(value if isinstance(value, tuple) else (value,))


class _Tally:
    """One op over several inputs."""

    def __init__(self, dtypes: Sequence[torch.dtype | None]) -> None:
        self.dtypes = _float_types(dtypes)
        self.values = self.subnormal = self.flushed = self.overflowed = 0
        self.signal = self.local = self.accumulated = self.effect = self.largest = 0.0

    def add(self, exact: Sequence[Tensor], local: Sequence[Tensor], accumulated: float, effect: float) -> None:
        for item, error, dtype in zip((item.detach() for item in exact), local, self.dtypes):
            rounded, magnitude = item.to(dtype).float(), item.abs()
            self.values += item.numel()
            self.largest = max(self.largest, float(magnitude.max()) if item.numel() else 0.0)
            self.signal += float(item.double().square().sum())
            self.local += float(error.double().square().sum())
            self.subnormal += int(((magnitude > 0) & (magnitude < torch.finfo(dtype).tiny)).sum())
            self.flushed += int(((item != 0) & (rounded == 0)).sum())
            self.overflowed += int((item.isfinite() & ~rounded.isfinite()).sum())
        self.accumulated += accumulated
        self.effect += effect

    def row(self, position: int, op: MilOp, place: str) -> OpAudit:
        kind = self.dtypes[0]
        return OpAudit(
            position=position,
            op=op.op_type,
            output=op.outputs[0],
            place=place,
            dtype=str(kind).removeprefix("torch."),
            values=self.values,
            local_db=decibels(self.signal, self.local),
            accumulated_db=decibels(self.signal, self.accumulated),
            effect_db=decibels(1.0, math.inf if self.overflowed else self.effect),
            largest=self.largest,
            headroom=torch.finfo(kind).max / self.largest if self.largest else math.inf,
            subnormal=self.subnormal / max(1, self.values),
            flushed=self.flushed / max(1, self.values),
            overflowed=self.overflowed / max(1, self.values),
        )


class _Modules:
    """The module of the original that an op comes from: as the conversion noted it, else by the name of its weights,
    else that of the op that feeds it."""

    def __init__(self, graph: fx.GraphModule, noted: Mapping[str, str]) -> None:
        self.modules: dict[fx.Node, str] = {}
        for node in graph.graph.nodes:
            if node.op == "call_function":
                self.modules[node] = self._module(node, noted)

    def of(self, node: fx.Node) -> str:
        return self.modules.get(node, "")

    def _module(self, node: fx.Node, noted: Mapping[str, str]) -> str:
        op = node.meta.get("mil")
        for output in op.outputs if op else ():
            for name in (output, plain_name(output)):
                if name in noted:
                    return noted[name]
        weights = [source for source in node.all_input_nodes if source.op == "get_attr" and "mil" in source.meta]
        for source in weights:
            name = plain_name(source.meta["mil"].outputs[0])
            if name.endswith(("_weight", "_bias")):
                return name.rpartition("_")[0]
        return next((self.modules[source] for source in node.all_input_nodes if self.modules.get(source)), "")


def plain_name(output: str) -> str:
    """Returns an output's name as it was before coremltools inserted its casts."""
    return re.sub(r"(_cast|_to)_fp(16|32)$", "", output)


def _modules(bundle: Bundle, record: ComponentRecord, function: str) -> dict[str, str]:
    try:
        return dict(json.loads((bundle.path / f"{record.name}{MODULES}").read_text()).get(function, {}))
    except (OSError, ValueError):
        return {}
