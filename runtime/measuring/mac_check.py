"""What only a Mac can say of a bundle, with one command: `python -m runtime mac-check BUNDLE…`.

For every compute unit, each in processes of its own under a wall-clock limit, because a load can hang or take the
process down: first load (compiled and specialised for the unit), warm load, correctness, throughput and latency, which
device Core ML plans for each op, and whether a unit falls back silently. Written against coremltools 9.0; not run on a
Mac yet: the same code runs over `enable_predict` in the tests, its compute plan faked.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from runtime.bundle.formats import FORMATS
from runtime.bundle.store import Bundle, BundleError, ComponentRecord, open_bundle
from runtime.engines import COMPUTE_UNITS, cpu_name
from runtime.engines.coreml import MEMBERS
from runtime.errors import EngineError
from runtime.machine.child import output_of
from runtime.machine.coreml_tools import coremltools
from runtime.machine.files import as_json, write_json
from runtime.machine.versions import tool_versions
from runtime.measuring.bench.bundle import BenchOptions, BenchReport, Target, bench_bundle

SCHEMA_VERSION = 1
LIMIT_SECONDS = 900.0  # per compute unit: a big vocoder compiles for the Neural Engine for minutes
# Of two units whose medians are that near, the one that plans for the Neural Engine probably does not use it.
SAME_SPEED = 0.1
DEVICES = {"MLCPUComputeDevice": "cpu", "MLGPUComputeDevice": "gpu", "MLNeuralEngineComputeDevice": "ne"}


@dataclass(frozen=True)
class PlannedOp:
    """Where Core ML means to execute an op; `cost` is its share of the whole, as Core ML estimates it."""

    op: str
    output: str
    device: str | None
    supported: tuple[str, ...]
    cost: float | None


@dataclass(frozen=True)
class Placement:
    """`ops` and `cost` per device (`cpu`, `gpu`, `ne`, `none`: constants and what has no plan)."""

    ops: dict[str, int]
    cost: dict[str, float]
    planned: tuple[PlannedOp, ...]


@dataclass(frozen=True)
class UnitCheck:
    """One compute unit on one bundle. `problem`: why the rest is missing, or None. `placement`: of what makes the
    audio, `others`: of a conversion's other components, and of what samples."""

    compute_unit: str
    problem: str | None = None
    first_load_s: float | None = None
    warm_load_s: float | None = None
    bench: BenchReport | None = None
    placement: Placement | None = None
    others: dict[str, Placement] = field(default_factory=dict)


@dataclass(frozen=True)
class BundleCheck:
    """`fallback`: the verdict on the Neural Engine. `best`: the unit with the least p99 that is correct."""

    bundle: str
    bundle_key: str
    units: tuple[UnitCheck, ...]
    fallback: str
    best: str | None
    targets: tuple[Target, ...]


@dataclass(frozen=True)
class Machine:
    """`power`, `thermal`: what `pmset` says, before and after."""

    chip: str
    system: str
    power: tuple[str, ...] = ()
    thermal: tuple[str, ...] = ()


@dataclass(frozen=True)
class MacCheck:
    """What `mac-check --out FILE.json` writes and `python -m reports mac-check FILE.json` reads."""

    schema_version: int
    created: str
    machine: Machine
    versions: dict[str, str]
    bundles: tuple[BundleCheck, ...]
    notes: tuple[str, ...] = field(default_factory=tuple)


def steps(paths: Sequence[Path]) -> str:
    """Says what a Mac would do, for a machine that is none."""
    names = ", ".join(path.name for path in paths)
    return (
        f"this is {platform.system()}, and mac-check needs a Mac. There it would take {names} and, for each of the "
        f"compute units {', '.join(COMPUTE_UNITS)}, in processes of their own of at most {LIMIT_SECONDS:g} s: copy the "
        "artefact to a new folder, time its first load (compilation and specialisation), a warm load, check it against "
        "the goldens, time it back to back and on a schedule, read Core ML's compute plan per op; then compare "
        "cpu_and_ne with cpu for a silent fallback, note power source and thermal state, and judge RTF < 0.2, p99 per "
        "chunk < 30 ms and round trip < 100 ms. Here, the mil and onnx engines check what does not need Core ML: "
        "python -m runtime bench"
    )


def mac_check(
    paths: Sequence[Path],
    units: Sequence[str] = COMPUTE_UNITS,
    options: BenchOptions | None = None,
    limit: float = LIMIT_SECONDS,
    progress: Callable[[str], None] = lambda _: None,
) -> MacCheck:
    """Raises EngineError where this is no Mac or a unit is none, BundleError for what is no bundle of an .mlpackage."""
    if platform.system() != "Darwin":
        raise EngineError(steps(paths))
    for unit in units:
        if unit not in COMPUTE_UNITS:
            raise EngineError(f"there is no compute unit {unit!r}; there is: {', '.join(COMPUTE_UNITS)}")
    before = _power_and_heat()
    checks = [check_bundle(path, units, options or BenchOptions(), limit, progress) for path in paths]
    after = _power_and_heat()
    machine = Machine(cpu_name(), platform.platform(), *zip(before, after))
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return MacCheck(SCHEMA_VERSION, now, machine, tool_versions(), tuple(checks), _notes(machine))


def check_bundle(
    path: Path,
    units: Sequence[str],
    options: BenchOptions,
    limit: float = LIMIT_SECONDS,
    progress: Callable[[str], None] = lambda _: None,
    run: Callable[[Sequence[str], str, float], str] = output_of,
) -> BundleCheck:
    """`run`: executes a command as `runtime.machine.child.output_of`."""
    bundle = open_bundle(path)
    if not FORMATS[bundle.manifest.options.format].is_core_ml:
        taken = " nor an ".join(facts.suffix for facts in FORMATS.values() if facts.is_core_ml)
        raise BundleError(f"{path.name} holds neither an {taken}: Core ML cannot load it")
    checked = []
    for unit in units:
        progress(f"{path.name}: {unit}")
        asked = dataclasses.replace(options, engine="coreml", compute_unit=unit, processes=1)
        with tempfile.TemporaryDirectory() as folder:  # where Core ML has never seen it: nothing is compiled yet
            copy = Path(shutil.copytree(path, Path(folder, path.name)))
            command = [
                sys.executable,
                "-m",
                "runtime.measuring.mac_check",
                str(copy),
                json.dumps(dataclasses.asdict(asked)),
            ]
            try:
                full = TypeAdapter(UnitCheck).validate_json(run(command, "Core ML", limit))
                again = TypeAdapter(UnitCheck).validate_json(run([*command, "load"], "Core ML", limit))
            except EngineError as error:
                checked.append(UnitCheck(unit, problem=str(error)))
                continue
        checked.append(dataclasses.replace(full, warm_load_s=again.first_load_s))
    correct = [c for c in checked if c.bench is not None and c.bench.problem is None]
    best = min(correct, key=_p99, default=None)
    return BundleCheck(
        bundle.manifest.name,
        bundle.manifest.key,
        tuple(checked),
        fallback_verdict(checked),
        best.compute_unit if best else None,
        best.bench.targets if best and best.bench else (),
    )


def check_unit(path: Path, options: BenchOptions, load_only: bool = False) -> UnitCheck:
    """Loads, benches and plans in one process. Errors of Core ML are its caller's to see."""
    import runtime
    import runtime.engines.coreml
    from runtime.playing.player import open_player

    runtime.engines.coreml.GUARD_SECONDS = 0  # this process is the guard
    unit, bundle = options.compute_unit or "", open_bundle(path)
    started = time.perf_counter()
    open_player(bundle, options.execution)
    loaded = time.perf_counter() - started
    if load_only:
        return UnitCheck(unit, first_load_s=loaded)
    report = bench_bundle(bundle, options)
    conversion = bundle.manifest.conversion
    others = [] if conversion is None else conversion.components[:-1]
    if bundle.main.sampler is not None:
        others = [*others, bundle.main.sampler.component]
    return UnitCheck(
        unit,
        problem=report.problem,
        first_load_s=loaded,
        bench=report,
        placement=_placement(bundle, bundle.main, unit),
        others={name: _placement(bundle, bundle.component(name), unit) for name in others},
    )


def _placement(bundle: Bundle, component: ComponentRecord, unit: str) -> Placement:
    form = component.stream
    function = next(iter(component.sizes.values()), None) if form is None else form.steady or form.edge
    return placement(bundle.artefact(component), unit, function or None)


def placement(artefact: Path, unit: str, function: str | None = None) -> Placement:
    """Core ML's plan for one function of an .mlpackage, or for an .mlmodel (macOS 14.4)."""
    ct = coremltools()
    from coremltools.models.compute_plan import MLComputePlan

    units = ct.ComputeUnit[MEMBERS[unit]]
    model = ct.models.MLModel(str(artefact), compute_units=units, function_name=function)
    plan = MLComputePlan.load_from_path(model.get_compiled_model_path(), compute_units=units)
    if artefact.suffix == ".mlmodel":
        planned = [_planned_layer(plan, layer) for layer in plan.model_structure.neuralnetwork.layers]
    else:
        operations = plan.model_structure.program.functions[function or "main"].block.operations
        planned = [_planned(plan, operation) for operation in operations]
    ops: dict[str, int] = {}
    cost: dict[str, float] = {}
    for op in planned:
        device = op.device or "none"
        ops[device] = ops.get(device, 0) + 1
        cost[device] = cost.get(device, 0.0) + (op.cost or 0.0)
    return Placement(ops, cost, tuple(planned))


def _planned(plan: Any, operation: Any) -> PlannedOp:
    device, supported = _devices(plan.get_compute_device_usage_for_mlprogram_operation(operation))
    estimate = plan.get_estimated_cost_for_mlprogram_operation(operation)
    output = operation.outputs[0].name if operation.outputs else ""
    cost = None if estimate is None else float(estimate.weight)
    return PlannedOp(operation.operator_name, output, device, supported, cost)


def _planned_layer(plan: Any, layer: Any) -> PlannedOp:
    """Reads the plan of a neural network's layer, for which Core ML gives no cost."""
    device, supported = _devices(plan.get_compute_device_usage_for_neuralnetwork_layer(layer))
    return PlannedOp(layer.type, layer.name, device, supported, None)


def _devices(usage: Any) -> tuple[str | None, tuple[str, ...]]:
    """The preferred device and the possible ones."""
    if usage is None:
        return None, ()
    supported = (DEVICES[type(item).__name__] for item in usage.supported_compute_devices)
    return DEVICES[type(usage.preferred_compute_device).__name__], tuple(supported)


def fallback_verdict(units: Sequence[UnitCheck]) -> str:
    """Judges whether `cpu_and_ne` runs on the Neural Engine, from its plan and its speed beside `cpu`."""
    by_unit = {check.compute_unit: check for check in units}
    engine, alone = by_unit.get("cpu_and_ne"), by_unit.get("cpu")
    if engine is None or alone is None:
        return "not judged: it takes cpu_and_ne and cpu"
    if engine.problem or alone.problem or engine.bench is None or alone.bench is None:
        return f"not judged: {engine.problem or alone.problem or 'one of them was not timed'}"
    share = engine.placement.cost.get("ne", 0.0) if engine.placement else 0.0
    ratio = _p50(engine) / _p50(alone)
    speed = f"cpu_and_ne takes {ratio:.2f} times as long as cpu"
    if share < 0.5:
        return f"mostly not on the Neural Engine: the plan gives it {share:.0%} of the cost; {speed}"
    if abs(ratio - 1) <= SAME_SPEED:
        return f"probably a silent fallback to the CPU: the plan gives the Neural Engine {share:.0%}, but {speed}"
    return f"on the Neural Engine: {share:.0%} of the planned cost; {speed}"


def write_check(path: Path, check: MacCheck) -> None:
    write_json(path, dataclasses.asdict(check))


def read_check(path: Path) -> MacCheck:
    """Raises BundleError for a file that is no check of this schema."""
    try:
        return TypeAdapter(MacCheck).validate_json(path.read_text())
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        raise BundleError(f"{path} is no mac-check that this voxport reads: {error}") from error


def _p50(check: UnitCheck) -> float:
    assert check.bench is not None
    closed = check.bench.processes[-1].closed
    return closed.p50_ms if closed else float("inf")


def _p99(check: UnitCheck) -> float:
    assert check.bench is not None
    one = check.bench.processes[-1]
    timed = one.paced or one.closed
    return timed.p99_ms if timed else float("inf")


def _power_and_heat() -> tuple[str, str]:
    """(power source, thermal state) by `pmset`."""

    def ask(topic: str) -> str:
        try:
            done = subprocess.run(["pmset", "-g", topic], capture_output=True, text=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return "unknown"
        return " ".join(done.stdout.split()) or "unknown"

    return ask("batt"), ask("therm")


def _notes(machine: Machine) -> tuple[str, ...]:
    notes = []
    if any("Battery Power" in text for text in machine.power):
        notes.append("on battery: macOS may run slower than on mains")
    if any("Speed_Limit" in text and "= 100" not in text for text in machine.thermal):
        notes.append("the machine was throttled by its temperature")
    if "M3 Max" not in machine.chip:
        notes.append(f"{machine.chip} is not the M3 Max that the targets were set for")
    return tuple(notes)


if __name__ == "__main__":
    path, asked, *rest = sys.argv[1:]
    result = check_unit(Path(path), TypeAdapter(BenchOptions).validate_json(asked), load_only=bool(rest))
    print(json.dumps(as_json(dataclasses.asdict(result))))
