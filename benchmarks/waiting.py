"""How long the `mil` engine takes alone and beside other work, by how PyTorch's threads wait for each other.

    python -m benchmarks.waiting BUNDLE [--rounds N] [--busy N]

Each time is of a process of its own, since OpenMP reads its settings once: the median of three calls on an input of
noise. Rounds are interleaved: every way of waiting alone, then every one beside `--busy` processes that do nothing but
count.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import voxport
from runtime.machine.cores import allowed_cores
from runtime.machine.tether import tethered

ALL = str(allowed_cores())
WAYS = {
    "one thread": (["--threads", "1"], {}),
    "as OpenMP likes": (["--threads", ALL], {}),
    "spinning briefly": (["--threads", ALL], {"GOMP_SPINCOUNT": "10000"}),
    "spinning briefly, as many as are free: as commands have it": ([], {"GOMP_SPINCOUNT": "10000"}),
    "not spinning": (["--threads", ALL], {"OMP_WAIT_POLICY": "PASSIVE"}),
}
CALLS = 3


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.waiting", description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--busy", type=int, default=os.cpu_count() or 2, help="processes beside it (default: cores)")
    parser.add_argument("--threads", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        print(json.dumps(_timed(options.bundle, options.threads)))
        return 0
    seconds: dict[tuple[str, int], list[float]] = {}
    for _ in range(options.rounds):
        for busy in (0, options.busy):
            with _busy(busy):
                for way, (threads, settings) in WAYS.items():
                    seconds.setdefault((way, busy), []).append(_in_a_process(options.bundle, threads, settings))
    print(f"| threads | alone | beside {options.busy} busy processes |\n|---|---|---|")
    for way in WAYS:
        alone, beside = (statistics.median(seconds[way, busy]) for busy in (0, options.busy))
        print(f"| {way} | {alone:.2f} s | {beside:.2f} s |")
    return 0


def _timed(bundle: Path, threads: int | None) -> float:
    """Median seconds of a call of the bundle's first component."""
    opened = voxport.open_bundle(bundle)
    engine = voxport.load(opened, voxport.Execution("mil", threads))
    random = np.random.default_rng(0)
    given = {spec.name: random.normal(size=spec.default_shape).astype(spec.dtype) for spec in opened.component().inputs}
    engine.run(given)
    taken = []
    for _ in range(CALLS):
        began = time.perf_counter()
        engine.run(given)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def _in_a_process(bundle: Path, threads: list[str], settings: dict[str, str]) -> float:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))
    } | settings
    command = [sys.executable, "-m", "benchmarks.waiting", str(bundle), "--once", *threads]
    return float(json.loads(subprocess.run(command, env=environment, check=True, capture_output=True).stdout))


@contextmanager
def _busy(count: int) -> Iterator[None]:
    others = [subprocess.Popen(tethered([sys.executable, "-c", "while True: pass"])) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


if __name__ == "__main__":
    sys.exit(main())
