"""How long a call takes in one engine and in another, in turns in one process, and how far they differ.

    python -m benchmarks.engines BUNDLE [--engines onnx openvino] [--threads 1 2] [--rounds 30]

Every function of every component, on drawn numbers, with its states where it has any. The ratio is of the least of the
rounds, which other work on the machine disturbs least, and of their medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

import voxport
from runtime.engines import Engine, Execution
from runtime.mil.lower import functions_of
from runtime.speech.metrics import snr_db

COLUMNS = ("function", "engine", "threads", "least", "ratio", "ratio of medians", "to the first")


def timed(engines: list[Engine], rounds: int) -> tuple[list[list[float]], list[float]]:
    """The seconds of each engine's calls, and how near each one's output is to the first's (dB), states apart."""
    random = np.random.default_rng(0)
    given = {spec.name: random.normal(size=spec.default_shape).astype(spec.dtype) for spec in engines[0].inputs}
    first, *others = ({name: value.copy() for name, value in engine.run(given).items()} for engine in engines)
    nearness = [min(snr_db(first[name].reshape(-1), other[name].reshape(-1)) for name in first) for other in others]
    states, taken = [engine.new_state() for engine in engines], [list[float]() for _ in engines]
    for _ in range(rounds):
        for engine, state, seconds in zip(engines, states, taken):
            began = time.perf_counter()
            engine.run(given, state)
            seconds.append(time.perf_counter() - began)
    return taken, nearness


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.engines", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--engines", nargs="+", default=["onnx", "openvino"], metavar="NAME", help="[onnx openvino]")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], metavar="N", help="[1 2]")
    parser.add_argument("--rounds", type=int, default=30, help="[%(default)s]")
    options = parser.parse_args()
    bundle = voxport.open_bundle(options.bundle)
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    for record in bundle.manifest.components:
        artefact = bundle.executable(record)
        for function in functions_of(artefact) if artefact.suffix == ".mlpackage" else [None]:
            for threads in options.threads:
                engines = [
                    voxport.load(bundle, Execution(name, threads), record.name, function) for name in options.engines
                ]
                taken, nearness = timed(engines, options.rounds)
                for engine, seconds, near in zip(engines, taken, [None, *nearness]):
                    least, median = (of(seconds) / of(taken[0]) for of in (min, statistics.median))
                    called, agrees = f"`{record.name}` {function or ''}", "" if near is None else f"{near:.0f} dB"
                    row = (
                        called,
                        engine.name,
                        threads,
                        f"{min(seconds) * 1e3:.2f} ms",
                        f"{least:.2f}",
                        f"{median:.2f}",
                    )
                    print("|", *(f"{cell} |" for cell in (*row, agrees)), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
