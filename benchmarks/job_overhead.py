"""Time, processor time and peak memory of the main job against a script that only converts.

    python -m benchmarks.job_overhead [ROUNDS]

Interleaved runs in fresh processes and fresh folders: bare script, main job, unchanged repeat of the job. Processor
time is that of all their processes together; where other work shares the machine it says more than the clock. Memory is
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


def run(command: list[str], folder: str) -> tuple[float, float, float]:
    """(wall seconds, processor seconds, MiB of the largest process): one more process in between, so that its children
    are counted."""
    program = (
        "import resource, subprocess, sys; "
        "code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode; "
        "used = resource.getrusage(resource.RUSAGE_CHILDREN); "
        "print(used.ru_utime + used.ru_stime, used.ru_maxrss); sys.exit(code)"
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
    wall, (processor, memory) = time.perf_counter() - started, map(float, result.stdout.split())
    return wall, processor, memory / (1024 if sys.platform == "linux" else 1024**2)


def main(rounds: int = 3) -> None:
    results: dict[str, list[tuple[float, float, float]]] = {"bare": [], "job": [], "repeat": []}
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            bare = [sys.executable, "-m", "benchmarks.bare_conversion", f"{folder}/bare.mlpackage"]
            for name, command in (("bare", bare), ("job", JOB), ("repeat", JOB)):
                results[name].append(run(command, folder))
                print(
                    f"round {number + 1} {name:<7}" + "{:7.2f} s {:7.2f} CPU s {:7.0f} MiB".format(*results[name][-1])
                )
    medians = {name: [statistics.median(column) for column in zip(*runs)] for name, runs in results.items()}
    for name, values in medians.items():
        ratios = [value / bare for value, bare in zip(values, medians["bare"])]
        print(f"median  {name:<7}" + "{:7.2f} s {:7.2f} CPU s {:7.0f} MiB".format(*values), end="  ")
        print("{:.2f} x time, {:.2f} x CPU, {:.2f} x memory of the bare script".format(*ratios))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
