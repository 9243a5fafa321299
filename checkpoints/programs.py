"""Checks the program in a pickle without executing it, and writes it again for PyTorch's restricted unpickler.

A pickle is a program without loops and branches, so that what each instruction works on is known beforehand. The copy
uses only the opcodes of `torch/_weights_only_unpickler.py` (protocol 2) and, in place of every name that is not
PyTorch's, one of ours: what a stranger wrote is never given to an unpickler, and every class that voxport
does not know arrives as the same inert stand-in.
"""

from __future__ import annotations

import pickle
import pickletools
import re
import struct
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, BinaryIO

from torch._utils import IMPORT_MAPPING, NAME_MAPPING

from checkpoints.pickle_machine import (
    DICT,
    MARK,
    OTHER,
    PLAIN,
    Kind,
    Machine,
    Made,
    Name,
    Text,
    Unreadable,
    WantsToRun,
    spelled,
)
from checkpoints.pickle_values import CALLABLE, STAND_IN

MOST_OPCODES = 30_000_000  # a table of 40,000 speaker embeddings has about 25 million
_LONGEST_LINE = 1 << 16
_FLOATS = re.compile(rb"(?:G.{8})*", re.DOTALL)

_TAKE_A_STATE = ("NumberType", "Array", STAND_IN)


class _Bounded:
    """A file whose reads reserve no more memory than is left of it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.tell = file, file.tell
        position = file.tell()
        self._size = file.seek(0, 2)
        file.seek(position)

    def read(self, count: int) -> bytes:
        return self._file.read(count if count <= 256 else max(0, min(count, self._size - self._file.tell())))

    def readline(self) -> bytes:
        return self._file.readline(_LONGEST_LINE)

    def read_floats(self) -> bytes:
        """Reads the BINFLOATs that follow in a row: a table of embeddings has millions."""
        position = self._file.tell()
        match = _FLOATS.match(self._file.read(9 << 9))
        assert match is not None
        self._file.seek(position + match.end())
        return match[0]


def rewrite(file: BinaryIO, native: Iterable[str]) -> bytes:
    """The pickle at the position of `file`, which is left behind it, in the terms of PyTorch's restricted unpickler.

    `native`: names that PyTorch resolves itself, its dtypes and kinds of storage. Raises WantsToRun for a program that
    calls what is not on the list or changes what it did not make, Unreadable for what no trainer writes, ValueError for
    one that is cut off.
    """
    program, source, count = _Program(frozenset(native)), _Bounded(file), 0
    for opcode, argument, _ in pickletools.genops(source):  # type: ignore[arg-type]
        count += 1
        action = _ACTIONS.get(opcode.name)
        if action is None:
            raise Unreadable(f"its pickle uses the instruction {opcode.name}, which no checkpoint needs")
        if count > MOST_OPCODES:
            raise Unreadable(f"its pickle has more than {MOST_OPCODES} instructions")
        try:
            action(program, argument)
        except IndexError:
            raise Unreadable(f"its pickle is damaged: nothing is there for {opcode.name}, number {count}") from None
        if opcode.name == "BINFLOAT":
            floats = source.read_floats()
            count += len(floats) // 9
            program.machine.push_all(PLAIN, len(floats) // 9, floats)
    return bytes(program.machine.out)


class _Program:
    """Does what the instructions say."""

    def __init__(self, native: frozenset[str]) -> None:
        self.native, self.machine = native, Machine()
        self.push, self.pop, self.write = self.machine.push, self.machine.pop, self.machine.write

    def text(self, argument: str) -> None:
        self.machine.push_text(Text(argument))

    def old_string(self, argument: str) -> None:
        """A `str` of Python 2: text where it is UTF-8, else bytes."""
        raw = argument.encode("latin1")
        try:
            self.text(raw.decode())
        except UnicodeDecodeError:
            self.data(raw)

    def data(self, argument: bytes) -> None:
        """Bytes, as protocol 2 spells them: by a call."""
        self.push(OTHER, _named("data") + spelled(argument.decode("latin1")) + pickle.TUPLE1 + pickle.REDUCE)

    def whole_number(self, argument: int) -> None:
        if -(2**31) <= argument < 2**31 and not isinstance(argument, bool):
            self.push(PLAIN, pickle.BININT + struct.pack("<i", argument))
            return
        if isinstance(argument, bool):  # as protocol 0 writes them
            self.push(PLAIN, pickle.NEWTRUE if argument else pickle.NEWFALSE)
            return
        raw = pickle.encode_long(argument)
        if len(raw) > 255:
            raise Unreadable(f"its pickle holds a number of {len(raw)} bytes")
        # larger ones can be chosen so that they all have one hash
        self.push(PLAIN if len(raw) <= 8 else OTHER, pickle.LONG1 + bytes([len(raw)]) + raw)

    def real_number(self, argument: float) -> None:
        self.push(PLAIN, pickle.BINFLOAT + struct.pack(">d", argument))

    def constant(self, _: None, kind: Kind, code: bytes) -> None:
        self.push(kind, code)

    def empty(self, _: None, kind: Kind, code: bytes) -> None:
        """LIST and DICT of protocol 0, which pickle writes of nothing and fills afterwards."""
        if self.machine.stack[-1] is not MARK:
            raise Unreadable("its pickle makes a container of what lies on the stack, which no trainer writes")
        self.machine.stack.pop()
        del self.machine.out[-1:]
        self.push(kind, code)

    def tuple_(self, _: None) -> None:
        self.machine.pop_to_mark()
        self.push(OTHER, pickle.TUPLE)

    def short_tuple(self, _: None, count: int, code: bytes) -> None:
        for _unused in range(count):
            self.pop()
        self.push(OTHER, code)

    def append(self, _: None) -> None:
        self.pop()
        self._fill(pickle.APPEND, b"")

    def appends(self, _: None) -> None:
        self.machine.pop_to_mark()
        self._fill(pickle.APPENDS, pickle.TUPLE)

    def set_item(self, _: None) -> None:
        self.pop()
        key = self.pop()
        self._fill(pickle.SETITEM, pickle.TUPLE2, [key])

    def set_items(self, _: None) -> None:
        self._fill(pickle.SETITEMS, pickle.TUPLE, self.machine.pop_to_mark()[::2])

    def _fill(self, code: bytes, gather: bytes, keys: Iterable[object] = ()) -> None:
        target = self.machine.top()
        if isinstance(target, Name):
            raise WantsToRun(f"a change of {target.path}")
        if isinstance(target, Made) and target.by == STAND_IN:  # of a kind of list or dict: forgotten, as its state is
            self.write(gather + pickle.BUILD)
            return
        if not all(
            key is PLAIN or isinstance(key, Text) for key in keys
        ):  # hashing a tuple of tuples can take for ever
            raise Unreadable("its pickle has a key that is neither text nor a number")
        self.write(code)

    def build(self, _: None) -> None:
        state, target = self.pop(), self.machine.top()
        if isinstance(target, Name):
            raise WantsToRun(f"a change of {target.path}")
        by = target.by if isinstance(target, Made) else ""
        if by not in _TAKE_A_STATE and not (by == "ordered_table" and state is DICT):
            raise Unreadable("its pickle gives a state to what has none")
        self.write(pickle.BUILD)

    def new(self, _: None, gather: bytes = b"") -> None:
        for _unused in range(2 if gather else 1):
            self.pop()
        kind = self.pop()
        if not isinstance(kind, Name):
            raise Unreadable("its pickle makes an instance of what is no class")
        if kind.path in CALLABLE or kind.path in self.native:
            raise WantsToRun(kind.path)
        self.push(Made(STAND_IN), gather + pickle.NEWOBJ)

    def call(self, _: None) -> None:
        self.pop()
        function = self.pop()
        if not isinstance(function, Name):
            raise Unreadable("its pickle calls what is no function")
        if function.path not in CALLABLE:
            raise WantsToRun(function.path)
        self.push(Made(CALLABLE[function.path]), pickle.REDUCE)

    def call_by_name(self, argument: str) -> None:
        raise WantsToRun(argument.replace(" ", "."))

    def call_first(self, _: None) -> None:
        first = self.machine.pop_to_mark()[0]
        raise WantsToRun(first.path if isinstance(first, Name) else "what is no class")

    def name(self, argument: str) -> None:
        self._name(*argument.split(" ", 1))

    def name_from_stack(self, _: None) -> None:
        texts = self.machine.take_back_texts(2)
        if texts is None:
            raise Unreadable("its pickle takes a name from elsewhere than right before")
        self._name(*texts)

    def _name(self, module: str, name: str) -> None:
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        path = f"{module}.{name}"
        native = pickle.GLOBAL + f"{module}\n{name}\n".encode(errors="replace") if path in self.native else b""
        self.push(Name(path), native or _named(CALLABLE.get(path, STAND_IN)))

    def storage(self, _: None) -> None:
        texts = self.machine.take_back_texts(1)  # how the tar files of 2016 number them
        if texts is not None:
            if not (texts[0].isascii() and texts[0].isdecimal()):
                raise Unreadable("its pickle asks for a storage by a name")
            self.whole_number(int(texts[0]))
        self.pop()
        self.push(OTHER, pickle.BINPERSID)

    def get(self, argument: int) -> None:
        self.machine.push_remembered(argument)

    def put(self, argument: int | None) -> None:
        self.machine.remember(argument)

    def stop(self, _: None) -> None:
        self.pop()
        if self.machine.stack:
            raise Unreadable("its pickle is damaged: it ends with values left over")
        self.write(pickle.STOP)


def _named(alias: str) -> bytes:
    return pickle.GLOBAL + f"voxport\n{alias}\n".encode()


def _nothing(program: _Program, argument: int) -> None:
    """PROTO and FRAME: the copy has its own."""


_BY_ACTION: dict[Callable[..., None], str] = {
    _nothing: "PROTO FRAME",
    _Program.whole_number: "INT BININT BININT1 BININT2 LONG LONG1 LONG4",
    _Program.real_number: "FLOAT BINFLOAT",
    _Program.text: "UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8",
    _Program.old_string: "STRING BINSTRING SHORT_BINSTRING",
    _Program.data: "SHORT_BINBYTES BINBYTES BINBYTES8 BYTEARRAY8",
    partial(_Program.constant, kind=PLAIN, code=pickle.NONE): "NONE",
    partial(_Program.constant, kind=PLAIN, code=pickle.NEWTRUE): "NEWTRUE",
    partial(_Program.constant, kind=PLAIN, code=pickle.NEWFALSE): "NEWFALSE",
    partial(_Program.constant, kind=OTHER, code=pickle.EMPTY_TUPLE): "EMPTY_TUPLE",
    partial(_Program.constant, kind=OTHER, code=pickle.EMPTY_LIST): "EMPTY_LIST EMPTY_SET",  # sets arrive as lists
    partial(_Program.constant, kind=DICT, code=pickle.EMPTY_DICT): "EMPTY_DICT",
    partial(_Program.constant, kind=MARK, code=pickle.MARK): "MARK",
    partial(_Program.empty, kind=OTHER, code=pickle.EMPTY_LIST): "LIST",
    partial(_Program.empty, kind=DICT, code=pickle.EMPTY_DICT): "DICT",
    _Program.tuple_: "TUPLE FROZENSET",
    partial(_Program.short_tuple, count=1, code=pickle.TUPLE1): "TUPLE1",
    partial(_Program.short_tuple, count=2, code=pickle.TUPLE2): "TUPLE2",
    partial(_Program.short_tuple, count=3, code=pickle.TUPLE3): "TUPLE3",
    _Program.append: "APPEND",
    _Program.appends: "APPENDS ADDITEMS",
    _Program.set_item: "SETITEM",
    _Program.set_items: "SETITEMS",
    _Program.build: "BUILD",
    _Program.new: "NEWOBJ",
    partial(_Program.new, gather=pickle.TUPLE2): "NEWOBJ_EX",
    _Program.call: "REDUCE",
    _Program.call_by_name: "INST",
    _Program.call_first: "OBJ",
    _Program.name: "GLOBAL",
    _Program.name_from_stack: "STACK_GLOBAL",
    _Program.storage: "BINPERSID",
    _Program.get: "GET BINGET LONG_BINGET",
    _Program.put: "PUT BINPUT LONG_BINPUT MEMOIZE",
    _Program.stop: "STOP",
}
_ACTIONS: dict[str, Callable[[_Program, Any], None]] = {
    name: action for action, names in _BY_ACTION.items() for name in names.split()
}
