import ast
import errno
import os
import signal
import subprocess
import sys

import pytest

from runtime.errors import ArtefactError, EngineFailed, ExitCode, VoxportError
from runtime.machine.command_line import answered, explained
from tests.conftest import ROOT

PROGRAM = """
import os, signal, sys
from runtime.machine.command_line import answered, run

@answered
def main(arguments=None):
    {body}
    return {code}

run(main)
"""


def process(body, code=0, **options):
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": ROOT, **options}
    return subprocess.run([sys.executable, "-c", PROGRAM.format(body=body, code=code)], check=False, **options)


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (ArtefactError("weights.bin is short"), 2, "weights.bin is short"),
        (EngineFailed("it crashed"), 3, "it crashed"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a.wav"), 2, "a.wav: No such file or directory"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 2, "/x: Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device", "/x/y"), 3, "the disk that holds /x/y is full"),
        (OSError(errno.EFBIG, "File too large"), 3, "the disk is full (File too large)"),
        (OSError(errno.EIO, "Input/output error", "/x"), 3, "/x: Input/output error"),
        (ArtefactError("\x1b[31m\x07 is red\nhere"), 2, "\\x1b[31m\\x07 is red\nhere"),
        (MemoryError(), 3, "not enough memory"),
        (KeyError("audio"), 3, "KeyError: 'audio' (outside voxport's code). This is a fault of voxport"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_every_error_has_a_sentence_and_a_code(error, code, sentence):
    said, given = explained(error)
    assert given == code
    assert said.startswith(sentence)


def test_every_error_of_ours_says_its_code():
    import checkpoints.download
    import convert.overrides
    import convert.runners
    import converters.options
    import reports.store
    import reports.worker

    errors = {"Unavailable", "OverrideError", "RunnerError", "ConversionError", "StoreAway", "WorkerError"}
    modules = (
        checkpoints.download, convert.overrides, convert.runners, converters.options, reports.store, reports.worker,
    )  # fmt: skip
    kinds = {name: getattr(module, name) for module in modules for name in errors if hasattr(module, name)}
    assert set(kinds) == errors
    assert all(issubclass(kind, VoxportError) for kind in kinds.values())
    codes = {name: kind.exit_code for name, kind in kinds.items()}
    assert {name for name, code in codes.items() if code == ExitCode.MACHINE} == {
        "Unavailable",
        "StoreAway",
        "WorkerError",
    }


def test_an_unexpected_error_is_a_sentence_that_names_our_line(capsys):
    @answered
    def main(arguments=None):
        from runtime.bundle.spec import Dim

        Dim(3, 2, 1)  # ValueError, no sentence for a user
        return 0

    assert main() == ExitCode.MACHINE
    said = capsys.readouterr().err
    assert "runtime/bundle/spec.py" in said
    assert "Traceback" not in said


def test_its_traceback_is_shown_on_request():
    result = process("raise KeyError(1)", env={**os.environ, "VOXPORT_TRACEBACK": "1"})
    assert result.returncode == 3
    assert b"Traceback" in result.stderr
    assert b"Traceback" not in process("raise KeyError(1)").stderr


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_each_signal_that_ends_is_an_interrupt(name):
    result = process(f"os.kill(os.getpid(), signal.{name}); signal.pause()")
    assert (result.returncode, result.stderr) == (130, b"interrupted\n")


def test_a_hangup_that_nohup_ignores_stays_ignored():
    ignoring = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)}
    assert process("os.kill(os.getpid(), signal.SIGHUP)", **ignoring).returncode == 0


def test_a_reader_that_leaves_does_not_undo_the_work(tmp_path):
    read, write = os.pipe()
    os.close(read)
    done = tmp_path / "done"
    for streams in ({"stdout": write}, {"stdout": write, "stderr": write}):
        body = f"print('x' * 100000, flush=True); print('y', file=sys.stderr); open({str(done)!r}, 'w').close()"
        result = process(body, 1, **streams)
        assert result.returncode == 1, "the command's own code"
        assert done.exists()
        done.unlink()
    os.close(write)


def test_a_full_standard_output_is_told(tmp_path):
    with open("/dev/full", "w") as full:
        result = process("print('x')", stdout=full)
    assert result.returncode == 3
    assert b"standard output could not be written: No space left" in result.stderr


def test_a_closed_standard_output_is_none():
    result = process("print('x')", preexec_fn=lambda: os.close(1), stdout=None)
    assert (result.returncode, result.stderr) == (0, b"")


def test_a_terminal_of_ascii_gets_the_nearest_characters():
    result = process("print('✓ a – b → ü')", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert result.stdout == b"+ a - b -> \\xfc\n"


@pytest.mark.parametrize("command", ["convert", "runtime", "reports", "checkpoints"])
def test_a_working_directory_that_is_gone_is_a_sentence(tmp_path, command):
    program = f"cd {tmp_path} && mkdir gone && cd gone && rmdir ../gone && {sys.executable} -m {command}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(program, shell=True, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 2
    assert "the working directory does not exist any more" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", ["convert", "runtime", "reports", "checkpoints"])
def test_help_fits_a_terminal_of_one_column(command):
    environment = {**os.environ, "COLUMNS": "1", "PYTHONIOENCODING": "ascii"}
    program = [sys.executable, "-m", command, "--help"]
    result = subprocess.run(program, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr


def test_an_interrupt_that_turned_into_another_error_is_an_interrupt_still():
    """As an interrupt does that comes while a module in C is imported."""
    body = "try: os.kill(os.getpid(), signal.SIGTERM)\n"
    body += "    except KeyboardInterrupt as error: raise ImportError('initialization failed') from error"
    done = process(body)
    assert done.returncode == ExitCode.INTERRUPTED
    assert done.stderr == b"interrupted\n"


def test_an_interrupt_that_an_import_swallowed_is_one_still():
    """As code in C does that asks whether something is there."""
    code = (
        "import os, signal\n"
        "from runtime.machine.interrupts import remember_interrupts\n"
        "remember_interrupts()\n"
        "try: os.kill(os.getpid(), signal.SIGINT)\n"
        "except BaseException: pass\n"
        "from runtime.machine.command_line import answered, run\n"
        "run(answered(lambda arguments: print('went on') or 0))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"interrupted\n")


@pytest.mark.parametrize(("given", "spins"), [(None, "10000"), ("7", "7")])
def test_pytorch_s_threads_spin_briefly_unless_told_otherwise(given, spins):
    code = (
        "import os; from runtime.machine.command_line import answered, run\n"
        "run(answered(lambda arguments: print(os.environ['GOMP_SPINCOUNT']) or 0))\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    environment |= {"GOMP_SPINCOUNT": given} if given else {}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT, env=environment, text=True)
    assert done.stdout.strip() == spins


@pytest.mark.parametrize("room", ["checkpoints", "convert", "reports", "runtime"])
def test_every_command_remembers_interrupts_before_it_imports(room):
    first = next(line for line in ast.parse((ROOT / room / "__main__.py").read_text()).body[2:])
    assert ast.unparse(first).endswith("remember_interrupts()") and "__name__ == '__main__'" in ast.unparse(first)
