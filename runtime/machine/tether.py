"""Processes that end with whoever started them, also where that one was killed and could not say so.

On Linux the kernel kills a child that was started as `tethered(command)`, and so on down: no grandchild is left either.
Elsewhere, and where a child is to clean up first, its standard input is a pipe from its parent (`TETHER`, `tether`).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

TETHER = "VOXPORT_TETHER"  # in the environment of a process whose standard input is a pipe from its parent
_SECONDS_TO_CLEAN_UP = 3.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent() -> None:
    """Interrupts this process when its standard input ends, if its environment says that this is a tether.

    Whatever it does then, after three seconds it is killed.
    """
    if not os.environ.pop(TETHER, None):
        return
    import threading
    import time

    source = sys.stdin.fileno()

    def watch() -> None:
        while os.read(source, 1):  # not through Python's buffer, whose lock nobody could take at the end
            pass
        # what a shell without job control starts in the background ignores SIGINT
        is_ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        os.kill(os.getpid(), signal.SIGTERM if is_ignored else signal.SIGINT)
        time.sleep(_SECONDS_TO_CLEAN_UP)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def tether() -> Iterator[int]:
    """The end of a pipe for a child's standard input, which ends when this process or the block has ended."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(reading)
        os.close(writing)


def tethered(command: Sequence[str]) -> list[str]:
    """The command as one that the kernel kills as soon as this process (strictly: this thread) has ended, on Linux.

    It is replaced by the command itself, so process id, signals and exit code are the command's own.
    """
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-I", "-S", os.path.abspath(__file__), str(os.getpid()), *command]


def die_with(parent: int) -> None:
    """Has the kernel kill this process when its parent, of process id `parent`, ends; it may have ended already."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(128 + signal.SIGKILL)


def _become(parent: int, command: Sequence[str]) -> None:
    die_with(parent)
    try:
        os.execvp(command[0], list(command))
    except OSError as error:
        sys.exit(f"error: {command[0]} cannot be started: {error.strerror}")


if __name__ == "__main__":
    _become(int(sys.argv[1]), sys.argv[2:])
