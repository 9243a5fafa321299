"""The pytest plugin inside the runs: upstream's tests predict with a voxport engine, each outcome becomes a line."""

from __future__ import annotations

import gc
import json
import logging
import os
import random
import re
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

from benchmarks.conformance.results import Case, append, fingerprint
from runtime.mil import graph
from runtime.neuralnetwork import network

_VARIABLE = "VOXPORT_CONFORMANCE"
NETWORKS = "neuralnetwork"  # the engine whose cases are of networks in place of ML programs
NETWORK_KINDS = ("neuralNetwork", "neuralNetworkClassifier", "neuralNetworkRegressor", "pipeline", "pipelineClassifier")
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


@dataclass(frozen=True)
class Orders:
    """The orders of a run, which its processes get in the environment.

    `per_class`: cases of each test class, drawn by `seed`; 0 is all. `only`: these cases instead. `done`: a file that
    names the cases whose outcome is known. The plugin writes the drawn names to `drawn`, its outcomes to `results`.
    """

    engine: str
    results: str
    drawn: str
    done: str
    per_class: int = 0
    seed: int = 1
    only: tuple[str, ...] = field(default_factory=tuple)

    def environment(self) -> dict[str, str]:
        return {_VARIABLE: json.dumps(asdict(self))}

    @classmethod
    def from_environment(cls) -> Orders:
        return cls(**json.loads(os.environ[_VARIABLE]))


# A case that asks for what the engine cannot have: another model type, or the files that Core ML compiles.
FOREIGN = "not a matter of executing this kind of model"
used_ops: set[str] = set()  # by the case that is running: a program's ops, a network's layers


def note_used_ops() -> None:
    """Notes every op of the programs, every layer of the networks that are opened from now on."""
    add_operations = graph._Builder.add_operations

    def noting(self: Any, operations: Any) -> None:
        used_ops.update(op.op_type for op in operations)
        add_operations(self, operations)

    graph._Builder.add_operations = noting  # type: ignore[method-assign]
    step_of = network._step

    def noting_layer(layer: Any, path: Path) -> Any:
        used_ops.add(layer.WhichOneof("layer"))
        return step_of(layer, path)

    network._step = noting_layer


def pytest_configure(config: Any) -> None:
    """Makes coremltools' tests believe that they can predict, and the engine predict for them."""
    from benchmarks.conformance.torchvision_ops import provide_torchvision
    from runtime.engines.predict import enable_predict

    provide_torchvision()  # coremltools looks for it when it is imported
    note_used_ops()
    engine = Orders.from_environment().engine
    enable_predict(*([] if engine == NETWORKS else [engine]))
    logging.getLogger("coremltools").setLevel(logging.NOTSET)  # some cases look for a warning
    import coremltools as ct
    import coremltools.converters.mil.frontend.torch.test.testing_utils as torch_testing
    import coremltools.converters.mil.testing_utils as testing
    import coremltools.models.utils as model_utils

    ct.models.MLModel.predict = only_of_the_engine(ct.models.MLModel.predict, engine)
    ct.models.MLModel.get_compiled_model_path = lambda _: pytest.skip(FOREIGN)

    model_utils._macos_version = ct.utils._macos_version = lambda: (15, 4)
    testing._IS_MACOS = torch_testing._IS_MACOS = True
    if engine == NETWORKS:  # whose own tests ask here
        model_utils._is_macos = ct.utils._is_macos = lambda: True
        ct.models.neural_network.quantization_utils._macos_version = model_utils._macos_version


def only_of_the_engine(predict: Any, engine: str) -> Any:
    """Some cases predict with another kind of model, whatever their name says."""

    def guarded(model: Any, *arguments: Any, **named: Any) -> Any:
        kind = model._spec.WhichOneof("Type")
        if kind not in NETWORK_KINDS if engine == NETWORKS else kind != "mlProgram":
            pytest.skip(FOREIGN)
        return predict(model, *arguments, **named)

    return guarded


@pytest.hookimpl(tryfirst=True)
def pytest_make_parametrize_id(config: Any, val: Any, argname: str) -> str:
    """Names cases as upstream does, on one line. Addresses in memory are left out: they differ between processes."""
    return " ".join(_ADDRESS.sub("", f"{argname}={val}").split())


def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    """Keeps the cases of the engine's kind of model, of those the ordered ones, of those what has no outcome yet."""
    orders = Orders.from_environment()
    other = "mlprogram" if orders.engine == NETWORKS else "neuralnetwork"
    groups: dict[str, list[Any]] = {}
    for item in items:
        if other not in item.name:
            groups.setdefault(Case(case_name(item), "").group, []).append(item)
    drawn: set[str] = set()
    for name, group in sorted(groups.items()):
        names = sorted({case_name(item) for item in group})
        if orders.only:
            drawn |= set(names) & set(orders.only)
        elif orders.per_class == 0:
            drawn |= set(names)
        else:
            drawn |= set(random.Random(f"{orders.seed}{name}").sample(names, min(orders.per_class, len(names))))
    done = set(Path(orders.done).read_text().splitlines())
    if os.environ.get("PYTEST_XDIST_WORKER", "gw0") == "gw0":
        Path(orders.drawn).write_text("\n".join(sorted(drawn)))
    remaining = drawn - done
    config.hook.pytest_deselected(items=[item for item in items if case_name(item) not in remaining])
    items[:] = [item for item in items if case_name(item) in remaining]


def pytest_collection_finish() -> None:
    """The garbage collection by which coremltools ends a conversion leaves aside what was imported and collected: it
    took most of the time of a case."""
    gc.freeze()


def pytest_runtest_setup(item: Any) -> None:
    """Equal inputs in every run, whatever ran before."""
    import numpy as np
    import torch

    seed = zlib.crc32(case_name(item).encode())
    np.random.seed(seed)
    torch.manual_seed(seed)
    random.seed(seed)
    used_ops.clear()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: Any, call: Any) -> Any:
    """Adds to the report what only this process knows."""
    item.user_properties[:] = [("name", case_name(item)), ("ops", sorted(used_ops))]
    yield


def pytest_runtest_logreport(report: Any) -> None:
    """One line per case, written by the process that hands out the work."""
    if os.environ.get("PYTEST_XDIST_WORKER") or report.when == "teardown":
        return
    if report.when == "setup" and report.outcome == "passed":
        return
    orders, properties = Orders.from_environment(), dict(report.user_properties)
    ops = tuple(properties.get("ops", ()))
    crash = getattr(report.longrepr, "reprcrash", None)
    message = (crash.message if crash else str(report.longrepr or "")) if report.outcome == "failed" else ""
    name = properties.get("name", report.nodeid)  # a process that died leaves no more than pytest's id
    outcome = "foreign" if FOREIGN in str(report.longrepr) else report.outcome
    reason, sources = " ".join(message.split())[:200], fingerprint(orders.engine, ops)
    case = Case(name, outcome, reason, report.duration, ops, sources)
    append(Path(orders.results), case)


def case_name(item: Any) -> str:
    """module::class::test[parameters], the same however pytest was started."""
    owner = [item.cls.__name__] if item.cls else []
    return "::".join([item.module.__name__.removeprefix("coremltools."), *owner, item.name])
