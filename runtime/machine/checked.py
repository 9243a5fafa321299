"""Types of what stands in files that anybody may have written: names and paths that stay inside, numbers in bounds.

pydantic checks them where such a file is read; dataclasses that voxport itself fills are not slowed down by it.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field

_LONGEST = 200


def checked_name(name: str) -> str:
    """`name`, where it can be one part of a path. Raises ValueError."""
    is_plain = name.isprintable() and not set(name) & set("/\\") and not name.startswith(".")
    if not (is_plain and 0 < len(name) <= _LONGEST):
        raise ValueError(f"{name[:_LONGEST]!r} is no name")
    return name


def checked_path(path: str) -> str:
    """`path`, where it is relative and stays below its folder. Raises ValueError."""
    try:
        for part in path.split("/"):
            checked_name(part)
    except ValueError:
        raise ValueError(f"{path[:_LONGEST]!r} points outside the bundle, or is no path") from None
    return path


def checked_dtype(name: str) -> str:
    """`name`, where it is numpy's name of a type of numbers. Raises ValueError."""
    try:
        is_numeric = np.dtype(name).kind in "biuf"
    except TypeError:
        is_numeric = False
    if not is_numeric:
        raise ValueError(f"{name[:_LONGEST]!r} is no type of numbers")
    return name


Name = Annotated[str, AfterValidator(checked_name)]
PathInside = Annotated[str, AfterValidator(checked_path)]
DType = Annotated[str, AfterValidator(checked_dtype)]
Count = Annotated[int, Field(ge=1, lt=2**31)]  # of frames, samples, channels, Hz
Size = Annotated[int, Field(ge=0, lt=2**31)]
Position = Annotated[int, Field(gt=-(2**40), lt=2**40)]
Axis = Annotated[int, Field(ge=0, lt=5)]  # Core ML has no more
