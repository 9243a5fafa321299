"""Completion of `voxport` for bash, zsh and fish, whose scripts ask `voxport complete -- WORDS`."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from runtime.errors import VoxportError
from shell.commands import commands, helps_of, subcommands

_OWN = ("help", "completion", "--version", "--verbose", "--quiet", "--help")


class NoShell(VoxportError):
    """A shell that there is no completion for."""


def script(arguments: Sequence[str]) -> str:
    """The script that a shell reads. Raises NoShell."""
    shells = sorted(path.stem for path in (Path(__file__).parent / "scripts").iterdir())
    if len(arguments) != 1 or arguments[0] not in shells:
        raise NoShell(f"voxport completion takes one of {', '.join(shells)}, got {' '.join(arguments) or 'nothing'}")
    (file,) = (Path(__file__).parent / "scripts").glob(f"{arguments[0]}.*")
    return file.read_text().rstrip("\n")


def candidates(words: Sequence[str]) -> list[str]:
    """What the last of the words after `voxport` can become, whole words; without any, shells propose files."""
    words = list(words[1:] if words[:1] == ["--"] else words)
    before, last = [word for word in words[:-1] if word not in _OWN[3:5]], (words or [""])[-1]
    with suppress(ImportError):  # the light install lacks what `convert` imports
        return sorted({one for one in _choices(before, last) if one.startswith(last)})
    return []


def _choices(before: Sequence[str], last: str) -> Iterable[str]:
    if not before:
        return [*commands(), *_OWN]
    name = before[0]
    if name == "help":
        from convert.help import topics

        return [*commands(), *topics()]
    if name == "completion":
        return ("bash", "zsh", "fish")
    if name == "convert":
        return _overrides(last)
    command = commands().get(name)
    if command is None:
        return []
    from checkpoints.catalogue import catalogue

    parser: argparse.ArgumentParser = importlib.import_module(f"{command.package}.__main__").parser()
    names = catalogue() if name == "checkpoints" else ()
    return _arguments(parser, [*command.prefix, *before[1:]], last, names)


def _overrides(last: str) -> Iterator[str]:
    """GROUP=CHOICE, several with commas, and SETTING=VALUE; a name is proposed with its `=`."""
    from convert.help import all_settings
    from convert.overrides import group_choices

    key, has_value, value = last.partition("=")
    groups = group_choices()
    values = {one.name: one.values for one in all_settings()} | groups
    if has_value:
        chosen = value.rpartition(",")[0]
        yield from (f"{key}={chosen and f'{chosen},'}{choice}" for choice in values.get(key, ()))
        return
    yield from ("--multirun", "--cfg", "--help")
    yield from (f"{name}=" for name in values)


def _arguments(
    parser: argparse.ArgumentParser, before: Sequence[str], last: str, names: Iterable[str]
) -> Iterable[str]:
    """Options, the values of one that has choices, commands of a command line, else `names`."""
    below = subcommands(parser)
    if below and before and before[0] in below:
        return _arguments(below[before[0]], before[1:], last, names)
    if below:
        return helps_of(parser)
    options = {name: action for action in parser._actions for name in action.option_strings}
    asking = options.get(before[-1]) if before else None
    if asking is not None and asking.nargs != 0:
        return [str(choice) for choice in asking.choices or ()]
    return options if last.startswith("-") else names
