"""No child outlives whoever started it, however that one ends, and no grandchild either."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from runtime.machine.tether import tethered
from tests.conftest import ROOT

SECONDS = 5.0  # for a kill to reach everybody on a busy machine; today's children would live for 60


def spawn(code, *arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, **options
    )


def is_gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def all_gone(pids):
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if all(map(is_gone, pids)):
            return True
        time.sleep(0.02)
    return False


SLEEPS = "import time; time.sleep(60)"
STARTS_TWO = f"""
import os, subprocess, sys
from runtime.machine.tether import tethered
inner = "import os, subprocess, sys; from runtime.machine.tether import tethered; " \\
    "child = subprocess.Popen(tethered([sys.executable, '-c', {SLEEPS!r}])); " \\
    "print(os.getpid(), child.pid, flush=True); child.wait()"
child = subprocess.Popen(tethered([sys.executable, '-c', inner]), start_new_session=True)
child.wait()
"""


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT], ids=lambda s: s.name)
def test_a_child_and_its_child_end_with_the_first(sent):
    process = spawn(STARTS_TWO)
    pids = [int(word) for word in process.stdout.readline().split()]
    assert len(pids) == 2
    process.send_signal(sent)
    process.wait()
    assert all_gone(pids)


def test_a_child_of_a_parent_that_died_before_it_began_does_not_begin():
    command = tethered(["echo", "began"])
    command[command.index(str(os.getpid()))] = "1" if os.getppid() != 1 else "2"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (128 + signal.SIGKILL, "")


def test_a_tethered_command_keeps_its_id_its_code_and_its_signal():
    process = subprocess.Popen(tethered(["sh", "-c", "echo $$; exit 7"]), stdout=subprocess.PIPE, text=True)
    assert int(process.communicate()[0]) == process.pid
    assert process.returncode == 7
    assert subprocess.run(tethered(["sh", "-c", "kill -9 $$"]), check=False).returncode == -9
    missing = subprocess.run(tethered(["no-such-command"]), capture_output=True, text=True, check=False)
    assert missing.stderr == "error: no-such-command cannot be started: No such file or directory\n"


WORKS = """
import os, sys, time, types
import runtime.machine.child, runtime.measuring.bench.stress, reports.worker
from convert import beside
from reports.options import TrackingOptions
slow = types.SimpleNamespace(executable=sys.argv[1], path=sys.path)
{body}
time.sleep(60)
"""


@pytest.mark.parametrize(
    "body",
    [
        "with runtime.measuring.bench.stress.busy_cores(1): print('begun', flush=True); time.sleep(60)",
        "reports.worker.sys = slow; one = reports.worker.ReportWorker(TrackingOptions()); print('begun', flush=True)",
        "print('begun', flush=True); runtime.machine.child.output_of([slow.executable], 'sleeping')",
        "tasks = [beside.Task('', lambda: time.sleep(60))] * 2\n"
        "with beside.SideBySide(tasks, 2): print('begun', flush=True); time.sleep(60)",
    ],
    ids=["a bench's spinning process", "report worker", "an engine's trial", "tasks of a conversion"],
)
def test_whatever_is_started_beside_a_job_ends_when_the_job_is_killed(body, tmp_path):
    slow = tmp_path / "slow"  # in the place of Python: takes as long as a big model
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    process = spawn(WORKS.format(body=body), str(slow))
    assert process.stdout.readline() == "begun\n"
    children, end = [], time.monotonic() + 30
    while not children and time.monotonic() < end:
        children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) == 1
    process.kill()
    process.wait()
    assert all_gone([child.pid for child in children])


def test_a_job_that_does_not_stop_when_its_suite_was_killed_is_killed_too():
    job = "import signal, time; from runtime.machine.tether import end_with_parent\n"
    job += "signal.signal(signal.SIGINT, lambda *_: print('told', flush=True)); end_with_parent()\n"
    job += "print('begun', flush=True)\nwhile True: time.sleep(60)"
    process = spawn(job, stdin=subprocess.PIPE, env={**os.environ, "VOXPORT_TETHER": "1"})
    assert process.stdout.readline() == "begun\n"
    process.stdin.close()
    assert process.wait(timeout=20) == -signal.SIGKILL
    assert process.stdout.read() == "told\n"
