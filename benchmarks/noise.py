"""How far two measurements of the same bundle lie apart: unchanged pairs, as the nightly times them, recorded.

    python -m benchmarks.noise BUNDLE 300 benchmarks/recorded/pairs.json

`benchmarks/verdicts.py` and the tests draw from what is kept here.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

from runtime.engines import cpu_name
from runtime.machine.files import write_json
from runtime.machine.versions import tool_versions
from runtime.measuring.bench.paired import Pair, in_fresh_process, time_pairs
from runtime.measuring.options import MeasureOptions

TIMING = MeasureOptions(engines=["onnx"], bench_seconds=0.4, bench_min_chunks=30)


def main(bundle: Path, count: int, target: Path) -> None:
    """Writes what is there after every pair: whoever stops it keeps the rest."""
    timer = in_fresh_process(TIMING)
    kept: list[dict[str, Any]] = []

    def is_enough(pairs: object) -> bool:
        assert isinstance(pairs, list)
        kept[len(kept) :] = [dataclasses.asdict(pair) for pair in pairs[len(kept) :]]
        versions = tool_versions()
        write_json(target, {"device": cpu_name(), "engine": "onnx", "versions": versions, "pairs": kept})
        return len(pairs) >= count

    ratios = [ratio(pair) for pair in time_pairs(bundle, bundle, timer, timer, is_enough)]
    print(f"{len(ratios)} pairs, standard deviation of the ratio {100 * np.std(ratios, ddof=1):.1f} %")


def ratio(pair: Pair) -> float:
    """ln(candidate / champion)"""
    return math.log(pair.candidate["chunk"] / pair.champion["chunk"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
