"""The table of `voxport`'s commands: which package does each, and in which group of the help it stands."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """`package`: its `__main__.main` is called; `prefix`: what it is told before what a person typed."""

    package: str
    text: str = ""
    prefix: tuple[str, ...] = ()

    def run(self, arguments: Sequence[str]) -> int:
        main: Callable[[Sequence[str]], int] = importlib.import_module(f"{self.package}.__main__").main
        return main([*self.prefix, *arguments])


_PACKAGES = {
    "convert": Command("convert", "a model to an artefact: execute it, measure it, gate it, log it"),
    "checkpoints": Command("checkpoints", "list, fetch, verify and find trained weights"),
    "report": Command("reports", "pages, MLflow, champions, and what differs from them"),
}
# The rest are commands of the runtime; one that stands in no group is shown under the last.
GROUPS = {
    "Make": ("convert", "checkpoints"),
    "Play": ("speak", "vocode", "convert-voice", "live", "target", "embed", "devices", "loopback"),
    "Execute and measure": ("run", "measure", "bench", "audit", "diff", "mac-check"),
    "Look after": ("info", "report", "lower", "fixtures"),
}
PROGRAMS = {"convert": "voxport convert", "checkpoints": "voxport checkpoints", "reports": "voxport report",
            "runtime": "voxport"}  # fmt: skip


def commands() -> dict[str, Command]:
    """Every command by its name, those of the runtime as its own command line names them."""
    from runtime.__main__ import parser

    texts = helps_of(parser())
    return _PACKAGES | {name: Command("runtime", text, (name,)) for name, text in texts.items()}


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of a command line's commands, by their names."""
    actions = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    return {name: one for action in actions for name, one in action.choices.items()}


def helps_of(parser: argparse.ArgumentParser) -> dict[str, str]:
    """The commands of a command line and what its help says of each."""
    actions = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    return {str(one.dest): str(one.help) for action in actions for one in action._choices_actions}
