"""Checkpoints by an enemy and by a bad disk: nothing in them runs, every one of them loads or ends with a sentence."""

import collections
import json
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch

from checkpoints import CheckpointError
from checkpoints.files import read_config
from checkpoints.load import read_weights
from checkpoints.pickles import load_npy_object, load_pickle
from tests.conftest import ROOT
from tests.faults.pickle_programs import CARRIERS, carried

BATCH, PER_BATCH_S = 500, 240


def watched(kind: str, first: int, count: int, folder: Path) -> dict:
    """What `python -m tests.faults.canary` found; a crash or a hang of the process is an alarm that names the seed."""
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.faults.canary", kind, str(first), str(count), str(folder)]
    try:
        run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PER_BATCH_S)
        if run.returncode == 0:
            return json.loads(run.stdout)
        end = f"exit code {run.returncode}: {run.stderr[-300:]}"
    except subprocess.TimeoutExpired as error:
        end = f"still running after {PER_BATCH_S} s: {(error.stderr or b'')[-100:]!r}"
    return {"outcomes": {"crashed": 1}, "alarms": [end], "slowest": [PER_BATCH_S, first], "peak_mb": 0}


def table(found: dict[str, dict]) -> str:
    rows = ["what                loaded  refused  canary  crashes  slowest    peak"]
    for kind, one in found.items():
        outcomes = collections.Counter(one["outcomes"])
        crashes = sum(outcomes.values()) - outcomes["loaded"] - outcomes["refused"]
        counts = (outcomes["loaded"], outcomes["refused"], len(one["alarms"]) - crashes, crashes)
        rows.append(
            f"{kind:18} {{:7}} {{:8}} {{:7}} {{:8}} ".format(*counts)
            + f"{one['slowest'][0]:6.2f} s {one['peak_mb']:4} MB"
        )
    return "\n".join(rows)


def together(batches: list[dict]) -> dict:
    outcomes = sum((collections.Counter(one["outcomes"]) for one in batches), collections.Counter())
    return {
        "outcomes": outcomes,
        "alarms": [alarm for one in batches for alarm in one["alarms"]],
        "slowest": max(one["slowest"] for one in batches),
        "peak_mb": max(one["peak_mb"] for one in batches),
    }


@pytest.mark.parametrize(("kind", "count"), [("programs", 500), ("damaged", 500)])
def test_no_drawn_program_and_no_damaged_checkpoint_runs_anything_or_takes_long(tmp_path, kind, count):
    found = watched(kind, 0, count, tmp_path / "work")
    assert found["alarms"] == []
    assert found["slowest"][0] < 5 and found["peak_mb"] < 500
    assert found["outcomes"]["loaded"] > 0.04 * count < found["outcomes"]["refused"]  # it tries both


@pytest.mark.proof
def test_twenty_thousand_programs_and_ten_thousand_damaged_checkpoints(tmp_path, capsys):
    found = {}
    for kind, count in (("programs", 20_000), ("damaged", 10_000)):
        batches = [watched(kind, n, BATCH, tmp_path / f"{kind}{n}") for n in range(1000, 1000 + count, BATCH)]
        found[kind] = together(batches)
    with capsys.disabled():
        print(f"\n{table(found)}")
    assert [alarm for one in found.values() for alarm in one["alarms"]] == []
    assert max(one["slowest"][0] for one in found.values()) < 5


def global_(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def text(value: str) -> bytes:
    return pickle.BINUNICODE + struct.pack("<I", len(value)) + value.encode()


# Calls numpy.ndarray((1,), dtype("O8"), b"AAAAAAAA"): bytes as pointers.
NDARRAY = (
    b"\x80\x02" + global_("numpy", "ndarray") + b"(K\x01\x85" + global_("numpy", "dtype") + b"(" + text("O8")
    + b"\x89\x88tR" + global_("_codecs", "encode") + b"(" + text("A" * 8) + text("latin1") + b"tRtR."
)  # fmt: skip
# Sets _get_layout.cache = {"evil": "hi"} and calls _get_layout("evil").
LAYOUT = (
    b"\x80\x02" + global_("torch.serialization", "_get_layout") + b"}" + text("cache") + b"}" + text("evil")
    + text("hi") + b"ssb(" + text("evil") + b"tR."
)  # fmt: skip


def read_apart(paths: list[Path]) -> dict[str, dict]:
    """By the file's folder: what reading it in one process of their own took and ended with."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.faults.apart", *paths], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    found = {row["name"]: row for row in map(json.loads, run.stdout.splitlines())}
    assert run.returncode == 0, f"after {list(found)[-1:]}: exit code {run.returncode}, {run.stderr[-300:]}"
    return found


def in_folders(programs: dict[str, bytes], carrier: str, folder: Path) -> list[Path]:
    paths = []
    for number, (name, code) in enumerate(programs.items()):
        (folder / f"{number} {name}").mkdir()
        paths.append(carried(carrier, code, folder / f"{number} {name}"))
    return paths


def test_numpys_ndarray_is_not_called(tmp_path):
    """The reader before crashed with it, or took what lies in memory for objects: in a process of its own."""
    paths = []
    for carrier in CARRIERS:
        (tmp_path / carrier).mkdir()
        paths.append(carried(carrier, NDARRAY, tmp_path / carrier))
    found = read_apart(paths)
    assert len(found) == len(CARRIERS)
    assert all("wants to run" in row["sentence"] for row in found.values())


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_function_of_pytorch_is_not_changed(tmp_path, carrier):
    path = carried(carrier, LAYOUT, tmp_path)
    with pytest.raises(CheckpointError, match="wants to run"):
        (load_npy_object if path.suffix == ".npy" else load_pickle)(path)
    assert "evil" not in torch.serialization._get_layout.cache


def doubled(use: bytes, of: bytes = b")") -> bytes:
    """A tuple whose hash or text takes 2 ** 60 steps, and what is done with it."""
    return b"\x80\x02" + of + b"".join(b"q" + bytes([n]) + b"h" + bytes([n]) + b"\x86" for n in range(60)) + use


BOMBS = {
    "tuple as a key": doubled(b"K\x01s.", b"}K\x01"),
    "tuple as an item of a set": b"\x80\x04\x8f(" + doubled(b"\x90.")[2:],
    "tuple as a storage": doubled(b"Q."),
    "tuple as what is called": doubled(b")R."),
    "tuple as a class": doubled(b")\x81."),
    "tuple as the whole": doubled(b"."),
    "tuple as text of an error": b"\x80\x02}" + text("model") + doubled(b"s.")[2:],
    "tuple as a number's name": b"\x80\x02" + global_("numpy", "dtype") + doubled(b"\x85R.")[2:],
    "tuple in a table's state": b"\x80\x02" + global_("collections", "OrderedDict") + b")R](" + doubled(b"eb.")[2:],
    "bytearray of a terabyte": b"\x80\x02" + global_("builtins", "bytearray") + b"\x8a\x06\0\0\0\0\0\x01\x85R.",
    "bytes of a terabyte": b"\x80\x04\x8e\0\0\0\0\0\x01\0\0x.",
    "text of a terabyte": b"\x80\x04\x8d\0\0\0\0\0\x01\0\0x.",
    "frame of a terabyte": b"\x80\x04\x95\0\0\0\0\0\x01\0\0x.",
    "number of two gigabytes": b"\x80\x02\x8b\xff\xff\xff\x7fx.",
    "nesting of 200,000": b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".",
    "keys of one hash": b"\x80\x02}("
    + b"".join(b"\x8a\x0c" + (n * (2**61 - 1)).to_bytes(12, "little") + b"N" for n in range(1, 40_000))
    + b"u.",
}


@pytest.mark.parametrize("carrier", ["zip", "legacy", "npy"])
def test_bombs_take_neither_time_nor_memory(tmp_path, carrier):
    found = read_apart(in_folders(BOMBS, carrier, tmp_path))
    assert len(found) == len(BOMBS)
    for name, row in found.items():
        assert row["seconds"] < 10 and row["megabytes"] < 400, name
        assert len(row["sentence"]) < 2100, name


def tensor_program(count: int, offset: int, size: int, stride: int) -> bytes:
    numbers = [pickle.LONG1 + bytes([len(raw)]) + raw for raw in map(pickle.encode_long, (count, offset, size, stride))]
    storage = b"(" + text("storage") + global_("torch", "FloatStorage") + text("0") + text("cpu") + numbers[0] + b"tQ"
    rest = numbers[1] + numbers[2] + b"\x85" + numbers[3] + b"\x85\x89}t"
    return b"\x80\x02}" + text("w") + global_("torch._utils", "_rebuild_tensor_v2") + b"(" + storage + rest + b"Rs."


@pytest.mark.parametrize(
    "shape",
    [(4, 0, 5, 1), (4, 1, 4, 1), (4, 0, 2, 4), (4, -1, 4, 1), (4, 0, -4, 1), (4, 0, 4, -1), (2**40, 0, 4, 1),
     (-4, 0, 4, 1), (4, 2**62, 4, 1), (4, 0, 2**62, 2**62), (4, 0, 2**40, 0), (2**63, 0, 1, 1)],
)  # fmt: skip
def test_a_tensor_reaches_over_no_end_of_its_storage(tmp_path, shape):
    with pytest.raises(CheckpointError, match="cannot be read as a PyTorch checkpoint"):
        load_pickle(carried("zip", tensor_program(*shape), tmp_path))


def test_the_same_tensor_within_its_storage_is_read(tmp_path):
    read = load_pickle(carried("zip", tensor_program(4, 1, 3, 1), tmp_path))
    assert torch.equal(read["w"], torch.tensor([1.0, 2.0, 3.0]))


def test_an_archive_that_unpacks_to_a_thousand_times_its_size_is_refused(tmp_path):
    path = carried("zip", tensor_program(4, 0, 4, 1), tmp_path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("c/data/1", bytes(200 << 20))
    with pytest.raises(CheckpointError, match="unpacks to 2097"):
        load_pickle(path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar_are_not_opened(tmp_path, kind):
    member = tarfile.TarInfo("storages")
    member.type, member.linkname = kind, "/etc/passwd"
    with tarfile.open(tmp_path / "c.pth", "w") as archive:
        archive.addfile(member)
    with pytest.raises(CheckpointError, match="no plain file"):
        load_pickle(tmp_path / "c.pth")


@pytest.mark.parametrize("damage", ["cut", "empty", "directory"])
def test_a_damaged_zip_is_a_sentence(tmp_path, damage):
    torch.save({"w": torch.arange(1000.0)}, tmp_path / "model_file.pth")
    content = bytearray((tmp_path / "model_file.pth").read_bytes())
    if damage == "cut":
        del content[2000:]
    elif damage == "empty":
        content.clear()
    else:
        content[-60:] = bytes(60)
    (tmp_path / "model_file.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model_file\.pth cannot be read as a PyTorch checkpoint"):
        read_weights(tmp_path / "model_file.pth")


def test_what_a_pickle_hides_behind_attributes_of_a_table_is_gone(tmp_path):
    """An attribute `items` would be called in place of the method."""
    state = b"}" + text("items") + global_("builtins", "list") + b"s"
    code = b"\x80\x02" + global_("collections", "OrderedDict") + b")R" + state + b"b."
    loaded = load_pickle(carried("zip", code, tmp_path))
    assert vars(loaded) == {} and list(loaded.items()) == []


POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 55812345\n"


@pytest.mark.parametrize(
    "name", ["model_file.pth", "model.safetensors", "voice.onnx", "config.json", "scale_stats.npy", "speakers.pth"]
)
def test_a_pointer_of_git_lfs_is_named_and_so_is_what_brings_the_file(tmp_path, name):
    from checkpoints.companions import read_companions
    from checkpoints.onnx_weights import read_onnx

    (tmp_path / name).write_text(POINTER)
    readers = {".onnx": read_onnx, ".json": read_config, ".npy": load_npy_object}
    read = readers.get(Path(name).suffix, read_weights)
    if name == "speakers.pth":
        read = lambda path: read_companions(path.parent)  # noqa: E731
    with pytest.raises(CheckpointError, match=f"{name} is a Git LFS pointer.*git lfs pull"):
        read(tmp_path / name)


def test_a_byte_order_mark_is_no_part_of_a_config(tmp_path):
    (tmp_path / "config.json").write_text('{"audio": {}}', encoding="utf-8-sig")
    assert read_config(tmp_path / "config.json") == {"audio": {}}


@pytest.mark.parametrize(
    "content", [b"\xff\xfe{", b"[" * 100_000, b'{"audio": [1]}', b'{"model_args": "x"}', b"[]", b""]
)
def test_a_config_that_is_none_is_a_sentence(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        read_config(tmp_path / "config.json")
