"""Whole-process time and peak memory of the main job against a script that only converts.

    python -m benchmarks.job_overhead [ROUNDS]

Interleaved runs in fresh processes and fresh folders: bare script, main job, unchanged repeat of the job. Memory is
that of the largest process of each.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
JOB = [sys.executable, "-m", "convert", "model=hifigan", "precision=fp16", "checkpoint.source=bundled"]


def run(command: list[str], folder: str) -> tuple[float, float]:
    """(wall seconds, MiB of the largest process): one more process in between, so that its children are counted."""
    program = (
        "import resource, subprocess, sys; "
        "code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode; "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "VOXPORT_CACHE": f"{folder}/cache"}
    started = time.perf_counter()
    result = subprocess.run(
        [sys.executable, "-c", program, *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return time.perf_counter() - started, int(result.stdout) / (1024 if sys.platform == "linux" else 1024**2)


def main(rounds: int = 3) -> None:
    results: dict[str, list[tuple[float, float]]] = {"bare": [], "job": [], "repeat": []}
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            bare = [sys.executable, "-m", "benchmarks.bare_conversion", f"{folder}/bare.mlpackage"]
            for name, command in (("bare", bare), ("job", JOB), ("repeat", JOB)):
                results[name].append(run(command, folder))
                print(f"round {number + 1} {name:<7}{results[name][-1][0]:7.2f} s {results[name][-1][1]:7.0f} MiB")
    bare_s, bare_mib = (statistics.median(column) for column in zip(*results["bare"]))
    for name, runs in results.items():
        seconds, mebibytes = (statistics.median(column) for column in zip(*runs))
        ratios = f"{seconds / bare_s:.2f} x time, {mebibytes / bare_mib:.2f} x memory of the bare script"
        print(f"median  {name:<7}{seconds:7.2f} s {mebibytes:7.0f} MiB  {ratios}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
