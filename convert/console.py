"""Shows the progress of a job: stages with their times on stderr, the result on stdout."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any, TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from runtime.machine.address import scrubbed
from runtime.machine.answer import give_reason
from runtime.machine.interrupts import stop_if_interrupted
from runtime.machine.terminal import is_quiet, printable

progress_console = Console(stderr=True, highlight=False, emoji=False, quiet=is_quiet())
# Of warnings and errors; the same where there is progress, which a line of another one would tear.
_problem_console = Console(stderr=True, highlight=False, emoji=False) if is_quiet() else progress_console
result_console = Console(highlight=False, emoji=False)  # `:b:` in a path is no emoji


class Scrubbed:
    """A stream that shows no secret of an address, whoever writes: Hydra prints the override that it does not take."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(scrubbed(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def warn(message: str) -> None:
    _problem_console.print(f"[bold yellow]warning[/] {escape(scrubbed(message))}")


def note(message: str) -> None:
    progress_console.print(f"note: {scrubbed(message)}", markup=False)


def error(message: str) -> None:
    """Says what was wrong, to the person and to the process that started this one."""
    message = printable(scrubbed(message))
    give_reason(message)
    _problem_console.print(f"[bold red]error[/] {escape(message)}")


class Stages:
    """Wall times of a job's stages, shown as they pass; those of stages side by side overlap. None begins or ends after
    an interrupt."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, spinner: bool = True) -> Iterator[None]:
        """`spinner=False` for a stage that draws something of its own: rich shows one live thing at a time."""
        stop_if_interrupted()
        started = time.perf_counter()
        with progress_console.status(escape(name)) if spinner else nullcontext():
            yield
        stop_if_interrupted()
        self._done(name, time.perf_counter() - started)

    @contextmanager
    def together(self, names: Sequence[str]) -> Iterator[Callable[[Sequence[float]], None]]:
        """Stages that run side by side; gives what takes the seconds of each when all are done."""
        stop_if_interrupted()
        taken: list[float] = []
        with progress_console.status(escape("; ".join(names))):
            yield taken.extend
        stop_if_interrupted()
        for name, elapsed in zip(names, taken, strict=True):
            self._done(name, elapsed)

    def _done(self, name: str, elapsed: float) -> None:
        self.seconds[name] = elapsed
        progress_console.print(f"[green]✓[/] {escape(name):<50} {elapsed:6.2f} s")


@contextmanager
def download_bar(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """Something to call with (bytes so far, bytes in all); the bar appears at the first call."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with ExitStack() as shown:
        bars: list[Progress] = []

        def progress(done: int, total: int | None) -> None:
            if not bars:
                bars.append(shown.enter_context(Progress(*columns, console=progress_console, transient=True)))
                bars[0].add_task(name)
            bars[0].update(bars[0].task_ids[0], completed=done, total=total)

        yield progress
