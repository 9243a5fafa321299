"""Jobs in forked processes, which start in no time because everything is imported already, and can be watched."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from runtime.bundle.store import open_bundle
from runtime.machine.command_line import answered
from runtime.machine.interrupts import catch_interrupts
from tests.convert.test_config import composed

MARK = "VOXPORT_FAULT"  # in the environment of a job and of all that it starts
OPTIONS = ("precision=fp32", "measure.bench_seconds=0", "measure.engines=[mil]", "force=true")
PUBLISH = "publish"  # announced as the stages are, though it is none


@dataclass
class Run:
    """A job that runs: `mark` finds what it started, `said` is where its output goes."""

    pid: int
    mark: str
    stages: int
    said: Path

    def wait_for(self, stage: str) -> bool:
        """Until a stage begins whose name begins like that; False where the job ended before."""
        return any(line.startswith(stage) for line in os.fdopen(os.dup(self.stages)))

    def ended(self, limit: float = 300.0) -> tuple[int, str]:
        """(exit code, or minus a signal; what it printed). A fork of a process that has threads may hang: it is killed
        after so many seconds."""
        watchdog = threading.Timer(limit, os.kill, (self.pid, signal.SIGKILL))
        watchdog.start()
        _, status = os.waitpid(self.pid, 0)
        watchdog.cancel()
        os.close(self.stages)
        return os.waitstatus_to_exitcode(status), self.said.read_text(errors="replace")

    def seconds_until_alone(self, limit: float = 20.0) -> float:
        """How long after the job's end something that it started still runs."""
        started = time.monotonic()
        while time.monotonic() - started < limit:
            if not any(_is_marked(process, self.mark) for process in psutil.process_iter()):
                return time.monotonic() - started
            time.sleep(0.02)
        return limit


def _is_marked(process: psutil.Process, mark: str) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == mark
    except psutil.Error:
        return False


def start(folder: Path, *overrides: str, converted: Path | None = None, draws: bool = True, **environment: str) -> Run:
    """A job whose output is in `folder/said`. converted: a bundle that is copied in place of a conversion; draws: or
    the report is left out."""
    reading, writing = os.pipe()
    mark = uuid.uuid4().hex
    said = folder / "said"
    child = os.fork()
    if child:
        os.close(writing)
        return Run(child, mark, reading, said)
    code = 1
    try:
        os.setsid()
        os.environ.update({MARK: mark, **environment})
        sys.dont_write_bytecode = True  # where a disk is full, CPython caches a module cut off, for all who come after
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        tempfile.tempdir = None
        descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        catch_interrupts()
        code = _main(lambda stage: os.write(writing, f"{stage}\n".encode()), overrides, converted, draws)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _main(announce, overrides, converted, draws):
    from rich.console import Console

    from convert import console, job, report

    console.progress_console = Console(stderr=True, highlight=False)
    stage, together, publish = console.Stages.stage, console.Stages.together, job.publish

    @contextmanager
    def announced(self, name, spinner=True):
        with stage(self, name, False):
            announce(name)
            yield

    @contextmanager
    def announced_together(self, names):
        with together(self, names) as finished:
            announce("; ".join(names))
            yield finished

    def published(*arguments, **options):
        announce(PUBLISH)
        return publish(*arguments, **options)

    def copied(asked, located, parts, folder, *_):
        shutil.copytree(converted, folder)
        return open_bundle(folder)

    console.Stages.stage, console.Stages.together, job.publish = announced, announced_together, published
    if converted is not None:
        job._convert = copied
    if not draws:
        job.ReportWorker.report = lambda self, bundle: bundle

    @answered
    def main(arguments=None):
        outcome = report.show(composed(*OPTIONS, *arguments), {})
        return outcome if isinstance(outcome, int) else 0

    return main(overrides)


def send(run: Run, sent: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(run.pid, sent)
