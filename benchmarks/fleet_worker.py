"""A host of `benchmarks.fleet`: several Dask workers in one process, whose jobs take time and log, and convert nothing.

    python -m benchmarks.fleet_worker SCHEDULER FIRST COUNT JOURNAL --scale 0.01 --failing 0.02

A job takes the seconds of one of `DURATIONS`, the same one whenever it is tried, times the scale; it logs its runs to
MLflow as a real job does, or fails. JOURNAL gets a line when it begins and one when it ends.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import convert.runners.dask
from convert.task import JobSpec, TaskResult
from reports.runs import log_once
from reports.store import mlflow_module, prepared
from reports.suite import JobFacts
from runtime.errors import ExitCode

# Seconds of jobs of the nightly suite on two cores, one with another, from vocoders to voices with their parts.
DURATIONS = (22.1, 16.4, 24.0, 19.3, 35.8, 27.5, 44.0, 61.2, 112.0, 31.0, 25.6, 48.7)
SHARE = {"convert": 0.7, "judge": 0.3}  # of a job's time, on the worker that converts and on the one that measures
METRICS, PARAMS = 48, 32  # of a run


def drawn(name: str, what: str) -> float:
    """A number from 0 to 1 that is the same for the same job, on whichever worker."""
    return int.from_bytes(hashlib.sha256(f"{what} {name}".encode()).digest()[:6], "big") / 2**48


def facts(spec: JobSpec, run: str) -> JobFacts:
    series = f"fleet-{spec.name if spec.kind == 'convert' else spec.overrides[0]}"
    names = [f"onnx/metric_{number:02d}" for number in range(METRICS)]
    values = {name: 60 + 20 * drawn(series, name) for name in names}
    return JobFacts(
        series, f"{series}-bundle", hashlib.sha256(series.encode()).hexdigest(), 7.1, {"voxport": "0.1.0"}, None,
        {**values, "onnx/snr_db": 60 + 20 * drawn(series, "snr")}, {"onnx/rtf": 0.1}, {"onnx": "simulated"},
        {spec.kind: run},
    )  # fmt: skip


def simulated(journal: Path, scale: float, failing: float, logs: bool) -> Callable[..., TaskResult]:
    """What stands for `convert.task.execute` on these workers."""

    def note(what: str, spec: JobSpec) -> None:
        with journal.open("a") as file:  # one short write: lines of several processes do not mix
            file.write(f"{what}\t{spec.kind}\t{spec.name}\t{os.getpid()}\n")

    def execute(spec: JobSpec, is_stopped: Callable[[], bool] = lambda: False, slot: int | None = None) -> TaskResult:
        note("begins", spec)
        seconds = DURATIONS[int(drawn(spec.name, "seconds") * len(DURATIONS))] * SHARE[spec.kind] * scale
        time.sleep(seconds)
        if spec.kind == "convert" and drawn(spec.name, "failing") < failing:
            note("ends", spec)
            return TaskResult(
                "failed", seconds, reason="a weight has no place in the network", exit_code=ExitCode.USAGE
            )
        run = ""
        if logs:
            with prepared(spec.tracking) as (client, experiment):
                made = facts(spec, "")
                run = log_once(
                    client, experiment, f"{spec.kind} {spec.name}", spec.name,
                    {"kind": spec.kind, "job": spec.name, **spec.tracking.tags},
                    {f"param_{number:02d}": str(drawn(spec.name, str(number))) for number in range(PARAMS)},
                    made.metrics, lambda folder: None,
                )  # fmt: skip
        note("ends", spec)
        return TaskResult("passed", seconds, f"/nowhere/{spec.name}", facts=facts(spec, run), exit_code=ExitCode.DONE)

    return execute


async def served(scheduler: str, first: int, count: int) -> None:
    import dask
    from distributed import Worker

    # A sample of every worker each 10 ms: of 64 on two cores it takes more than all that is measured here.
    dask.config.set({"distributed.worker.profile.enabled": False})
    offers = {"cores": 1.0, "memory_gb": 1.0, "apple_silicon": 1.0}
    with tempfile.TemporaryDirectory() as folder:
        workers = [
            await Worker(
                scheduler, nthreads=1, name=f"w{number}", resources=offers, local_directory=folder, dashboard=False,
                memory_limit=0,
            )
            for number in range(first, first + count)
        ]  # fmt: skip
        await asyncio.gather(*(worker.finished() for worker in workers))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet_worker", description=__doc__)
    parser.add_argument("scheduler")
    parser.add_argument("first", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("journal", type=Path)
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--failing", type=float, default=0.02)
    parser.add_argument("--without-runs", action="store_true", help="jobs log nothing to MLflow")
    options = parser.parse_args()
    logs = not options.without_runs
    if logs:
        mlflow_module()  # seconds of imports, of which no job should pay
    vars(convert.runners.dask)["execute"] = simulated(options.journal, options.scale, options.failing, logs)
    asyncio.run(served(options.scheduler, options.first, options.count))


if __name__ == "__main__":
    main()
