"""Single keys of a terminal, while something runs."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def keys() -> Iterator[Callable[[], str]]:
    """Within it the function given says which key was pressed, "" for none; where standard input is no terminal, none.

    The terminal does as before afterwards; ctrl-C interrupts as ever.
    """
    if sys.stdin is None or not sys.stdin.isatty():
        yield lambda: ""
        return
    import termios
    import tty

    number = sys.stdin.fileno()
    saved = termios.tcgetattr(number)
    try:
        tty.setcbreak(number)
        yield lambda: os.read(number, 1).decode(errors="ignore") if select.select([number], [], [], 0)[0] else ""
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, saved)
