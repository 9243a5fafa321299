"""TorchScript archives are read as data: their tensors and plain attributes, and nothing of their code."""

import io
import pickle
import shutil
import zipfile

import pytest
import torch
from torch import nn

from checkpoints import CheckpointError
from checkpoints.load import read_weights
from checkpoints.torchscript import read_torchscript


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.arange(6.0).reshape(2, 3))
        self._pad = (1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class Outer(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(Inner(), nn.ReLU())
        self.sr, self.mode, self.labels = 44100, "pqmf", ["a", "b"]
        self.register_buffer("mean", torch.ones(3, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("script") / "model.ts"
    torch.jit.script(Outer()).save(str(path))
    return path


def rewritten(source, target, change):
    """A copy of an archive with some records changed: name and bytes -> bytes, or None to leave it out."""
    with zipfile.ZipFile(source) as read, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as write:
        for name in read.namelist():
            data = change(name.partition("/")[2], read.read(name))
            if data is not None:
                write.writestr(name, data)
    return target


def test_tensors_and_plain_attributes_come_by_the_module_s_path(program):
    tensors, layers = read_torchscript(program)
    assert set(tensors) == {"net.0.weight", "mean"}
    assert (
        torch.equal(tensors["net.0.weight"], torch.arange(6.0).reshape(2, 3)) and tensors["mean"].dtype is torch.float64
    )
    assert layers["net.0"]["_pad"] == (1, 2)
    assert (layers[""]["sr"], layers[""]["mode"]) == (44100, "pqmf") and "labels" not in layers[""]


def test_the_code_is_not_even_read(program, tmp_path):
    broken = rewritten(program, tmp_path / "m.ts", lambda name, data: b"import os" if name.startswith("code") else data)
    assert set(read_torchscript(broken)[0]) == {"net.0.weight", "mean"}


class Evil:
    def __reduce__(self):
        return print, ("called",)


def test_what_wants_to_run_is_refused(program, tmp_path, capsys):
    evil = pickle.dumps(Evil(), protocol=2)
    path = rewritten(program, tmp_path / "m.ts", lambda name, data: evil if name == "data.pkl" else data)
    with pytest.raises(CheckpointError, match=r"wants to run builtins\.print"):
        read_torchscript(path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda name, data: data[:8] if name == "data/0" else data, "has not the .* bytes"),
        (lambda name, data: None if name == "data/0" else data, "cannot be read as a TorchScript program"),
        (lambda name, data: data[:-3] if name == "data.pkl" else data, "cannot be read as a TorchScript program"),
        (lambda name, data: pickle.dumps([1], 2) if name == "data.pkl" else data, "it holds no object"),
        (lambda name, data: None if name == "constants.pkl" else data, "is a checkpoint, not a TorchScript program"),
    ],
    ids=["short storage", "no storage", "cut pickle", "a list", "no program"],
)
def test_a_damaged_one_is_a_sentence(program, tmp_path, change, sentence):
    with pytest.raises(CheckpointError, match=sentence):
        read_torchscript(rewritten(program, tmp_path / "m.ts", change))


def test_an_object_in_itself_is_a_sentence(program, tmp_path):
    """`BINGET` of the module that is being filled: its attribute is itself."""
    out = io.BytesIO()
    out.write(b"\x80\x02c__torch__\nOuter\nq\x00)\x81q\x01}(X\x01\x00\x00\x00aq\x02h\x01ub.")
    path = rewritten(program, tmp_path / "m.ts", lambda name, data: out.getvalue() if name == "data.pkl" else data)
    with pytest.raises(CheckpointError, match="nested more than 64 objects deep"):
        read_torchscript(path)


def test_other_files_are_none_and_a_program_is_no_checkpoint(program, tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "c.ts")
    with pytest.raises(CheckpointError, match="is a checkpoint, not a TorchScript program"):
        read_torchscript(tmp_path / "c.ts")
    (tmp_path / "t.ts").write_text("no archive")
    with pytest.raises(CheckpointError, match="is no TorchScript program: it is no zip archive"):
        read_torchscript(tmp_path / "t.ts")
    shutil.copy(program, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match="is a TorchScript program, not a checkpoint"):
        read_weights(tmp_path / "model.pth")
