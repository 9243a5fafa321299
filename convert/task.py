"""One job of a suite on whichever machine: a process of its own under limits, told as JSON and answered as JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from pydantic import TypeAdapter

from convert.overrides import quoted
from reports.judge import Judgement
from reports.options import TrackingOptions
from reports.suite import JobFacts, facts_of
from runtime.bundle.store import BundleError
from runtime.errors import ExitCode, MachineError
from runtime.machine.answer import RESULT, Answer, read_answer
from runtime.machine.cache import cache_folder
from runtime.machine.files import as_json
from runtime.machine.tether import TETHER

SCHEMA_VERSION = 1
_POLL_SECONDS = 0.1
_LOOK_SECONDS = 1.0  # between two looks at the memory
_GRACE_SECONDS = 20.0  # between being told to stop and being killed
_URI = "VOXPORT_TRACKING_URI"  # in the environment of a job: an address that has a secret
_SHORTEST_SECRET = 8  # a forwarded variable as short as "1" or "true" is in every text
_STDERR_CHARACTERS = 20_000  # the end of it that travels


@dataclass(frozen=True)
class Secrets:
    """A job needs these, and no log may show them: Dask prints the arguments of a task that fails."""

    uri: str = field(repr=False)
    environment: dict[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class JobSpec:
    """`overrides`: of `python -m convert`, or of kind `judge` the run whose bundle is measured and compared. `output`:
    folder of the bundles, empty for the machine's own; `environment`: variables beside the machine's own; `is_pinned`:
    the jobs of a machine keep to cores of their own."""

    name: str
    overrides: tuple[str, ...]
    kind: str = "convert"
    output: str = ""
    tracking: TrackingOptions = field(default_factory=TrackingOptions)
    limit_s: float = 1800.0
    memory_gb: float = 0.0
    threads: int = 0
    environment: dict[str, str] = field(default_factory=dict, repr=False)
    is_pinned: bool = False
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        """Leaves out what nobody may read on the way: the secret of the address, and the environment."""
        return json.dumps({**dataclasses.asdict(self), "environment": {}})

    def secrets(self) -> Secrets:
        """Returns what travels beside the JSON."""
        return Secrets(self.tracking.address.revealed(), self.environment)

    @classmethod
    def from_json(cls, text: str, secrets: Secrets | None = None) -> JobSpec:
        """Raises ValueError for a job of another voxport."""
        row = json.loads(text)
        if row.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(f"a job of schema {row.get('schema_version')!r}; this voxport takes {SCHEMA_VERSION}")
        spec = TypeAdapter(cls).validate_python(row)
        if secrets is None:
            return spec
        tracking = dataclasses.replace(spec.tracking, uri=secrets.uri)
        return dataclasses.replace(spec, tracking=tracking, environment=secrets.environment)


@dataclass(frozen=True)
class TaskResult:
    """`verdict`: `passed`, `not judged`, `rejected`, `regressed`, `noisy`, `failed`, `hung` or, of a job that was
    broken off, `waiting`. `exit_code`: of the job's process, and where it crashed or was ended that of a machine's
    failure. `stderr`: the end of what it printed there."""

    verdict: str
    seconds: float
    bundle: str | None = None
    reason: str = ""
    stderr: str = ""
    is_reused: bool = False
    facts: JobFacts | None = None
    judgement: Judgement | None = None
    worker: str = ""
    exit_code: int = ExitCode.MACHINE

    def to_json(self) -> str:
        return json.dumps(as_json(dataclasses.asdict(self)))

    @classmethod
    def from_json(cls, text: str) -> TaskResult:
        return TypeAdapter(cls).validate_json(text)


def execute(spec: JobSpec, is_stopped: Callable[[], bool] = lambda: False, slot: int | None = None) -> TaskResult:
    """Runs a job to its end, or to a limit, or until it is told to stop; whatever it does, this process lives on.

    slot: which of the jobs of this machine it is, from 0: it and what it starts stay on the cores of that slot, where
    the system can hold them there.
    """
    output = Path(spec.output) if spec.output else cache_folder() / "fleet" / "bundles"
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="voxport-job-") as folder:
        out, err, answered = (Path(folder, name) for name in ("out", "err", "answer.json"))
        with out.open("w") as stdout, err.open("w") as stderr:
            process = subprocess.Popen(
                _command(spec, output),
                stdin=subprocess.PIPE,
                stdout=stdout,
                stderr=stderr,
                env=_environment(spec) | {RESULT: str(answered)},
                start_new_session=True,  # ctrl-C is for the suite, which then ends its jobs
            )
            _keep_to_its_cores(process.pid, slot, spec.threads)
            problem = _watched(process, spec, started, is_stopped)
        seconds = time.monotonic() - started
        text = _without_secrets(spec, err.read_text(errors="replace"))
        try:
            result = _result(spec, read_answer(answered), process.returncode, text)
        except (BundleError, MachineError) as error:
            result = TaskResult("failed", 0.0, reason=str(error), exit_code=error.exit_code)
    if problem is not None:
        result = TaskResult(problem[0], 0.0, reason=problem[1])
    reason = _without_secrets(spec, result.reason)
    return dataclasses.replace(result, seconds=seconds, reason=reason, stderr=text[-_STDERR_CHARACTERS:])


def _without_secrets(spec: JobSpec, text: str) -> str:
    """Returns what a job printed without its secrets, whatever it was that printed."""
    for value in spec.environment.values():
        if len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, "***")
    return spec.tracking.address.scrubbed(text)


def _command(spec: JobSpec, output: Path) -> list[str]:
    tracking, uri = spec.tracking, str(spec.tracking.uri)
    if tracking.address.has_secret:  # anybody on this machine can read a command line
        uri = f"${{oc.env:{_URI}}}"
    if spec.kind == "judge":
        (run,) = spec.overrides
        command = [sys.executable, "-m", "reports", "judge", run, "--measure", "--output", str(output)]
        tags = [text for name, value in tracking.tags.items() for text in ("--tag", f"{name}={value}")]
        return [*command, "--uri", uri, "--experiment", tracking.experiment, *tags]
    where = [f"output={quoted(str(output))}"]
    if not tracking.enabled:
        return [sys.executable, "-m", "convert", *spec.overrides, *where, "tracking=off"]
    tags = [",".join(f"{name}:{quoted(value)}" for name, value in tracking.tags.items())]
    where += [f"tracking.uri={quoted(uri)}", f"tracking.experiment={quoted(tracking.experiment)}"]
    return [sys.executable, "-m", "convert", *spec.overrides, *where, f"+tracking.tags={{{tags[0]}}}"]


def _environment(spec: JobSpec) -> dict[str, str]:
    variables = {TETHER: "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    if spec.threads:
        variables["OMP_NUM_THREADS"] = str(spec.threads)
    if spec.tracking.enabled and spec.tracking.address.has_secret:
        variables[_URI] = spec.tracking.address.revealed()
    return {**os.environ, **variables, **spec.environment}


def _keep_to_its_cores(pid: int, slot: int | None, threads: int) -> None:
    """A job has helpers that run beside it: without this one of one core would take two."""
    if slot is None or (slot + 1) * threads > (os.cpu_count() or 1):
        return
    with suppress(psutil.Error, AttributeError, ValueError):  # macOS has no affinity
        psutil.Process(pid).cpu_affinity(list(range(slot * threads, (slot + 1) * threads)))


def _watched(
    process: subprocess.Popen[bytes], spec: JobSpec, started: float, is_stopped: Callable[[], bool]
) -> tuple[str, str] | None:
    """Waits; (verdict, reason) where the job had to be ended."""
    problem: tuple[str, str] | None = None
    told_at = looked_at = 0.0
    while process.poll() is None:
        now = time.monotonic()
        if problem is None:
            if is_stopped():
                problem = ("waiting", "interrupted")
            elif now - started > spec.limit_s:
                problem = ("hung", f"not finished in {spec.limit_s / 60:g} minutes")
            elif spec.memory_gb and now - looked_at > _LOOK_SECONDS:
                looked_at = now
                used = _memory_gb(process.pid)
                if used > spec.memory_gb:
                    problem = ("failed", f"took {used:.1f} GB of memory, and may take {spec.memory_gb:g}")
            if problem is not None:
                process.send_signal(signal.SIGINT)
                told_at = now
        elif now - told_at > _GRACE_SECONDS:
            _kill(process)
        time.sleep(_POLL_SECONDS)
    assert process.stdin is not None
    process.stdin.close()
    return problem


def _family(pid: int) -> list[psutil.Process]:
    try:
        first = psutil.Process(pid)
        return [first, *first.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _memory_gb(pid: int) -> float:
    """Returns the memory of a process and all that it started, in GB."""
    total = 0
    for member in _family(pid):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            total += member.memory_info().rss
    return total / 1e9


def _kill(process: subprocess.Popen[bytes]) -> None:
    """The job and all that it started."""
    for member in _family(process.pid):
        with suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()


def _result(spec: JobSpec, answer: Answer, returncode: int, stderr: str) -> TaskResult:
    """Builds the result of a job that ended; a part of its answer counts where it was killed after giving it.

    Raises BundleError where the bundle cannot be read.
    """
    code = ExitCode.MACHINE if answer.exit_code is None else answer.exit_code
    reasons = answer.reasons if answer.exit_code is not None else (*answer.reasons, _ended(returncode, stderr))
    failed = TaskResult("failed", 0.0, reason="; ".join(reasons) or _ended(returncode, stderr), exit_code=code)
    if spec.kind == "judge":
        return _judged(answer, code, failed)
    if answer.bundle is None:
        return failed
    facts = facts_of(Path(answer.bundle), spec.tracking)
    passed = "passed" if facts.is_judged else "not judged"
    verdict = {0: passed, 1: "rejected"}.get(code, "failed")
    reason = "" if verdict == passed else failed.reason  # what failed ended after its bundle was made
    return TaskResult(verdict, 0.0, answer.bundle, reason, is_reused=answer.is_reused, facts=facts, exit_code=code)


def _judged(answer: Answer, code: int, failed: TaskResult) -> TaskResult:
    if answer.judgement is None or code not in (ExitCode.DONE, ExitCode.MISSED):
        return failed
    judgement = TypeAdapter(Judgement).validate_python(answer.judgement)
    facts = TypeAdapter(JobFacts).validate_python(answer.facts)
    verdict = "rejected" if answer.gates_missed else judgement.verdict if facts.is_judged else "not judged"
    reason = "; ".join(answer.gates_missed)
    return TaskResult(verdict, 0.0, reason=reason, facts=facts, judgement=judgement, exit_code=code)


def _ended(returncode: int, stderr: str) -> str:
    """Says how a process ended that could not say why itself."""
    if returncode < 0:
        return f"ended by signal {-returncode} ({signal.Signals(-returncode).name})"
    _, is_traceback, last = stderr.rpartition("Traceback (most recent call last):")
    if is_traceback:
        exception = next((line for line in last.splitlines()[1:] if line and not line[0].isspace()), "")
        return f"crashed: {exception}"
    return f"ended with exit code {returncode}; what it said is in its log"
