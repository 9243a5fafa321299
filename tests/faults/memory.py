"""How much memory a process of a test has taken."""

import resource
import sys


def peak_mb() -> float:
    """The most memory that this process has held, in MiB.

    On Linux ru_maxrss begins with that of the process that started this one, so that it says nothing of a small child
    of a large parent; VmHWM begins anew with the program.
    """
    if sys.platform == "linux":
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
