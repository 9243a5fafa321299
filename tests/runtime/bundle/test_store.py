import dataclasses
import json
import shutil

import numpy as np
import pytest

from runtime.bundle.spec import Dim
from runtime.bundle.store import BundleError, open_bundle, read_goldens


@pytest.fixture
def copy(fp16, tmp_path):
    return shutil.copytree(fp16.bundle.path, tmp_path / fp16.bundle.path.name)


def test_a_bundle_holds_all_that_an_engine_needs(fp16, width):
    bundle = open_bundle(fp16.bundle.path)
    record = bundle.component()
    assert bundle.artefact(record).is_dir()
    assert bundle.reference(record).is_file()
    assert record.time.samples_per_frame == 256
    assert record.ops["conv"] == {"small": 16, "full": 78}[width]
    assert "conv_transpose" not in record.ops
    assert "without the replicate padding" in record.computes
    cases = bundle.goldens(record)
    assert len(cases) == {"small": 2, "full": 3}[width]
    for case in cases:
        assert case.outputs["audio"].shape[2] == 256 * case.inputs["mel"].shape[2] == len(case.recording)


def test_a_changed_byte_is_found(copy):
    weights = next(copy.rglob("weight.bin"))
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(raw)
    with pytest.raises(BundleError, match=r"weight\.bin is not what was converted"):
        open_bundle(copy)


def test_a_missing_and_a_surplus_file_are_found(copy):
    (copy / "notes.txt").write_text("mine")
    with pytest.raises(BundleError, match=r"notes\.txt does not belong"):
        open_bundle(copy)
    (copy / "notes.txt").unlink()
    (copy / "goldens.npz").unlink()
    with pytest.raises(BundleError, match=r"goldens\.npz is missing"):
        open_bundle(copy)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda manifest: manifest.update(schema_version=99), "schema 99"),
        (lambda manifest: manifest.pop("checkpoint"), "checkpoint: Field required"),
        (lambda manifest: manifest.update(surprise=1), "surprise"),
        (lambda manifest: manifest["components"][0].update(artefact="../../etc"), "points outside"),
        (lambda manifest: manifest["components"][0].update(artefact="/etc/passwd"), "points outside"),
        (lambda manifest: manifest["components"][0].update(reference="reference/../../x.pt2"), "points outside"),
        (lambda manifest: manifest["components"][0].update(validated_by="../other.aimodel"), "points outside"),
        (lambda manifest: manifest["components"][0].update(validated_by="..\\other"), "points outside"),
        (lambda manifest: manifest["components"][0].update(artefact="a\0b"), "points outside"),
        (lambda manifest: manifest["components"][0].update(name="../x"), "is no name"),
        (lambda manifest: manifest.update(name="../../home"), "is no name"),
        (lambda manifest: manifest["components"][0]["time"].update(positions=1 << 20), "a flexible axis needs 0 <= lo"),
        (lambda manifest: manifest["components"][0].update(targets={"whose": "a"}), "has no input 'whose'"),
        (lambda manifest: manifest["components"][0].update(targets={"mel": "a"}), "has no component 'a'"),
    ],
)
def test_a_manifest_of_another_shape_is_a_sentence(copy, change, sentence):
    manifest = json.loads((copy / "manifest.json").read_text())
    change(manifest)
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=sentence):
        open_bundle(copy)


@pytest.mark.parametrize("target", ["/etc", "/etc/passwd", "manifest.json"])
def test_a_link_in_a_bundle_is_refused_wherever_it_leads(copy, target):
    (copy / "reference" / "link").symlink_to(target)
    with pytest.raises(BundleError, match="reference/link is a link, which may lead outside"):
        open_bundle(copy)


def test_an_artefact_swapped_for_a_link_to_the_same_bytes_is_refused(copy, tmp_path):
    weights = next(copy.rglob("weight.bin"))
    weights.rename(tmp_path / "elsewhere.bin")
    weights.symlink_to(tmp_path / "elsewhere.bin")
    with pytest.raises(BundleError, match="is a link"):
        open_bundle(copy)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("", "Expecting value"),
        ("[]", "schema None"),
        ("null", "schema None"),
        ("\xff\xfe", "Expecting value"),
    ],
)
def test_a_manifest_that_is_none_is_a_sentence(tmp_path, text, sentence):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match=sentence):
        open_bundle(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "text", "names", "one array", "flipped"])
def test_damaged_goldens_are_a_sentence(fp16, tmp_path, damage):
    source, path = fp16.bundle.path / "goldens.npz", tmp_path / "goldens.npz"
    content = bytearray(source.read_bytes())
    if damage == "flipped":
        content[200:20000:50] = bytes(len(range(200, 20000, 50)))
    elif damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "text":
        content = bytearray(b"PK\3\4 no archive")
    path.write_bytes(content)
    if damage == "names":
        np.savez(path, **{"generator/../in/mel": np.zeros(1)})
    elif damage == "one array":
        with path.open("wb") as file:
            np.save(file, np.zeros(1))
    with pytest.raises(BundleError, match=r"goldens\.npz is damaged"):
        read_goldens(path, "generator")


def test_what_is_no_bundle_is_a_sentence(tmp_path):
    with pytest.raises(BundleError, match="is not a bundle"):
        open_bundle(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(BundleError, match="is damaged"):
        open_bundle(tmp_path)


def test_goldens_hold_no_pickles(fp16):
    with np.load(fp16.bundle.path / "goldens.npz", allow_pickle=False) as stored:
        assert all(stored[name].dtype == np.float32 for name in stored.files)


def test_a_series_tells_targets_and_lengths_apart(fp16):
    manifest = fp16.bundle.manifest
    usual = f"{manifest.checkpoint.name}-mlprogram-fp16-polyphase-offline"
    assert manifest.series == usual

    def series(**changed):
        return manifest.model_copy(update={"options": manifest.options.model_copy(update=changed)}).series

    assert series(target="macOS12") == f"{usual}-macOS12"
    assert series(format="onnx", target="opset 17").endswith("-offline-opset17")
    assert series(format="onnx", target="opset 18").endswith("-onnx-fp16-polyphase-offline")
    main = fp16.bundle.main
    shorter = [dataclasses.replace(spec, shape=(*spec.shape[:2], 48)) for spec in main.inputs]
    components = (main.model_copy(update={"inputs": tuple(shorter)}),)
    assert manifest.model_copy(update={"components": components}).series == f"{usual}-48frames"
    bounded = [dataclasses.replace(spec, shape=(*spec.shape[:2], Dim(8, 512, 64))) for spec in main.inputs]
    components = (main.model_copy(update={"inputs": tuple(bounded)}),)
    assert manifest.model_copy(update={"components": components}).series == usual
