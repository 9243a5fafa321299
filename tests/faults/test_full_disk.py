"""A disk without room: a sentence that names it, exit code 3, and nothing half, whoever was writing."""

import errno
import os
import resource
import shutil
import signal
import sys
from pathlib import Path

import pytest

from checkpoints.catalogue import FileFacts
from checkpoints.download import download
from runtime.errors import ArtefactError, ExitCode
from runtime.machine import disk
from runtime.machine.cache import making
from runtime.machine.command_line import explained
from runtime.machine.disk import DiskFull, full_disk_named
from tests.checkpoints.server import Misbehaviour, serving
from tests.convert.test_config import composed


def limited(size, action):
    """What `action` raises, as a sentence and an exit code, in a process whose files may not be larger than `size`."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        with os.fdopen(reading) as pipe:
            said = pipe.read()
        _, status = os.waitpid(child, 0)
        assert os.WIFEXITED(status), f"ended by signal {os.WTERMSIG(status)}"
        return said, os.WEXITSTATUS(status)
    sentence, code = "", ExitCode.DONE
    try:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as Python itself does at its start
        sys.dont_write_bytecode = True  # or what is imported here first is cached cut off, for all who come after
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        action()
    except BaseException as error:
        sentence, code = explained(error)
    finally:
        os.write(writing, sentence.encode())
        os._exit(code)


def files_below(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("stage", "size"),
    [
        ("weights", 50_000),
        pytest.param("reference", 120_000, marks=pytest.mark.proof),
        pytest.param("goldens", 300_000, marks=pytest.mark.proof),
        ("report", 600_000),
    ],
)
def test_a_job_that_cannot_write_ends_with_a_sentence_and_leaves_nothing(small_sources, tmp_path, stage, size):
    """The sizes are those that the stage's file is larger than, and all files before it are not."""
    import convert.stages  # noqa: F401  # here, once, and not in every child
    from convert.job import run_job
    from runtime.machine.coreml_tools import coremltools

    coremltools()

    def job():
        options = ("tracking=off", "precision=fp32", "measure.bench_seconds=0", "measure.engines=[mil]")
        run_job(composed(*small_sources, f"output={tmp_path / 'bundles'}", *options))

    said, code = limited(size, job)
    assert code == ExitCode.MACHINE
    what = ["a file in {} may not become any larger (ulimit -f"]
    if stage == "weights":  # coremltools', or the reference's, which is written beside them
        what.append("the disk holding {} is full")
    assert said.startswith(tuple(one.format(tmp_path / "bundles") for one in what))
    assert files_below(tmp_path) == []


def test_the_reference_ends_in_an_error_and_not_in_the_end_of_the_process(generator, tmp_path):
    from converters.export import export_reference

    said, code = limited(4096, lambda: export_reference(generator, tmp_path))
    assert (code, "File too large" in said) == (ExitCode.MACHINE, True)


@pytest.mark.parametrize("name", ["text", "bytes", "array", "arrays"])
def test_a_file_that_a_command_writes_is_there_whole_or_not_at_all(tmp_path, name):
    import numpy as np

    from runtime.machine import files

    write = getattr(files, f"write_{name}")
    values = np.ones(5000)
    content = {"text": "a" * 40_000, "bytes": bytes(40_000), "array": values, "arrays": {"a": values}}[name]
    said, code = limited(20_000, lambda: write(tmp_path / "file", content))
    assert code == ExitCode.MACHINE
    what = "the disk holding {} is full" if name == "array" else "a file in {} may not become any larger"
    assert said.startswith(what.format(tmp_path))
    assert files_below(tmp_path) == []


def test_a_file_of_the_cache_is_there_whole_or_not_at_all(tmp_path):
    def write(size):
        with making(tmp_path / "onnx" / "program.onnx") as path:
            path.write_bytes(bytes(size))

    said, code = limited(1000, lambda: write(2000))
    assert code == ExitCode.MACHINE
    assert said.startswith(f"a file in {tmp_path / 'onnx'} may not become any larger")
    assert files_below(tmp_path) == []
    assert limited(1000, lambda: write(1000)) == ("", ExitCode.DONE)
    assert files_below(tmp_path) == ["program.onnx"]


def test_of_several_that_want_a_file_of_the_cache_one_makes_it(tmp_path):
    target = tmp_path / "program.onnx"
    children = []
    for number in range(6):
        child = os.fork()
        if not child:
            with making(target) as path:
                if path is not None:
                    (tmp_path / f"made-by-{number}").touch()
                    path.write_text("whole")
            os._exit(0 if target.read_text() == "whole" else 1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 6
    assert len(list(tmp_path.glob("made-by-*"))) == 1
    assert not list(tmp_path.glob(".*"))


def test_a_download_onto_a_full_disk_is_not_taken_for_a_server_that_is_away(tmp_path):
    with serving(Misbehaviour({"/weights": bytes(50_000)})) as address:

        def get():
            download(f"{address}/weights", tmp_path / "weights", FileFacts(), lambda done, total: None)

        said, code = limited(20_000, get)
    assert code == ExitCode.MACHINE
    assert said.startswith(f"a file in {tmp_path} may not become any larger")
    assert not (tmp_path / "weights").exists()


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        shutil.Error([("a", "b", "[Errno 28] No space left on device: 'b'")]),
        RuntimeError("(sqlite3.OperationalError) database or disk is full"),
    ],
)
def test_whatever_a_library_raises_the_sentence_names_the_disk(error, tmp_path):
    with pytest.raises(DiskFull, match=f"disk holding {tmp_path} is") as raised, full_disk_named(tmp_path):
        raise error
    assert raised.value.exit_code == ExitCode.MACHINE


def test_an_error_without_a_reason_counts_where_no_room_is_left_and_the_fullest_is_named(tmp_path, monkeypatch):
    free = {tmp_path / "a": 10**9, tmp_path / "b": 0}
    for folder in free:
        folder.mkdir()
    usage = type(shutil.disk_usage(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 0, free[path]))
    monkeypatch.setattr(disk, "_disk", list(free).index)  # one each
    with pytest.raises(DiskFull, match=r"holding .*/b is full"), full_disk_named(*free):
        raise RuntimeError("write failed")
    with pytest.raises(ArtefactError), full_disk_named(*free):
        raise ArtefactError("weights.bin is short")
    free[tmp_path / "b"] = 10**9
    with pytest.raises(RuntimeError, match="write failed"), full_disk_named(*free):
        raise RuntimeError("write failed")


def test_of_two_folders_on_one_disk_the_first_is_named_while_others_fill_it(tmp_path, monkeypatch):
    usage, left = type(shutil.disk_usage(tmp_path)), iter(range(10**9, 0, -(10**6)))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 0, next(left)))
    with pytest.raises(DiskFull, match=r"holding .*/a is full"), full_disk_named(tmp_path / "a", tmp_path / "b"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_folder_that_is_not_there_yet_is_on_the_disk_of_its_parents(tmp_path):
    with pytest.raises(DiskFull), full_disk_named(tmp_path / "not" / "yet", Path("/")):
        raise OSError(errno.ENOSPC, "No space left on device")
