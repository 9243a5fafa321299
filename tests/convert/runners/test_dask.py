"""A scheduler and workers on loopback, processes of their own, with no disk in common but the test's own."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

import convert.runners.dask
from convert.runners import RunnerError, runner
from convert.runners.dask import _fits, _skew
from convert.schema import RunnerOptions
from convert.task import JobSpec, TaskResult
from reports.options import TrackingOptions
from reports.suite import read_suite
from tests.conftest import ROOT

QUICK = ("format=onnx", "precision=fp32", "measure.bench_seconds=0")


class Fleet:
    def __init__(self, folder):
        self.folder, self.processes = folder, {}
        self.file = folder / "scheduler.json"
        self._start("scheduler", "dask_scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(self.file))
        for _ in range(200):
            if self.file.is_file() and self.file.read_text().strip().endswith("}"):
                break
            time.sleep(0.1)
        self.address = json.loads(self.file.read_text())["address"]

    def worker(self, name, resources="cores=1 memory_gb=8", path=()):
        command = ["--scheduler-file", str(self.file), "--nthreads", "1", "--no-nanny", "--no-dashboard"]
        self._start(name, "dask_worker", *command, "--name", name, "--resources", resources, path=path)

    def _start(self, name, module, *arguments, path=()):
        (self.folder / name).mkdir()
        environment = os.environ | {
            "VOXPORT_CACHE": str(self.folder / name),
            "PYTHONPATH": os.pathsep.join([*path, str(ROOT)]),
        }
        log = (self.folder / f"{name}.log").open("w")
        command = [sys.executable, "-m", f"distributed.cli.{module}", *arguments]
        self.processes[name] = subprocess.Popen(
            command, stdout=log, stderr=log, env=environment, cwd=self.folder / name
        )

    def kill(self, name):
        self.processes[name].send_signal(signal.SIGKILL)

    def close(self):
        for process in self.processes.values():
            process.kill()
            process.wait()


@pytest.fixture
def fleet(tmp_path):
    made = Fleet(tmp_path)
    yield made
    made.close()


def ready(fleet, count):
    from distributed import Client

    with Client(fleet.address, set_as_default=False) as client:
        client.wait_for_workers(count, timeout=60)
    return RunnerOptions(kind="dask", scheduler=fleet.address)


def test_what_can_never_run_is_refused_at_once_and_what_is_not_there_is_said(fleet, monkeypatch):
    fleet.worker("linux", "cores=2 memory_gb=8")
    options = ready(fleet, 1)
    options.measure = {"apple_silicon": 1}
    with pytest.raises(
        RunnerError, match="can ever measure: that takes apple_silicon=1, and linux offers cores=2, mem"
    ):
        runner(options)
    monkeypatch.setattr(convert.runners.dask, "_CONNECT_SECONDS", 1.0)
    with pytest.raises(RunnerError, match=r"no Dask scheduler at tcp://127\.0\.0\.1:9"):
        runner(RunnerOptions(kind="dask", scheduler="tcp://127.0.0.1:9"))


def test_a_job_that_crashes_keeps_what_it_said_and_the_environment_that_was_named(fleet, monkeypatch):
    fleet.worker("linux")
    options = ready(fleet, 1)
    options.environment = ["VOXPORT_TEST_VARIABLE"]
    monkeypatch.setenv("VOXPORT_TEST_VARIABLE", "travels")
    off = TrackingOptions(enabled=False)
    with runner(options) as machines:
        wrong = machines.submit(JobSpec("wrong", (*QUICK, "checkpoint.source=no/such/folder"), tracking=off))
        result = wrong.result(timeout=120)
    assert (result.verdict, result.worker) == ("failed", "linux")
    assert "no/such/folder" in result.reason and "no/such/folder" in " ".join(result.stderr.split())
    assert machines._jobs["convert wrong"].spec.environment == {"VOXPORT_TEST_VARIABLE": "travels"}


@pytest.mark.proof
def test_a_job_whose_two_workers_went_away_is_not_tried_a_third_time(fleet, sources):
    for name in ("one", "two", "three"):
        fleet.worker(name)
    options = ready(fleet, 3)
    with runner(options) as machines:
        spec = JobSpec("fp32", (*QUICK, *sources, "force=true"), tracking=TrackingOptions(enabled=False))
        job = machines.submit(spec)
        for _ in range(2):
            before = len(machines.lost("fp32"))
            while not machines.running():
                time.sleep(0.1)
            victim = machines.running()["fp32"]
            fleet.kill(victim)
            while not job.done() and len(machines.lost("fp32")) == before:
                machines.running()
                time.sleep(0.1)
        result = job.result(timeout=60)
    assert result.verdict == "failed"
    assert result.reason.endswith("went away while it ran: not tried again")
    assert len(machines.lost("fp32")) == 2


def test_a_scheduler_that_goes_away_is_a_sentence_per_job_and_ends_what_runs(fleet, sources, tmp_path):
    fleet.worker("one")
    ready(fleet, 1)
    jobs = "suite.jobs=[{precision: fp32}, {precision: fp32, upsampler: native}]"
    command = [
        sys.executable,
        "-m",
        "convert",
        "suite.name=own",
        jobs,
        "format=onnx",
        *sources,
        "measure.bench_seconds=60",  # longer than it takes to notice
        "runner=dask",
    ]
    command += [f"runner.scheduler={fleet.address}", f"output={tmp_path}/out", "tracking.uri=http://127.0.0.1:9"]
    suite = subprocess.Popen(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    worker = psutil.Process(fleet.processes["one"].pid)
    while not worker.children(recursive=True):
        assert suite.poll() is None, suite.communicate()
        time.sleep(0.1)
    jobs = worker.children(recursive=True)
    fleet.kill("scheduler")
    said, _ = suite.communicate(timeout=240)
    assert suite.returncode == 3, said
    assert "Traceback" not in said and "distributed" not in said
    (result,) = (read_suite(path) for path in (tmp_path / "out" / "suites").glob("*/suite.json"))
    gone = f"the scheduler at {fleet.address} went away"
    assert [(row.verdict, row.reason) for row in result.rows] == [("failed", gone)] * 2
    assert " ".join(said.split()).count(gone) == 2, "a sentence per job"
    psutil.wait_procs(jobs, timeout=60)
    assert not [job for job in jobs if job.is_running() and job.status() != psutil.STATUS_ZOMBIE]
    assert not list((tmp_path / "one" / "fleet" / "bundles").glob("*-onnx-*"))


@pytest.mark.proof
def test_a_machine_with_another_version_is_named_before_work_starts(fleet, tmp_path):
    other = tmp_path / "site" / "coremltools-9.1.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: coremltools\nVersion: 9.1\n")
    fleet.worker("linux")
    fleet.worker("mac", "apple_silicon=1", path=[str(other.parent)])
    options = ready(fleet, 2)
    with pytest.raises(
        RunnerError, match=r"not alike: coremltools is 9\.0 here and 9\.1 on tcp://\S+ \(runner.allow_skew"
    ):
        runner(options)
    options.allow_skew = True
    with runner(options) as machines:
        assert machines.skew


def test_skew_is_told_by_name():
    here = {"python": "3.11", "coremltools": "9.0", "torch": "2.13.0"}
    there = {"tcp://a": here, "tcp://mac": {**here, "coremltools": "9.1"}, "tcp://b": {**here, "coremltools": "9.1"}}
    assert _skew(here, there) == ["coremltools is 9.0 here and 9.1 on tcp://mac, tcp://b"]
    assert _skew(here, {"tcp://a": here}) == []
    assert _fits({"cores": 2}, {"cores": 2, "memory_gb": 4}) and not _fits({"cores": 2}, {"memory_gb": 4})


@pytest.mark.proof
def test_a_suite_converts_anywhere_measures_on_the_mac_and_outlives_a_worker(fleet, sources, mlflow_server, tmp_path):
    """Three workers, one of them the "mac": conversions on the two others, one of which is killed in a job."""
    fleet.worker("a")
    fleet.worker("b")
    fleet.worker("mac", "apple_silicon=1")
    ready(fleet, 3)
    jobs = "suite.jobs=[{precision: fp32}, {precision: fp32, upsampler: native}]"
    command = [sys.executable, "-m", "convert", "suite.name=own", jobs, "format=onnx", *QUICK[2:], *sources]
    command += ["runner=dask", f"runner.scheduler={fleet.address}", "runner.cores=1"]
    command += [f"output={tmp_path}/out", f"tracking.uri={mlflow_server}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    suite = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    killed = threading.Thread(target=_kill_when_busy, args=(fleet, "a"), daemon=True)
    killed.start()
    said, _ = suite.communicate(timeout=400)
    assert suite.returncode == 0, said
    (result,) = (read_suite(path) for path in (tmp_path / "out" / "suites").glob("*/suite.json"))
    assert [row.verdict for row in result.rows] == ["passed", "passed"]
    assert ("a",) in [row.lost for row in result.rows], "one was tried again, and says so"
    assert {row.worker for row in result.rows} == {"b, mac"}
    assert (tmp_path / "mac" / "fleet" / "bundles").is_dir() and (tmp_path / "b" / "fleet" / "bundles").is_dir()
    assert not list((tmp_path / "out").glob("*-onnx-*")), "no bundle came by disk"

    import mlflow

    mlflow.set_tracking_uri(mlflow_server)
    runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
    kinds = sorted(run.data.tags["kind"] for run in runs)
    assert kinds.count("suite") == 1 and kinds.count("convert") == 2
    assert {run.data.tags["suite"] for run in runs} == {"own"}


def _kill_when_busy(fleet, name):
    folder = fleet.folder / name / "fleet" / "bundles"
    while not list(folder.glob(".*.partial-*")):
        time.sleep(0.1)
    fleet.kill(name)


class KilledWorker(Exception):
    """Dask's, by its name."""


class Remote:
    """A future of Dask's as its callback finds it."""

    def __init__(self, status, result=""):
        self.status, self.is_released, self._result, self.callbacks = status, False, result, []

    def result(self):
        return self._result

    def exception(self):
        return KilledWorker("twice")

    def add_done_callback(self, call):
        self.callbacks.append(call)

    def release(self):
        self.is_released = True


def test_what_came_here_is_not_run_again_when_its_worker_goes_away_and_what_did_not_come_is(monkeypatch):
    machines = object.__new__(convert.runners.dask.DaskRunner)  # no cluster: what it is told decides
    machines._is_left = machines._is_gone = False
    sent = []
    monkeypatch.setattr(machines, "_send", sent.append, raising=False)
    job = convert.runners.dask._Job(JobSpec("fp32", ()), {}, workers=["w1"])
    job.remote = Remote("lost")
    machines._done(job, job.remote)
    assert not sent and len(job.remote.callbacks) == 1 and not job.is_over, "the scheduler has it run again by itself"
    job.remote = Remote("error")
    machines._done(job, job.remote)
    assert sent == [job] and not job.is_over
    job.workers.append("w2")
    machines._done(job, job.remote)
    assert job.outcome.result(0).reason == "RunnerError: w1 and w2 went away while it ran: not tried again"
    other = convert.runners.dask._Job(JobSpec("fp16", ()), {}, workers=["w1"])
    other.remote = Remote("finished", TaskResult("passed", 1.0).to_json())
    machines._done(other, other.remote)
    assert other.outcome.result(0).verdict == "passed" and other.remote.is_released
