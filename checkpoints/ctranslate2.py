"""Weights in the format of CTranslate2 (`model.bin`), such as faster-whisper's."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from checkpoints import CheckpointError

# CTranslate2's ctranslate2/specs/model_spec.py writes versions up to 6; bfloat16 is number 5.
VERSIONS = range(4, 7)
DTYPES = (torch.float32, torch.int8, torch.int16, torch.int32, torch.float16, torch.bfloat16)
LONGEST_NAME, MOST_AXES, MOST_TENSORS = 1024, 8, 100_000


def is_ctranslate2(path: Path) -> bool:
    """Whether a file begins as CTranslate2's do: with the version, in four bytes. No zip archive or pickle does."""
    with path.open("rb") as file:
        return path.suffix == ".bin" and int.from_bytes(file.read(4), "little") in VERSIONS


def read_ctranslate2(path: Path) -> dict[str, Tensor]:
    """Returns the tensors by name, floating ones as float32.

    A tensor that stands under several names is there under each. Raises CheckpointError for a file that is damaged, of
    another version, or quantised to integers.
    """
    with path.open("rb") as file:
        try:
            (version,) = _numbers(file, "I")
            if version not in VERSIONS:
                raise CheckpointError(f"{path} is no model of CTranslate2 that is known: its version is {version}")
            _text(file)  # the specification's name, such as WhisperSpec
            _, count = _numbers(file, "II")
            if count > MOST_TENSORS:
                raise CheckpointError(f"{path} is damaged: it says that it holds {count} tensors")
            size = path.stat().st_size
            tensors = dict(_tensors(file, count, size, path))
            for _ in range(_numbers(file, "I")[0]):
                alias, original = _text(file), _text(file)
                tensors[alias] = tensors[original]
        except (EOFError, UnicodeDecodeError, KeyError) as error:
            raise CheckpointError(f"{path} is damaged: it ends or goes on where it should not ({error})") from error
        if file.read(1):
            raise CheckpointError(f"{path} is damaged: there are bytes after its end")
    return tensors


def _tensors(file: BinaryIO, count: int, file_size: int, path: Path) -> Iterator[tuple[str, Tensor]]:
    for _ in range(count):
        name = _text(file)
        (axes,) = _numbers(file, "B")
        if axes > MOST_AXES:
            raise CheckpointError(f"{path} is damaged: {name} has {axes} axes")
        shape = _numbers(file, "I" * axes)
        kind, size = _numbers(file, "BI")
        if kind >= len(DTYPES):
            raise CheckpointError(f"{path} is damaged: {name} has the type {kind}")
        dtype = DTYPES[kind]
        if size != math.prod(shape) * dtype.itemsize or size > file_size:
            raise CheckpointError(f"{path} is damaged: {name} of shape {shape} takes {size} bytes")
        values = torch.frombuffer(bytearray(_bytes(file, size)), dtype=dtype) if size else torch.zeros(0, dtype=dtype)
        if not dtype.is_floating_point and math.prod(shape) > 1:
            raise CheckpointError(f"{path} is quantised to {dtype}: take one of float32 or float16")
        yield name, values.float().reshape(shape) if dtype.is_floating_point else values.reshape(shape)


def _text(file: BinaryIO) -> str:
    (length,) = _numbers(file, "H")
    if length > LONGEST_NAME:
        raise EOFError(f"a name of {length} bytes")
    return _bytes(file, length).rstrip(b"\0").decode()


def _numbers(file: BinaryIO, form: str) -> tuple[int, ...]:
    return struct.unpack(f"<{form}", _bytes(file, struct.calcsize(f"<{form}")))


def _bytes(file: BinaryIO, count: int) -> bytes:
    content = file.read(count)
    if len(content) < count:
        raise EOFError("it is cut off")
    return content
