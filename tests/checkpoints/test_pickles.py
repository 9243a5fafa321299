import collections
import io
import os
import pickle
import struct
import sys
import tarfile
import time
import types

import numpy as np
import pytest
import torch

from checkpoints import CheckpointError
from checkpoints.load import read_weights
from checkpoints.pickles import load_npy_object, load_pickle


class Config:
    """Stands for a Coqpit config in the pickle; the module that defines it is taken away before loading."""

    def __init__(self):
        self.lr = 0.1


@pytest.fixture
def gone():
    """A class whose module cannot be imported when the pickle is read."""
    module = types.ModuleType("trainer_of_upstream")
    Config.__module__ = "trainer_of_upstream"
    module.Config = Config
    sys.modules["trainer_of_upstream"] = module
    yield Config
    sys.modules.pop("trainer_of_upstream", None)
    Config.__module__ = __name__


def test_what_coquis_trainer_writes_is_read(tmp_path, gone):
    losses = collections.defaultdict(float, {"train_loss": np.float64(0.25), "eval_loss": np.float32(0.5)})
    saved = {
        "config": gone(),
        "model": collections.OrderedDict(w=torch.arange(6.0).reshape(2, 3), b=torch.nn.Parameter(torch.ones(2))),
        "optimizer": [{"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"betas": (0.8, 0.99)}]}],
        "model_loss": losses,
        "epoch": 7,
        "date": "today",
        "dtype": torch.float16,
        "mean": np.arange(5, dtype=np.float32),
    }
    torch.save(saved, tmp_path / "c.pth")
    sys.modules.pop("trainer_of_upstream")
    loaded = load_pickle(tmp_path / "c.pth")
    assert torch.equal(loaded["model"]["w"], saved["model"]["w"])
    assert torch.equal(loaded["model"]["b"], torch.ones(2))
    assert loaded["model_loss"] == {"train_loss": 0.25, "eval_loss": 0.5}
    assert loaded["optimizer"][0]["param_groups"][0]["betas"] == (0.8, 0.99)
    assert loaded["dtype"] == torch.float16
    np.testing.assert_array_equal(loaded["mean"], np.arange(5))
    assert repr(loaded["config"]) == "<stand-in for an object of an unknown class>"
    assert "trainer_of_upstream" not in sys.modules


def test_the_old_format_without_a_zip_is_read_too(tmp_path):
    torch.save({"model": {"w": torch.ones(3)}}, tmp_path / "c.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(load_pickle(tmp_path / "c.pth")["model"]["w"], torch.ones(3))


class _Evil:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "make",
    [
        lambda target: _Evil(os.system, f"touch {target}"),
        lambda target: _Evil(eval, f"open({str(target)!r}, 'w')"),
        lambda target: _Evil(__import__("subprocess").Popen, ["touch", str(target)]),
        lambda target: _Evil(pickle.loads, pickle.dumps(_Evil(os.system, f"touch {target}"))),
        lambda target: _Evil(torch.load, str(target)),
        lambda target: _Evil(getattr, "text", "upper"),
    ],
    ids=["os.system", "eval", "Popen", "nested", "torch.load", "getattr"],
)
def test_a_pickle_that_wants_to_run_code_ends_with_a_sentence(tmp_path, make, zipped):
    target = tmp_path / "ran"
    saved = {"model": {"w": torch.ones(2)}, "x": make(target)}
    torch.save(saved, tmp_path / "c.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"wants to run .* while it is read"):
        load_pickle(tmp_path / "c.pth")
    assert not target.exists()


def test_a_numpy_scalar_cannot_smuggle_an_object(tmp_path):
    scalar = np.float64(1).__reduce__()[0]
    torch.save({"x": _Evil(scalar, np.dtype("O"), b"cos\nsystem\n(S'true'\ntR.")}, tmp_path / "c.pth")
    with pytest.raises(CheckpointError, match="wants to run"):
        load_pickle(tmp_path / "c.pth")


def test_a_torchscript_program_and_a_damaged_file_are_sentences(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(tmp_path / "s.pt"))
    with pytest.raises(CheckpointError, match="TorchScript program"):
        load_pickle(tmp_path / "s.pt")
    torch.save({"model": {"w": torch.ones(1000)}}, tmp_path / "c.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "c.pth").read_bytes()[:2000])
    with pytest.raises(CheckpointError, match="cannot be read as a PyTorch checkpoint"):
        load_pickle(tmp_path / "cut.pth")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(CheckpointError, match="cannot be read as a PyTorch checkpoint"):
        load_pickle(tmp_path / "text.pth")


def test_statistics_in_an_npy_file_are_read_and_code_in_one_is_not_run(tmp_path):
    stats = {"mel_mean": np.arange(80.0), "mel_std": np.ones(80), "audio_config": {"num_mels": 80}}
    np.save(tmp_path / "scale_stats.npy", stats, allow_pickle=True)
    loaded = load_npy_object(tmp_path / "scale_stats.npy")
    np.testing.assert_array_equal(loaded["mel_mean"], stats["mel_mean"])
    target = tmp_path / "ran"
    np.save(tmp_path / "evil.npy", np.array(_Evil(os.system, f"touch {target}"), dtype=object), allow_pickle=True)
    with pytest.raises(CheckpointError, match="wants to run"):
        load_npy_object(tmp_path / "evil.npy")
    assert not target.exists()
    (tmp_path / "cut.npy").write_bytes((tmp_path / "scale_stats.npy").read_bytes()[:200])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_npy_object(tmp_path / "cut.npy")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("zipped", [True, False])
def test_honest_checkpoints_of_every_protocol_are_read(tmp_path, protocol, zipped):
    tied = torch.arange(12.0)
    saved = {
        "model": collections.OrderedDict(a=tied.view(3, 4).t(), b=tied[4:], half=torch.ones(2, dtype=torch.float16)),
        "set": {1, 2}, "frozen": frozenset("a"), "bytes": b"\x00\xff" * 300, "no bytes": b"", "complex": 1 + 2j,
        "scalar": np.float64(0.5), "step": np.int64(7), "array": np.arange(6, dtype=">i2").reshape(2, 3),
        "fortran": np.asfortranarray(np.ones((2, 3))), "big": 2**80, "size": torch.Size([1, 2]), "name": "ä" * 300,
        "counter": collections.Counter("aab"), "flags": [True, False, None], "nested": {"x": [{"y": (1, 2.5)}]},
    }  # fmt: skip
    saved["model"]._metadata = collections.OrderedDict(version=1)
    torch.save(saved, tmp_path / "c.pth", pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    loaded = load_pickle(tmp_path / "c.pth")
    for name, value in saved["model"].items():
        assert torch.equal(loaded["model"][name], value)
    for name in ("bytes", "no bytes", "complex", "scalar", "step", "big", "name", "counter", "flags", "nested"):
        assert loaded[name] == saved[name], name
    for name in ("array", "fortran"):
        np.testing.assert_array_equal(loaded[name], saved[name])
    assert sorted(loaded["set"]) == [1, 2] and list(loaded["frozen"]) == ["a"] and tuple(loaded["size"]) == (1, 2)


@pytest.mark.parametrize("protocol", range(6))
def test_honest_arrays_of_every_protocol_are_read(tmp_path, protocol):
    stats = {"mel_mean": np.arange(80.0), "mel_std": np.float32(2) * np.ones(80, np.float32), "n": np.float64(3)}
    boxed = np.array(stats, dtype=object)
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|O", "fortran_order": False, "shape": ()})
    (tmp_path / "scale_stats.npy").write_bytes(buffer.getvalue() + pickle.dumps(boxed, protocol))
    loaded = load_npy_object(tmp_path / "scale_stats.npy")
    np.testing.assert_array_equal(loaded["mel_mean"], stats["mel_mean"])
    np.testing.assert_array_equal(loaded["mel_std"], stats["mel_std"])
    assert loaded["n"] == 3


def test_the_tar_format_of_2016_is_read(tmp_path):
    values = np.arange(6, dtype=np.float32)
    storages = [1, (101, "cpu", torch.FloatStorage), struct.pack("<q", 6) + values.tobytes(), []]
    tensors = [1, (202, 101, torch.FloatTensor), struct.pack("<ii2q2qq", 2, 0, 2, 3, 3, 1, 0)]

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return "202" if value == "the tensor" else None

    buffer = io.BytesIO()
    Pickler(buffer, 2).dump({"w": "the tensor"})
    with tarfile.open(tmp_path / "c.pth.tar", "w") as archive:
        for name, parts in (("storages", storages), ("tensors", tensors), ("pickle", [buffer.getvalue()])):
            content = b"".join(part if isinstance(part, bytes) else pickle.dumps(part, 2) for part in parts)
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    assert torch.equal(read_weights(tmp_path / "c.pth.tar")["w"], torch.from_numpy(values.reshape(2, 3)))


def test_a_large_table_of_embeddings_is_read_in_seconds(tmp_path):
    rows = {f"clip {n}": {"name": f"s{n % 100}", "embedding": [float(n)] * 256} for n in range(1000)}
    torch.save(rows, tmp_path / "speakers.pth")
    started = time.perf_counter()
    assert load_pickle(tmp_path / "speakers.pth") == rows
    assert time.perf_counter() - started < 20
