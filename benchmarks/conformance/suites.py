"""The suites, and one run of a suite: pytest in processes of its own, resumable."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.conformance.plugin import Orders
from benchmarks.conformance.results import Case, Results
from runtime.machine.tether import tethered

_FRONTEND = "converters.mil.frontend.torch.test"
SUITES: dict[str, tuple[str, ...]] = {
    "ops": ("converters.mil.mil.ops.tests",),
    "torch": (f"{_FRONTEND}.test_torch_ops",),
    "stateful": (f"{_FRONTEND}.test_torch_stateful_model",),
    "frontend": tuple(
        f"{_FRONTEND}.{name}"
        for name in (
            "test_torch_conversion_api",
            "test_torch_quantization_ops",
            "test_custom_ops",
            "test_examples",
            "test_internal_graph",
            "test_passes",
        )
    ),
    "programs": (
        "converters.mil.mil.tests.test_programs",
        "converters.mil.test_inputs_outputs_shape",
        "converters.mil.frontend.milproto.test_load",
        "converters.mil.backend.mil.test_load",
        "converters.mil.backend.mil.passes.test_passes",
        "test.ml_program.test_utils",
        "test.ml_program.test_compression",
    ),
    "layers": (
        "test.neural_network.test_custom_neural_nets",
        "test.neural_network.test_model",
        "test.neural_network.test_neural_networks",
        "test.neural_network.test_nn_builder",
        "test.neural_network.test_numpy_nn_layers",
        "test.neural_network.test_quantization",
        "test.neural_network.test_simple_nn_inference",
        "test.pipeline.test_pipeline",
    ),
    "compression": ("test.optimize.coreml.test_passes", "test.optimize.coreml.test_post_training_quantization"),
}


# What has cases of networks, and of ML programs.
_OF_NETWORKS = ("ops", "torch", "frontend", "programs", "layers")


def suites_of(engine: str) -> tuple[str, ...]:
    """Returns the suites that have cases for an engine."""
    return _OF_NETWORKS if engine == "neuralnetwork" else tuple(suite for suite in SUITES if suite != "layers")


def suite_of(case: Case) -> str:
    """The suite of a case, by its module."""
    return next(
        suite
        for suite, modules in SUITES.items()
        if any(case.module == module or case.module.startswith(f"{module}.") for module in modules)
    )


def run(
    suite: str,
    results: Results,
    per_class: int = 0,
    seed: int = 1,
    jobs: int = 2,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Case]:
    """The cases of one suite, or `per_class` of each test class where that is not 0.

    Cases whose outcome in `results` still holds are not run again. Raises RuntimeError where pytest itself fails.
    """
    return _run([f"coremltools.{module}" for module in SUITES[suite]], results, per_class, seed, (), jobs, progress)


def run_named(
    names: Sequence[str],
    results: Results,
    jobs: int = 2,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Case]:
    """These cases, of any suite; else as `run`."""
    return _run(targets(names), results, 0, 0, tuple(names), jobs, progress)


def targets(names: Sequence[str]) -> list[str]:
    """Returns what pytest is to collect for these cases: their classes, once each. Some of upstream's parameters are
    iterators, which are empty the second time."""
    return sorted({f"coremltools.{Case(name, '').group}" for name in names})


def _run(
    collected: Sequence[str],
    results: Results,
    per_class: int,
    seed: int,
    only: tuple[str, ...],
    jobs: int,
    progress: Callable[[int, int], None],
) -> list[Case]:
    fresh = results.fresh()
    results.path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:  # away from this project's pytest configuration
        drawn, done = Path(folder, "drawn"), Path(folder, "done")
        done.write_text("\n".join(sorted(fresh)))
        orders = Orders(results.engine, str(results.path), str(drawn), str(done), per_class, seed, only)
        code, output = _pytest(collected, orders, jobs, folder, progress)
        names = drawn.read_text().splitlines() if drawn.is_file() else []
    results.read()
    if code not in (0, 1, 5) or not names:  # 5: nothing left to run
        raise RuntimeError(f"pytest ended with {code}: {output.strip()[-2000:]}")
    missing = [name for name in names if name not in results.cases]
    if missing:
        raise RuntimeError(f"{len(missing)} cases left no outcome ({missing[0]}, …): {output.strip()[-2000:]}")
    return [results.cases[name] for name in names]


def _pytest(
    collected: Sequence[str], orders: Orders, jobs: int, folder: str, progress: Callable[[int, int], None]
) -> tuple[int, str]:
    """(exit status, output)."""
    options = ["-q", "--tb=no", "-n", str(jobs), "-W", "ignore", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, "-p", "benchmarks.conformance.plugin", "--pyargs"]
    log = Path(folder, "log")
    results = Path(orders.results)
    before = _count(results)
    with log.open("w") as stream, _child([*command, *collected], folder, environment(orders), stream) as child:
        while child.poll() is None:
            time.sleep(0.5)
            if Path(orders.drawn).is_file():
                names = set(Path(orders.drawn).read_text().splitlines())
                total = len(names - set(Path(orders.done).read_text().splitlines()))
                progress(_count(results) - before, total)
    return child.returncode, log.read_text()


def environment(orders: Orders) -> dict[str, str]:
    """Returns the environment of a process in which the plugin runs."""
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    one_thread = {"OMP_NUM_THREADS": "1"}  # a process per core: more threads only get in each other's way
    target = "neuralnetwork" if orders.engine == "neuralnetwork" else "mlprogram"
    return {**inherited, **one_thread, "PYMIL_TEST_TARGETS": target, "PYTHONPATH": path, **orders.environment()}


@contextmanager
def _child(
    command: list[str], folder: str, environment: dict[str, str], stream: object
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that does not outlive an interrupt."""
    child = subprocess.Popen(tethered(command), cwd=folder, env=environment, stdout=stream, stderr=subprocess.STDOUT)  # type: ignore[call-overload]
    try:
        yield child
    finally:
        if child.poll() is None:
            child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()


def _count(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.is_file() else 0
