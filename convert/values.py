"""Checks the value of an override against the type of its setting: what Hydra would say of it names its own classes."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Any

_WORDS = ("true", "false", "yes", "no", "on", "off", "y", "n", "1", "0")  # OmegaConf's, of a switch


def problem(kind: Any, value: Any) -> str | None:
    """What is wrong with a value that Hydra's grammar has read, as the end of a sentence; None where nothing is.

    Interpolations are whatever they lead to.
    """
    if isinstance(value, str) and "${" in value:
        return None
    kinds = typing.get_args(kind) if typing.get_origin(kind) in (types.UnionType, typing.Union) else (kind,)
    if value is None:
        return None if type(None) in kinds or kind is Any else f"it takes {_wanted(kinds[0])}, and not null"
    (wanted, *_) = (one for one in kinds if one is not type(None))
    return None if _fits(wanted, value) else f"it takes {_wanted(wanted)}"


def _fits(wanted: Any, value: Any) -> bool:
    if wanted is bool:
        return isinstance(value, bool) or str(value).lower() in _WORDS
    if wanted is int:
        return not isinstance(value, bool | float) and _is(int, value)
    if wanted is float:
        return not isinstance(value, bool) and _is(float, value)
    if wanted is str:
        return not isinstance(value, list | dict)
    container = typing.get_origin(wanted)
    if container in (list, dict):
        return isinstance(value, container)
    return True


def _is(number: type[int] | type[float], value: Any) -> bool:
    try:
        number(value)
    except (TypeError, ValueError):
        return False
    return True


def _wanted(wanted: Any) -> str:
    container = typing.get_origin(wanted)
    if container is list:
        return "a list, such as [a,b]"
    if container in (dict, Mapping):
        return "pairs, such as {a: b}"
    return {bool: "true or false", int: "a whole number", float: "a number"}.get(wanted, "text")
