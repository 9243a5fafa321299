"""`voxport COMMAND …`, also as `python -m voxport`: what `python -m convert`, `python -m runtime` and the others do."""

from __future__ import annotations

if __name__ == "__main__":
    from runtime.machine.interrupts import remember_interrupts

    remember_interrupts()

import difflib
import os
import sys
import time
from collections.abc import Sequence

from runtime.errors import ExitCode, VoxportError
from runtime.machine.command_line import TRACEBACK, answered, name_programs, needed_packages, run
from runtime.machine.terminal import QUIET
from shell.commands import GROUPS, PROGRAMS, commands


class NoCommand(VoxportError):
    """A command that does not exist; the message says which was meant."""


@answered
def main(arguments: Sequence[str] | None = None) -> int:
    """Does what a command says; the exit codes are those of runtime.errors."""
    name_programs(PROGRAMS)
    asked, is_verbose = _without_switches(sys.argv[1:] if arguments is None else arguments)
    if not asked or asked[0] in ("-h", "--help") or asked == ["help"]:
        print(_screen())
        return ExitCode.DONE
    name, rest = asked[0], asked[1:]
    if name in ("--version", "-V"):
        print(_version())
        return ExitCode.DONE
    if name == "help":
        return _help(rest)
    if name in ("completion", "complete"):
        from shell import completion

        for line in [completion.script(rest)] if name == "completion" else completion.candidates(rest):
            print(line)
        return ExitCode.DONE
    known = commands()
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        raise NoCommand(
            f"there is no command {name!r}{f': did you mean {near[0]!r}?' if near else ''} (voxport --help)"
        )
    started = time.perf_counter()
    code = known[name].run(rest)
    if is_verbose:
        print(f"{name}: {time.perf_counter() - started:.1f} s, exit code {int(code)}", file=sys.stderr)
    return code


def start() -> None:
    """The process of the console script."""
    from runtime.machine.interrupts import remember_interrupts

    remember_interrupts()
    run(main)


def _without_switches(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """Takes out -v and --quiet, wherever they stand before a `--`, and tells this process and those that it starts.
    Returns the rest, and whether -v was there."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    before, after = list(arguments[:end]), list(arguments[end:])
    is_verbose, is_quiet = bool({"-v", "--verbose"} & {*before}), bool({"-q", "--quiet"} & {*before})
    if is_verbose:
        os.environ[TRACEBACK] = "1"
    if is_quiet:
        os.environ[QUIET] = "1"
    return [one for one in before if one not in ("-v", "--verbose", "-q", "--quiet")] + after, is_verbose


def _version() -> str:
    import voxport

    return f"voxport {voxport.__version__}"


def _screen() -> str:
    known = commands()
    lines = ["usage: voxport [-v | --quiet] COMMAND …", ""]
    placed = {name for names in GROUPS.values() for name in names}
    for group, names in GROUPS.items():
        others = [name for name in known if name not in placed] if group == [*GROUPS][-1] else []
        lines += [f"{group}:", *(f"  {name:<14} {known[name].text}" for name in [*names, *others]), ""]
    return "\n".join(
        [
            *lines,
            "  help COMMAND      its arguments; help gates, help precision, …: the choices and settings of convert",
            "  completion SHELL  for bash, zsh or fish: docs/commands.md says where it goes",
            "  --version",
            "  -v, --verbose     how long it took, and the whole of an unexpected error",
            "  -q, --quiet       no progress and no notes: the result, warnings and errors alone",
        ]
    )


def _help(topics: Sequence[str]) -> int:
    """The help of a command, or a page of `convert`'s."""
    known = commands()
    if topics[0] in known:
        return known[topics[0]].run([*topics[1:], "--help"])
    with needed_packages("convert"):
        from convert.help import page
    print(page(topics[0]))
    return ExitCode.DONE


if __name__ == "__main__":
    run(main)
