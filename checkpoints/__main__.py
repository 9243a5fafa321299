"""`python -m checkpoints`: list, fetch, verify, find and inspect checkpoints."""

from __future__ import annotations

if __name__ == "__main__":
    from runtime.machine.interrupts import remember_interrupts

    remember_interrupts()

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from runtime.errors import ExitCode
from runtime.machine.command_line import answered, needed_packages, program, run

with needed_packages("convert"):
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from checkpoints import CheckpointError
    from checkpoints.catalogue import Entry, catalogue, find
    from checkpoints.fetch import cached, fetch, read_lock, verify
    from checkpoints.inspect import page
    from checkpoints.remote import fetched, is_remote


_ABOUT = "list, fetch, verify, find and inspect checkpoints"


@answered
def main(arguments: Sequence[str] | None = None) -> int:
    """Does what was asked: 0, of `verify` 2 where a file is not what it should be. Else a code of runtime.errors."""
    options = parser().parse_args(arguments)
    if options.command == "inspect":
        return _inspect(options.source)
    commands_of = {"list": _list, "fetch": _fetch, "verify": _verify, "path": _path}
    return commands_of[options.command]([find(name) for name in getattr(options, "names", [])])


def parser() -> argparse.ArgumentParser:
    """The command line of `python -m checkpoints`."""
    whole = argparse.ArgumentParser(prog=program("checkpoints"), description=_ABOUT)
    commands = whole.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="every catalogued checkpoint and whether it is here")
    fetching = commands.add_parser("fetch", help="bring checkpoints into the cache")
    fetching.add_argument("names", metavar="NAME", nargs="+")
    verifying = commands.add_parser("verify", help="hash cached checkpoints again; without a name, all that are here")
    verifying.add_argument("names", metavar="NAME", nargs="*")
    finding = commands.add_parser("path", help="print the folder of a checkpoint that is here")
    finding.add_argument("names", metavar="NAME", nargs=1)
    inspecting = commands.add_parser("inspect", help="what a path holds, what of it voxport converts, and how")
    inspecting.add_argument("source", metavar="PATH", help="a folder, a file, hf:owner/name[@revision] or an address")
    return whole


def _list(_: list[Entry]) -> int:
    locked = read_lock()
    rows = [("name", "family", "size", "here", "sha256", "licence; description")]
    for entry in catalogue().values():
        sizes = [facts.size for facts in entry.files.values()]
        sizes = sizes if sizes and None not in sizes else [facts.size for facts in locked.get(entry.name, {}).values()]
        is_known = bool(locked.get(entry.name)) or any(facts.sha256 for facts in entry.files.values())
        rows.append(
            (
                entry.name,
                entry.family,
                f"{sum(size or 0 for size in sizes) / 1e6:.1f} MB" if sizes else "?",
                "bundled" if entry.bundled else "cached" if cached(entry) else "no",
                "known" if is_known else "first fetch",
                f"{entry.licence}; {entry.description}",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    return 0


def _fetch(entries: list[Entry]) -> int:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    for entry in entries:
        with Progress(*columns, console=Console(stderr=True, emoji=False), transient=True) as bar:
            task = bar.add_task(entry.name, total=None)
            folder = fetch(entry, lambda done, total: bar.update(task, completed=done, total=total))  # noqa: B023
        print(folder)
    return 0


def _inspect(source: str) -> int:
    """Exit code 2 where voxport does not convert what is there."""
    path = fetched(source, lambda done, total: None) if is_remote(source) else Path(source).expanduser()
    text, converts = page(path)
    print(text)
    return ExitCode.DONE if converts else ExitCode.USAGE


def _verify(entries: list[Entry]) -> int:
    problems = []
    for entry in entries or [entry for entry in catalogue().values() if cached(entry)]:
        mismatches = verify(entry)
        problems += mismatches
        print(f"{entry.name}: {'as it should be' if not mismatches else 'NOT as it should be'}")
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return ExitCode.USAGE if problems else ExitCode.DONE


def _path(entries: list[Entry]) -> int:
    (entry,) = entries
    folder = cached(entry)
    if folder is None:
        raise CheckpointError(f"checkpoint {entry.name} is not here: python -m checkpoints fetch {entry.name}")
    print(folder)
    return 0


if __name__ == "__main__":
    run(main)
