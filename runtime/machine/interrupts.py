"""ctrl-C, SIGTERM and a hung-up terminal, all as a KeyboardInterrupt, and remembered."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_interrupted = threading.Event()
_postponing: list[bool] = []  # of each block that is not to be interrupted: whether one has come


def remember_interrupts() -> None:
    """Makes ctrl-C what it is to Python by default, and remembered: for the second in which a command is imported.

    There code in C can swallow it whole (it looks for what may be missing, and takes any error for a no);
    `catch_interrupts` then raises it again.
    """

    def interrupt(number: int, frame: object) -> None:
        _interrupted.set()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)


def catch_interrupts() -> None:
    """Makes SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt, at once or at the next `stop_if_interrupted`.

    An exception raised inside a destructor or a weak reference's callback is printed and dropped by Python, and
    PyTorch has many of those. A SIGHUP that is ignored already (`nohup`) stays so.
    """

    def interrupt(number: int, frame: object) -> None:
        _interrupted.set()
        if _postponing and not _postponing[-1]:
            _postponing[-1] = True
            return
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt)
    sys.unraisablehook = _quiet_about_interrupts
    stop_if_interrupted()


@contextmanager
def postponed() -> Iterator[None]:
    """Lets its block, which is short, finish what an interrupt would leave half; the interrupt is raised at its end.

    A second one is raised at once.
    """
    _postponing.append(False)
    try:
        yield
    finally:
        has_come = _postponing.pop()
    if has_come:
        raise KeyboardInterrupt


def was_interrupted() -> bool:
    """Returns whether an interrupt came: what is raised afterwards may be no more than its trace (an ImportError of a
    module in C)."""
    return _interrupted.is_set()


def stop_if_interrupted() -> None:
    """Raises KeyboardInterrupt where one came before and was lost."""
    if _interrupted.is_set():
        raise KeyboardInterrupt


def _quiet_about_interrupts(lost: sys.UnraisableHookArgs) -> None:
    if lost.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(lost)
