"""`python -m runtime bench`: a bundle's speed on this machine, in the order in which it can be believed.

Correctness first: without it no other number. Then throughput (calls back to back), latency (on a schedule, as audio
comes), the delay budget with what structure alone costs, memory, silence, and what a stall and busy cores do. Every
process is fresh where several are asked for, because a first call, a load and a layout of memory happen once in each.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from pydantic import TypeAdapter, ValidationError

from runtime.bundle.store import Bundle, BundleError, open_bundle
from runtime.engines import Execution
from runtime.engines.work import Work, work_of
from runtime.machine.child import output_of
from runtime.machine.cores import allowed_cores
from runtime.machine.files import write_json
from runtime.machine.versions import tool_versions
from runtime.measuring.bench.budget import Budget, budget
from runtime.measuring.bench.chains import BenchedChain, StageTime
from runtime.measuring.bench.closed import Latency, timed_calls
from runtime.measuring.bench.correctness import Correctness, correctness
from runtime.measuring.bench.load import LoadWatch, OtherLoad
from runtime.measuring.bench.paced import Paced, Stall, paced_latencies, recovery, summarised
from runtime.measuring.bench.stress import Resources, Silence, busy_cores, resources, silence
from runtime.playing.player import Feed, Player, open_player
from runtime.speech.features import LocalFeatures, Sound

SCHEMA_VERSION = 1
STALL_SECONDS = 0.5
RTF_TARGET, CHUNK_TARGET_MS = 0.2, 30.0


@dataclass(frozen=True)
class BenchOptions:
    """`seconds`, `min_chunks`: of the closed loop; `paced_seconds`, `paced_chunks`: of the paced one, 0 leaves it out;
    `growth_chunks`: over which memory is watched; `block`, `device_rate`: of the device that the budget is for;
    `target`: recordings of whom a conversion is to sound like, by default the clips that ship."""

    engine: str = "auto"
    chunk: int | None = None
    mode: str | None = None
    threads: int | None = None
    compute_unit: str | None = None
    seconds: float = 5.0
    min_chunks: int = 100
    paced_seconds: float = 10.0
    paced_chunks: int = 0
    growth_chunks: int = 500
    target: tuple[str, ...] = ()
    stress: bool = True
    processes: int = 1
    block: int = 256
    device_rate: int = 48000

    @property
    def execution(self) -> Execution:
        """Raises EngineError for an engine or a compute unit that is none."""
        threads = self.threads
        if threads is None and self.engine in ("mil", "neuralnetwork"):
            threads = allowed_cores()  # what they choose depends on the moment, and figures are compared
        return Execution(self.engine, threads, self.compute_unit)


@dataclass(frozen=True)
class Target:
    """A limit that a person set, and whether this run met it. A run elsewhere than on an M3 Max says nothing of one,
    except where structure alone is too slow."""

    name: str
    value: float
    limit: float
    verdict: str


@dataclass(frozen=True)
class OneProcess:
    """What one fresh process measured. `stages`: the components of a conversion, in the closed loop."""

    load_s: float
    correctness: Correctness
    closed: Latency | None = None
    paced: Paced | None = None
    budget: Budget | None = None
    resources: Resources | None = None
    silence: Silence | None = None
    stall: Stall | None = None
    under_load: Paced | None = None
    stages: tuple[StageTime, ...] = ()


@dataclass(frozen=True)
class Spread:
    """Over the processes."""

    median: float
    least: float
    most: float


@dataclass(frozen=True)
class BenchReport:
    """What `python -m runtime bench --out FILE.json` writes and `python -m reports bench FILE.json` reads. `beside`:
    other work on the machine meanwhile; `work`: what a call of each function of the artefact does, the one of most
    calls first; nothing where that cannot be counted."""

    schema_version: int
    bundle: str
    bundle_key: str
    component: str
    engine: str
    device: str
    system: str
    cores: int
    created: str
    versions: dict[str, str]
    options: BenchOptions
    processes: tuple[OneProcess, ...]
    spread: dict[str, Spread] = field(default_factory=dict)
    targets: tuple[Target, ...] = ()
    beside: OtherLoad | None = None
    work: dict[str, Work] = field(default_factory=dict)

    @property
    def problem(self) -> str | None:
        """Why there is no speed, or None."""
        return next((one.correctness.problem for one in self.processes if one.correctness.problem), None)


def bench_bundle(
    path: Path | Bundle, options: BenchOptions, progress: Callable[[str], None] = lambda _: None
) -> BenchReport:
    """`progress` is told what is under way. Raises what opening the bundle raises, and StreamError for options that its
    artefact cannot follow."""
    bundle = open_bundle(path)
    record = bundle.main
    is_chain = bundle.manifest.conversion is not None
    if record.time is None or record.sound is None or not (is_chain or isinstance(record.features, LocalFeatures)):
        raise BundleError(
            f"{bundle.path.name}: component {record.name} makes no audio of audio, and only that is benched"
        )
    watch = LoadWatch()
    if options.processes == 1:
        one, engine, device = _measure(bundle, record.sound, options, progress)
        processes = [one]
    else:
        processes = []
        for index in range(options.processes):
            progress(f"process {index + 1} of {options.processes}")
            report = _in_another_process(bundle.path, options)
            processes += report.processes
            engine, device = report.engine, report.device
            if report.problem:
                break
    return BenchReport(
        schema_version=SCHEMA_VERSION,
        bundle=bundle.manifest.name,
        bundle_key=bundle.manifest.key,
        component=record.name,
        engine=engine,
        device=device,
        system=f"{platform.system()} {platform.machine()}",
        cores=os.cpu_count() or 1,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        versions=tool_versions(),
        options=options,
        processes=tuple(processes),
        spread=_spread(processes),
        targets=targets(processes, device),
        beside=watch.load(),
        work=_work(bundle),
    )


def _work(bundle: Bundle) -> dict[str, Work]:
    record = bundle.main
    form = record.stream
    functions = [] if form is None else [name for name in (form.steady, form.edge) if name]
    counted = {name: work_of(bundle.artefact(record), name) for name in functions or [""]}
    return {name or "call": work for name, work in counted.items() if work is not None}


def write_bench(path: Path, report: BenchReport) -> None:
    write_json(path, dataclasses.asdict(report))


def read_bench(path: Path) -> BenchReport:
    """Raises BundleError for a file that is no bench of this schema."""
    try:
        return TypeAdapter(BenchReport).validate_json(path.read_text())
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        raise BundleError(f"{path} is no bench that this voxport reads: {error}") from error


class _Subject(Protocol):
    """What is benched: `feed` begins calls that are timed, `silence` runs speech and silence, `budget` says what of the
    delay is structure, given the inference of a call."""

    player: Player

    def feed(self) -> Feed: ...

    def silence(self) -> Silence: ...

    def budget(self, closed: Latency, inference_ms: float) -> Budget: ...

    def is_repeatable(self) -> bool: ...

    def stages(self) -> tuple[StageTime, ...]: ...


class _Component:
    """What makes audio of features, on its golden cases."""

    def __init__(self, bundle: Bundle, options: BenchOptions) -> None:
        features, cases = bundle.main.features, bundle.goldens(bundle.main)
        assert isinstance(features, LocalFeatures)
        self._features, self._options = features, options
        self.player = open_player(bundle, options.execution, mode=options.mode, chunk=options.chunk)
        time_axis = self.player.time
        _, self._constants = cases[0].along(time_axis)
        self._frames = np.concatenate([case.inputs[time_axis.input] for case in cases], time_axis.input_axis)

    def feed(self) -> Feed:
        return self.player.feed(self._frames, self._constants)

    def silence(self) -> Silence:
        return silence(self.player, self._features, self._frames, self._constants)

    def budget(self, closed: Latency, inference_ms: float) -> Budget:
        lookahead = self.player.time.right if self.player.form is None else self.player.form.lookahead
        options = self._options
        return budget(self._features, closed.chunk_frames, lookahead, inference_ms, options.block, options.device_rate)

    def is_repeatable(self) -> bool:
        return True  # which `correctness` sees

    def stages(self) -> tuple[StageTime, ...]:
        return ()


def _measure(
    bundle: Bundle, sound: Sound, options: BenchOptions, progress: Callable[[str], None]
) -> tuple[OneProcess, str, str]:
    started = time.perf_counter()
    subject: _Subject = (
        _Component(bundle, options)
        if bundle.manifest.conversion is None
        else BenchedChain(bundle, options.execution, options.device_rate, options.block, options.target, options.mode)
    )
    load_s = time.perf_counter() - started
    player = subject.player
    who = player.engine.name, player.engine.device
    progress("correctness")
    precision = bundle.manifest.options.precision
    checked = correctness(player, sound, bundle.goldens(bundle.main), precision)
    if not checked.problem and not subject.is_repeatable():
        checked = dataclasses.replace(checked, repeatable=False, problem="other blocks of audio give other samples")
    if checked.problem:
        return OneProcess(load_s, checked), *who
    progress(f"throughput, {options.seconds:g} s")
    closed = timed_calls(subject.feed(), options.seconds, options.min_chunks, threads=options.threads)
    stages = subject.stages()
    first = subject.feed()
    period, warm_up = first.seconds, first.settles_in + 10
    count = max(round(options.paced_seconds / period), options.paced_chunks)
    paced = under_load = stall = quiet = None
    if count:
        progress(f"latency on a schedule, {count * period:.0f} s")
        paced = summarised(paced_latencies(first, period, count, warm_up), period)
    if count and options.stress:
        short = max(min(count, round(5 / period)), 8)
        progress(f"a stall of {STALL_SECONDS:g} s")
        at = short // 2
        late = paced_latencies(subject.feed(), period, 2 * short, warm_up, stall=(at, STALL_SECONDS))
        stall = recovery(late, period, at, STALL_SECONDS)
        progress(f"busy cores, {short * period:.0f} s")
        with busy_cores():
            under_load = summarised(paced_latencies(subject.feed(), period, short, warm_up), period)
    if options.stress:
        progress("speech, silence, speech")
        quiet = subject.silence()
    used = None
    if options.growth_chunks:
        progress(f"memory over {options.growth_chunks} chunks")
        used = resources(subject.feed(), options.growth_chunks)
    slow = paced.p99_ms if paced is not None else closed.p99_ms
    return OneProcess(
        load_s, checked, closed, paced, subject.budget(closed, slow), used, quiet, stall, under_load, stages
    ), *who


def _in_another_process(path: Path, options: BenchOptions) -> BenchReport:
    asked = dataclasses.asdict(dataclasses.replace(options, processes=1))
    command = [sys.executable, "-m", "runtime.measuring.bench.bundle", str(path), json.dumps(asked)]
    return TypeAdapter(BenchReport).validate_json(output_of(command, "a bench process"))


def _spread(processes: list[OneProcess]) -> dict[str, Spread]:
    values: dict[str, list[float]] = {"load_s": [one.load_s for one in processes]}
    for one in processes:
        if one.closed is not None:
            for name in ("first_call_ms", "p50_ms", "p99_ms", "rtf"):
                values.setdefault(f"closed_{name}", []).append(getattr(one.closed, name))
        if one.paced is not None:
            for name in ("p50_ms", "p99_ms", "max_ms", "jitter_ms"):
                values.setdefault(f"paced_{name}", []).append(getattr(one.paced, name))
    return {name: Spread(float(np.median(row)), min(row), max(row)) for name, row in values.items()}


def targets(processes: list[OneProcess], device: str) -> tuple[Target, ...]:
    """Judges each target by the worst process; gives nothing where one was not timed."""
    timed = [(one.closed, one.paced, one.budget) for one in processes]
    if not timed or any(closed is None or spent is None for closed, _, spent in timed):
        return ()

    def judged(name: str, value: float, limit: float) -> Target:
        verdict = ("met" if value < limit else "missed") if "M3 Max" in device else "not judged: this is no M3 Max"
        return Target(name, value, limit, verdict)

    rtf = max(closed.rtf for closed, _, _ in timed if closed)
    p99 = max(paced.p99_ms if paced else closed.p99_ms for closed, paced, _ in timed if closed)
    deadline = min(closed.deadline_ms for closed, _, _ in timed if closed)
    spent = max((spent for _, _, spent in timed if spent), key=lambda item: item.total_ms)
    trip = judged("round trip ms", spent.total_ms, spent.target_ms)
    if spent.verdict.startswith("not"):
        trip = dataclasses.replace(trip, verdict=spent.verdict)
    return (judged("RTF", rtf, RTF_TARGET), judged("p99 per chunk ms", p99, min(CHUNK_TARGET_MS, deadline)), trip)


if __name__ == "__main__":
    from runtime.machine.files import as_json

    asked = TypeAdapter(BenchOptions).validate_json(sys.argv[2])
    print(json.dumps(as_json(dataclasses.asdict(bench_bundle(Path(sys.argv[1]), asked)))))
