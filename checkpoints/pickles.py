"""Reads PyTorch pickles without running them: tensors, containers and numpy values come out, nothing is called.

Coqui's trainer pickles its config object and numpy losses beside the weights, which `weights_only=True` refuses.
Here every class that is not on the list becomes an inert stand-in, and a pickle that wants to *call*
something not on the list (the way a malicious one starts a shell) is refused with a sentence.
"""

from __future__ import annotations

import collections
import pickle
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from checkpoints import CheckpointError


def load_pickle(path: Path) -> Any:
    """The object saved by `torch.save` at `path`, on the CPU, with stand-ins for unknown classes.

    Raises CheckpointError for a file that is damaged, is a TorchScript program, or wants to run code.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                raise CheckpointError(f"{path} is a TorchScript program, not a checkpoint: it is not loaded")
    try:
        return torch.load(path, map_location="cpu", weights_only=False, pickle_module=_RESTRICTED)
    except _WantsToCall as error:
        raise CheckpointError(
            f"{path} wants to run {error} while it is read, which no honest checkpoint does: it is not loaded"
        ) from None
    except CheckpointError:
        raise
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise CheckpointError(f"{path} cannot be read as a PyTorch checkpoint: {error}") from error


class _WantsToCall(Exception):
    """Names what a pickle wanted to call."""


class _Refuses(type):
    """Metaclass of stand-ins: an instance may be made by NEWOBJ (state only), never by a call (REDUCE)."""

    def __call__(cls, *args: object, **kwargs: object) -> Any:
        raise _WantsToCall(f"{cls.__module__}.{cls.__qualname__}")


class StandIn(metaclass=_Refuses):
    """Takes the place of an instance of an unknown class and forgets its state."""

    def __new__(cls, *args: object, **kwargs: object) -> StandIn:
        return object.__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, value: object) -> None:
        pass

    def extend(self, values: object) -> None:
        pass

    def __repr__(self) -> str:
        return f"<stand-in for {type(self).__module__}.{type(self).__qualname__}>"


def _numpy_scalar(dtype: np.dtype, raw: bytes = b"") -> Any:
    """numpy's own `scalar` unpickles objects on its way: take plain numbers only."""
    if not isinstance(dtype, np.dtype) or dtype.kind not in "biufc":
        raise _WantsToCall(f"numpy scalar of dtype {dtype}")
    return np.frombuffer(raw, dtype=dtype, count=1)[0]


def _numpy_array(subtype: type, shape: tuple[int, ...], typecode: bytes) -> np.ndarray:
    """An empty array that the pickle then fills by its state."""
    if subtype is not np.ndarray:
        raise _WantsToCall(f"numpy array of type {subtype}")
    return np.ndarray((0,), dtype=np.uint8)


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    """How protocol 2 spells bytes."""
    return text.encode("latin1")


def _default_dict(*_: object) -> collections.defaultdict:
    return collections.defaultdict()


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("collections", "defaultdict"): _default_dict,
    ("collections", "Counter"): collections.Counter,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("builtins", "complex"): complex,
    ("builtins", "slice"): slice,
    ("builtins", "bytearray"): bytearray,
    ("_codecs", "encode"): _latin1,
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
    ("torch._utils", "_rebuild_tensor"): torch._utils._rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("torch.serialization", "_get_layout"): torch.serialization._get_layout,
    ("numpy", "dtype"): np.dtype,
    ("numpy", "ndarray"): np.ndarray,
    **{(f"numpy.{core}.multiarray", "scalar"): _numpy_scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _numpy_array for core in ("core", "_core")},
}
# default_factory of a defaultdict: named by the pickle, never called here
_BUILTIN_TYPES = {name: getattr(__import__("builtins"), name) for name in ("list", "dict", "int", "float", "str")}


class _RestrictedUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        module = {"__builtin__": "builtins", "copy_reg": "copyreg"}.get(module, module)
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        if module == "builtins" and name in _BUILTIN_TYPES:
            return _BUILTIN_TYPES[name]
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        return _Refuses(name.rpartition(".")[2], (StandIn,), {"__module__": module, "__qualname__": name})


def _load(file: Any, **options: Any) -> Any:
    return _RestrictedUnpickler(file, **options).load()


_RESTRICTED = types.ModuleType("restricted_pickle")
_RESTRICTED.Unpickler = _RestrictedUnpickler  # type: ignore[attr-defined]
_RESTRICTED.load = _load  # type: ignore[attr-defined]


def load_npy_object(path: Path) -> Any:
    """The Python object in a `.npy` file, such as the `scale_stats.npy` of Coqui models; nothing is called.

    Raises CheckpointError for a file that is damaged or wants to run code.
    """
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read_header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            _, _, dtype = read_header(file)
            if not dtype.hasobject:
                return np.load(path, allow_pickle=False)
            return _load(file).item()
    except _WantsToCall as error:
        raise CheckpointError(f"{path} wants to run {error} while it is read: it is not loaded") from None
    except (OSError, KeyError, ValueError, pickle.UnpicklingError, AttributeError, EOFError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
