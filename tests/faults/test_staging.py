"""Bundles come whole or not at all: killed before each file operation, and beside other processes and hosts."""

import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runtime.bundle.staging import REJECTED, publish, staging, sweep
from runtime.bundle.store import open_bundle
from runtime.machine import locks
from runtime.machine.locks import acquire
from tests.faults import content_of, killed_at, small_bundle

NAME = "voice-mlprogram-fp16"


def convert(output, content="new", **options):
    with staging(output, NAME) as scratch:
        publish(small_bundle(scratch / NAME, content), output, **options)


def places(output):
    """Where a bundle of the name lies -> what it holds; each is whole and has its measurements."""
    return {place: content_of(output / place / NAME) for place in (".", REJECTED) if (output / place / NAME).exists()}


def hidden(output):
    return sorted(path.name for path in output.glob(".*"))


@pytest.fixture
def old(tmp_path):
    """A folder that holds an older bundle."""
    convert(tmp_path / "bundles", "old")
    return tmp_path / "bundles"


def test_a_staging_folder_is_gone_however_its_block_ends(tmp_path):
    for error in (None, ValueError, KeyboardInterrupt):
        try:
            with staging(tmp_path, "x") as folder:
                (folder / "half").write_text("half")
                if error:
                    raise error
        except (ValueError, KeyboardInterrupt):
            pass
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda sent: sent.name)
def test_an_interrupt_while_the_folder_is_deleted_waits_until_it_is(tmp_path, sent):
    code = "import os, shutil; from pathlib import Path; from runtime.machine.interrupts import catch_interrupts\n"
    code += "from runtime.bundle.staging import staging; catch_interrupts(); rmtree = shutil.rmtree\n"
    code += f"shutil.rmtree = lambda *a, **o: (os.kill(os.getpid(), {int(sent)}), rmtree(*a, **o))\n"
    code += f"with staging(Path({str(tmp_path)!r}), 'x') as folder: (folder / 'half').mkdir()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip().endswith("KeyboardInterrupt")
    assert hidden(tmp_path) == []


@pytest.mark.parametrize(
    ("is_rejected", "before"),
    [(False, "old"), (True, "old"), (False, "old rejected"),
     *(pytest.param(*case, marks=pytest.mark.proof)
       for case in ((False, "nothing"), (True, "nothing"), (True, "old rejected")))],
)  # fmt: skip
def test_killed_before_any_file_operation_a_job_leaves_the_old_bundle_or_the_new_one(tmp_path, before, is_rejected):
    steps = 0
    for step in range(1, 1000):
        output = tmp_path / str(step)
        if before != "nothing":
            convert(output, "old", is_rejected=before == "old rejected")
        was_killed = killed_at(step, lambda: convert(output, is_rejected=is_rejected, replaces=True))  # noqa: B023
        for found in (output, output / REJECTED):
            if (found / NAME).exists():
                open_bundle(found / NAME)
        sweep(output)
        assert hidden(output) == []
        after = places(output)
        new = {REJECTED if is_rejected else ".": "new"}
        assert after in (new, {} if before == "nothing" else {REJECTED if before == "old rejected" else ".": "old"})
        if not was_killed:
            assert after == new
            break
        steps = step
    assert steps > 20


@pytest.mark.parametrize("attempts", [10, pytest.param(30, marks=pytest.mark.proof)])
def test_who_repairs_may_be_killed_too(tmp_path, attempts):
    drawn = random.Random(0)
    for attempt in range(attempts):
        output = tmp_path / str(attempt)
        convert(output, "old")
        killed_at(drawn.randint(20, 40), lambda: convert(output, replaces=True))  # noqa: B023
        for _ in range(3):
            killed_at(drawn.randint(1, 20), lambda: sweep(output))  # noqa: B023
        sweep(output)
        assert places(output) in ({".": "old"}, {".": "new"})
        assert hidden(output) == []


def test_killed_while_a_changed_gate_moves_a_bundle_it_is_in_one_place_with_its_measurements(tmp_path):
    for step in range(1, 1000):
        output = tmp_path / str(step)
        convert(output, "old")
        bundle = open_bundle(output / NAME)
        was_killed = killed_at(step, lambda: publish(bundle, output, is_rejected=True, replaces=True))  # noqa: B023
        sweep(output)
        assert places(output) in ([{REJECTED: "old"}] if not was_killed else [{REJECTED: "old"}, {".": "old"}])
        assert hidden(output) == []
        if not was_killed:
            break
    assert step > 10


def test_an_interrupt_in_the_middle_of_publishing_finishes_it(old, monkeypatch):
    rename, calls = Path.rename, []

    def interrupted(self, target):
        calls.append(self)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        convert(old, replaces=True)
    assert places(old) == {".": "new"}
    assert hidden(old) == []


def test_the_first_of_two_equal_bundles_stays(old):
    convert(old, "second")
    assert places(old) == {".": "old"}


def test_a_damaged_one_is_replaced(old):
    (old / NAME / "weights").write_text("damaged")
    convert(old)
    assert places(old) == {".": "new"}


def test_a_name_has_one_place(old):
    convert(old, is_rejected=True)
    assert places(old) == {REJECTED: "new"}


@pytest.fixture
def elsewhere(tmp_path):
    """The staging folder of a living process on another host, whose process ids say nothing here."""
    code = "import sys; from pathlib import Path; from runtime.bundle.staging import staging\n"
    code += f"with staging(Path({str(tmp_path)!r}), 'theirs') as folder: print(folder, flush=True); sys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    yield process, Path(process.stdout.readline().strip())
    process.kill()
    process.wait()


def test_what_another_host_works_on_is_never_swept_and_what_it_leaves_is(elsewhere, tmp_path, monkeypatch):
    process, theirs = elsewhere
    (theirs / "half").write_text("half")

    def nobody(*_):
        raise ProcessLookupError

    with monkeypatch.context() as patch:
        patch.setattr(os, "kill", nobody)
        patch.setattr(os, "getpid", lambda: process.pid)
        with staging(tmp_path, "theirs") as ours:
            assert ours != theirs
        assert (theirs / "half").read_text() == "half"
    process.send_signal(signal.SIGKILL)
    process.wait()
    sweep(tmp_path)
    assert not theirs.exists()


def test_folders_of_others_that_look_alike_are_never_deleted(tmp_path):
    (tmp_path / ".photos.partial-1").mkdir()
    (tmp_path / ".photos.partial-1" / "one.jpg").write_text("")
    sweep(tmp_path)
    assert (tmp_path / ".photos.partial-1" / "one.jpg").exists()


def test_nobody_sweeps_a_folder_between_its_making_and_its_locking(tmp_path):
    making = "import sys, time; from pathlib import Path; from runtime.bundle.staging import staging\n"
    making += f"end = time.monotonic() + 1.5; here = Path({str(tmp_path)!r}); made = 0\n"
    making += "while time.monotonic() < end:\n"
    making += "    with staging(here, 'same') as folder: (folder / 'a').write_text('a'); (folder / 'a').read_text()\n"
    making += "    made += 1\n"
    making += "print(made)"
    makers = [subprocess.Popen([sys.executable, "-c", making], stdout=subprocess.PIPE) for _ in range(3)]
    while any(maker.poll() is None for maker in makers):
        sweep(tmp_path)
    counts = [int(maker.communicate()[0]) for maker in makers]
    assert all(maker.returncode == 0 for maker in makers)
    assert min(counts) > 3
    assert hidden(tmp_path) == []


def test_where_a_file_system_keeps_no_locks_work_goes_on_and_nothing_is_swept(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    with staging(tmp_path, "ours") as ours:
        sweep(tmp_path)
        assert ours.is_dir()
        publish(small_bundle(ours / NAME, "new"), tmp_path)
    assert places(tmp_path) == {".": "new"}
    assert hidden(tmp_path) == []


def test_a_lock_is_one_s_who_holds_it_and_goes_with_its_file(tmp_path):
    held = acquire(tmp_path / "lock")
    assert held is not None
    assert acquire(tmp_path / "lock") is None
    (tmp_path / "lock").unlink()
    other = acquire(tmp_path / "lock")
    assert other is not None
    os.close(held)
    assert acquire(tmp_path / "lock") is None
    os.close(other)


@pytest.mark.parametrize("command", ["runtime info", "reports html", "reports sync"])
def test_commands_finish_and_sweep_in_the_folder_of_what_they_are_given(tmp_path, command):
    import reports.__main__
    import runtime.__main__

    output = next(output for output in map(tmp_path.joinpath, map(str, range(1, 100))) if lacks_its_bundle(output))
    package, _, name = command.partition(" ")
    given = output if name == "sync" else output / NAME
    {"runtime": runtime, "reports": reports}[package].__main__.main([name, str(given)])
    assert places(output) == {".": "new"}
    assert hidden(output) == []


def lacks_its_bundle(output):
    """Whether a job, killed at the step that the folder is named for, has moved the old bundle and not yet the new."""
    convert(output, "old")
    killed_at(int(output.name), lambda: convert(output, replaces=True))
    return not (output / NAME).exists()


@pytest.mark.proof
def test_two_containers_whose_processes_have_the_same_ids_leave_each_other_s_work(tmp_path, fault_row):
    """Each has process ids of its own: the first process is number 1 in both."""
    container = ["unshare", "--pid", "--fork", "--kill-child"]
    if os.geteuid():
        container = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]
    code = "import os, sys; from pathlib import Path; from runtime.bundle.staging import staging\n"
    code += "with staging(Path(sys.argv[1]), 'same') as folder:\n"
    code += "    (folder / 'half').write_text('half'); print(os.getpid(), folder, flush=True); sys.stdin.read()\n"
    code += "    assert (folder / 'half').read_text() == 'half'"
    command = [*container, sys.executable, "-c", code, str(tmp_path)]
    times = 20
    for _ in range(times):
        both = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
            for _ in range(2)
        ]
        said = [process.stdout.readline().split() for process in both]
        assert [pid for pid, _ in said] == ["1", "1"]
        both[0].kill()
        both[0].wait()
        end = time.monotonic() + 10  # until the container's first process is killed, too
        while Path(said[0][1]).exists() and time.monotonic() < end:
            sweep(tmp_path)
        assert not Path(said[0][1]).exists()
        both[1].stdin.close()
        assert both[1].wait() == 0
        assert hidden(tmp_path) == []
    fault_row("two containers in one folder", times, "the living one's work stays, the killed one's is swept")
