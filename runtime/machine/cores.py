"""The cores that this process may use, and those of them that nothing uses."""

from __future__ import annotations

import os
import sys
import time

_LOOK_SECONDS = 0.1  # ten of the kernel's ticks


def allowed_cores() -> int:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def free_cores() -> int:
    """Returns how many of its cores stand idle while this thread looks on for a tenth of a second; at least 1.

    All, where the system does not tell or psutil is not there (`enable_predict` asks for NumPy, PyTorch and coremltools
    alone).
    """
    cores = allowed_cores()
    try:
        idle, total = _ticks()
    except ImportError:
        return cores
    time.sleep(_LOOK_SECONDS)
    idle, total = (after - before for after, before in zip(_ticks(), (idle, total)))
    return cores if total <= 0 else max(1, round(cores * idle / total))


def _ticks() -> tuple[float, float]:
    """(idle, altogether) seconds of the cores that this process may use, since the machine started.

    Raises ImportError where psutil is not there.
    """
    import psutil

    times = psutil.cpu_times(percpu=True)
    if sys.platform == "linux":
        times = [times[core] for core in os.sched_getaffinity(0) if core < len(times)]
    idle = sum(core.idle + getattr(core, "iowait", 0.0) for core in times)
    return idle, sum(sum(core) - getattr(core, "guest", 0.0) - getattr(core, "guest_nice", 0.0) for core in times)
