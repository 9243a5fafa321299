"""The stack and memo of a pickle's program, with kinds in place of values, and the copy that is made of it."""

from __future__ import annotations

import pickle
import struct
from typing import Literal, NamedTuple


class Unreadable(Exception):
    """A pickle that no trainer writes; the message says why."""


class WantsToRun(Exception):
    """Names what a pickle wanted to call or to change."""


class Name(NamedTuple):
    """A class or function that the pickle names."""

    path: str


class Made(NamedTuple):
    """The result of a call, or an instance of an unknown class."""

    by: str


class Text:
    """A string, and where the copy remembers it."""

    __slots__ = ("slot", "value", "written")

    def __init__(self, value: str) -> None:
        self.value, self.slot, self.written = value, -1, False


class Kind(NamedTuple):
    kind: Literal["mark", "plain", "dict", "other"]


# `PLAIN` may be a key: None, a boolean, a float or an integer of 64 bits
MARK, PLAIN, DICT, OTHER = Kind("mark"), Kind("plain"), Kind("dict"), Kind("other")


class Machine:
    """`stack` and `memo` as an unpickler would have them; `out`: the copy so far.

    Strings at the top of the stack are written late: a copy of protocol 2 has no names that come from there.
    """

    def __init__(self) -> None:
        self.out = bytearray(pickle.PROTO + b"\x02")
        self.stack: list[object] = []
        self._memo: dict[int, object] = {}
        self._pending: list[Text] = []

    def write(self, code: bytes) -> None:
        for text in self._pending:
            self._write_text(text)
        self._pending.clear()
        self.out += code

    def _write_text(self, text: Text) -> None:
        if text.written:
            self.out += _indexed(pickle.BINGET, pickle.LONG_BINGET, text.slot)
            return
        self.out += spelled(text.value)
        if text.slot >= 0:
            self.out += _indexed(pickle.BINPUT, pickle.LONG_BINPUT, text.slot)
            text.written = True

    def push(self, item: object, code: bytes) -> None:
        self.write(code)
        self.stack.append(item)

    def push_all(self, item: object, count: int, code: bytes) -> None:
        self.write(code)
        self.stack += [item] * count

    def push_text(self, text: Text) -> None:
        self._pending.append(text)
        self.stack.append(text)

    def take_back_texts(self, count: int) -> list[str] | None:
        """The strings at the top, as if they had never been there; None where something else is."""
        if len(self._pending) < count:
            return None
        values = [text.value for text in self._pending[-count:]]
        del self._pending[-count:], self.stack[-count:]
        return values

    def pop(self) -> object:
        item = self.top()
        self.stack.pop()
        return item

    def top(self) -> object:
        item = self.stack[-1]
        if item is MARK:
            raise Unreadable("its pickle is damaged: a mark lies where a value should")
        return item

    def pop_to_mark(self) -> list[object]:
        for depth in range(len(self.stack) - 1, -1, -1):
            if self.stack[depth] is MARK:
                items = self.stack[depth + 1 :]
                del self.stack[depth:]
                return items
        raise IndexError

    def push_remembered(self, index: int) -> None:
        if index not in self._memo:
            raise Unreadable(f"its pickle is damaged: it remembers nothing under {index}")
        item = self._memo[index]
        if isinstance(item, Text):
            self.push_text(item)
        else:
            self.push(item, _indexed(pickle.BINGET, pickle.LONG_BINGET, index))

    def remember(self, index: int | None) -> None:
        """The top of the stack, under the next free index where none is given."""
        item, index = self.top(), len(self._memo) if index is None else index
        if index in self._memo or not 0 <= index < 2**32:
            raise Unreadable(f"its pickle remembers two things under {index}")
        self._memo[index] = item
        if isinstance(item, Text):
            if item.slot >= 0:
                return
            item.slot = index
            if self._pending:  # the put is written with it
                return
            item.written = True
        self.write(_indexed(pickle.BINPUT, pickle.LONG_BINPUT, index))


def spelled(text: str) -> bytes:
    encoded = text.encode("utf-8", "surrogatepass")
    return pickle.BINUNICODE + struct.pack("<I", len(encoded)) + encoded


def _indexed(short: bytes, long: bytes, index: int) -> bytes:
    return short + bytes([index]) if index < 256 else long + struct.pack("<I", index)
