import json
import shutil

import pytest
import yaml

from checkpoints import CheckpointError, fetch, remote
from checkpoints.download import IntegrityError, Unavailable
from checkpoints.locate import locate
from checkpoints.options import CheckpointOptions
from tests.checkpoints import server
from tests.converters import layout_twins as twins

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def _fresh(tmp_path, monkeypatch):
    monkeypatch.setenv("VOXPORT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("VOXPORT_LOCK", str(tmp_path / "lock.yaml"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def vocoder(tmp_path_factory):
    """The files of a jik876 folder by name."""
    folder = twins.write_jik876(tmp_path_factory.mktemp("vocoder"), name="generator.pth")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def hub(files, listed=True, revision="main"):
    """What the hub answers: its list of a model's files, and the files of the commit that a revision is."""
    at = COMMIT if listed else revision
    answers = {f"/owner/voice/resolve/{at}/{name}": content for name, content in files.items()}
    if listed:
        siblings = [{"rfilename": name} for name in files]
        answer = {"id": "owner/voice", "sha": COMMIT, "siblings": siblings}
        answers[f"/api/models/owner/voice/revision/{revision}"] = json.dumps(answer).encode()
    return server.Misbehaviour(answers)


def located(source, family="hifigan"):
    return locate(CheckpointOptions(source=source), family, "", lambda _: None)


@pytest.mark.parametrize("listed", [True, False], ids=["the hub", "a mirror of files alone"])
def test_a_name_of_the_hub_is_fetched_once_and_pinned(tmp_path, monkeypatch, vocoder, listed):
    extra = {"README.md": b"#", "do_00010000": b"x", "training_args.bin": b"x"} if listed else {}
    behaviour = hub(vocoder | extra, listed)
    with server.serving(behaviour) as address:
        monkeypatch.setenv("HF_ENDPOINT", f"{address}/")
        checkpoint = located("hf:owner/voice")
        assert checkpoint.weights.name == "generator.pth"
        assert sorted(path.name for path in checkpoint.weights.parent.iterdir() if path.name[0] != ".") == [
            "config.json", "generator.pth",
        ]  # fmt: skip
        assert (checkpoint.layout, checkpoint.source) == ("jik876", "hf:owner/voice")
        asked = behaviour.requests
        assert located("hf:owner/voice").sha256 == checkpoint.sha256
        assert behaviour.requests == asked, "what is cached is not asked for again"
    ((name, files),) = yaml.safe_load((tmp_path / "lock.yaml").read_text()).items()
    assert files["generator.pth"]["sha256"] == checkpoint.sha256
    assert name in fetch.read_lock()


def test_what_comes_another_time_must_be_what_came_first(monkeypatch, vocoder):
    behaviour = hub(vocoder)
    with server.serving(behaviour) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        folder = located("hf:owner/voice").weights.parent
        shutil.rmtree(folder)
        behaviour.files[f"/owner/voice/resolve/{COMMIT}/generator.pth"] = b"other"
        with pytest.raises(IntegrityError, match=r"generator\.pth: the server offers 5 bytes"):
            located("hf:owner/voice")
        behaviour.files[f"/owner/voice/resolve/{COMMIT}/generator.pth"] = vocoder["generator.pth"]
        weights = located("hf:owner/voice").weights
        weights.write_bytes(b"changed here")
        with pytest.raises(IntegrityError, match=r"delete .* and fetch it again"):
            located("hf:owner/voice")


def test_a_revision_and_a_folder_of_the_hub_are_asked_for(monkeypatch, vocoder):
    files = {f"v1/{name}": content for name, content in vocoder.items()} | {"other/model.bin": b"x"}
    with server.serving(hub(files, revision="refs/pr/1".replace("/", "%2F"))) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        assert located("hf:owner/voice/v1@refs/pr/1").weights.name == "generator.pth"
        assert located("hf:owner/voice/v1/generator.pth@refs/pr/1").weights.name == "generator.pth"
        with pytest.raises(CheckpointError, match=r"holds no weights there; it has: v1/"):
            located("hf:owner/voice/v2@refs/pr/1")


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("hf:voice", "is no name of the hub: hf:owner/name"),
        ("hf:owner/../x", "is no name of the hub"),
        ("http://127.0.0.1:1/", "names no file: give the address of the weights"),
    ],
)
def test_what_is_no_source_is_a_sentence(source, sentence):
    with pytest.raises(CheckpointError, match=sentence):
        located(source)


def test_a_model_that_is_not_there_or_not_clear_is_a_sentence(monkeypatch, vocoder):
    with server.serving(server.Misbehaviour()) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        with pytest.raises(Unavailable, match="has no such model, or it is not public"):
            located("hf:owner/voice")
    with server.serving(hub(vocoder | {"second.pth": b"x"})) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        with pytest.raises(CheckpointError, match=r"which file holds the weights\? found: generator\.pth, second\.pth"):
            located("hf:owner/voice")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1 cannot be reached"):
        located("hf:owner/voice")


def test_an_address_brings_a_file_and_what_usually_lies_beside_it(tmp_path, vocoder):
    behaviour = server.Misbehaviour({f"/models/{name}": content for name, content in vocoder.items()})
    with server.serving(behaviour) as address:
        checkpoint = located(f"{address}/models/generator.pth")
        assert checkpoint.layout == "jik876"
        assert checkpoint.source == f"{address}/models/generator.pth"
    assert (tmp_path / "lock.yaml").is_file()
    assert not remote.is_remote("/models/x")
