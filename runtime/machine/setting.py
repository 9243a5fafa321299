"""Settings of the option dataclasses: a default, a line of help, and the values where they can be listed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import Field, field
from typing import Any

_HELP, _VALUES = "help", "values"


def setting(
    default: Any = None, text: str = "", *, values: Sequence[str] = (), factory: Callable[[], Any] | None = None
) -> Any:
    """Declares a field of a dataclass with its help and the values that it takes. `factory`: makes the default."""
    metadata = {_HELP: text, _VALUES: tuple(values)}
    if factory is not None:
        return field(default_factory=factory, metadata=metadata)
    return field(default=default, metadata=metadata)


def help_of(one: Field[Any]) -> str:
    return str(one.metadata.get(_HELP, ""))


def values_of(one: Field[Any]) -> tuple[str, ...]:
    """The values that a setting takes, where they are few; a switch takes true and false."""
    values = tuple(one.metadata.get(_VALUES, ()))
    return values or (("true", "false") if one.type in (bool, "bool") else ())
