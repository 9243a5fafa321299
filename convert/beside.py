"""Tasks of a job that do not wait for each other, side by side in processes that are forked from it.

A forked process has everything that the job has imported and loaded, and shares its memory until either writes to it:
a process of its own would import PyTorch and read the checkpoint again, which takes longer than most tasks do.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from runtime.errors import MachineError
from runtime.machine.cores import allowed_cores
from runtime.machine.tether import die_with

_MOST = 4  # processes: each may take as much memory as a conversion


@dataclass(frozen=True)
class Task:
    """Something to do; `run` gives something that can be pickled."""

    name: str
    run: Callable[[], Any]


@dataclass(frozen=True)
class Done:
    """What a task gave, and the seconds that it took."""

    value: Any
    seconds: float


@dataclass(frozen=True)
class _Raised:
    """What a task raised, and where, in words: a traceback stays in its process."""

    error: Exception
    trace: str


class BesideError(MachineError, RuntimeError):
    """What became of a process beside the job: killed, or where it failed."""


class SideBySide:
    """Tasks in this process and in others forked from it, each of which takes the next one that nobody has.

    Use as a context manager: the processes start with the block, where no other thread of Python may run (a lock that
    it holds stays locked in a fork), and end with it. As many as there are cores; one, on systems other than Linux,
    whose libraries do not bear forks.
    """

    def __init__(self, tasks: Sequence[Task], processes: int | None = None) -> None:
        self._tasks = tasks
        fitting = min(len(tasks), _MOST, allowed_cores() if processes is None else processes)
        self.count = max(fitting, 1) if sys.platform == "linux" else 1  # of processes, this one among them
        self._children: list[tuple[int, int]] = []  # process ids, and the pipes that their results come through

    def results(self) -> list[Done]:
        """Works through the tasks, and returns what each gave, in their order.

        Raises what a task raises, and BesideError where a process was killed.
        """
        done = self._work()
        for pid, results in self._children:
            with os.fdopen(os.dup(results), "rb") as pipe:
                answer = pipe.read()
            if not answer:
                raise BesideError(f"a process beside the job was killed (process {pid})")
            other = pickle.loads(answer)  # of this very program, a moment ago
            if isinstance(other, _Raised):
                raise other.error from BesideError(other.trace)
            done |= other
        return [done[number] for number in range(len(self._tasks))]

    def _work(self) -> dict[int, Done]:
        done = {}
        while number := os.read(self._numbers, 1):
            started = time.perf_counter()
            value = self._tasks[number[0]].run()
            done[number[0]] = Done(value, time.perf_counter() - started)
        return done

    def __enter__(self) -> SideBySide:
        self._numbers, writing = os.pipe()  # of the tasks that nobody has; a read takes one, in whatever process
        os.write(writing, bytes(range(len(self._tasks))))
        os.close(writing)
        for _ in range(self.count - 1):
            self._children.append(self._forked())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pid, results in self._children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(results)
        os.close(self._numbers)

    def _forked(self) -> tuple[int, int]:
        parent, (results, answering) = os.getpid(), os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python 3.12 warns of OpenMP's threads, which the child does without
            pid = os.fork()
        if pid:
            os.close(answering)
            return pid, results
        try:  # nothing of what follows may return into the job's own code
            die_with(parent)
            _settle_in()
            answer = self._answer()
            with os.fdopen(answering, "wb") as pipe:
                pipe.write(answer)
        finally:
            os._exit(0)

    def _answer(self) -> bytes:
        try:
            return pickle.dumps(self._work())
        except Exception as error:
            trace = traceback.format_exc()
            with suppress(Exception):  # of an exception that cannot be pickled, or not be put together again
                answer = pickle.dumps(_Raised(error, trace))
                pickle.loads(answer)
                return answer
            return pickle.dumps(_Raised(RuntimeError(f"{type(error).__name__}: {error}"), trace))


def _settle_in() -> None:
    """Makes a fork of this process: interrupts are the job's, which then kills it, and so are streams and threads."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # it lasts as long as the process
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)  # GNU's OpenMP waits for threads that a fork has not
