"""Weights that are arrays in a C source file, such as the `*_data.c` of opus's dnn folder. Nothing is compiled."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from checkpoints import CheckpointError
from checkpoints.files import refuse_pointer

_LARGEST = 16 << 20  # bytes; the largest of opus 1.5.2 has 4.5 million
_TYPES = {"opus_int8": torch.int8, "float": torch.float32, "int": torch.int32}
_ARRAY = re.compile(
    r"^static\s+const\s+(?P<type>\w+)\s+(?P<name>[A-Za-z_]\w*)\s*\[(?P<count>\d{1,9})\]\s*=\s*\{(?P<values>[^{}]*)\};",
    re.M,
)
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?f?")


def read_c_arrays(path: Path) -> dict[str, Tensor]:
    """Returns the arrays of numbers that a C file declares, by name; `opus_int8`, `float` and `int` (N,).

    Everything else of the file is passed over. Raises CheckpointError for a file that is larger than such a file is,
    that holds no arrays, and for an array of another type, of what is no number, or of another length than it states.
    """
    refuse_pointer(path)
    if path.stat().st_size > _LARGEST:
        raise CheckpointError(f"{path} has {path.stat().st_size} bytes: weights in C are at most {_LARGEST}")
    text = path.read_text(encoding="ascii", errors="replace")
    arrays = {match["name"]: _array(match, path) for match in _ARRAY.finditer(text) if match["type"] in _TYPES}
    if not arrays:
        raise CheckpointError(f"{path} declares no arrays of weights")
    return arrays


def _array(match: re.Match[str], path: Path) -> Tensor:
    name, dtype = match["name"], _TYPES[match["type"]]
    numbers = [number.strip() for number in match["values"].split(",")]
    if numbers and not numbers[-1]:
        numbers.pop()  # C allows a comma at the end
    wrong = next((number for number in numbers if not _NUMBER.fullmatch(number)), None)
    if wrong is not None:
        raise CheckpointError(f"{path}: {name} holds {wrong[:40]!r}, which is no number")
    if len(numbers) != int(match["count"]):
        raise CheckpointError(f"{path}: {name} holds {len(numbers)} numbers, it states {match['count']}")
    values = np.array([float(number.removesuffix("f")) for number in numbers])
    if not dtype.is_floating_point:
        limits = torch.iinfo(dtype)
        if (values != np.round(values)).any() or (values < limits.min).any() or (values > limits.max).any():
            raise CheckpointError(f"{path}: {name} holds numbers that are no {limits.dtype}")
    tensor = torch.from_numpy(values).to(dtype)
    if not torch.isfinite(tensor).all():
        raise CheckpointError(f"{path}: {name} holds numbers that are not finite")
    return tensor
