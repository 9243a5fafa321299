"""Reads PyTorch pickles without running them: tensors, containers and numpy values come out.

PyTorch's own restricted unpickler reads them, a copy of each that programs.py has checked. It refuses what Coqui's
trainer pickles beside the weights, its config object and numpy losses: here every unknown class becomes an inert
stand-in, numbers of numpy are made from their bytes, and a pickle that wants to *call* anything else (the way a
malicious one starts a shell) is refused with a sentence. A pickle gets hold of nothing that two loads share and that
could be changed.
"""

from __future__ import annotations

import collections
import io
import math
import threading
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor
from torch import _weights_only_unpickler as restricted
from torch.serialization import StorageType, safe_globals

from checkpoints import CheckpointError
from checkpoints.archives import check_archive
from checkpoints.files import refuse_pointer
from checkpoints.pickle_machine import Unreadable
from checkpoints.programs import ALIASES, WantsToRun, rewrite

# PyTorch's table of what a pickle may name is one for the process.
_ONE_AT_A_TIME = threading.Lock()
# Tensors may share storages; what all of them would take apart, in multiples of the file and bytes beside.
_SHARED, _SPARE = 4, 64 << 20
_NATIVE = frozenset(
    name for name, value in restricted._get_allowed_globals().items() if isinstance(value, (torch.dtype, StorageType))
)


def load_pickle(path: Path) -> Any:
    """The object saved by `torch.save` at `path`, on the CPU, with stand-ins for unknown classes.

    Raises CheckpointError for a file that is damaged, is a TorchScript program, or wants to run code.
    """
    refuse_pointer(path)
    try:
        return _Load(check_archive(path)).of(path)
    except WantsToRun as error:
        raise CheckpointError(
            f"{path} wants to run {_short(error)} while it is read, which no honest checkpoint does: it is not loaded"
        ) from None
    except CheckpointError:
        raise
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise CheckpointError(f"{path} cannot be read as a PyTorch checkpoint: {_short(error)}") from error


def load_npy_object(path: Path) -> Any:
    """The array or the Python object in a `.npy` file, such as the `scale_stats.npy` of Coqui models; nothing is
    called.

    Raises CheckpointError for a file that is damaged or wants to run code.
    """
    refuse_pointer(path)
    try:
        with path.open("rb") as file:
            shape, dtype = _npy_header(file)
            if dtype.hasobject:
                (value,) = _Load(path.stat().st_size).next_in(file).objects
                return value
            if dtype.kind not in "biufc" or math.prod(shape) * dtype.itemsize > path.stat().st_size:
                raise Unreadable(f"it claims an array of {dtype.str} and shape {shape}, which it does not hold")
            return np.load(path, allow_pickle=False)
    except WantsToRun as error:
        raise CheckpointError(f"{path} wants to run {_short(error)} while it is read: it is not loaded") from None
    except Exception as error:
        raise CheckpointError(f"{path} cannot be read as an array: {_short(error)}") from error


def _npy_header(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise Unreadable(f"its format is {version}")
    shape, _, dtype = read(file)
    return shape, dtype


def _short(error: Exception) -> str:
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    return text if len(text) <= 300 else f"{text[:300]}…"


class _Refuses(type):
    """Metaclass of stand-ins: an instance may be made by NEWOBJ (state only), never by a call (REDUCE)."""

    def __call__(cls, *args: object, **kwargs: object) -> Any:
        raise WantsToRun("what it does not name")


class StandIn(metaclass=_Refuses):
    """Takes the place of an unknown class and of its instances, and forgets their state."""

    __slots__ = ()

    def __new__(cls, *args: object, **kwargs: object) -> StandIn:
        return object.__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass

    def __repr__(self) -> str:
        return "<stand-in for an object of an unknown class>"


class _NumberType:
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


class _Array(np.ndarray):
    """A numpy array that its state fills. One of objects has `objects`, a list, in place of numbers."""

    objects: Sequence[Any] = ()

    def __new__(cls, *_: object) -> _Array:
        return np.ndarray.__new__(cls, (0,), np.uint8)

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, raw = state
        if type(dtype) is not _NumberType or type(shape) is not tuple or not _are_sizes(shape):
            raise Unreadable("it holds a numpy array without a shape or a type")
        if dtype.is_object:
            if type(raw) is not list:
                raise Unreadable("it holds a numpy array of objects without a list of them")
            self.objects = raw
            return
        values = dtype.numbers(raw, math.prod(shape))
        super().__setstate__((1, shape, values.dtype, bool(is_fortran), values.tobytes()))


def _are_sizes(values: object) -> bool:
    return type(values) is tuple and len(values) <= 32 and all(type(value) is int and value >= 0 for value in values)


class _Load:
    """One load. Its methods without an underscore are what a pickle may call (programs.CALLABLE): they take anything
    and raise."""

    StandIn, NumberType, Array = StandIn, _NumberType, _Array

    def __init__(self, size: int) -> None:
        self._size = size  # of the file's contents, unpacked
        self._storages: set[int | str] = set()
        self._stored = self._spread = 0
        self._tables: list[collections.OrderedDict] = []

    def of(self, path: Path) -> Any:
        module = types.ModuleType("voxport_pickles")
        module.Unpickler = self._unpickler()  # type: ignore[attr-defined]
        module.load = self._header  # type: ignore[attr-defined]
        return self._guarded(lambda: torch.load(path, map_location="cpu", weights_only=False, pickle_module=module))

    def next_in(self, file: BinaryIO) -> Any:
        return self._guarded(lambda: self._unpickler()(file).load())

    def _guarded(self, read: Callable[[], Any]) -> Any:
        names = [(getattr(self, alias), f"voxport.{alias}") for alias in ALIASES]
        with _ONE_AT_A_TIME, safe_globals(names):
            value = read()
        for table in self._tables:  # such as `_metadata`; one named `items` would hide the method
            vars(table).clear()
        return value

    def _unpickler(self) -> type[restricted.Unpickler]:
        outer = self

        class Unpickler(restricted.Unpickler):
            def __init__(self, file: BinaryIO, *, encoding: str = "utf-8") -> None:
                super().__init__(io.BytesIO(rewrite(file, _NATIVE)), encoding=encoding)

            def load(self) -> Any:
                read_storage = self.persistent_load
                self.persistent_load = lambda key: outer._storage(key, read_storage)  # type: ignore[method-assign]
                return super().load()

        return Unpickler

    def _header(self, file: BinaryIO, *, encoding: str = "utf-8") -> Any:
        """The small pickles around the one of the legacy formats: numbers, and lists of what has cheap hashes."""
        value = self._unpickler()(file, encoding=encoding).load()
        parts = [value] if type(value) not in (list, tuple) else value
        parts = [part for group in parts for part in (group if type(group) is tuple else (group,))]
        if not all(type(part) in (int, str, dict, type(None), StorageType, _Refuses) for part in parts):
            raise Unreadable("its header holds what none has")
        return value

    def _storage(self, key: Any, read: Callable[[Any], Any]) -> Any:
        if type(key) is int:  # the tar format: what is read has been measured by its file
            found = read(key)
            if isinstance(found, Tensor):
                self._account(found.numel() * found.element_size(), found.untyped_storage().nbytes())
            return found
        if type(key) is not tuple or not 5 <= len(key) <= 6 or key[0] != "storage":
            raise Unreadable("its pickle asks for something else than a storage")
        _, kind, name, location, count, *view = key
        if (type(kind), type(location), type(count)) != (StorageType, str, int) or type(name) not in (int, str):
            raise Unreadable("its pickle describes a storage as none is")
        if view and view[0] is not None:  # (name, offset, count)
            if type(view[0]) is not tuple or type(view[0][0]) not in (int, str) or not _are_sizes(view[0][1:]):
                raise Unreadable("its pickle describes a part of a storage as none is")
        if count < 0:
            raise Unreadable(f"its storage {name} has a length of {count}")
        if name not in self._storages:
            self._storages.add(name)
            self._stored += count * kind.dtype.itemsize
        if self._stored > self._size:
            raise Unreadable(f"its storages claim more than the {self._size} bytes of the file")
        return read(key)

    def _account(self, apart: int, stored: int) -> None:
        """Tensors that share or repeat a storage are small until somebody copies them."""
        self._spread += apart
        if stored > self._size or self._spread > _SHARED * self._size + _SPARE:
            raise Unreadable(f"its tensors claim far more than the {self._size} bytes of the file")

    def tensor(self, storage: object, offset: object, size: object, stride: object, *_: object) -> Tensor:
        if type(storage) is not torch.storage.TypedStorage or not _are_sizes((offset,)):
            raise Unreadable("it holds a tensor without a storage")
        if not (_are_sizes(size) and _are_sizes(stride)) or len(size) != len(stride):
            raise Unreadable("it holds a tensor without a shape")
        itemsize, stored = storage.dtype.itemsize, storage._untyped_storage.nbytes()
        last = offset + sum((length - 1) * step for length, step in zip(size, stride))
        if math.prod(size) and (last + 1) * itemsize > stored:
            raise Unreadable(f"it holds a tensor of shape {size} that reaches over the end of its storage")
        self._account(math.prod(size) * itemsize, stored)
        return torch._utils._rebuild_tensor(storage, offset, size, stride)

    def parameter(self, data: object, *_: object) -> Tensor:
        if not isinstance(data, Tensor):
            raise Unreadable("it holds a parameter without a tensor")
        return data

    def ordered_table(self, items: object = ()) -> collections.OrderedDict:
        """As Python 2 pickles one, too: with its items."""
        table: collections.OrderedDict = collections.OrderedDict()
        for pair in items if type(items) in (list, tuple) else [items]:
            if type(pair) not in (list, tuple) or len(pair) != 2 or type(pair[0]) not in (str, int):
                raise Unreadable("it holds a table of something else than pairs")
            table[pair[0]] = pair[1]
        self._tables.append(table)
        return table

    def table(self, *items: object) -> dict:
        return items[0] if len(items) == 1 and type(items[0]) is dict else {}

    def items(self, values: object = ()) -> tuple:
        if type(values) not in (list, tuple):
            raise Unreadable("it holds a set of something else than items")
        return tuple(values)

    def data(self, text: object = b"", *_: object) -> bytes:
        """How protocol 2 spells bytes."""
        if type(text) is bytes:
            return text
        if type(text) is not str:
            raise Unreadable("it holds bytes made of something else than text")
        return text.encode("latin1")

    def complex_number(self, *parts: object) -> complex:
        if len(parts) != 2 or not all(type(part) in (int, float) for part in parts):
            raise Unreadable("it holds a complex number of something else than numbers")
        return complex(*parts)

    def scalar(self, kind: object, raw: object = b"") -> Any:
        """One of numpy's; upstream's unpickles objects on its way."""
        if type(kind) is not _NumberType or kind.is_object:
            raise WantsToRun("numpy's scalar of an object")
        return kind.numbers(raw, 1)[0].item()

    def forgotten(self, *_: object) -> StandIn:
        return object.__new__(StandIn)
