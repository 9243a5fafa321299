"""What a person sees while a job runs: stages with their times on stderr, the result on stdout."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

progress_console = Console(stderr=True, highlight=False)
result_console = Console(highlight=False)


def warn(message: str) -> None:
    progress_console.print(f"[bold yellow]warning[/] {escape(message)}")


def error(message: str) -> None:
    progress_console.print(f"[bold red]error[/] {escape(message)}")


class Stages:
    """Wall times of a job's stages, shown as they pass."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        with progress_console.status(escape(name)):
            yield
        elapsed = time.perf_counter() - started
        self.seconds[name] = elapsed
        progress_console.print(f"[green]✓[/] {escape(name):<44} {elapsed:6.2f} s")


@contextmanager
def download_bar(name: str) -> Iterator[Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=progress_console, transient=True) as bar:
        bar.add_task(name, total=None)
        yield bar
