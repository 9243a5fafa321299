"""The runners execute the jobs of a suite. The table names the runners; each is imported on use."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import Protocol

from convert.schema import RunnerOptions
from convert.task import JobSpec, TaskResult
from converters.options import ConversionError
from runtime.errors import VoxportError

RUNNERS = {
    "dask": "convert.runners.dask:DaskRunner",
    "local": "convert.runners.local:LocalRunner",
}


class RunnerError(VoxportError, RuntimeError):
    """Machines that cannot be reached, or that can never run a job; the message says which and why."""


class Runner(Protocol):
    """Takes jobs until it is left; leaving it ends what still runs.

    `shares_disk`: whether jobs write where this process reads. `measures_apart`: whether a bundle is measured and
    compared on another machine than it was converted on.
    """

    shares_disk: bool
    measures_apart: bool

    def submit(self, spec: JobSpec) -> Future[TaskResult]:
        """Submits a job. Its kind decides where it runs."""

    def running(self) -> Mapping[str, str]:
        """Name of a job -> the machine that it runs on."""

    def lost(self, name: str) -> tuple[str, ...]:
        """The machines that went away while they ran the job of this name."""

    def __enter__(self) -> Runner: ...

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def runner(options: RunnerOptions) -> Runner:
    """Raises ConversionError for a name that is none, RunnerError where its machines cannot be reached or used."""
    if options.kind not in RUNNERS:
        raise ConversionError(f"there is no runner {options.kind!r}; there is: {', '.join(sorted(RUNNERS))}")
    module, _, name = RUNNERS[options.kind].partition(":")
    instance: Runner = getattr(importlib.import_module(module), name)(options)
    return instance
