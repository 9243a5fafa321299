import json
import shutil

import pytest
import torch

from checkpoints import CheckpointError, fetch, locate
from checkpoints.catalogue import BUNDLED, Entry, Source, catalogue, find, read_catalogue
from checkpoints.download import IntegrityError, Unavailable
from checkpoints.load import load
from checkpoints.locate import FALLBACK
from checkpoints.options import CheckpointOptions

OURS = BUNDLED / FALLBACK["hifigan"]


@pytest.fixture
def offline(monkeypatch, tmp_path):
    monkeypatch.setenv("VOXPORT_CACHE", str(tmp_path / "cache"))

    def unreachable(*_):
        raise Unavailable("github.com cannot be reached")

    monkeypatch.setattr(fetch, "_get", unreachable)


def located(warnings=None, family="hifigan", default="ljspeech_hifigan_v2", **options):
    return locate.locate(
        CheckpointOptions(**options), family, default, (warnings if warnings is not None else []).append
    )


def test_without_a_network_and_a_name_the_bundled_weights_stand_in_with_a_warning(offline):
    warnings = []
    checkpoint = located(warnings)
    assert checkpoint.name == FALLBACK["hifigan"]
    assert checkpoint.is_fallback
    assert "stands in for the default ljspeech_hifigan_v2" in warnings[0]


def test_a_named_checkpoint_never_becomes_other_weights(offline):
    with pytest.raises(Unavailable, match="cannot be reached"):
        located(name="vctk_hifigan_v2")
    with pytest.raises(Unavailable):
        located(name="ljspeech_hifigan_v2")


def test_required_has_no_fallback(offline):
    with pytest.raises(Unavailable):
        located(source="required")


def test_a_family_without_bundled_weights_has_no_fallback(offline):
    with pytest.raises(Unavailable):
        located(family="vits", default="ljspeech_vits")
    with pytest.raises(CheckpointError, match="no weights of family vits ship"):
        located(family="vits", default="ljspeech_vits", source="bundled")


def test_a_damaged_download_is_an_error_and_not_a_reason_to_fall_back(monkeypatch, tmp_path):
    monkeypatch.setenv("VOXPORT_CACHE", str(tmp_path / "cache"))

    def wrong(*_):
        raise IntegrityError("sha256 differs")

    monkeypatch.setattr(fetch, "_get", wrong)
    with pytest.raises(IntegrityError):
        located()


def test_bundled_is_not_called_a_fallback():
    checkpoint = located(source="bundled")
    assert not checkpoint.is_fallback
    assert checkpoint.config["audio"]["framing"] == "hifigan"
    assert len(load(checkpoint).weights) == 156
    with pytest.raises(CheckpointError, match="does not ship with voxport; what does: kathleen"):
        located(source="bundled", name="ljspeech_hifigan_v2")


def test_a_checkpoint_of_another_family_is_refused():
    with pytest.raises(CheckpointError, match="rtvc_encoder is of family ge2e, the model is hifigan"):
        located(name="rtvc_encoder")


def test_a_misspelt_checkpoint_gets_a_suggestion():
    with pytest.raises(CheckpointError, match="did you mean 'ljspeech_hifigan_v2'"):
        find("ljspeech_hifgan_v2")


def test_anyones_own_checkpoint_is_read_from_a_folder_or_a_file(tmp_path):
    folder = tmp_path / "my voice"
    shutil.copytree(OURS, folder)
    weights = load(located(source=str(folder))).weights
    (folder / "model.safetensors").unlink()
    torch.save({"model": weights, "config": {"x": 1}}, folder / "best_model_123.pth")
    for source in (folder, folder / "best_model_123.pth"):
        checkpoint = located(source=str(source))
        assert checkpoint.name == "my_voice"
        assert checkpoint.source == "own files"
        assert torch.equal(load(checkpoint).weights["conv_pre.bias"], weights["conv_pre.bias"])


def test_of_a_folder_where_coqui_s_trainer_ran_the_best_weights_are_taken_and_named(tmp_path):
    shutil.copy(OURS / "config.json", tmp_path)
    for name in ("checkpoint_1000.pth", "best_model_900.pth"):
        (tmp_path / name).touch()
    with pytest.raises(CheckpointError, match="which file holds the weights"):
        located(source=str(tmp_path))
    shutil.copy(OURS / "model.safetensors", tmp_path / "best_model.pth")
    warnings = []
    assert located(warnings, source=str(tmp_path)).weights == tmp_path / "best_model.pth"
    (warning,) = warnings
    assert "of best_model.pth, best_model_900.pth, checkpoint_1000.pth it is best_model.pth" in warning
    assert warning.endswith("checkpoint_1000.pth")


def test_its_config_may_lie_elsewhere_and_have_comments(tmp_path):
    shutil.copy(OURS / "model.safetensors", tmp_path / "w.safetensors")
    text = (OURS / "config.json").read_text().replace('"audio"', '// the audio\n "audio"', 1)
    (tmp_path / "cfg.json").write_text(text)
    checkpoint = located(source=str(tmp_path / "w.safetensors"), config=str(tmp_path / "cfg.json"))
    assert checkpoint.config["audio"]["hop_length"] == 256


@pytest.mark.parametrize(
    ("prepare", "sentence"),
    [
        (lambda folder: shutil.rmtree(folder), "there is no such path"),
        (lambda folder: (folder / "config.json").unlink(), "there is no config"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot be read as a JSON config"),
        (lambda folder: (folder / "config.json").write_text("[]"), "holds a list"),
        (lambda folder: (folder / "model.safetensors").unlink(), "which file holds the weights"),
    ],
)
def test_an_own_checkpoint_with_something_wrong_is_a_sentence(tmp_path, prepare, sentence):
    folder = tmp_path / "mine"
    shutil.copytree(OURS, folder)
    prepare(folder)
    with pytest.raises(CheckpointError, match=sentence):
        located(source=str(folder))


def test_an_own_checkpoint_is_never_named_like_a_catalogued_one(tmp_path):
    folder = tmp_path / "ljspeech_hifigan_v2"
    shutil.copytree(OURS, folder)
    assert located(source=str(folder)).name == "ljspeech_hifigan_v2_own"


def test_statistics_beside_a_checkpoint_are_found_by_name(tmp_path):
    import numpy as np

    folder = tmp_path / "mine"
    shutil.copytree(OURS, folder)
    config = json.loads((folder / "config.json").read_text())
    config["audio"]["stats_path"] = "/home/trainer/run/scale_stats.npy"
    (folder / "config.json").write_text(json.dumps(config))
    assert located(source=str(folder)).stats is None
    np.save(folder / "scale_stats.npy", {"mel_mean": np.zeros(80), "mel_std": np.ones(80)}, allow_pickle=True)
    assert load(located(source=str(folder))).stats["mel_std"].shape == (80,)


def test_cached_weights_that_changed_since_their_fetch_are_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("VOXPORT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("VOXPORT_LOCK", str(tmp_path / "lock.yaml"))
    source = Source(http={(OURS / name).as_uri(): name for name in ("model.safetensors", "config.json")})
    voice = Entry("voice", "hifigan", "?", "?", (source,))
    monkeypatch.setitem(catalogue(), "voice", voice)
    checkpoint = located(name="voice", source="required")
    assert checkpoint.source.startswith("file://")
    checkpoint.weights.write_bytes(checkpoint.weights.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match="has changed since it was fetched"):
        located(name="voice")


def test_the_catalogue_is_well_formed_and_covers_what_the_users_name():
    names = set(catalogue())
    assert {"ljspeech_hifigan_v2", "vctk_hifigan_v2", "thorsten_hifigan_v1", "ljspeech_vits", "vctk_vits"} <= names
    assert {"your_tts", "freevc24", "openvoice_v2", "rtvc_encoder", "rtvc_synthesizer", "rtvc_vocoder"} <= names
    for entry in catalogue().values():
        assert entry.licence
        assert entry.description
        for source in entry.sources:
            assert str(source).startswith(("https://", "PyPI ", "bundled "))


def test_a_malformed_catalogue_names_the_entry(tmp_path):
    (tmp_path / "c.yaml").write_text("x:\n  family: f\n  licence: l\n  description: d\n  sources:\n    - ftp: y\n")
    with pytest.raises(CheckpointError, match="entry 'x' is not well formed"):
        read_catalogue(tmp_path / "c.yaml")
    (tmp_path / "c.yaml").write_text("x:\n  family: f\n  licence: l\n  description: d\n  sources:\n    - revision: y\n")
    with pytest.raises(CheckpointError, match="a source of none of"):
        read_catalogue(tmp_path / "c.yaml")


def test_the_bundled_files_are_those_of_the_catalogue():
    for entry in catalogue().values():
        if entry.bundled:
            assert fetch.verify(entry) == []
            assert (entry.bundled / "README.md").is_file(), "a model card ships with the weights"


def test_a_copy_without_the_weights_that_ship_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr("checkpoints.catalogue.BUNDLED", tmp_path)
    with pytest.raises(CheckpointError, match=r"this copy lacks bundled/kathleen_live\. For parity alone: .*=random"):
        locate.locate(CheckpointOptions(), "live_voice", "kathleen_live", print)


def test_a_model_s_own_weights_ship_or_those_of_its_family():
    shipped = CheckpointOptions(source="bundled")
    assert locate.locate(shipped, "forward_tts", "kathleen_fastspeech2", print).name == "kathleen_fastspeech2"
    assert locate.locate(shipped, "hifigan", "vctk_hifigan_v2", print).name == "kathleen_hifigan"
    with pytest.raises(CheckpointError, match="no weights of family forward_tts ship with voxport"):
        locate.locate(shipped, "forward_tts", "ljspeech_fast_pitch", print)


def test_weights_are_drawn_where_somebody_asks_for_it():
    located = locate.locate(CheckpointOptions(source="random"), "forward_tts", "fastspeech2", print)
    assert located.is_random and located.weights is None and located.name == "fastspeech2_random"
    assert located.config["model_args"]["use_energy"] and located.licence == "none: random weights"
    with pytest.raises(CheckpointError, match=r"nobody publishes its weights\. For parity alone"):
        locate.locate(CheckpointOptions(), "forward_tts", "fastspeech2", print)
    with pytest.raises(
        CheckpointError, match="the architecture of ljspeech_hifigan_v2 is not kept; known: fastspeech2"
    ):
        locate.locate(CheckpointOptions(source="random"), "hifigan", "ljspeech_hifigan_v2", print)


def test_a_sentence_names_the_part_whose_checkpoint_it_is_of(offline):
    setting = "model.parts.vocoder.checkpoint"
    with pytest.raises(CheckpointError, match=rf"For parity alone: {setting}\.source=random"):
        locate.locate(CheckpointOptions(), "wavernn", "rtvc_vocoder", print, setting=setting)
    with pytest.raises(CheckpointError, match=rf"^{setting}\.source=/nowhere: there is no such path"):
        locate.locate(CheckpointOptions(source="/nowhere"), "wavernn", "rtvc_vocoder", print, setting=setting)
