"""Standard output and error that take any text and outlive their reader.

A terminal that takes only ASCII gets the nearest characters; a reader that went away (`| head`) does not end work that
is being done; what could not be written for another reason, such as a full disk, is known at the end.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

QUIET = "VOXPORT_QUIET"  # in the environment: no progress and no notes

_PLAIN = {"✓": "+", "–": "-", "—": "-", "…": "...", "→": "->", "×": "x", "±": "+-", "≤": "<=", "≥": ">=", "·": "."}


class Outlet(io.FileIO):
    """A file descriptor that drops what nobody takes any more; `problem` is why, unless the reader just left."""

    problem: OSError | None = None
    _is_closed = False

    def write(self, data: ReadableBuffer, /) -> int:
        size = memoryview(data).nbytes
        if self._is_closed:
            return size
        try:
            return super().write(data) or 0
        except OSError as error:
            self._is_closed = True
            if not isinstance(error, BrokenPipeError):
                self.problem = error
            return size


def settle() -> Outlet:
    """Puts an `Outlet` under sys.stdout, which is returned, and under sys.stderr."""
    codecs.register_error("plain", _plain)
    sys.stdout, out = _settled(sys.stdout, 1)
    sys.stderr, _ = _settled(sys.stderr, 2)
    return out


def is_quiet() -> bool:
    return bool(os.environ.get(QUIET))


def say(text: str) -> None:
    """Tells a person how a command gets on, on stderr."""
    if not is_quiet():
        print(text, file=sys.stderr)


def note(text: str) -> None:
    """Tells a person something that is no error, on stderr."""
    say(f"note: {text}")


def printable(text: str) -> str:
    """A text without the characters that move a cursor or colour a line: it may come from a stranger's file."""
    return "".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in text)


def _settled(stream: TextIO | None, number: int) -> tuple[io.TextIOWrapper, Outlet]:
    if stream is None:  # closed by whoever started this
        outlet = Outlet(os.open(os.devnull, os.O_WRONLY), "w")
        return io.TextIOWrapper(io.BufferedWriter(outlet), encoding="utf-8", errors="plain"), outlet
    stream.flush()
    outlet = Outlet(number, "w", closefd=False)
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return io.TextIOWrapper(io.BufferedWriter(outlet), encoding=encoding, errors="plain", line_buffering=True), outlet


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    parts = (_PLAIN.get(char) or char.encode("ascii", "backslashreplace").decode() for char in text)
    return "".join(parts), error.end
