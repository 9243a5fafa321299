"""What every command has around it: errors as sentences, exit codes, signals, a terminal that may go away."""

from __future__ import annotations

import errno
import functools
import gc
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from runtime.errors import ExitCode, VoxportError
from runtime.machine.address import scrubbed
from runtime.machine.answer import answer, begin, give_reason
from runtime.machine.extras import missing_extra
from runtime.machine.interrupts import catch_interrupts, was_interrupted
from runtime.machine.terminal import printable, settle
from runtime.machine.tether import end_with_parent

TRACEBACK = "VOXPORT_TRACEBACK"  # in the environment: unexpected errors are printed whole
_ROOT = Path(__file__).parents[2]
# What a person's own path can be wrong in; any other failure of the system is the machine's.
_OF_PATHS = frozenset(
    (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EROFS,
     errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.ENXIO)
)  # fmt: skip
_IS_FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))

Main = Callable[[Sequence[str] | None], int]

_programs: dict[str, str] = {}


def program(package: str) -> str:
    """What a person types to start a package's command: `python -m runtime`, or what `voxport` named it."""
    return _programs.get(package, f"python -m {package}")


def name_programs(programs: Mapping[str, str]) -> None:
    """Tells `program` what the packages' commands are called in this process."""
    _programs.update(programs)


def explained(error: BaseException) -> tuple[str, ExitCode]:
    """The sentence, without the secret of an address, and the exit code for whatever ended a command."""
    sentence, code = _explained(error)
    return printable(scrubbed(sentence)), code


def _explained(error: BaseException) -> tuple[str, ExitCode]:
    if isinstance(error, KeyboardInterrupt) or was_interrupted():
        return "interrupted", ExitCode.INTERRUPTED
    if isinstance(error, VoxportError):
        return str(error), error.exit_code
    if isinstance(error, OSError):
        return _of_the_system(error), ExitCode.USAGE if error.errno in _OF_PATHS else ExitCode.MACHINE
    if isinstance(error, MemoryError):
        return f"not enough memory: {error}".removesuffix(": "), ExitCode.MACHINE
    absent = missing_extra(error)
    if absent is not None:
        return absent, ExitCode.USAGE
    if os.environ.get(TRACEBACK):
        traceback.print_exception(error)
    return (
        f"{type(error).__name__}: {error} ({_where(error)}). This is a fault of voxport: please report it with the "
        f"command that you ran; {TRACEBACK}=1 in the environment shows where it happened",
        ExitCode.MACHINE,
    )


@contextmanager
def needed_packages(extra: str) -> Iterator[None]:
    """Around the imports of a command: where the light install lacks one, the process ends with a sentence that names
    the extra of the command."""
    try:
        yield
    except ModuleNotFoundError as error:
        absent = missing_extra(error, extra)
        if absent is None:
            raise
        print(f"error: {absent}", file=sys.stderr)
        raise SystemExit(ExitCode.USAGE) from error


def answered(main: Main) -> Main:
    """Makes a command's `main` return an exit code and print a sentence on stderr, whatever it raises."""

    @functools.wraps(main)
    def outermost(arguments: Sequence[str] | None = None) -> int:
        try:
            return main(arguments)
        except (Exception, KeyboardInterrupt) as error:
            sentence, code = explained(error)
            give_reason(sentence)
            print(sentence if code == ExitCode.INTERRUPTED else f"error: {sentence}", file=sys.stderr)
            return code

    return outermost


def run(main: Main) -> None:
    """Runs a command as a process of its own, which ends here."""
    # PyTorch's threads wait for each other after every operation. Where something else has a core they would spin for
    # milliseconds on what time the last of them needs; so they sleep soon (docs/reference-engine.md has the figures).
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    out = settle()
    begin()
    try:
        catch_interrupts()
        end_with_parent()
        os.getcwd()
        code = main(None)
    except FileNotFoundError:  # `main` answers for its own errors
        print("error: the working directory does not exist any more: cd to one that does", file=sys.stderr)
        code = ExitCode.USAGE
    except KeyboardInterrupt:  # before `main` could answer for it
        print("interrupted", file=sys.stderr)
        code = ExitCode.INTERRUPTED
    except SystemExit as stop:  # argparse
        code = stop.code if isinstance(stop.code, int) else ExitCode.DONE if stop.code is None else ExitCode.USAGE
    sys.stdout.flush()
    if out.problem is not None:
        print(f"error: standard output could not be written: {out.problem.strerror}", file=sys.stderr)
        code = max(code, ExitCode.MACHINE)
    sys.stderr.flush()
    answer(exit_code=int(code))
    if code == ExitCode.INTERRUPTED:
        # Where the interrupt went through code that C ran (PyRun_String), Python remembers it as unhandled and ends
        # itself with SIGINT in place of this code. Everything is closed by now.
        os._exit(code)
    gc.freeze()  # nothing is left to collect, and to look for it among PyTorch's modules takes a second or two
    sys.exit(code)


def _of_the_system(error: OSError) -> str:
    """An OSError as a sentence that names the file."""
    reason = error.strerror or str(error) or type(error).__name__
    if error.errno in _IS_FULL:
        where = f" that holds {error.filename}" if error.filename else ""
        return f"the disk{where} is full ({reason}): nothing half-written was kept"
    return f"{error.filename}: {reason}" if error.filename else reason


def _where(error: BaseException) -> str:
    """The innermost line of voxport's own code that an error passed through."""
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(_ROOT)]
    if not ours:
        return "outside voxport's code"
    last = ours[-1]
    return f"{Path(last.filename).relative_to(_ROOT)}:{last.lineno} in {last.name}"
