"""Names and paths out of files that anybody may have written, checked before something is opened or written by them."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

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


Name = Annotated[str, AfterValidator(checked_name)]
PathInside = Annotated[str, AfterValidator(checked_path)]
