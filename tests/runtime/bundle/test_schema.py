"""Manifests that voxport wrote under schema 1 (schema_1/) are read as what they meant."""

import json
from pathlib import Path

import pytest

from runtime.bundle.schema import SCHEMA_VERSION, upgraded
from runtime.bundle.store import MANIFEST, Bundle, BundleError, Manifest, read_manifest
from runtime.speech.mel import Mel
from runtime.speech.speaker import SpeakerMel

OLD = Path(__file__).parent / "schema_1"


def old(name):
    return json.loads((OLD / f"{name}.json").read_text())


def opened(folder, manifest):
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return Bundle(folder, read_manifest(folder))


@pytest.mark.parametrize("name", ["streaming_vocoder", "mel_voice"])
def test_what_makes_audio_has_its_mel_as_features_and_as_sound(tmp_path, name):
    main = opened(tmp_path, old(name)).main
    assert isinstance(main.features, Mel) and main.sound is not None
    assert (main.features.framing, main.features.hop_length) == ("inset", 256)
    assert (main.sound.sample_rate, main.sound.mel) == (22050, main.features)


def test_the_parts_of_a_voice_make_no_audio(tmp_path):
    bundle = opened(tmp_path, old("mel_voice"))
    assert [part.name for part in bundle.manifest.components if part.sound] == [bundle.manifest.voice.last]
    assert bundle.manifest.voice.features == bundle.main.features


def test_a_voice_without_a_mel_is_judged_in_what_the_voice_named(tmp_path):
    manifest = old("mel_voice")
    for component in manifest["components"]:
        if component["name"] == manifest["voice"]["last"]:
            component |= {"role": "decoder", "features": None}
    bundle = opened(tmp_path, manifest)
    assert bundle.main.features is None and bundle.manifest.voice.features is None
    assert bundle.sound.mel.framing == "inset" and bundle.sound.sample_rate == manifest["voice"]["sample_rate"]


def test_a_speaker_encoder_s_windows_are_its_features(tmp_path):
    manifest = old("streaming_vocoder")
    settings = {"sample_rate": 16000, "partial_frames": 250, "mel": manifest["components"][0]["features"]}
    manifest["components"][0] |= {"role": "speaker_encoder", "features": None, "speaker": settings}
    features = opened(tmp_path, manifest).main.features
    assert isinstance(features, SpeakerMel) and features.partial_frames == 250
    assert features.mel is not None and features.mel.framing == "inset"


def test_schema_2_called_what_was_asked_for_a_conversion(tmp_path):
    manifest = upgraded(old("streaming_vocoder"))
    second = {**manifest, "schema_version": 2, "conversion": manifest["options"]}
    del second["options"]
    assert upgraded(second) == manifest
    opened_one = opened(tmp_path, second).manifest
    assert opened_one.options.model_dump() == manifest["options"] and opened_one.conversion is None


def test_schema_2_called_excluded_tensors_spared(tmp_path):
    manifest = upgraded(old("streaming_vocoder"))
    second = {**manifest, "schema_version": 2, "conversion": manifest["options"]}
    del second["options"]
    component = {name: value for name, value in manifest["components"][0].items() if name != "excluded"}
    second["components"] = [{**component, "spared": ["conv_post_weight"]}]
    assert opened(tmp_path, second).main.excluded == ("conv_post_weight",)
    assert "spared" not in upgraded(second)["components"][0]
    assert upgraded(old("streaming_vocoder"))["components"][0]["excluded"] is None, "of schema 1 too"


def test_what_this_voxport_writes_is_read_as_it_is(tmp_path):
    manifest = Manifest(**upgraded(old("streaming_vocoder"))).model_dump(mode="json")
    assert manifest["schema_version"] == SCHEMA_VERSION
    assert upgraded(manifest) == manifest
    assert opened(tmp_path, manifest).manifest.model_dump(mode="json") == manifest


@pytest.mark.parametrize("version", [0, 5, True, 1.0, "1", None])
def test_another_schema_is_refused_by_its_number(tmp_path, version):
    with pytest.raises(BundleError, match=f"has schema {version!r}, this voxport reads schemas 1 to 4"):
        opened(tmp_path, {**old("mel_voice"), "schema_version": version})


@pytest.mark.parametrize(
    "damage",
    [
        {"components": 5},
        {"components": [5]},
        {"components": [{"role": 5, "features": 3, "speaker": 7}]},
        {"voice": 5},
        {"voice": {"last": []}},
    ],
)
def test_a_damaged_old_manifest_is_a_sentence(tmp_path, damage):
    with pytest.raises(BundleError, match="is damaged"):
        opened(tmp_path, {**old("mel_voice"), **damage})


def test_a_kind_that_there_is_not_is_a_sentence(tmp_path):
    manifest = old("streaming_vocoder")
    manifest["components"][0]["stream"]["mode"] = "sideways"
    with pytest.raises(BundleError, match=r"stream\.mode: Input should be 'window', 'stateful' or 'lowlat'"):
        opened(tmp_path, manifest)
