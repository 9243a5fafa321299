"""ctrl-C, SIGTERM and a hung-up terminal, all as a KeyboardInterrupt, and remembered."""

from __future__ import annotations

import signal
import sys
import threading

_interrupted = threading.Event()


def catch_interrupts() -> None:
    """Makes SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt, at once or at the next `stop_if_interrupted`.

    An exception raised inside a destructor or a weak reference's callback is printed and dropped by Python, and
    PyTorch has many of those. A SIGHUP that is ignored already (`nohup`) stays so.
    """

    def interrupt(number: int, frame: object) -> None:
        _interrupted.set()
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt)
    sys.unraisablehook = _quiet_about_interrupts


def stop_if_interrupted() -> None:
    """Raises KeyboardInterrupt where one came before and was lost."""
    if _interrupted.is_set():
        raise KeyboardInterrupt


def _quiet_about_interrupts(lost: sys.UnraisableHookArgs) -> None:
    if lost.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(lost)
