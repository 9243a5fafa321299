"""A pickle can make these values: our own functions take anything that it gives them and raise what is wrong.

Nothing here is shared between loads and can be changed by one.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from checkpoints.pickle_machine import Unreadable, WantsToRun

# What a pickle may call, and which of the methods of Values answers to the name.
CALLABLE = {
    "collections.OrderedDict": "ordered_table",
    "collections.defaultdict": "table",
    "collections.Counter": "table",
    "builtins.set": "items",
    "builtins.frozenset": "items",
    "builtins.bytes": "data",
    "builtins.bytearray": "data",
    "_codecs.encode": "data",
    "builtins.complex": "complex_number",
    "builtins.slice": "forgotten",
    **{f"{room}.{kind}Path": "forgotten" for room in ("pathlib", "pathlib._local") for kind in ("Posix", "Windows")},
    "torch.Size": "items",
    "torch.device": "forgotten",
    "torch.serialization._get_layout": "forgotten",
    "torch._utils._rebuild_tensor": "tensor",
    "torch._utils._rebuild_tensor_v2": "tensor",
    "torch._utils._rebuild_parameter": "parameter",
    "numpy.dtype": "NumberType",
    **{f"numpy.{core}.multiarray.scalar": "scalar" for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray._reconstruct": "Array" for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": "array_of" for core in ("core", "_core")},
    "torch.jit._pickle.restore_type_tag": "tagged",
    **{f"torch.jit._pickle.build_{kind}list": "items" for kind in ("int", "double", "bool", "tensor")},
}
STAND_IN = "StandIn"
ALIASES = sorted({STAND_IN, *CALLABLE.values()})

# Tensors may share storages; what all of them would take apart, in multiples of the file and bytes beside.
_SHARED, _SPARE = 4, 64 << 20


class Refuses(type):
    """Metaclass of stand-ins: an instance may be made by NEWOBJ (state only), never by a call (REDUCE)."""

    def __call__(cls, *args: object, **kwargs: object) -> Any:
        raise WantsToRun("what it does not name")


class StandIn(metaclass=Refuses):
    """Takes the place of an unknown class and of its instances, and forgets their state."""

    __slots__ = ()

    def __new__(cls, *args: object, **kwargs: object) -> StandIn:
        return object.__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass

    def __repr__(self) -> str:
        return "<stand-in for an object of an unknown class>"


class ScriptObject(metaclass=Refuses):
    """An object of a TorchScript program: its attributes, of which only plain data and other objects are there."""

    __slots__ = ("attributes",)

    def __new__(cls, *args: object, **kwargs: object) -> ScriptObject:
        made = object.__new__(cls)
        made.attributes = {}
        return made

    def __setstate__(self, state: object) -> None:
        if type(state) is dict:
            self.attributes = state


class NumberType:
    """A numpy dtype of plain numbers, or that of objects, which stands for a list."""

    __slots__ = ("code",)

    def __init__(self, code: object, *_: object) -> None:
        if type(code) is not str or not (code in ("O", "O8") or (len(code) < 4 and code[:1] in tuple("biufc"))):
            raise Unreadable("it holds a numpy array of something else than numbers")
        self.code = code

    def __setstate__(self, state: Any) -> None:
        if type(state) is tuple and len(state) > 1 and state[1] in (">", "<"):
            self.code = state[1] + self.code

    @property
    def is_object(self) -> bool:
        return "O" in self.code

    def numbers(self, raw: object, count: int) -> np.ndarray:
        dtype = np.dtype(self.code)
        if self.is_object or type(raw) is not bytes or len(raw) != count * dtype.itemsize:
            raise Unreadable(f"it holds a numpy array without the bytes of its {count} numbers")
        return np.frombuffer(raw, dtype, count)


class Array(np.ndarray):
    """A numpy array that its state fills. One of objects has `objects`, a list, in place of numbers."""

    objects: Sequence[Any] = ()

    def __new__(cls, *_: object) -> Array:
        return np.ndarray.__new__(cls, (0,), np.uint8)

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, raw = state
        if type(dtype) is not NumberType or type(shape) is not tuple or not are_sizes(shape):
            raise Unreadable("it holds a numpy array without a shape or a type")
        if dtype.is_object:
            if type(raw) is not list:
                raise Unreadable("it holds a numpy array of objects without a list of them")
            self.objects = raw
            return
        values = dtype.numbers(raw, math.prod(shape))
        super().__setstate__((1, shape, values.dtype, bool(is_fortran), values.tobytes()))  # type: ignore[arg-type]


def are_sizes(values: object) -> bool:
    return type(values) is tuple and len(values) <= 32 and all(type(value) is int and value >= 0 for value in values)


class Values:
    """The pickles of one file may call these, by the names in CALLABLE. `size`: bytes of its contents."""

    StandIn, NumberType, Array = StandIn, NumberType, Array

    def __init__(self, size: int) -> None:
        self._size = size
        self._spread = 0
        self._tables: list[collections.OrderedDict[Any, Any]] = []

    def account(self, apart: int, stored: int) -> None:
        """Tensors that share or repeat a storage are small until somebody copies them."""
        self._spread += apart
        if stored > self._size or self._spread > _SHARED * self._size + _SPARE:
            raise Unreadable(f"its tensors claim far more than the {self._size} bytes of the file")

    def tensor(self, storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
        if type(storage) is not torch.storage.TypedStorage or not are_sizes((offset,)):
            raise Unreadable("it holds a tensor without a storage")
        if not (are_sizes(size) and are_sizes(stride)) or len(size) != len(stride):
            raise Unreadable("it holds a tensor without a shape")
        itemsize, stored = storage.dtype.itemsize, storage._untyped_storage.nbytes()
        last = offset + sum((length - 1) * step for length, step in zip(size, stride))
        if math.prod(size) and (last + 1) * itemsize > stored:
            raise Unreadable(f"it holds a tensor of shape {size} that reaches over the end of its storage")
        self.account(math.prod(size) * itemsize, stored)
        return torch._utils._rebuild_tensor(storage, offset, size, stride)

    def parameter(self, data: Any, *_: Any) -> Tensor:
        if not isinstance(data, Tensor):
            raise Unreadable("it holds a parameter without a tensor")
        return data

    def ordered_table(self, items: Any = ()) -> collections.OrderedDict[Any, Any]:
        """Makes an ordered table; Python 2 pickles one with its items."""
        table: collections.OrderedDict[Any, Any] = collections.OrderedDict()
        for pair in items if type(items) in (list, tuple) else [items]:
            if type(pair) not in (list, tuple) or len(pair) != 2 or type(pair[0]) not in (str, int):
                raise Unreadable("it holds a table of something else than pairs")
            table[pair[0]] = pair[1]
        self._tables.append(table)
        return table

    def table(self, *items: Any) -> dict[Any, Any]:
        return items[0] if len(items) == 1 and type(items[0]) is dict else {}

    def items(self, values: Any = ()) -> tuple[Any, ...]:
        if type(values) not in (list, tuple):
            raise Unreadable("it holds a set of something else than items")
        return tuple(values)

    def tagged(self, value: Any = None, *_: Any) -> Any:
        """A list or a table whose type TorchScript writes beside it."""
        return value

    def data(self, text: Any = b"", *_: Any) -> bytes:
        """Makes bytes from what protocol 2 spells them as."""
        if type(text) is bytes:
            return text
        if type(text) is not str:
            raise Unreadable("it holds bytes made of something else than text")
        return text.encode("latin1")

    def complex_number(self, *parts: Any) -> complex:
        if len(parts) != 2 or not all(type(part) in (int, float) for part in parts):
            raise Unreadable("it holds a complex number of something else than numbers")
        return complex(*parts)

    def scalar(self, kind: Any, raw: Any = b"") -> Any:
        """One of numpy's; upstream's unpickles objects on its way."""
        if type(kind) is not NumberType or kind.is_object:
            raise WantsToRun("numpy's scalar of an object")
        return kind.numbers(raw, 1)[0].item()

    def array_of(self, raw: Any, kind: Any, shape: Any, order: Any = "C") -> np.ndarray:
        """A whole numpy array, as protocol 5 writes them."""
        if type(kind) is not NumberType or not are_sizes(shape) or order not in ("C", "F"):
            raise Unreadable("it holds a numpy array without a shape or a type")
        return kind.numbers(raw, math.prod(shape)).reshape(shape, order=order).copy(order="K")

    def forgotten(self, *_: Any) -> Any:
        return object.__new__(StandIn)

    def finish(self) -> None:
        """Takes the attributes of tables away, such as `_metadata`: one named `items` would hide the method."""
        for table in self._tables:
            vars(table).clear()


class ScriptValues(Values):
    """Those of a TorchScript program, whose objects are kept."""

    StandIn = ScriptObject  # type: ignore[assignment]
