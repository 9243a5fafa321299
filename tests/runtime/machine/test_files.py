"""Where results go: files are whole or absent, and what is no file is never replaced by one."""

import errno
import json
import os
import stat
import threading

import numpy as np
import pytest
import soundfile

from runtime.__main__ import main
from runtime.machine.files import (
    TargetError,
    check_target,
    published,
    write_array,
    write_arrays,
    write_json,
    write_text,
)
from runtime.speech.recordings import write_wav

WRITERS = {
    "text": (lambda path: write_text(path, "whole\n"), lambda data: data == b"whole\n"),
    "JSON": (lambda path: write_json(path, {"a": 1}), lambda data: json.loads(data) == {"a": 1}),
    "array": (lambda path: write_array(path, np.arange(3)), lambda data: data.startswith(b"\x93NUMPY")),
    "arrays": (lambda path: write_arrays(path, {"a": np.arange(3)}), lambda data: data.startswith(b"PK")),
    "WAV": (lambda path: write_wav(path, np.zeros(100_000), 22050), lambda data: len(data) == 200_044),
}


def drained(fifo):
    """A thread that reads all that comes out of a pipe, and the list that it is put into."""
    content = []
    reader = threading.Thread(target=lambda: content.append(fifo.read_bytes()), daemon=True)
    reader.start()
    return reader, content


@pytest.mark.parametrize("name", WRITERS)
def test_a_pipe_gets_the_whole_content_and_stays_a_pipe(tmp_path, name):
    write, is_whole = WRITERS[name]
    fifo = tmp_path / "out"
    os.mkfifo(fifo)
    reader, content = drained(fifo)
    write(fifo)
    reader.join(timeout=10)
    assert is_whole(content[0])
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("name", WRITERS)
def test_a_device_stays_a_device(tmp_path, name):
    """One like /dev/null where the system lets this user make it, else a terminal of its own."""
    device = tmp_path / "null"
    try:
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        master = None
        device.open("wb").close()
    except PermissionError:
        device.unlink(missing_ok=True)
        master, slave = os.openpty()
        device.symlink_to(os.ttyname(slave))
        threading.Thread(target=lambda: all(os.read(master, 1 << 16) for _ in iter(int, 1)), daemon=True).start()
    number = device.stat().st_rdev
    WRITERS[name][0](device)
    assert stat.S_ISCHR(device.stat().st_mode) and device.stat().st_rdev == number
    assert os.listdir(tmp_path) == ["null"]


@pytest.mark.parametrize("name", WRITERS)
def test_a_link_stays_and_the_file_that_it_points_to_is_replaced(tmp_path, name):
    write, is_whole = WRITERS[name]
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_text("before")
    (tmp_path / "link").symlink_to("real/file")
    write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert is_whole((tmp_path / "real" / "file").read_bytes())
    (tmp_path / "new").symlink_to("real/none yet")
    write(tmp_path / "new")
    assert is_whole((tmp_path / "real" / "none yet").read_bytes())
    assert sorted(os.listdir(tmp_path / "real")) == ["file", "none yet"]


@pytest.mark.parametrize("name", WRITERS)
def test_a_folder_is_a_sentence(tmp_path, name):
    (tmp_path / "folder").mkdir()
    with pytest.raises(TargetError, match="folder is a folder: name a file in it"):
        WRITERS[name][0](tmp_path / "folder")
    assert os.listdir(tmp_path) == ["folder"]


def test_a_folder_that_is_not_there_is_a_sentence_before_anything_is_computed(tmp_path):
    with pytest.raises(TargetError, match=r"there is no folder .*absent to write x\.wav into"):
        check_target(tmp_path / "absent" / "x.wav")


def test_a_failed_writer_leaves_what_was_there_and_names_the_file_that_was_asked_for(tmp_path):
    (tmp_path / "out").write_text("before")
    with pytest.raises(OSError, match="Input/output error") as raised, published(tmp_path / "out") as aside:
        raise OSError(errno.EIO, "Input/output error", str(aside))
    assert raised.value.filename == str(tmp_path / "out")
    assert (tmp_path / "out").read_text() == "before"
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("command", ["run", "vocode"])
def test_commands_write_into_a_pipe_and_refuse_a_folder_at_once(fp32, tmp_path, capsys, command):
    bundle = str(fp32.bundle.path)
    np.savez(tmp_path / "in.npz", mel=np.zeros((1, 80, 64), np.float32))
    soundfile.write(tmp_path / "in.wav", np.zeros(8000, np.float32), 22050)
    arguments = {
        "run": ["run", bundle, str(tmp_path / "in.npz"), "OUT", "--engine", "onnx"],
        "vocode": ["vocode", bundle, str(tmp_path / "in.wav"), "OUT", "--engine", "onnx"],
    }[command]
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader, content = drained(fifo)
    assert main([str(fifo) if argument == "OUT" else argument for argument in arguments]) == 0, capsys.readouterr().err
    reader.join(timeout=10)
    assert len(content[0]) > 1000 and stat.S_ISFIFO(fifo.stat().st_mode)
    assert main([str(tmp_path) if argument == "OUT" else argument for argument in arguments]) == 2
    assert "is a folder: name a file in it" in capsys.readouterr().err
