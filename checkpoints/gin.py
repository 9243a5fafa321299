"""Reads gin-config files as data: bindings and macros of literals. Nothing is imported, looked up or called.

A file says `Class.parameter = value`, `scope/module.Class.parameter = value`, a block of them below `Class:`, or
`MACRO = value`; a value is a Python literal in which `%MACRO` stands for another one and `@name` for a class.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from checkpoints import CheckpointError

_LARGEST = 1 << 20  # bytes; what a training run writes has some 10,000
_DEEPEST = 16  # macros of macros, lists of lists
_MOST = 100_000  # values in all
_MACRO, _REFERENCE = "\x00%", "@"


def read_gin(path: Path) -> dict[str, Any]:
    """Returns the macros, `NAME`, and the bindings, `Class.parameter` or `scope/Class.parameter`, by name.

    Modules before a class are left out. A reference is text: `@Class`, `@scope/Class`, called or not. Raises
    CheckpointError for a file that is none, that includes another one, or has a value that is no literal.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise CheckpointError(f"{path} is larger than a gin config is")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise CheckpointError(f"there is no config {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} cannot be read as a gin config: it is no UTF-8 text") from error
    try:
        values = dict(_bindings(_lines(text)))
        macros = _Macros(values)
        return {name: macros.resolved(value) for name, value in values.items()}
    except _Included as error:
        raise CheckpointError(
            f"{path} includes {error}: give the config.gin that training wrote, which holds every setting"
        ) from None
    except (ValueError, SyntaxError, tokenize.TokenError, RecursionError, MemoryError) as error:
        raise CheckpointError(f"{path} cannot be read as a gin config: {str(error)[:200]}") from error


class _Included(Exception):
    pass


_Tokens = list[tokenize.TokenInfo]


def _lines(text: str) -> Iterator[_Tokens]:
    """Statements, each with its INDENT and DEDENT tokens before it."""
    line: _Tokens = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.COMMENT, tokenize.NL, tokenize.ENDMARKER):
            continue
        if token.type == tokenize.NEWLINE:
            yield line
            line = []
        else:
            line.append(token)


def _bindings(lines: Iterator[_Tokens]) -> Iterator[tuple[str, Any]]:
    block = ""
    for line in lines:
        if any(token.type == tokenize.DEDENT for token in line):
            block = ""
        tokens = [token for token in line if token.type not in (tokenize.INDENT, tokenize.DEDENT)]
        words = [token.string for token in tokens]
        if not words or words[0] in ("import", "from"):
            continue
        if words[0] == "include":
            raise _Included(" ".join(words[1:]))
        if words[-1] == ":" and "=" not in words:
            block = _name("".join(words[:-1])) + "."
        elif "=" in words:
            at = words.index("=")
            yield block + _name("".join(words[:at]), is_binding=not block), _value(tokens[at + 1 :])
        else:
            raise ValueError(f"it says {' '.join(words)[:80]!r}, which binds nothing")


def _name(selector: str, is_binding: bool = False) -> str:
    """Without the modules before a class: `scope/Class`, or `scope/Class.parameter` of a binding."""
    scope, slash, path = selector.rpartition("/")
    return scope + slash + ".".join(path.split(".")[-2 if is_binding else -1 :])


def _value(tokens: Sequence[tokenize.TokenInfo]) -> Any:
    """A literal, its macros and references as text of their own kind."""
    parts, index = list[str](), 0
    while index < len(tokens):
        mark = tokens[index].string
        index += 1
        if mark not in ("%", "@"):
            parts.append(mark)
            continue
        selector = ""
        while index < len(tokens) and (tokens[index].type == tokenize.NAME or tokens[index].string in (".", "/")):
            selector += tokens[index].string
            index += 1
        if mark == "%":
            parts.append(repr(_MACRO + selector))
            continue
        if [token.string for token in tokens[index : index + 2]] == ["(", ")"]:
            index += 2
        parts.append(repr(_REFERENCE + _name(selector)))
    return ast.literal_eval(" ".join(parts))


class _Macros:
    """Puts macros in their places, which could multiply."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values, self._left = values, _MOST

    def resolved(self, value: Any, depth: int = 0) -> Any:
        self._left -= 1
        if depth > _DEEPEST or self._left < 0:
            raise ValueError("its macros stand for each other")
        if isinstance(value, str) and value.startswith(_MACRO):
            name = value.removeprefix(_MACRO)
            if name not in self._values:
                raise ValueError(f"it does not say what %{name} is")
            return self.resolved(self._values[name], depth + 1)
        if isinstance(value, list | tuple):
            return [self.resolved(item, depth + 1) for item in value]
        if isinstance(value, dict):
            return {str(key): self.resolved(item, depth + 1) for key, item in value.items()}
        return value
