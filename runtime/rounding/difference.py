"""Where two ML programs part: both executed op by op on the same real input, and the first op whose output differs."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from runtime.bundle.store import Bundle, ComponentRecord
from runtime.engines.mil import MilEngine
from runtime.mil.faithful import Faithful
from runtime.rounding.cases import fitted_inputs, function_of, horizon_of
from runtime.speech.metrics import snr_db


@dataclass(frozen=True)
class OpDifference:
    """The first op, in the candidate's order, that has a counterpart in the champion and another output.

    `position` counts from 1 among `ops`; `snr_db` of its output to the counterpart's, `end_snr_db` of the programs'
    outputs. `structure`: the first place where the programs consist of other ops, in words, or empty.
    """

    component: str
    op: str
    output: str
    position: int
    ops: int
    snr_db: float
    end_snr_db: float
    structure: str = ""

    def __str__(self) -> str:
        other = f"; other ops: {self.structure}" if self.structure else ""
        return (
            f"{self.component}: op {self.position} of {self.ops}, {self.op} {self.output!r}, is the first that differs "
            f"({self.snr_db:.1f} dB there, {self.end_snr_db:.1f} dB at the end){other}"
        )


def first_divergence(champion: Bundle, candidate: Bundle) -> OpDifference | None:
    """Finds the first divergence in the first component, in the manifest's order, in which the programs differ on a
    golden input of the candidate; None where they give the same everywhere.

    Raises ArtefactError where one of the artefacts is no ML program that can be executed here.
    """
    known = {record.name: record for record in champion.manifest.components}
    for record in candidate.manifest.components:
        if record.name not in known:
            continue
        cases = candidate.goldens(record)
        divergence = compare_programs(
            champion.executable(known[record.name]),
            candidate.executable(record),
            cases[0].inputs if cases else {},
            record,
        )
        if divergence is not None:
            return divergence
    return None


def compare_programs(
    champion: Path, candidate: Path, inputs: Mapping[str, np.ndarray], record: ComponentRecord
) -> OpDifference | None:
    """inputs: real ones in the shapes of the component; they are cut from their middle to what the programs take."""
    function = function_of(record)
    theirs, ours = _run(champion, function, inputs, record), _run(candidate, function, inputs, record)
    matcher = _matched(theirs, ours)
    structure = next((_words(tag, theirs[i:j], ours[k:m]) for tag, i, j, k, m in matcher if tag != "equal"), "")
    end = _snr(theirs[-1], ours[-1])
    for tag, start, stop, other, _ in matcher:
        if tag != "equal":
            continue
        for offset in range(stop - start):
            mine = ours[other + offset]
            if not _same(theirs[start + offset].value, mine.value):
                snr = _snr(theirs[start + offset], mine)
                position = other + offset + 1
                return OpDifference(record.name, mine.op, mine.output, position, len(ours), snr, end, structure)
    if not structure:
        return None
    changed = next(ours[min(k, len(ours) - 1)] for tag, _, _, k, _ in matcher if tag != "equal")
    position = ours.index(changed) + 1
    return OpDifference(record.name, changed.op, changed.output, position, len(ours), float("inf"), end, structure)


@dataclass(frozen=True, eq=False)
class _Step:
    op: str
    output: str
    value: Tensor

    @property
    def kind(self) -> tuple[str, tuple[int, ...]]:
        return self.op, tuple(self.value.shape)


class _Recorder(Faithful):
    """Keeps every op's output, in the type that the program declares for it: half precision takes half the memory."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.steps: list[_Step] = []

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        op = n.meta.get("mil")
        if n.op == "call_function" and op is not None:
            values = value if isinstance(value, tuple) else (value,)
            for name, item, dtype in zip(op.outputs, values, op.dtypes):
                if isinstance(item, Tensor) and dtype is not None:
                    self.steps.append(_Step(op.op_type, name, item.to(dtype) if dtype.is_floating_point else item))
        return value


def _run(path: Path, function: str | None, inputs: Mapping[str, np.ndarray], record: ComponentRecord) -> list[_Step]:
    engine = MilEngine(path, function=function)
    recorder = _Recorder(engine.graph)
    engine.compute = recorder.run
    engine.run(fitted_inputs(engine.inputs, inputs, horizon_of(record)))
    return recorder.steps


def _matched(theirs: Sequence[_Step], ours: Sequence[_Step]) -> list[tuple[str, int, int, int, int]]:
    """Runs of ops of the same types and shapes, and what lies between them: as difflib gives them."""
    left, right = [step.kind for step in theirs], [step.kind for step in ours]
    if left == right:
        return [("equal", 0, len(left), 0, len(right))]
    return list(difflib.SequenceMatcher(None, left, right, autojunk=False).get_opcodes())


def _words(tag: str, theirs: Sequence[_Step], ours: Sequence[_Step]) -> str:
    gone, new = (_listed(steps) for steps in (theirs, ours))
    if tag == "insert":
        return f"{new} more"
    return f"{gone} less" if tag == "delete" else f"{new} in place of {gone}"


def _listed(steps: Sequence[_Step]) -> str:
    names = ", ".join(f"{step.op} {step.output!r}" for step in steps[:3])
    return f"{names} and {len(steps) - 3} others" if len(steps) > 3 else names


def _same(theirs: Tensor, ours: Tensor) -> bool:
    """Compares values, whatever their type: a cast that changes nothing is no difference."""
    if theirs.is_floating_point():
        return bool(torch.equal(theirs.double().nan_to_num(nan=1e300), ours.double().nan_to_num(nan=1e300)))
    return bool(torch.equal(theirs, ours.to(theirs.dtype)))


def _snr(theirs: _Step, ours: _Step) -> float:
    if theirs.value.shape != ours.value.shape:
        return float("nan")
    return snr_db(*(step.value.double().numpy().reshape(-1) for step in (theirs, ours)))
