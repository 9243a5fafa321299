"""One job as a process: limits, what it says, and that it ends with whoever started it."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest

import convert.task
from convert.task import JobSpec, TaskResult, execute
from reports.options import TrackingOptions
from reports.record import read_record, write_record
from runtime.bundle.store import Bundle
from runtime.machine.answer import Answer
from tests.conftest import ROOT

OFF = TrackingOptions(enabled=False)


def spec(**changes):
    return JobSpec(**{"name": "j", "overrides": ("x",), "tracking": OFF, **changes})


@pytest.fixture
def program(monkeypatch):
    """Puts a program in the place of `python -m convert`."""

    def put(text):
        monkeypatch.setattr(convert.task, "_command", lambda *_: [sys.executable, "-c", text])

    return put


def test_a_job_travels_as_json_and_another_schema_is_refused():
    sent = spec(environment={"A": "1"}, tracking=TrackingOptions(uri="http://h", tags={"night": "x"}))
    assert JobSpec.from_json(sent.to_json(), sent.secrets()) == sent
    with pytest.raises(ValueError, match="a job of schema 99"):
        JobSpec.from_json('{"schema_version": 99}')
    result = TaskResult("hung", float("inf"), reason="späť", worker="w")
    assert TaskResult.from_json(result.to_json()) == result


def test_a_crash_keeps_its_traceback(program):
    program("raise ZeroDivisionError('of all things')")
    result = execute(spec())
    assert (result.verdict, result.reason) == ("failed", "crashed: ZeroDivisionError: of all things")
    assert "Traceback" in result.stderr and result.exit_code == 3


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV", "SIGABRT"])
def test_a_killed_job_s_reason_is_the_signal_and_not_the_last_line_that_it_printed(program, name):
    program(
        f"import os, signal, sys; print('✓ convert', file=sys.stderr, flush=True); os.kill(os.getpid(), signal.{name})"
    )
    result = execute(spec())
    number = getattr(signal, name).value
    assert (result.verdict, result.reason) == ("failed", f"ended by signal {number} ({name})")
    assert result.exit_code == 3 and "✓ convert" in result.stderr


def test_what_a_job_prints_is_never_taken_for_its_answer(program):
    lies = "print('bundle: /etc'); print('error all is well', file=sys.stderr); print('✓ done', file=sys.stderr)"
    program(f"import sys; {lies}; sys.exit(4)")
    result = execute(spec())
    assert (result.verdict, result.bundle) == ("failed", None)
    assert result.reason == "ended with exit code 4; what it said is in its log"


def test_a_job_answers_with_its_reasons_and_its_exit_code(program):
    program(
        "import sys; from convert import console; from runtime.machine.command_line import answered, run\n"
        "@answered\n"
        "def main(arguments):\n"
        "    console.error('this was wrong')\n"
        "    raise FileNotFoundError(2, 'No such file', 'weights.pth')\n"
        "run(main)"
    )
    result = execute(spec())
    assert (result.verdict, result.exit_code) == ("failed", 2)
    assert result.reason == "this was wrong; weights.pth: No such file"
    program("import os; open(os.environ['VOXPORT_RESULT'], 'w').write('{\"exit_code\": []}')")
    assert "answer cannot be read" in execute(spec()).reason


def test_a_job_s_own_children_give_no_answer_in_its_name(program):
    child = "import sys; from runtime.machine.command_line import run; run(lambda _: 1)"
    program(
        "import subprocess, sys; from runtime.machine.command_line import run\n"
        f"run(lambda _: 2 * subprocess.run([sys.executable, '-c', {child!r}], stdin=subprocess.DEVNULL).returncode)"
    )
    assert execute(spec()).exit_code == 2


def test_more_memory_than_it_may_take_ends_a_job(program, monkeypatch):
    monkeypatch.setattr(convert.task, "_LOOK_SECONDS", 0.1)
    program("x = bytearray(600_000_000); x[::4096] = bytes(len(x[::4096])); import time; time.sleep(60)")
    result = execute(spec(memory_gb=0.3))
    assert result.verdict == "failed" and result.reason.endswith("GB of memory, and may take 0.3")
    assert result.seconds < 30


def test_a_job_that_ignores_its_interrupt_is_killed_with_all_it_started(program, monkeypatch):
    monkeypatch.setattr(convert.task, "_GRACE_SECONDS", 0.5)
    ignore = "import signal, subprocess, sys, time; signal.signal(2, signal.SIG_IGN); "
    program(ignore + "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(77)']); time.sleep(60)")
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    result = execute(spec(limit_s=1.0))
    assert result.verdict == "hung"
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before


def test_a_stop_ends_a_job_at_once(program):
    program("import time; time.sleep(60)")
    began = time.monotonic()
    result = execute(spec(), lambda: time.monotonic() - began > 0.5)
    assert (result.verdict, result.reason) == ("waiting", "interrupted")


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system holds no process to cores")
def test_jobs_keep_to_cores_of_their_own(program):
    program("import os, sys, time; time.sleep(0.3); sys.exit(str(sorted(os.sched_getaffinity(0))))")
    assert execute(spec(threads=1), slot=0).stderr.strip() == "[0]"
    assert execute(spec(threads=1)).stderr.strip() == str(sorted(os.sched_getaffinity(0)))
    assert execute(spec(threads=1), slot=4096).stderr.strip() == str(sorted(os.sched_getaffinity(0)))


@pytest.mark.parametrize("handler", ["SIG_DFL", "SIG_IGN"])
def test_a_job_ends_with_whoever_started_it(handler):
    """Killed, so that it cannot say so."""
    child = "from runtime.machine.tether import end_with_parent; end_with_parent(); import time; time.sleep(60)"
    parent = (
        "import os, signal, subprocess, sys\n"
        f"signal.signal(signal.SIGINT, signal.{handler})\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}], stdin=subprocess.PIPE,"
        " env={**os.environ, 'VOXPORT_TETHER': '1'})\n"
        "print(child.pid, flush=True); import time; time.sleep(60)"
    )
    started = subprocess.Popen([sys.executable, "-c", parent], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    pid = int(started.stdout.readline())
    time.sleep(0.5)
    assert psutil.pid_exists(pid)
    started.send_signal(signal.SIGKILL)
    started.wait()
    gone = time.monotonic() + 10
    while runs(pid) and time.monotonic() < gone:
        time.sleep(0.05)
    assert not runs(pid)


def runs(pid):
    """An orphan that ended may wait for somebody to take notice."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_what_no_gate_looked_at_is_not_judged_and_no_failure(fp16, tmp_path):
    for path in (fp16.bundle.path, fp16.bundle.measured):
        shutil.copytree(path, tmp_path / path.name)
    bundle = Bundle(tmp_path / fp16.bundle.path.name, fp16.bundle.manifest)
    answer = Answer(exit_code=0, bundle=str(bundle.path))
    assert convert.task._result(spec(), answer, 0, "").verdict == "passed"
    write_record(bundle.measured, dataclasses.replace(read_record(bundle), gates=()))
    result = convert.task._result(spec(), answer, 0, "")
    assert (result.verdict, result.reason, result.facts.is_judged) == ("not judged", "", False)
