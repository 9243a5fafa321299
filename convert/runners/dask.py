"""Jobs on the workers of a Dask cluster: conversion on any of them, measurement where a worker offers what it takes.

A worker offers countable resources (`dask worker … --nthreads 1 --resources "cores=2 memory_gb=8 apple_silicon=1"`);
a job asks for some and holds them while it runs, so that nothing is measured beside another job. Jobs travel as JSON.
With a scheduler of one's own, bundles travel through MLflow: workers share no disk, and write to the server themselves.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import platform
import threading
import time
import traceback
import uuid
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Any

from convert.key import versions
from convert.runners import RunnerError
from convert.runners.local import processes_for
from convert.schema import RunnerOptions
from convert.task import JobSpec, Secrets, TaskResult, execute
from converters.options import ConversionError
from runtime.machine.extras import how_to_install
from runtime.machine.sources import EVERYTHING, sources_hash
from runtime.machine.versions import installed_versions

_CONNECT_SECONDS = 20.0
_ATTEMPTS = 2
_FETCHERS = 8  # results that come here at once: Dask's own thread for it takes one after the other
_LOOK_SECONDS = 2.0
_ORPHANED_SECONDS = 60.0  # how long a job may wait for a worker to come back
# What a kind of job asks for where its placement is not given, as far as any worker offers it.
_WISHES = {"convert": ("cores", "memory_gb"), "judge": ("apple_silicon",)}
_MORE_TOOLS = ("distributed", "mlflow", "onnxruntime", "hydra-core", "omegaconf", "pydantic")


class DaskRunner:
    """Raises RunnerError where the scheduler cannot be reached, has no worker, or workers that are not alike or can
    never take a job."""

    def __init__(self, options: RunnerOptions) -> None:
        try:
            from distributed import Client, LocalCluster
        except ImportError as error:
            raise ConversionError(f"runner=dask needs Dask: {how_to_install('dask')}") from error
        for name in ("distributed", "distributed.client"):  # its tracebacks; what is wrong is said here
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self.options = options
        self.shares_disk = not options.scheduler
        self._cluster: Any = None
        address = options.scheduler
        if not address:
            offered = {"cores": float(options.cores), "memory_gb": options.memory_gb, **(options.offers or {})}
            self._cluster = LocalCluster(
                n_workers=processes_for(options),
                threads_per_worker=1,
                memory_limit=None,
                dashboard_address=None,
                resources=offered,
                silence_logs=50,
            )
            address = self._cluster.scheduler_address
        try:
            self._client: Any = Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
        except OSError as error:
            raise RunnerError(
                f"there is no Dask scheduler at {address} (dask scheduler starts one; docs/nightly.md)"
            ) from error
        self._address = address
        self._is_left = self._is_gone = False
        self._topic = f"voxport-{uuid.uuid4().hex[:12]}"
        self._jobs: dict[str, _Job] = {}
        self._unwanted: list[_Job] = []
        self._looked_at = 0.0
        self._lock = threading.Lock()
        self._fetchers = ThreadPoolExecutor(_FETCHERS)
        try:
            self._offers = self._workers()
            if not self._offers:
                raise RunnerError(f"the Dask scheduler at {address} has no workers")
            self.skew = _skew(_alike(), self._facts())
            if self.skew and not options.allow_skew:
                listed = "; ".join(self.skew)
                raise RunnerError(f"the machines are not alike: {listed} (runner.allow_skew=true goes on all the same)")
            self.measures_apart = not self.shares_disk
            for kind in _WISHES if self.measures_apart else ("convert",):
                self._refuse_impossible(kind)
            self._client.subscribe_topic(self._topic, self._started)
        except BaseException:
            self._close()
            raise

    def submit(self, spec: JobSpec) -> Future[TaskResult]:
        resources = self._placement(spec.kind)
        threads = int(resources.get("cores", 0)) or (self.options.cores if self.shares_disk else 0)
        forwarded = {name: os.environ[name] for name in self.options.environment if name in os.environ}
        spec = dataclasses.replace(spec, threads=threads, environment=forwarded, is_pinned=self.shares_disk)
        job = _Job(spec, resources)
        with self._lock:
            self._jobs[f"{spec.kind} {spec.name}"] = job
        self._send(job)
        return job.outcome

    def _send(self, job: _Job) -> None:
        if self._is_gone:
            self._finish(job, self._without_scheduler())
            return
        job.remote = self._client.submit(
            run_remote,
            job.spec.to_json(),
            job.spec.secrets(),
            self._topic,
            resources=job.resources,
            pure=False,
            retries=0,
        )
        self._watch(job, job.remote)

    def _watch(self, job: _Job, remote: Any) -> None:
        def fetch(remote: Any) -> None:
            with suppress(RuntimeError):  # this runner is left
                self._fetchers.submit(self._done, job, remote)

        remote.add_done_callback(fetch)

    def running(self) -> Mapping[str, str]:
        self._fail_orphans()
        with self._lock:
            return {job.spec.name: job.workers[-1] for job in self._jobs.values() if job.workers and not job.is_over}

    def lost(self, name: str) -> tuple[str, ...]:
        with self._lock:
            jobs = [self._jobs.get(f"{kind} {name}") for kind in _WISHES]
            return tuple(worker for job in jobs if job is not None for worker in job.lost)

    def _refuse_impossible(self, kind: str) -> None:
        """A job that no worker can take would wait for ever, and nobody would say so."""
        resources = self._placement(kind)
        if not any(_fits(resources, offered) for offered in self._offers.values()):
            offers = "; ".join(f"{name} offers {_listed(offered)}" for name, offered in self._offers.items())
            what = {"convert": "convert", "judge": "measure"}[kind]
            raise RunnerError(f"no worker can ever {what}: that takes {_listed(resources)}, and {offers}")

    def _placement(self, kind: str) -> dict[str, float]:
        asked = self.options.convert if kind == "convert" else self.options.measure
        if asked is not None:
            return dict(asked)
        wished = {"cores": float(self.options.cores), "memory_gb": self.options.memory_gb, "apple_silicon": 1.0}
        most = {name: max(one.get(name, 0.0) for one in self._offers.values()) for name in _WISHES[kind]}
        return {name: min(wished[name], amount) for name, amount in most.items() if amount}

    def _facts(self) -> dict[str, dict[str, str]]:
        try:
            return dict(self._client.run(_alike))
        except Exception as error:  # whatever a foreign environment raises
            raise RunnerError(f"a worker cannot run this voxport ({type(error).__name__}: {error})") from error

    def _workers(self) -> dict[str, dict[str, float]]:
        """Name -> what it offers, of the workers that are there now."""
        known = self._client.scheduler_info(n_workers=-1)["workers"]
        return {str(worker["name"]): dict(worker.get("resources", {})) for worker in known.values()}

    def _started(self, event: tuple[float, Any]) -> None:
        """A worker has taken a job up: for the second time, if the first worker went away with it."""
        row = event[1]
        with self._lock:
            job = self._jobs.get(row["job"])
            if job is None or job.is_over:
                return
            job.workers.append(row["name"])
            is_too_often = len(job.workers) > _ATTEMPTS
        if is_too_often:
            gone = " and ".join(job.lost[:_ATTEMPTS])
            self._finish(job, TaskResult("failed", 0.0, reason=f"{gone} went away while it ran: not tried again"))
            self._unwanted.append(job)

    def _done(self, job: _Job, remote: Any) -> None:
        if job.is_over or remote is not job.remote:
            return
        status, given = remote.status, ""
        if status == "finished":
            try:
                given = remote.result()
            except Exception:  # its worker or the scheduler went away meanwhile: which, its status says now
                status = remote.status
        if given:
            self._finish(job, TaskResult.from_json(given))
            remote.release()  # else it is run again when its worker goes away, which alone keeps what it gave
            return
        if status in ("pending", "lost"):  # the scheduler has it run again, by itself
            self._watch(job, remote)
            return
        if status == "cancelled":  # by this runner as it is left, or by its client, which lost the scheduler
            self._is_gone = self._is_gone or not self._is_left
            interrupted = TaskResult("waiting", 0.0, reason="interrupted")
            self._finish(job, interrupted if self._is_left else self._without_scheduler())
            return
        # Neither: its worker went away with what it had just given, before that came here.
        error = remote.exception() if status == "error" else None
        is_lost = error is None or type(error).__name__ == "KilledWorker"
        if is_lost and len(job.workers) < _ATTEMPTS:
            self._send(job)
            return
        trace = "".join(traceback.format_exception(error)) if error else "no reason given"
        if is_lost:
            error = RunnerError(f"{' and '.join(job.workers)} went away while it ran: not tried again")
        self._finish(job, TaskResult("failed", 0.0, reason=f"{type(error).__name__}: {error}", stderr=trace))

    def _without_scheduler(self) -> TaskResult:
        return TaskResult("failed", 0.0, reason=f"the scheduler at {self._address} went away")

    def _finish(self, job: _Job, result: TaskResult) -> None:
        with suppress(Exception):  # already over: the first answer counts
            job.outcome.set_result(result)

    def _fail_orphans(self) -> None:
        """A job that no worker can run any more would wait for ever."""
        if self._is_gone:
            return
        while self._unwanted:  # not where an event is handled: the client's own loop cannot wait for itself
            self._client.cancel(self._unwanted.pop().remote, force=True)
        now = time.monotonic()
        with self._lock:
            waiting = [job for job in self._jobs.values() if not job.is_over]
        if not waiting or now - self._looked_at < _LOOK_SECONDS:
            return
        self._looked_at = now
        try:
            offers = self._workers()
        except (OSError, TimeoutError, RuntimeError):  # a scheduler that is going away: `_done` is told
            return
        for job in waiting:
            if any(_fits(job.resources, offered) for offered in offers.values()):
                job.orphaned_at = None
            elif job.orphaned_at is None:
                job.orphaned_at = now
            elif now - job.orphaned_at > _ORPHANED_SECONDS:
                reason = f"no worker is left that could run it: it wants {_listed(job.resources)}"
                self._finish(job, TaskResult("failed", 0.0, reason=reason))
                self._client.cancel(job.remote, force=True)

    def __enter__(self) -> DaskRunner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_left = True
        open_jobs = [] if self._is_gone else [job for job in self._jobs.values() if not job.is_over]
        if open_jobs:
            with suppress(Exception):  # a cluster that is gone has nothing to stop
                self._client.cancel([job.remote for job in open_jobs], force=True)
                self._client.run(stop_all, self._topic)
        self._close()

    def _close(self) -> None:
        self._fetchers.shutdown(wait=False, cancel_futures=True)
        with suppress(Exception):
            self._client.close()
        if self._cluster is not None:
            with suppress(Exception):
                self._cluster.close()


@dataclasses.dataclass
class _Job:
    """`workers`: those that took it up, in order; all but the last went away with it."""

    spec: JobSpec
    resources: dict[str, float]
    outcome: Future[TaskResult] = dataclasses.field(default_factory=Future)
    workers: list[str] = dataclasses.field(default_factory=list)
    remote: Any = None
    orphaned_at: float | None = None

    @property
    def is_over(self) -> bool:
        return self.outcome.done()

    @property
    def lost(self) -> list[str]:
        return self.workers[:-1]


# Of the suites that were left while their jobs ran here; on a worker.
_STOPPED: set[str] = set()


def run_remote(spec_json: str, secrets: Secrets, topic: str) -> str:
    """Runs a job on a worker, from JSON to JSON."""
    from distributed import Status, get_worker

    worker = get_worker()
    spec = JobSpec.from_json(spec_json, secrets)
    worker.log_event(topic, {"job": f"{spec.kind} {spec.name}", "name": str(worker.name)})
    slot = int(worker.name) if spec.is_pinned else None  # a local cluster numbers its workers
    # A worker that loses its scheduler closes, and waits for its threads as it does: nobody wants this job any more.
    ending = (Status.closing, Status.closed, Status.failed)
    result = execute(spec, lambda: topic in _STOPPED or worker.status in ending, slot)
    return dataclasses.replace(result, worker=str(worker.name)).to_json()


def stop_all(topic: str) -> None:
    """Ends a worker's jobs of a suite; called on the worker."""
    _STOPPED.add(topic)


def _alike() -> dict[str, str]:
    """Returns what must be the same on every machine, for the same job to give the same bundle."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {
        "python": python,
        "voxport's sources": sources_hash(EVERYTHING)[:12],
        **versions(),
        **installed_versions(_MORE_TOOLS),
    }


def _skew(here: Mapping[str, str], there: Mapping[str, Mapping[str, str]]) -> list[str]:
    """A sentence per package that a machine has in another version, by name."""
    machines: dict[tuple[str, str], list[str]] = {}
    for address, theirs in there.items():
        for name in sorted({*here, *theirs}):
            if here.get(name) != theirs.get(name):
                machines.setdefault((name, theirs.get(name, "absent")), []).append(address)
    return [
        f"{name} is {here.get(name, 'absent')} here and {version} on {', '.join(addresses)}"
        for (name, version), addresses in machines.items()
    ]


def _fits(resources: Mapping[str, float], offered: Mapping[str, float]) -> bool:
    return all(offered.get(name, 0.0) >= amount for name, amount in resources.items())


def _listed(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{name}={amount:g}" for name, amount in resources.items()) or "nothing"
