import hashlib
import io
import socket
import stat
import tarfile
import threading
import time
import zipfile
from pathlib import Path

import pytest

from checkpoints import download as module
from checkpoints.catalogue import FileFacts
from checkpoints.download import IntegrityError, Unavailable, download, extract, unpack
from tests.checkpoints import server

BODY = bytes(range(256)) * 40
SHA = hashlib.sha256(BODY).hexdigest()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def get(behaviour, tmp_path, want=None, **options):
    seen = []
    with server.serving(behaviour) as address:
        want = want or FileFacts()
        download(f"{address}/f", tmp_path / "f", want, lambda done, total: seen.append((done, total)), **options)
    return seen


def test_a_whole_file_comes_with_progress_and_leaves_nothing_beside_it(tmp_path):
    seen = get(server.Misbehaviour({"/f": BODY}), tmp_path, FileFacts(len(BODY), SHA))
    assert (tmp_path / "f").read_bytes() == BODY
    assert seen[-1] == (len(BODY), len(BODY))
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_a_broken_connection_is_resumed_where_it_stopped(tmp_path):
    behaviour = server.Misbehaviour({"/f": BODY}, breaks=3)
    get(behaviour, tmp_path, FileFacts(len(BODY), SHA))
    assert (tmp_path / "f").read_bytes() == BODY
    assert behaviour.ranges == [None, "bytes=1000-", "bytes=2000-", "bytes=3000-"]


def test_a_later_process_resumes_too(tmp_path):
    broken = server.Misbehaviour({"/f": BODY}, breaks=99)
    with pytest.raises(Unavailable, match="5 times; what came so far is kept"):
        get(broken, tmp_path)
    assert (tmp_path / "f.part").stat().st_size == 5000
    assert not (tmp_path / "f").exists()
    mended = server.Misbehaviour({"/f": BODY})
    get(mended, tmp_path, FileFacts(len(BODY), SHA))
    assert mended.ranges == ["bytes=5000-"]
    assert (tmp_path / "f").read_bytes() == BODY


def test_a_file_that_changed_meanwhile_is_taken_from_the_start(tmp_path):
    with pytest.raises(Unavailable):
        get(server.Misbehaviour({"/f": bytes(len(BODY))}, breaks=99), tmp_path)
    get(server.Misbehaviour({"/f": BODY}, etag='"v2"'), tmp_path, FileFacts(len(BODY), SHA))
    assert (tmp_path / "f").read_bytes() == BODY


def test_without_a_version_nothing_is_resumed(tmp_path):
    behaviour = server.Misbehaviour({"/f": BODY}, breaks=1, etag=None)
    get(behaviour, tmp_path, FileFacts(len(BODY), SHA))
    assert behaviour.ranges == [None, None]


def test_a_server_that_lies_about_the_length(tmp_path):
    with pytest.raises(Unavailable, match="5 times"):
        get(server.Misbehaviour({"/f": BODY}, claims=len(BODY) + 10), tmp_path)
    assert not (tmp_path / "f").exists()
    with pytest.raises(IntegrityError, match=r"offers 10,240 bytes, the catalogue says 10,241"):
        get(server.Misbehaviour({"/f": BODY}), tmp_path, FileFacts(len(BODY) + 1))


def test_a_wrong_hash_leaves_no_file_and_is_not_retried(tmp_path):
    behaviour = server.Misbehaviour({"/f": BODY})
    with pytest.raises(IntegrityError, match="sha256 differs"):
        get(behaviour, tmp_path, FileFacts(len(BODY), "0" * 64))
    assert list(tmp_path.iterdir()) == []
    assert behaviour.requests == 1


def test_404_is_final_and_503_is_not(tmp_path):
    behaviour = server.Misbehaviour({})
    with pytest.raises(Unavailable, match="404"):
        get(behaviour, tmp_path)
    assert behaviour.requests == 1
    behaviour = server.Misbehaviour({"/f": BODY}, statuses=[503, 429])
    get(behaviour, tmp_path)
    assert (tmp_path / "f").read_bytes() == BODY


def test_a_file_above_the_ceiling_is_not_downloaded(tmp_path):
    with pytest.raises(IntegrityError, match="larger than 5,000 bytes"):
        get(server.Misbehaviour({"/f": BODY}), tmp_path, ceiling=5000)
    assert not (tmp_path / "f").exists()


def test_an_unreachable_network_is_decided_within_5_seconds(tmp_path, monkeypatch):
    started = time.monotonic()
    with pytest.raises(Unavailable, match="cannot be reached"):
        download("http://127.0.0.1:9/f", tmp_path / "f", FileFacts(), lambda *_: None)

    def swallow(*_, **__):
        threading.Event().wait(6)
        raise OSError

    # a network that swallows packets, or a resolver that does not answer
    monkeypatch.setattr(socket, "create_connection", swallow)
    with pytest.raises(Unavailable, match="no answer within 4 s"):
        download("http://example.invalid/f", tmp_path / "f", FileFacts(), lambda *_: None)
    assert time.monotonic() - started < 5.5


def archive(tmp_path, members) -> Path:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as stored:
        for name, content in members.items():
            stored.writestr(name, content)
    return path


def test_an_archive_is_unpacked_without_its_common_folder(tmp_path):
    path = archive(tmp_path, {"model/config.json": "{}", "model/sub/w.pth": "w", "model/": ""})
    unpack(path, tmp_path / "out")
    assert sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file()) == [
        "config.json", "sub/w.pth",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "..\\evil", "C:/evil"])
def test_an_archive_that_climbs_out_is_not_unpacked(tmp_path, name):
    path = archive(tmp_path, {"fine": "1", name: "evil"})
    with pytest.raises(IntegrityError, match="leads outside"):
        unpack(path, tmp_path / "out")
    assert not list(tmp_path.rglob("evil"))
    assert not (tmp_path / "out").exists()


def test_a_link_in_an_archive_is_not_unpacked(tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as stored:
        stored.writestr(link, "/etc/passwd")
    with pytest.raises(IntegrityError, match="leads outside"):
        unpack(path, tmp_path / "out")


def test_a_bomb_and_a_damaged_archive_are_sentences(tmp_path):
    path = archive(tmp_path, {"zeros": bytes(10_000)})
    with pytest.raises(IntegrityError, match="more than 1,000 bytes"):
        unpack(path, tmp_path / "out", ceiling=1000)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(IntegrityError, match="cannot be unpacked"):
        unpack(path, tmp_path / "out")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as stored:
        stored.writestr("w", BODY)
    raw = bytearray(buffer.getvalue())
    raw[200] ^= 0xFF
    path.write_bytes(raw)
    with pytest.raises(IntegrityError, match="cannot be unpacked"):
        unpack(path, tmp_path / "out2")


def written_tar(path, members, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
    return path


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_single_files_are_taken_out_of_a_tar_archive(tmp_path, mode):
    path = written_tar(tmp_path / "archive.tar", {"top/a.c": b"float a[1];", "top/b.c": b"no"}, mode)
    extract(path, tmp_path, {"top/a.c": "weights.c"})
    assert sorted(one.name for one in tmp_path.iterdir()) == ["archive.tar", "weights.c"]
    assert (tmp_path / "weights.c").read_bytes() == b"float a[1];"


@pytest.mark.parametrize(
    ("members", "ceiling", "said"),
    [
        ({"top/b.c": b"no"}, 100, "does not hold top/a.c"),
        ({"top/a.c": "/etc/passwd"}, 100, "no plain file"),
        ({"top/b.c": bytes(1000), "top/a.c": b"x"}, 100, "unpacks to more than 100 bytes"),
    ],
)
def test_a_tar_archive_that_is_not_as_it_should_be_is_a_sentence(tmp_path, members, ceiling, said):
    path = written_tar(tmp_path / "archive.tar", members)
    with pytest.raises(IntegrityError, match=said):
        extract(path, tmp_path, {"top/a.c": "weights.c"}, ceiling)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(IntegrityError):
        extract(path, tmp_path, {"top/c.c": "weights.c"}, 10_000)
