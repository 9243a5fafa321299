import hashlib
import io
import multiprocessing
import os
import zipfile
from pathlib import Path

import pytest
import yaml

from checkpoints import CheckpointError, fetch
from checkpoints.catalogue import Entry, FileFacts, Source
from checkpoints.download import IntegrityError, Unavailable
from tests.checkpoints import server

WEIGHTS = b"weights" * 1000
SHA = hashlib.sha256(WEIGHTS).hexdigest()


@pytest.fixture(autouse=True)
def _fresh(tmp_path, monkeypatch):
    monkeypatch.setenv("VOXPORT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("VOXPORT_LOCK", str(tmp_path / "lock.yaml"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)


def zipped(**members) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as stored:
        for name, content in members.items():
            stored.writestr(f"model/{name.replace('__', '.')}", content)
    return buffer.getvalue()


def entry(*sources: Source, files: dict | None = None) -> Entry:
    return Entry("voice", "hifigan", "CC0-1.0", "a test", sources, files or {})


def test_the_first_fetch_locks_and_the_next_must_match(tmp_path):
    behaviour = server.Misbehaviour({"/m.zip": zipped(model_file__pth=WEIGHTS, config__json=b"{}")})
    with server.serving(behaviour) as address:
        voice = entry(Source(archive=f"{address}/m.zip"))
        folder = fetch.fetch(voice)
        assert (folder / "model_file.pth").read_bytes() == WEIGHTS
        locked = yaml.safe_load((tmp_path / "lock.yaml").read_text())
        assert locked["voice"]["model_file.pth"] == {"sha256": SHA, "size": len(WEIGHTS)}
        assert fetch.verify(voice) == []
        assert fetch.fetch(voice) == folder
        assert behaviour.requests == 1, "what is cached is not asked for again"

        import shutil

        shutil.rmtree(folder)
        behaviour.files["/m.zip"] = zipped(model_file__pth=b"other", config__json=b"{}")
        with pytest.raises(IntegrityError, match=r"voice: model_file\.pth: (size|sha256) differs"):
            fetch.fetch(voice)
        assert fetch.cached(voice) is None
        assert not list((tmp_path / "cache" / "checkpoints").glob(".voice.partial/*"))


def test_verify_finds_a_changed_and_a_missing_file(tmp_path):
    with server.serving(server.Misbehaviour({"/w": WEIGHTS, "/c": b"{}"})) as address:
        voice = entry(Source(http={f"{address}/w": "model.pth", f"{address}/c": "config.json"}))
        with pytest.raises(CheckpointError, match="is not here"):
            fetch.verify(voice)
        folder = fetch.fetch(voice)
    (folder / "model.pth").write_bytes(WEIGHTS[:-1] + b"x")
    (folder / "config.json").unlink()
    problems = fetch.verify(voice)
    assert len(problems) == 2
    assert "config.json is missing" in problems[0]
    assert "sha256 differs" in problems[1]


def test_the_second_source_is_taken_when_the_first_cannot_be_reached():
    with server.serving(server.Misbehaviour({"/w": WEIGHTS})) as address:
        voice = entry(
            Source(http={"http://127.0.0.1:9/w": "model.pth"}),
            Source(http={f"{address}/w": "model.pth"}),
            files={"model.pth": FileFacts(len(WEIGHTS), SHA)},
        )
        folder = fetch.fetch(voice)
        assert (folder / "model.pth").read_bytes() == WEIGHTS
        assert fetch.origin(voice, folder) == f"{address}/w"


def test_a_wrong_file_is_an_error_and_not_a_reason_to_look_elsewhere():
    behaviour = server.Misbehaviour({"/w": WEIGHTS})
    with server.serving(behaviour) as address:
        voice = entry(
            Source(http={f"{address}/w": "model.pth"}),
            Source(http={f"{address}/w": "model.pth"}),
            files={"model.pth": FileFacts(len(WEIGHTS), "0" * 64)},
        )
        with pytest.raises(IntegrityError, match="sha256 differs"):
            fetch.fetch(voice)
        assert behaviour.requests == 1


def test_a_source_without_the_promised_file_is_an_error():
    with server.serving(server.Misbehaviour({"/m.zip": zipped(readme__md=b"x")})) as address:
        voice = entry(Source(archive=f"{address}/m.zip"), files={"model.pth": FileFacts(7)})
        with pytest.raises(IntegrityError, match=r"does not hold model\.pth"):
            fetch.fetch(voice)


def test_no_source_at_all_names_every_problem(tmp_path):
    voice = entry(Source(http={"http://127.0.0.1:9/w": "a"}), Source(http={"http://127.0.0.1:9/v": "a"}))
    with pytest.raises(Unavailable, match=r"voice cannot be fetched: .*127\.0\.0\.1.*; .*127\.0\.0\.1"):
        fetch.fetch(voice)
    assert not (tmp_path / "cache" / "checkpoints" / ".voice.partial").exists()


def _fetch_in_a_process(address: str, cache: str, results: multiprocessing.Queue) -> None:
    os.environ["VOXPORT_CACHE"] = cache
    os.environ["VOXPORT_LOCK"] = f"{cache}/lock.yaml"
    folder = fetch.fetch(entry(Source(http={f"{address}/w": "model.pth"})))
    results.put((folder / "model.pth").read_bytes() == WEIGHTS)


def test_two_processes_fetch_once_and_both_get_it(tmp_path):
    behaviour = server.Misbehaviour({"/w": WEIGHTS}, delay=0.5)
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    with server.serving(behaviour) as address:
        arguments = (address, str(tmp_path / "shared"), results)
        processes = [context.Process(target=_fetch_in_a_process, args=arguments) for _ in range(2)]
        for process in processes:
            process.start()
        outcomes = [results.get(timeout=60) for _ in processes]
        for process in processes:
            process.join()
    assert outcomes == [True, True]
    assert behaviour.requests == 1


def test_a_wheel_of_pypi_comes_through_pip(tmp_path, monkeypatch):
    """pip's own configuration counts: here a folder of wheels and no index at all."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "voice_pack-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("voice_pack/pretrained.pt", WEIGHTS)
        wheel.writestr("voice_pack-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: voice-pack\nVersion: 1.0\n")
        wheel.writestr("voice_pack-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("voice_pack-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    source = Source(pypi="voice-pack==1.0", take={"voice_pack/pretrained.pt": "model.pth"})
    folder = fetch.fetch(entry(source, files={"model.pth": FileFacts(len(WEIGHTS), SHA)}))
    assert (folder / "model.pth").read_bytes() == WEIGHTS
    absent = Entry("other", "hifigan", "?", "?", (Source(pypi="voice-pack==2.0", take={"a": "b"}),))
    with pytest.raises(Unavailable, match="PyPI cannot be reached"):
        fetch.fetch(absent)


def test_hugging_face_is_asked_through_its_own_library(monkeypatch, tmp_path):
    import inspect

    import huggingface_hub

    signature = inspect.signature(huggingface_hub.hf_hub_download)
    asked = []

    def answer(*arguments, **options):
        asked.append(signature.bind(*arguments, **options).arguments)
        path = Path(options["local_dir"]) / arguments[1]
        path.parent.mkdir(parents=True)
        path.write_bytes(WEIGHTS)
        return str(path)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", answer)
    monkeypatch.setattr(fetch, "require_reachable", lambda url: None)
    voice = entry(Source(hugging_face="someone/voices", take={"converter/c.pth": "model.pth"}))
    folder = fetch.fetch(voice)
    assert (folder / "model.pth").read_bytes() == WEIGHTS
    assert (asked[0]["repo_id"], asked[0]["filename"], asked[0]["revision"]) == (
        "someone/voices", "converter/c.pth", "main",
    )  # fmt: skip
    assert fetch.origin(voice, folder) == "https://huggingface.co/someone/voices (main)"
    assert [path.name for path in folder.iterdir() if not path.name.startswith(".")] == ["model.pth"]


def test_an_unreachable_hub_is_unavailable(monkeypatch):
    def unreachable(url):
        raise Unavailable(f"{url} cannot be reached")

    monkeypatch.setattr(fetch, "require_reachable", unreachable)
    with pytest.raises(Unavailable, match="huggingface"):
        fetch.fetch(entry(Source(hugging_face="someone/voices", take={"c.pth": "model.pth"})))


def test_a_local_file_is_a_source_too(tmp_path):
    (tmp_path / "w.pth").write_bytes(WEIGHTS)
    url = (tmp_path / "w.pth").as_uri()
    facts = {"model.pth": FileFacts(len(WEIGHTS), SHA)}
    folder = fetch.fetch(entry(Source(http={url: "model.pth"}), files=facts))
    assert (folder / "model.pth").read_bytes() == WEIGHTS
    assert (tmp_path / "w.pth").exists()
    absent = Entry("other", "hifigan", "?", "?", (Source(http={"file:///nowhere/w.pth": "model.pth"}),))
    with pytest.raises(Unavailable, match="there is no file"):
        fetch.fetch(absent)


def test_the_lock_of_a_checkout_is_beside_the_catalogue(monkeypatch, tmp_path):
    monkeypatch.delenv("VOXPORT_LOCK")
    assert fetch.lock_path() == Path(fetch.FOLDER) / "lock.yaml"
    monkeypatch.setattr(fetch, "FOLDER", tmp_path / "site-packages" / "checkpoints")
    assert fetch.lock_path() == tmp_path / "cache" / "checkpoints" / "lock.yaml"
