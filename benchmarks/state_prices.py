"""What arithmetic, bytes and operations cost an engine: the prices by which `stream.keep=auto` chooses.

    python -m benchmarks.state_prices [ENGINE ...] [--threads N] [--rounds N]

HiFi-GAN V1 and the bundled vocoder stream in chunks of four frames with their state kept in different places; all of
these artefacts are called in turns in one process. What `ops.streaming` counts of each, times three prices none of
which is negative, comes as near as can be to what they took, relative to that. On one thread a time is the processor's,
which other work on the machine does not lengthen; on several it is the clock's. Medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from benchmarks.streaming import component
from converters.component import Component, format_
from converters.options import FormatOptions, PrecisionOptions
from converters.streaming import chunk_component, network_of
from ops.streaming import KEEPS, Network, Price, Streamed, Work, planned, work_of
from ops.streaming.plan import Plan, Planner
from runtime.engines import Execution, cpu_name, open_engine

FORMATS = {"onnx": "onnx", "mil": "mlprogram", "coreml": "mlprogram"}
CHUNK = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engines", nargs="*", default=["onnx"], metavar="ENGINE", help=", ".join(FORMATS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=25)
    options = parser.parse_args()
    print(f"{cpu_name()}, {options.threads} threads of {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}")
    for engine in options.engines:
        works, nanoseconds = measured(engine, options.threads, options.rounds)
        price, errors = fitted(works, nanoseconds)
        print(f'"{engine}": Price({price.multiply_add:.4f}, {price.byte:.4f}, {price.operation:.0f})  # nanoseconds, '
              f"within {max(errors):.1%} of every call")  # fmt: skip


def plans(network: Network) -> Iterator[Plan]:
    """Yields plans that differ in arithmetic, bytes and operations."""
    for keep in KEEPS:
        yield planned(network, CHUNK, keep)
    planner = Planner(network, CHUNK)
    yield planner.kept([source for step in planner.steps for source in step.sources if len(source.users) > 1])


def measured(engine: str, threads: int, rounds: int) -> tuple[list[Work], list[float]]:
    """The work of each call, and the nanoseconds that it took."""
    works: list[Work] = []
    calls: list[Callable[[], object]] = []
    with tempfile.TemporaryDirectory() as folder:
        for version in ("V1", "V2"):
            vocoder = component(version)
            network = network_of(vocoder, "polyphase")
            for plan in plans(network):
                steady = chunk_component(vocoder, Streamed(network, CHUNK, plan, False))
                works.append(work_of(network, CHUNK, plan))
                calls.append(call(steady, Path(folder, str(len(calls))), engine, threads))
        clock = time.process_time if threads == 1 else time.perf_counter
        return works, [1e9 * median for median in interleaved(calls, rounds, clock)]


def fitted(works: list[Work], nanoseconds: list[float]) -> tuple[Price, list[float]]:
    """The prices, and how far from each call they are, relative to it."""
    counts = np.array([[work.multiply_adds, work.bytes, work.operations] for work in works])
    rows = counts / np.array(nanoseconds)[:, None]
    prices, _ = nnls(rows, np.ones(len(rows)))
    return Price(*map(float, prices)), [abs(float(value) - 1) for value in rows @ prices]


def call(part: Component, folder: Path, engine: str, threads: int) -> Callable[[], object]:
    """A call of the component as an artefact that the engine executes."""
    folder.mkdir()
    options = FormatOptions(FORMATS[engine])
    path = format_(options.name).convert(part, PrecisionOptions("fp32"), options, folder).path
    opened = open_engine(path, Execution(engine, threads))
    inputs = {name: value.numpy() for name, value in part.example().items()}
    return lambda: opened.run(inputs)


def interleaved(calls: list[Callable[[], object]], rounds: int, clock: Callable[[], float]) -> list[float]:
    """Median seconds of each, taken in turns; the first is apart."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds + 1):
        for row, one in zip(times, calls):
            began = clock()
            one()
            row.append(clock() - began)
    return [statistics.median(row[1:]) for row in times]


if __name__ == "__main__":
    main()
