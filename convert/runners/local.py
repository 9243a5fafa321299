"""Processes on this machine, so many at once as its cores and memory take."""

from __future__ import annotations

import dataclasses
import os
import queue
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import psutil

from convert.schema import RunnerOptions
from convert.task import JobSpec, TaskResult, execute


class LocalRunner:
    shares_disk = True
    measures_apart = False

    def __init__(self, options: RunnerOptions) -> None:
        self.processes = processes_for(options)
        self.threads = max(1, (os.cpu_count() or 1) // self.processes) if self.processes > 1 else 0
        self._pool = ThreadPoolExecutor(self.processes)
        self._stopped = threading.Event()
        self._running: dict[str, str] = {}
        self._slots: queue.SimpleQueue[int] = queue.SimpleQueue()
        for slot in range(self.processes):
            self._slots.put(slot)

    def submit(self, spec: JobSpec) -> Future[TaskResult]:
        return self._pool.submit(self._execute, dataclasses.replace(spec, threads=self.threads))

    def _execute(self, spec: JobSpec) -> TaskResult:
        self._running[spec.name] = "here"
        slot = self._slots.get()
        try:
            return execute(spec, self._stopped.is_set, slot if self.threads else None)
        finally:
            self._slots.put(slot)
            del self._running[spec.name]

    def running(self) -> Mapping[str, str]:
        return dict(self._running)

    def lost(self, name: str) -> tuple[str, ...]:
        return ()

    def __enter__(self) -> LocalRunner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._pool.shutdown(wait=True, cancel_futures=True)


def processes_for(options: RunnerOptions) -> int:
    """Returns what was asked for, or as many as `cores` and `memory_gb` of each fit. A job converts on one core and
    measures on all, so that one beside another would be measured too slow."""
    if options.processes:
        return options.processes
    by_memory = int(psutil.virtual_memory().available / (options.memory_gb * 1e9))
    return max(1, min((os.cpu_count() or 1) // options.cores, by_memory))
