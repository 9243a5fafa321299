"""Runs numbered inputs in processes that may die, and counts how they ended."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import ROOT

BATCH = 500


@dataclass
class Counts:
    """`outcomes` by what came of an input; `alarms`: everything that should not have been; `slowest_s`."""

    outcomes: Counter = field(default_factory=Counter)
    alarms: list[str] = field(default_factory=list)
    slowest_s: float = 0.0


def watched(module: str, kind: str, count: int, folder: Path, limit: float = 1800.0) -> Counts:
    """Runs `python -m MODULE KIND FIRST COUNT FOLDER` over inputs 0 to `count`, in batches.

    The module prints the number of each input before it takes it and its counts as JSON at the end; where its process
    dies, that input is an alarm and the next batch begins after it. limit: seconds for a batch.
    """
    counts, first = Counts(), 0
    while first < count:
        size = min(BATCH, count - first)
        command = [sys.executable, "-m", module, kind, str(first), str(size), str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=limit, check=False)
        lines = done.stdout.splitlines()
        if done.returncode == 0:
            result = json.loads(lines[-1])
            counts.outcomes.update(result["outcomes"])
            counts.alarms += result["alarms"]
            counts.slowest_s = max(counts.slowest_s, result["slowest"][0])
            first += size
            continue
        number = int(lines[-1]) if lines and lines[-1].isdigit() else first
        counts.outcomes["process died"] += 1
        counts.alarms.append(f"{kind} {number}: the process ended with {done.returncode}: {done.stderr[-500:]}")
        first = number + 1
    return counts


def table(rows: dict[str, Counts]) -> str:
    """A line per kind of input, for people."""
    names = sorted({name for counts in rows.values() for name in counts.outcomes})
    lines = [["", *names, "slowest"]]
    for kind, counts in rows.items():
        lines.append([kind, *(str(counts.outcomes[name]) for name in names), f"{counts.slowest_s:.2f} s"])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths)) for line in lines)
