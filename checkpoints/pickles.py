"""Reads PyTorch pickles without running them: tensors, containers and numpy values come out.

PyTorch's own restricted unpickler reads them, a copy of each that programs.py has checked. It refuses what Coqui's
trainer pickles beside the weights, its config object and numpy losses: here every unknown class becomes an inert
stand-in, numbers of numpy are made from their bytes, and a pickle that wants to *call* anything else (the way a
malicious one starts a shell) is refused with a sentence. A pickle gets hold of nothing that two loads share and that
could be changed.
"""

from __future__ import annotations

import io
import math
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from checkpoints.pickle_machine import Unreadable, WantsToRun
from checkpoints.pickle_values import ALIASES, Refuses, ScriptObject, ScriptValues, Values, are_sizes
from checkpoints.programs import rewrite

# PyTorch's table of what a pickle may name is one for the process.
_ONE_AT_A_TIME = threading.Lock()
_NATIVE = frozenset(
    name for name, value in restricted._get_allowed_globals().items() if isinstance(value, (torch.dtype, StorageType))
)


def load_pickle(path: Path) -> Any:
    """The object saved by `torch.save` at `path`, on the CPU, with stand-ins for unknown classes.

    Raises CheckpointError for a file that is damaged, is a TorchScript program, or wants to run code.
    """
    refuse_pointer(path)
    with _sentences(path, "a PyTorch checkpoint"):
        return _Load(check_archive(path)).of(path)


def load_script(path: Path) -> ScriptObject:
    """The object in a TorchScript archive, its tensors on the CPU. Its code is not read, and nothing is called.

    Raises CheckpointError for a file that is damaged, is no TorchScript program, or wants to run code.
    """
    refuse_pointer(path)
    with _sentences(path, "a TorchScript program"):
        root = _Load(check_archive(path, is_program=True), ScriptValues).of_script(path)
        if not isinstance(root, ScriptObject):
            raise Unreadable("it holds no object")
        return root


@contextmanager
def _sentences(path: Path, kind: str) -> Iterator[None]:
    try:
        yield
    except WantsToRun as error:
        raise CheckpointError(
            f"{path} wants to run {_short(error)} while it is read, which no honest checkpoint does: it is not loaded"
        ) from None
    except CheckpointError:
        raise
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise CheckpointError(f"{path} cannot be read as {kind}: {_short(error)}") from error


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


def _is_view(part: Any) -> bool:
    """(name, offset, count), as PyTorch before 0.4 wrote them."""
    return type(part) is tuple and len(part) == 3 and type(part[0]) in (int, str) and are_sizes(part[1:])


def _short(error: Exception) -> str:
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    return text if len(text) <= 300 else f"{text[:300]}…"


class _Load:
    """The pickles of one file."""

    def __init__(self, size: int, values: type[Values] = Values) -> None:
        self._size = size  # of the file's contents, unpacked
        self._storages: set[int | str] = set()
        self._stored = 0
        self._values = values(size)

    def of(self, path: Path) -> Any:
        module = types.ModuleType("voxport_pickles")
        module.Unpickler = self._unpickler()  # type: ignore[attr-defined]
        module.load = self._header  # type: ignore[attr-defined]
        return self._guarded(lambda: torch.load(path, map_location="cpu", weights_only=False, pickle_module=module))

    def of_script(self, path: Path) -> Any:
        """torch.load would hand a TorchScript archive to what executes it."""
        reader = torch._C.PyTorchFileReader(str(path))
        storages: dict[str, Any] = {}

        def read(key: Any) -> Any:
            _, kind, name, _, count = key
            if name not in storages:
                record, size = f"data/{name}", count * kind.dtype.itemsize
                if type(name) is not str or reader.get_record_size(record) != size:
                    raise Unreadable(f"its storage {name} has not the {size} bytes that its pickle says")
                untyped = reader.get_storage_from_record(record, size, torch.uint8)._typed_storage()._untyped_storage
                storages[name] = torch.storage.TypedStorage(wrap_storage=untyped, dtype=kind.dtype, _internal=True)
            return storages[name]

        def load() -> Any:
            unpickler = self._unpickler()(io.BytesIO(reader.get_record("data.pkl")))
            unpickler.persistent_load = read  # type: ignore[method-assign]
            return unpickler.load()

        return self._guarded(load)

    def next_in(self, file: BinaryIO) -> Any:
        return self._guarded(lambda: self._unpickler()(file).load())

    def _guarded(self, read: Callable[[], Any]) -> Any:
        names: list[Any] = [(getattr(self._values, alias), f"voxport.{alias}") for alias in ALIASES]
        with _ONE_AT_A_TIME, safe_globals(names):
            value = read()
        self._values.finish()
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
        if not all(type(part) in (int, str, dict, type(None), StorageType, Refuses) for part in parts):
            raise Unreadable("its header holds what none has")
        return value

    def _storage(self, key: Any, read: Callable[[Any], Any]) -> Any:
        if type(key) is int:  # the tar format: what is read has been measured by its file
            storage = read(key)
            if isinstance(storage, Tensor):
                self._values.account(storage.numel() * storage.element_size(), storage.untyped_storage().nbytes())
            return storage
        if type(key) is not tuple or not 5 <= len(key) <= 6 or key[0] != "storage":
            raise Unreadable("its pickle asks for something else than a storage")
        _, kind, name, location, count, *view = key
        if (type(kind), type(location), type(count)) != (StorageType, str, int) or type(name) not in (int, str):
            raise Unreadable("its pickle describes a storage as none is")
        if view and view[0] is not None and not _is_view(view[0]):
            raise Unreadable("its pickle describes a part of a storage as none is")
        if count < 0:
            raise Unreadable(f"its storage {name} has a length of {count}")
        if name not in self._storages:
            self._storages.add(name)
            self._stored += count * kind.dtype.itemsize
        if self._stored > self._size:
            raise Unreadable(f"its storages claim more than the {self._size} bytes of the file")
        return read(key)
