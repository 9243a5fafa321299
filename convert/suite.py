"""A suite: the jobs of a matrix, each in a process of its own, under a cap and a time limit.

A job that crashes or hangs fails alone. What was finished stays, so that an interrupted suite goes on where it ended.
The jobs log nothing: this process tracks their bundles one after another, which any store can take.
"""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from convert import console
from convert.schema import Job, SuiteOptions
from converters.options import Impossible, check_pair
from reports.suite import SuiteResult, SuiteRow, write_suite
from reports.worker import ReportWorker, WorkerError

_POLL_SECONDS = 0.1
_GRACE_SECONDS = 20.0  # between being told to stop and being killed
_INTERRUPTED = 130
# Settings that the suite's own process decides.
_OWN = ("suite", "tracking", "runner")


def expand(suite: SuiteOptions) -> tuple[list[tuple[str, ...]], list[str]]:
    """The overrides of every job in the order of the file, each once, and a sentence for each that cannot be.

    A list among an entry's values is every one of them.
    """
    jobs: dict[tuple[str, ...], None] = {}
    left_out = []
    for entry in suite.jobs:
        axes = [[(key, value) for value in (values if isinstance(values, list) else [values])]
                for key, values in entry.items()]  # fmt: skip
        for chosen in itertools.product(*axes):
            settings = dict(chosen)
            try:
                check_pair(str(settings.get("format", "mlprogram")), str(settings.get("upsampler", "polyphase")))
            except Impossible as error:
                left_out.append(str(error))
                continue
            jobs[tuple(f"{key}={value}" for key, value in chosen)] = None
    return list(jobs), left_out


def run_suite(job: Job, extra: Sequence[str]) -> int:
    """Runs the suite that the job names; `extra`: overrides of the command line for every job of it.

    0: all passed; 1: one did not; 130: interrupted.
    """
    output = Path(job.output).expanduser().resolve()
    jobs, left_out = expand(job.suite)
    own = [text for text in extra if re.split(r"[.=@]", text.lstrip("+~"))[0] not in _OWN]
    for reason in dict.fromkeys(left_out):
        console.warn(f"left out: {reason}")
    started = datetime.datetime.now(datetime.UTC)
    pool = _Pool(jobs, own, job.suite, output)
    try:
        pool.run()
        code = 0
    except KeyboardInterrupt:
        code = _INTERRUPTED
    rows = pool.rows()
    if job.tracking.enabled and code == 0:
        rows = _track(job, rows, started)
    result = SuiteResult(job.suite.name, started.isoformat(timespec="seconds"), tuple(rows))
    page = write_suite(result, output / "suites" / f"{job.suite.name}-{started:%Y%m%dT%H%M%S}")
    console.result_console.print(_table(rows, job.suite.name))
    for row in rows:
        if row.verdict in ("failed", "hung") and row.log:
            console.error(f"{row.name}: {row.reason} ({row.log})")
    if code:
        console.error("interrupted: what was finished stays, the same command goes on from here")
        return code
    console.result_console.print(f"suite: {page}", soft_wrap=True, markup=False)
    return 0 if all(row.verdict == "passed" for row in rows) else 1


@dataclass
class _Running:
    number: int
    process: subprocess.Popen[str]
    started: float
    out: Path
    err: Path
    is_stopped: bool = False


class _Pool:
    """So many processes at once as cores and memory take."""

    def __init__(
        self, jobs: Sequence[tuple[str, ...]], extra: Sequence[str], suite: SuiteOptions, output: Path
    ) -> None:
        self.jobs, self.extra, self.suite, self.output = jobs, extra, suite, output
        self.limit = suite.limit_minutes * 60
        self.processes = suite.processes or processes_for(suite)
        self.done: dict[int, SuiteRow] = {}
        self.running: list[_Running] = []

    def run(self) -> None:
        waiting = list(enumerate(self.jobs))
        logs = self.output / "suites" / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        is_terminal = console.progress_console.is_terminal
        with Live(console=console.progress_console, transient=True) if is_terminal else nullcontext() as live:
            try:
                while waiting or self.running:
                    while waiting and len(self.running) < self.processes:
                        self.running.append(self._start(*waiting.pop(0), logs))
                    time.sleep(_POLL_SECONDS)
                    for one in list(self.running):
                        self._look_at(one)
                    if live is not None:
                        live.update(_table(self.rows(), self.suite.name))
            except BaseException:
                self._stop_all()
                raise

    def rows(self) -> list[SuiteRow]:
        """What is known of each job, in order."""
        running = {one.number: one for one in self.running}
        found = []
        for number, overrides in enumerate(self.jobs):
            if number in self.done:
                found.append(self.done[number])
            else:
                seconds = time.monotonic() - running[number].started if number in running else 0.0
                verdict = "running" if number in running else "waiting"
                found.append(SuiteRow(_name(overrides), tuple(overrides), verdict, seconds))
        return found

    def _start(self, number: int, overrides: tuple[str, ...], logs: Path) -> _Running:
        threads = max(1, (os.cpu_count() or 1) // self.processes)
        environment = {"OMP_NUM_THREADS": str(threads)} if self.processes > 1 else {}
        out, err = (logs / f"{self.suite.name}-{number:03d}.{kind}" for kind in ("out", "err"))
        with out.open("w") as stdout, err.open("w") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "convert", *overrides, *self.extra, "tracking=off"],
                stdout=stdout,
                stderr=stderr,
                text=True,
                env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                start_new_session=True,  # ctrl-C is for the suite, which then ends its jobs
            )
        return _Running(number, process, time.monotonic(), out, err)

    def _look_at(self, one: _Running) -> None:
        elapsed = time.monotonic() - one.started
        code = one.process.poll()
        if code is None:
            if elapsed > self.limit and not one.is_stopped:
                one.is_stopped = True
                one.process.send_signal(signal.SIGINT)
            if elapsed > self.limit + _GRACE_SECONDS:
                _kill(one.process)
            return
        self.running.remove(one)
        self.done[one.number] = self._row(one, code, elapsed)
        row = self.done[one.number]
        if not console.progress_console.is_terminal:
            console.progress_console.print(f"{row.verdict:<8} {escape(row.name)} {row.seconds:.1f} s")

    def _row(self, one: _Running, code: int, elapsed: float) -> SuiteRow:
        overrides = self.jobs[one.number]
        bundle = re.search(r"^bundle: (.+)$", one.out.read_text(), re.MULTILINE)
        said = one.err.read_text()
        reason = "; ".join(_sentences(said)) or f"ended with {code}"
        log = str(one.err)
        if one.is_stopped:
            reason = f"not finished in {self.suite.limit_minutes:g} minutes"
            return SuiteRow(_name(overrides), overrides, "hung", elapsed, None, reason, log)
        if bundle is None:
            return SuiteRow(_name(overrides), overrides, "failed", elapsed, None, reason, log)
        verdict = "passed" if code == 0 else "rejected"
        is_reused = "bundle and measurements were reused" in " ".join(said.split())
        return SuiteRow(
            _name(overrides), overrides, verdict, elapsed, bundle[1], "" if code == 0 else reason, log, is_reused
        )

    def _stop_all(self) -> None:
        for one in self.running:
            one.process.send_signal(signal.SIGINT)
        ends = time.monotonic() + _GRACE_SECONDS
        for one in self.running:
            try:
                one.process.wait(max(0.1, ends - time.monotonic()))
            except subprocess.TimeoutExpired:
                _kill(one.process)
        self.running.clear()


def processes_for(suite: SuiteOptions) -> int:
    """A job converts on one core and measures on all: one for every two cores, as far as the memory goes."""
    by_memory = int(psutil.virtual_memory().available / (suite.memory_gb * 1e9))
    return max(1, min((os.cpu_count() or 1) // 2, by_memory))


def _kill(process: subprocess.Popen[str]) -> None:
    """The job and all that it started."""
    try:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()


def _track(job: Job, rows: list[SuiteRow], started: datetime.datetime) -> list[SuiteRow]:
    """One writer for all; a store that cannot be reached is said once, and loses nothing (`python -m reports sync`).
    The rows with what is champion of each series."""
    from reports.tracked import mark_untracked
    from runtime.bundle import BundleError, open_bundle

    tags = {"suite": job.suite.name, "night": f"{started:%Y-%m-%d}"}
    with ReportWorker(job.tracking) as worker:
        problem = ""
        named: dict[SuiteRow, str] = {}
        for row in rows:
            if row.bundle is None:
                continue
            try:
                bundle = open_bundle(Path(row.bundle), verify=False)
                if problem:
                    mark_untracked(bundle, job.tracking, problem)
                else:
                    worker.track(bundle.path, tags)
                    named[row] = worker.champion(bundle.path)
            except WorkerError as error:
                problem = str(error)
                console.warn(f"{error}\nThe results are kept; send them later with: python -m reports sync")
                mark_untracked(bundle, job.tracking, problem)
            except BundleError as error:
                console.warn(str(error))
    return [dataclasses.replace(row, champion=named.get(row, "")) for row in rows]


def _name(overrides: Iterable[str]) -> str:
    return " ".join(text.partition("=")[2] for text in overrides)


def _sentences(stderr: str) -> Iterator[str]:
    """What the job said was wrong."""
    plain = " ".join(stderr.split())
    for part in re.split(r" (?=(?:error|warning|✓) )", f" {plain}"):
        if part.strip().startswith("error "):
            yield part.strip().removeprefix("error ")


_COLOURS = {"passed": "green", "rejected": "red", "failed": "red", "hung": "red", "running": "yellow"}


def _table(rows: Sequence[SuiteRow], name: str) -> Table:
    done = sum(row.verdict not in ("running", "waiting") for row in rows)
    table = Table(title=f"suite {name}: {done} of {len(rows)} done", min_width=70)
    for column in ("job", "verdict", "seconds"):
        table.add_column(column, justify="right" if column == "seconds" else "left")
    for row in rows:
        verdict = f"[{_COLOURS.get(row.verdict, 'default')}]{row.verdict}[/]{' (unchanged)' if row.is_reused else ''}"
        table.add_row(escape(row.name), verdict, f"{row.seconds:.1f}" if row.seconds else "")
    return table
