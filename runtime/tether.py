"""A process that ends with whoever started it, also where that one was killed and could not say so."""

from __future__ import annotations

import os
import signal
import sys
import threading

TETHER = "VOXPORT_TETHER"  # in the environment of a process whose standard input is a pipe from its parent


def end_with_parent() -> None:
    """Interrupts this process when its standard input ends, if its environment says that this is a tether."""
    if not os.environ.pop(TETHER, None):
        return

    source = sys.stdin.fileno()

    def watch() -> None:
        while os.read(source, 1):  # not through Python's buffer, whose lock nobody could take at the end
            pass
        # what a shell without job control starts in the background ignores SIGINT
        is_ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        os.kill(os.getpid(), signal.SIGTERM if is_ignored else signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()
