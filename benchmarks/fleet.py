"""A night of a thousand jobs: what the orchestration costs, and whether anything is lost when workers go away.

    python -m benchmarks.fleet OUT [--jobs 1000] [--workers 64] [--without-runs]

The real `python -m convert suite.jobs=…` on a real Dask scheduler, its workers in processes of four; their jobs take
recorded durations, made shorter (`--scale`), and log to a real MLflow server on PostgreSQL (`initdb`, and psycopg2 for
MLflow). A tenth of the workers is killed on the way and replaced. At the end every job has one row and one run of each
kind in MLflow; the night's page is drawn again and timed. `--without-runs` leaves the jobs' runs out: what is left is
the scheduler's part and the suite's.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import ClassVar

import psutil

from benchmarks.fleet_worker import DURATIONS, SHARE, drawn
from reports.nights import gather_reports, write_night
from reports.options import TrackingOptions
from reports.store import client_of
from reports.suite import FILE, SuiteResult, read_suite

ROOT = Path(__file__).parent.parent
IN_A_PROCESS = 4  # workers
LOST_AT = (0.25, 0.5)  # of the night, when some of the workers are killed
_PATIENCE_S = 120.0


class Service:
    """A process with its output in a file."""

    taken: ClassVar[dict[str, float]] = collections.defaultdict(float)  # processor seconds of those that ended

    def __init__(self, folder: Path, name: str, command: Sequence[str], **environment: str) -> None:
        self.kind = name.partition("-")[0]
        self.log = folder / f"{name}.log"
        with self.log.open("w") as file:
            self.process = subprocess.Popen(
                command, stdout=file, stderr=file, cwd=folder, env={**os.environ, **environment}, start_new_session=True
            )

    @property
    def mebibytes(self) -> float:
        """Its memory, without that of its children."""
        return float(psutil.Process(self.process.pid).memory_info().rss / 2**20)

    def has_ended(self, within: float = 0.0) -> bool:
        """Whether it is over, after `within` seconds at most; what it took of the processors is counted then."""
        if self.process.returncode is None:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(within)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            self.taken[self.kind] += after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return self.process.returncode is not None

    def end(self, with_signal: int = signal.SIGTERM) -> None:
        if not self.has_ended():
            os.killpg(self.process.pid, with_signal)
            if not self.has_ended(20):
                os.killpg(self.process.pid, signal.SIGKILL)
                self.has_ended(20)


@contextmanager
def postgres(folder: Path, port: int) -> Iterator[str]:
    """The address of a fresh database in `folder`, by Debian's PostgreSQL or whichever is on the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = shutil.which("initdb") or (str(found[-1]) if found else "")
    if not initdb:
        raise SystemExit("there is no initdb: apt-get install postgresql")
    data, server = folder / "postgres", str(Path(initdb).with_name("postgres"))
    data.mkdir()
    as_user: list[str] = []
    if os.getuid() == 0:  # which PostgreSQL refuses to be run by
        shutil.chown(data, "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]
    made = [*as_user, initdb, "-D", str(data), "-U", "mlflow", "-A", "trust", "--no-sync"]
    subprocess.run(made, check=True, stdout=subprocess.DEVNULL, cwd="/")
    service = Service(folder, "postgres-server", [*as_user, server, "-D", str(data), "-p", str(port), "-k", str(data)])
    try:
        yield f"postgresql+psycopg2://mlflow@localhost:{port}/postgres"
    finally:
        service.end(signal.SIGINT)


@contextmanager
def mlflow(folder: Path, store: str, port: int) -> Iterator[str]:
    """The address of a server, once it answers."""
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "2",
        "--backend-store-uri", store, "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    service = Service(folder, "mlflow", command, **quiet)
    try:
        options = TrackingOptions(uri=f"http://127.0.0.1:{port}")
        wait_for(lambda: answers(options), service)
        yield str(options.uri)
    finally:
        service.end()


def answers(options: TrackingOptions) -> bool:
    try:
        with client_of(options) as client:
            client.search_experiments(max_results=1)
    except Exception:  # whatever a server that is not there yet answers
        return False
    return True


def wait_for(is_there: object, service: Service) -> None:
    assert callable(is_there)
    until = time.monotonic() + _PATIENCE_S
    while not is_there():
        if time.monotonic() > until or service.has_ended():
            raise SystemExit(f"it did not start: {service.log}")
        time.sleep(0.3)


class Fleet:
    """A scheduler and its workers."""

    def __init__(self, folder: Path, count: int, options: Sequence[str]) -> None:
        self.folder, self.options, self.started = folder, options, 0
        self.journal, file = folder / "journal.tsv", folder / "scheduler.json"
        self.journal.touch()
        command = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
        self.scheduler = Service(
            folder, "scheduler", [sys.executable, "-m", "distributed.cli.dask_scheduler", *command]
        )
        wait_for(lambda: file.is_file() and file.read_text().strip().endswith("}"), self.scheduler)
        self.address = json.loads(file.read_text())["address"]
        self.hosts: list[Service] = []
        for _ in range(0, count, IN_A_PROCESS):
            self.add()
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(count, timeout=_PATIENCE_S * 5)

    def add(self) -> None:
        """Starts a process of workers."""
        command = [sys.executable, "-m", "benchmarks.fleet_worker", self.address, str(self.started), str(IN_A_PROCESS)]
        command += [str(self.journal), *self.options]
        log, path = f"workers-{self.started}", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self.hosts.append(Service(self.folder, log, command, PYTHONPATH=path, VOXPORT_CACHE=str(self.folder / "cache")))
        self.started += IN_A_PROCESS

    def lose(self, count: int) -> int:
        """Kills the processes of `count` workers or a few more, and starts as many anew; how many were lost."""
        processes = -(-count // IN_A_PROCESS)
        for host in self.hosts[:processes]:
            host.end(signal.SIGKILL)
        self.hosts = self.hosts[processes:]
        for _ in range(processes):
            self.add()
        return processes * IN_A_PROCESS

    def end(self) -> None:
        for service in (*self.hosts, self.scheduler):
            service.end(signal.SIGKILL)


def ended(journal: Path) -> int:
    return sum(line.startswith("ends\tconvert\t") for line in journal.read_text().splitlines())


def night(fleet: Fleet, uri: str, jobs: int, workers: int) -> tuple[float, int, list[float], Path]:
    """Runs the suite: its seconds, the workers lost on the way, the scheduler's memory at times, and its folder."""
    entries = ",".join(map(str, range(jobs)))
    command = [
        sys.executable, "-m", "convert", "suite.name=fleet", f"suite.jobs=[{{goldens.seed: [{entries}]}}]",
        "runner=dask", f"runner.scheduler={fleet.address}", f"output={fleet.folder / 'bundles'}",
        f"tracking.uri={uri}", "runner.cores=1", "runner.memory_gb=1",
    ]  # fmt: skip
    lost, memory, thresholds = 0, list[float](), [share * jobs for share in LOST_AT]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    started = time.monotonic()
    suite = Service(fleet.folder, "suite", command, PYTHONPATH=path, VOXPORT_CACHE=str(fleet.folder / "cache"))
    is_over = threading.Event()
    while not is_over.is_set():
        done = ended(fleet.journal)
        memory.append(fleet.scheduler.mebibytes)
        if thresholds and done >= thresholds[0]:
            thresholds.pop(0)
            lost += fleet.lose(-(-workers // (10 * len(LOST_AT))))
        if suite.has_ended():
            is_over.set()
        is_over.wait(1.0)
    seconds = time.monotonic() - started
    folders = sorted((fleet.folder / "bundles" / "suites").glob("fleet-*"))
    if not folders:
        raise SystemExit(f"no night: {suite.log}")
    return seconds, lost, memory, folders[-1]


def doubled(uri: str, result: SuiteResult) -> list[str]:
    """What is missing or there twice in MLflow, in sentences."""
    with client_of(TrackingOptions(uri=uri)) as client:
        experiment = client.get_experiment_by_name("voxport").experiment_id
        counted: collections.Counter[tuple[str, str]] = collections.Counter()
        token = None
        while True:
            page = client.search_runs([experiment], max_results=1000, page_token=token)
            counted.update((run.data.tags.get("kind", ""), run.data.tags.get("job", "")) for run in page)
            token = page.token
            if not token:
                break
    passed, known = ({row.name for row in result.rows if row.verdict == "passed" or both} for both in (False, True))
    missing = [f"{kind} of {name} has no run" for kind in SHARE for name in passed if not counted[kind, name]]
    twice = [f"{kind} of {name} has {count} runs" for (kind, name), count in counted.items() if count > 1]
    return [*missing, *twice, *(f"{kind} of {name} is of no job" for kind, name in counted if name not in known)]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fleet", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="a new folder, of logs, journal, database and the night")
    parser.add_argument("--jobs", type=int, default=1000, help="[%(default)s]")
    parser.add_argument("--workers", type=int, default=64, help="[%(default)s]")
    parser.add_argument("--scale", type=float, default=0.1, help="of the recorded durations [%(default)s]")
    parser.add_argument("--port", type=int, default=5431, help="PostgreSQL's; MLflow has the next [%(default)s]")
    parser.add_argument("--without-runs", action="store_true", help="jobs log nothing")
    options = parser.parse_args()
    folder = options.out.resolve()
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    with ExitStack() as stack:
        store = stack.enter_context(postgres(folder, options.port))
        uri = stack.enter_context(mlflow(folder, store, options.port + 1))
        began = time.monotonic()
        quiet = ["--without-runs"] if options.without_runs else []
        fleet = Fleet(folder, options.workers, ["--scale", str(options.scale), *quiet])
        stack.callback(fleet.end)
        print(f"{options.workers} workers in {time.monotonic() - began:.0f} s", flush=True)
        seconds, lost, memory, made = night(fleet, uri, options.jobs, options.workers)
        result = read_suite(made / FILE)
        wrong = [] if options.without_runs else doubled(uri, result)
    named = [f"{number}" for number in range(options.jobs)]
    work = sum(DURATIONS[int(drawn(name, "seconds") * len(DURATIONS))] for name in named) * options.scale
    began = time.monotonic()
    gather_reports(result, folder)
    write_night(result, folder, [], TrackingOptions(enabled=False), None)
    drawing = time.monotonic() - began
    begun = collections.Counter(
        line.split("\t")[1] for line in fleet.journal.read_text().splitlines() if "begins" in line
    )
    wrong += [f"{name} has no row" for name in set(named) - {row.name for row in result.rows}]
    print(f"{options.jobs} jobs in {seconds:.1f} s: {dict(result.counts)}; {lost} workers lost")
    reasons = collections.Counter(re.sub(r"\bw\d+", "wN", row.reason) for row in result.rows if row.verdict == "failed")
    print(*(f"  failed: {count} for {reason}" for reason, count in reasons.items()), sep="\n")
    print(f"work {work:.0f} s, {work / options.workers:.1f} s of each worker")
    print(f"overhead {1e3 * (seconds - work / options.workers) / options.jobs:.0f} ms of the night a job")
    print(f"begun: {dict(begun)}; rows tried again: {sum(bool(row.lost) for row in result.rows)}")
    quarter = max(1, len(memory) // 4)
    print(f"scheduler: {min(memory[:quarter]):.0f} MiB at first, {max(memory[-quarter:]):.0f} MiB at the end")
    print(f"the night's page: {drawing:.1f} s, {(folder / 'nightly.html').stat().st_size / 1e6:.1f} MB")
    print(
        "of a core, a job:",
        ", ".join(f"{kind} {1e3 * taken / options.jobs:.0f} ms" for kind, taken in Service.taken.items()),
    )
    print("\n".join(wrong[:20]) or "nothing lost, nothing doubled")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
