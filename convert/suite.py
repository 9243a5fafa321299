"""A suite: the jobs of a matrix, each a process of its own somewhere, then each compared with its champion.

A job that crashes or hangs fails alone. What was finished stays, so that an interrupted suite goes on where it ended.
Where jobs write to this machine's disk they log nothing: one process tracks their bundles one after another, which any
store can take. Workers elsewhere write to MLflow's server themselves, and bundles travel through it.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import itertools
import re
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from contextlib import nullcontext, suppress
from pathlib import Path
from queue import Empty, SimpleQueue

from rich.live import Live
from rich.markup import escape
from rich.table import Table

from convert import console
from convert.runners import Runner, RunnerError, runner
from convert.schema import Job, SuiteOptions
from convert.task import JobSpec, TaskResult
from converters.options import ConversionError, Impossible, check_pair
from reports.options import TrackingOptions
from reports.record import read_job
from reports.suite import VERDICTS, SuiteResult, SuiteRow, facts_of, write_github_summary, write_suite
from reports.tracked import is_tracked, mark_untracked, sync_hint
from reports.worker import ReportWorker, WorkerError
from runtime.bundle.store import open_bundle
from runtime.errors import ExitCode
from runtime.machine.files import write_text
from runtime.machine.versions import drift

_POLL_SECONDS = 0.2
# Settings that the suite's own process decides.
_OWN = ("suite", "tracking", "runner", "output")
_CONSTRAINTS = Path(__file__).parent.parent / "constraints.txt"  # in a checkout


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

    The exit code: 2 where it cannot run like this, 130 where it was interrupted, else that of its worst job
    (`SuiteResult.code`).
    """
    started = datetime.datetime.now(datetime.UTC)
    output = Path(job.output).expanduser().resolve()
    folder = output / "suites" / f"{job.suite.name}-{started:%Y%m%dT%H%M%S}"
    jobs, left_out = expand(job.suite)
    for reason in dict.fromkeys(left_out):
        console.warn(f"left out: {reason}")
    drifted = drift(_CONSTRAINTS) if _CONSTRAINTS.is_file() else {}
    if drifted:
        listed = ", ".join(f"{package} {change}" for package, change in drifted.items())
        console.warn(f"not as in constraints.txt: {listed}")
    overrides = [text for text in extra if re.split(r"[.=@]", text.lstrip("+~"))[0] not in _OWN]
    tracking = dataclasses.replace(
        job.tracking, tags={**job.tracking.tags, "suite": job.suite.name, "night": f"{started:%Y-%m-%d}"}
    )
    night = _Night(job, jobs, overrides, tracking, output, folder)
    code = None
    with ReportWorker(tracking) as worker:  # from the start: it warms up while jobs run
        try:
            with runner(job.runner) as machines:
                night.run(machines)
        except (RunnerError, ConversionError) as error:
            console.error(str(error))
            return error.exit_code
        except KeyboardInterrupt:
            code = ExitCode.INTERRUPTED
        result = SuiteResult(job.suite.name, started.isoformat(timespec="seconds"), tuple(night.rows()), drifted)
        write_suite(result, folder)
        if tracking.enabled and code is None:
            mark_untracked(folder, tracking)  # killed from here on, `sync` delivers the night
        try:
            result = night.finish(result, worker) if code is None else result
        except KeyboardInterrupt:
            code = ExitCode.INTERRUPTED
    console.result_console.print(_table(result.rows, job.suite.name))
    for row in result.rows:
        if row.verdict in ("failed", "hung"):
            console.error(f"{row.name}: {row.reason}{f' ({row.log})' if row.log else ''}")
        elif row.comparison is not None and row.comparison.headline:
            console.error(f"{row.name}: {row.comparison.headline}")
    if code is not None:
        console.error("interrupted: what was finished stays, the same command goes on from here")
        return code
    write_github_summary(result)
    console.result_console.print(f"suite: {folder}", soft_wrap=True, markup=False)
    return result.code


class _Night:
    """One run of a suite: what is known of each job."""

    def __init__(
        self,
        job: Job,
        jobs: Sequence[tuple[str, ...]],
        extra: Sequence[str],
        tracking: TrackingOptions,
        output: Path,
        folder: Path,
    ) -> None:
        self.job, self.tracking, self.output, self.folder = job, tracking, output, folder
        self.jobs, self.extra = jobs, tuple(extra)
        self.names = _names(jobs)
        self.done: dict[int, SuiteRow] = {}
        self.since: dict[int, float] = {}  # when a job was first seen running
        self.machines: Runner | None = None

    def run(self, machines: Runner) -> None:
        """Runs every conversion. Where bundles are measured apart, each is measured as soon as it is there."""
        if not machines.shares_disk:
            _refuse_local_store(self.tracking)
        self.machines = machines
        waiting: dict[Future[TaskResult], int] = {}
        arrived: SimpleQueue[Future[TaskResult]] = SimpleQueue()

        def submit(spec: JobSpec, number: int) -> None:
            future = machines.submit(spec)
            waiting[future] = number
            future.add_done_callback(arrived.put)

        for number in range(len(self.jobs)):
            submit(self._spec(number), number)
        is_terminal = console.progress_console.is_terminal
        with Live(console=console.progress_console, transient=True) if is_terminal else nullcontext() as live:
            looked_at = 0.0
            while waiting:
                with suppress(Empty):
                    future = arrived.get(timeout=_POLL_SECONDS)
                    number = waiting.pop(future)
                    is_converted = number not in self.done
                    row = self._row(number, future.result())
                    self.done[number] = row
                    self._mark(row, machines)
                    if is_converted and machines.measures_apart and row.verdict == "passed":
                        submit(self._measured(number, row), number)
                        row = self.done[number] = dataclasses.replace(row, verdict="running")
                    elif live is None:
                        line = f"{row.verdict:<10} {row.name} {row.seconds:.1f} s"
                        console.progress_console.print(escape(line), soft_wrap=True)
                if time.monotonic() - looked_at > _POLL_SECONDS:  # both take the longer the more jobs there are
                    looked_at = time.monotonic()
                    machines.running()
                    if live is not None:
                        live.update(_table(self.rows(), self.job.suite.name))

    def _mark(self, row: SuiteRow, machines: Runner) -> None:
        """Marks what this process will log: `sync` does it where this process is killed before."""
        if not self.tracking.enabled or not machines.shares_disk or row.bundle is None:
            return
        bundle, _, measurements = read_job(Path(row.bundle))
        if not is_tracked(bundle, measurements, self.tracking):
            mark_untracked(bundle.measured, self.tracking)

    def rows(self) -> list[SuiteRow]:
        """Returns what is known of each job, in order."""
        running = self.machines.running() if self.machines is not None else {}
        rows = []
        for number, overrides in enumerate(self.jobs):
            name = self.names[number]
            if number in self.done:
                rows.append(self.done[number])
                continue
            if name in running:
                self.since.setdefault(number, time.monotonic())
            seconds = time.monotonic() - self.since[number] if number in self.since else 0.0
            verdict = "running" if name in running else "waiting"
            rows.append(SuiteRow(name, overrides, verdict, seconds, worker=running.get(name, "")))
        return rows

    def finish(self, result: SuiteResult, worker: ReportWorker) -> SuiteResult:
        """Logs, compares with champions and draws the page; the result with what came of it."""
        if not self.tracking.enabled:
            worker.draw_night(self.folder)
            return result
        problem = ""
        if self.machines is not None and self.machines.shares_disk:
            rows = []
            for row in result.rows:
                row, problem = self._tracked(row, worker, problem)
                rows.append(row)
            result = dataclasses.replace(result, rows=tuple(rows))
            write_suite(result, self.folder)
        try:
            if problem:
                raise WorkerError(problem)
            with console.progress_console.status("the night's page and run in MLflow"):
                worker.track_night(self.folder)
        except WorkerError as error:
            if not problem:
                console.warn(f"{error}\nThe results are kept; {sync_hint(self.tracking)}")
            mark_untracked(self.folder, self.tracking, str(error))
            worker.draw_night(self.folder)
        return result

    def _tracked(self, row: SuiteRow, worker: ReportWorker, problem: str) -> tuple[SuiteRow, str]:
        """A row with its runs and its comparison. A store that cannot be reached is said once, and asked no more."""
        if row.bundle is None:
            return row, problem
        bundle = open_bundle(Path(row.bundle))
        if problem:
            mark_untracked(bundle.measured, self.tracking, problem)
            return row, problem
        try:
            worker.track(bundle.path)
            row = dataclasses.replace(row, facts=facts_of(bundle.path, self.tracking))
        except WorkerError as error:
            mark_untracked(bundle.measured, self.tracking, str(error))
            console.warn(f"{error}\nThe results are kept; {sync_hint(self.tracking)}")
            return row, str(error)
        if row.verdict != "passed":
            return row, problem
        try:
            with console.progress_console.status(f"compare {escape(row.name)} with its champion"):
                judgement = worker.judge(bundle.path, self.job.suite.compare)
        except WorkerError as error:
            return dataclasses.replace(
                row, verdict="failed", reason=f"not compared with its champion: {error}"
            ), problem
        row = dataclasses.replace(
            row, verdict=judgement.verdict, champion=judgement.champion, comparison=judgement.comparison
        )
        return row, problem

    def _spec(self, number: int) -> JobSpec:
        shares_disk = self.machines is None or self.machines.shares_disk
        return JobSpec(
            name=self.names[number],
            overrides=(*self.jobs[number], *self.extra),
            output=str(self.output) if shares_disk else "",
            tracking=dataclasses.replace(self.tracking, enabled=False) if shares_disk else self.tracking,
            limit_s=60 * self.job.suite.limit_minutes,
            memory_gb=self.job.runner.memory_gb,
        )

    def _measured(self, number: int, row: SuiteRow) -> JobSpec:
        assert row.facts is not None
        run = row.facts.runs.get("convert", "")
        return dataclasses.replace(self._spec(number), kind="judge", overrides=(run,))

    def _row(self, number: int, result: TaskResult) -> SuiteRow:
        name, before = self.names[number], self.done.get(number)
        log = ""
        if result.stderr:
            path = self.folder / "logs" / f"{number:03d}{'-measure' if before else ''}.txt"
            write_text(path, result.stderr)
            log = str(path)
        row = SuiteRow(
            name=name,
            overrides=self.jobs[number],
            verdict=result.verdict,
            seconds=result.seconds,
            bundle=result.bundle,
            reason=result.reason,
            log=log,
            is_reused=result.is_reused,
            facts=result.facts,
            worker=result.worker,
            lost=self.machines.lost(name) if self.machines is not None else (),
            exit_code=result.exit_code,
        )
        if result.judgement is not None:
            row = dataclasses.replace(row, champion=result.judgement.champion, comparison=result.judgement.comparison)
        if before is None:
            return row
        return dataclasses.replace(
            row,
            seconds=before.seconds + result.seconds,
            bundle=before.bundle,
            is_reused=before.is_reused,
            facts=result.facts or before.facts,
            worker=", ".join(dict.fromkeys(filter(None, (before.worker, result.worker)))),
        )


def _refuse_local_store(tracking: TrackingOptions) -> None:
    if not tracking.enabled or not tracking.uri.startswith("http"):
        uri = tracking.uri if tracking.enabled else "off"
        raise RunnerError(
            "workers of runner.scheduler share no disk, bundles travel through an MLflow server, and tracking is "
            f"{uri}: pass tracking.uri=http://HOST:5000 (docs/team-server.md)"
        )


def _names(jobs: Sequence[Iterable[str]]) -> list[str]:
    """Gives each job a name of its own: its values, numbered where another job has the same."""
    plain = [" ".join(text.partition("=")[2] for text in overrides) for overrides in jobs]
    seen: collections.Counter[str] = collections.Counter()
    names = []
    for name in plain:
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return names


_COLOURS = {"passed": "green", "running": "yellow", "noisy": "yellow", "waiting": "default", "not judged": "default"}


def _table(rows: Sequence[SuiteRow], name: str) -> Table:
    done = sum(row.verdict not in ("running", "waiting") for row in rows)
    table = Table(title=f"suite {name}: {done} of {len(rows)} done", min_width=70)
    is_spread = any(row.worker not in ("", "here") for row in rows)
    for column in ("job", "verdict", "champion", "seconds", *(("worker",) if is_spread else ())):
        table.add_column(column, justify="right" if column == "seconds" else "left")
    for row in rows:
        assert row.verdict in VERDICTS
        colour = _COLOURS.get(row.verdict, "red")
        verdict = f"[{colour}]{row.verdict}[/]{' (unchanged)' if row.is_reused else ''}"
        cells = [escape(row.name), verdict, row.champion, f"{row.seconds:.1f}" if row.seconds else ""]
        table.add_row(*cells, *((row.worker,) if is_spread else ()))
    return table
