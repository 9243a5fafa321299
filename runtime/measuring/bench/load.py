"""Tells how busy the machine was with other work while something was timed on it."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from dataclasses import dataclass

import psutil

# A choice between 0.01 at rest and 0.67, where RTF had risen by a quarter (docs/nightly.md): none between was measured.
BUSY_SHARE = 0.15


@dataclass(frozen=True)
class OtherLoad:
    """`others_share`: the mean share of all processors, 0 to 1, that other processes used, None where the system does
    not tell; `load_average`: of the minute before; `thermal`: how far macOS has slowed the processors down."""

    others_share: float | None
    load_average: float | None
    thermal: str | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a time that was taken beside this says little of the artefact."""
        return self.others_share is not None and self.others_share > BUSY_SHARE

    def __str__(self) -> str:
        if self.others_share is None:
            share = "other processes' share unknown"
        else:
            share = f"other processes used {100 * self.others_share:.0f} % of the processors"
        load = "" if self.load_average is None else f", load {self.load_average:.1f} before"
        thermal = "" if self.thermal is None else f", {self.thermal}"
        return f"{'BUSY: ' if self.is_busy else ''}{share}{load}{thermal}"


@dataclass(frozen=True)
class ProcessorTimes:
    """Seconds until now: on the clock, of all processors at work, and of this process and its children at work."""

    clock: float
    machine: float
    ours: float


class LoadWatch:
    """Watches the machine from its making until `load` is asked for."""

    def __init__(self) -> None:
        self._load_average = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        self._before = processor_times()

    def load(self) -> OtherLoad:
        share = others_share(self._before, processor_times(), psutil.cpu_count() or 1)
        return OtherLoad(share, self._load_average, thermal_state())


def processor_times() -> ProcessorTimes:
    """Reads the counters of the system; what a hypervisor took away counts as the machine's work."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    # Linux counts guests in `user` as well.
    machine = sum(times) - idle - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    process = psutil.Process()
    ours = sum(process.cpu_times()[:4])  # user, system, and both of the children that ended
    for child in process.children(recursive=True):
        try:
            ours += sum(child.cpu_times()[:4])
        except psutil.Error:  # ended meanwhile, and counted above at the next reading
            continue
    return ProcessorTimes(time.perf_counter(), machine, ours)


def others_share(before: ProcessorTimes, after: ProcessorTimes, processors: int) -> float | None:
    """Returns the share of `processors` that others used between two readings, 0 to 1; None where the machine's
    counters stood still."""
    machine, clock = after.machine - before.machine, after.clock - before.clock
    if machine <= 0 or clock <= 0:
        return None
    others = machine - (after.ours - before.ours)
    return min(max(others / (clock * processors), 0.0), 1.0)


def thermal_state() -> str | None:
    """Returns what `pmset -g therm` says of macOS's processors; None on other systems. Not run on a Mac."""
    if platform.system() != "Darwin":
        return None
    try:
        answer = subprocess.run(["pmset", "-g", "therm"], capture_output=True, text=True, timeout=5, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return thermal_words(answer)


def thermal_words(answer: str) -> str | None:
    """Reads the speed limit, in percent, out of the answer of `pmset -g therm`."""
    limit = re.search(r"CPU_Speed_Limit\s*=\s*(\d+)", answer)
    return None if limit is None else f"processors limited to {limit[1]} % of their speed"
