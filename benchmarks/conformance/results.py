"""Keeps the result of each case between runs: a case is run again when the sources that it went through change."""

from __future__ import annotations

import hashlib
import importlib.metadata
import inspect
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import runtime
from runtime.machine.sources import file_hash
from runtime.mil.ops import OPS
from runtime.neuralnetwork.layers import TOPICS

# What every case goes through; the file of an op counts only where the op was used.
_READING = tuple(f"mil/{name}.py" for name in ("graph", "interface", "package", "refusals"))
_READING += ("engines/predict.py", "engines/images.py", "bundle/spec.py")
_SHARED_BY = {
    "mil": (*_READING, "mil/faithful.py", "engines/mil.py"),
    "onnx": (*_READING, "mil/export.py", "mil/lower.py", "mil/shapes.py", "engines/graph.py", "engines/onnx.py"),
    "neuralnetwork": (
        *(f"neuralnetwork/{name}.py" for name in ("__init__", "features", "network", "weights", "layers/parameters")),
        *("engines/neuralnetwork.py", "engines/predict.py", "engines/images.py", "bundle/spec.py", "mil/interface.py"),
    ),
}
_TOOLS = ("coremltools", "torch", "numpy")


@dataclass(frozen=True)
class Case:
    """One case of coremltools' suite, and its outcome with one engine.

    `name`: module::class::test[parameters]; `outcome` is pytest's (passed, failed, skipped), or foreign
    (plugin.FOREIGN); `reason`: the last line of a failure; `ops`: those that its programs used, none where nothing was
    predicted; `sources`: a fingerprint of the code that it went through.
    """

    name: str
    outcome: str
    reason: str = ""
    seconds: float = 0.0
    ops: tuple[str, ...] = ()
    sources: str = ""

    @property
    def module(self) -> str:
        return self.name.partition("::")[0]

    @property
    def group(self) -> str:
        """The test class, or the function where there is none."""
        return self.name.partition("[")[0].rpartition("::")[0] if self.name.count("::") > 1 else self.function

    @property
    def counts(self) -> bool:
        return self.outcome in ("passed", "failed")

    @property
    def function(self) -> str:
        return self.name.partition("[")[0]


class Results:
    """The cases of one engine in a file of JSON lines, the newest line of a case counting. Safe to interrupt."""

    def __init__(self, path: Path, engine: str) -> None:
        self.path, self.engine = path, engine
        self.cases: dict[str, Case] = {}
        self.read()

    def read(self) -> None:
        lines = self.path.read_text().splitlines() if self.path.is_file() else []
        for line in lines:
            try:
                row = json.loads(line)
                self.cases[row["name"]] = Case(**{**row, "ops": tuple(row["ops"])})
            except (ValueError, TypeError, KeyError):  # the line that an interrupt cut off
                continue

    def fresh(self) -> set[str]:
        """Names of the cases whose outcome still holds."""
        return {case.name for case in self.cases.values() if case.sources == fingerprint(self.engine, case.ops)}


def append(path: Path, case: Case) -> None:
    with path.open("a") as file:
        file.write(json.dumps(asdict(case)) + "\n")


def fingerprint(engine: str, ops: Iterable[str]) -> str:
    """Hashes the engine's shared sources, the files of the ops or layers, and the tools' versions."""
    files = {Path(runtime.__file__).parent / name for name in _SHARED_BY[engine]}
    if engine == "neuralnetwork":
        files |= {Path(str(topic.__file__)) for topic in TOPICS if topic.TABLE.keys() & set(ops)}
    else:
        files |= {Path(inspect.getfile(OPS[op])) for op in ops if op in OPS}
    parts = [file_hash(file) for file in sorted(files)] + [importlib.metadata.version(tool) for tool in _TOOLS]
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Summary:
    """Counts and rates of some cases; left out is what upstream skips or expects to fail, and what is foreign."""

    cases: int
    passed: int
    executed: int  # of the cases, those that predicted anything
    left_out: int
    groups: int
    group_mean: float  # the mean over test classes of their pass rates
    worst_group: float

    @property
    def rate(self) -> float:
        return self.passed / max(self.cases, 1)


def summary(cases: Sequence[Case]) -> Summary:
    counted = [case for case in cases if case.counts]
    rates = [passed / total for passed, total in pass_counts((case.group, case) for case in counted).values()]
    return Summary(
        cases=len(counted),
        passed=sum(case.outcome == "passed" for case in counted),
        executed=sum(bool(case.ops) for case in counted),
        left_out=len(cases) - len(counted),
        groups=len(rates),
        group_mean=sum(rates) / max(len(rates), 1),
        worst_group=min(rates, default=0.0),
    )


def pass_counts(keyed: Iterable[tuple[str, Case]]) -> dict[str, tuple[int, int]]:
    """Key -> (passed, all), cases left out that do not count, in the order of the keys."""
    counts: dict[str, Counter[str]] = {}
    for key, case in keyed:
        if case.counts:
            counts.setdefault(key, Counter())[case.outcome] += 1
    return {key: (count["passed"], count.total()) for key, count in sorted(counts.items())}
