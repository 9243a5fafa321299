import json
import shutil

import numpy as np
import pytest

from runtime.engines import Execution
from runtime.engines.load import load
from runtime.engines.mil import MilEngine
from runtime.errors import ArtefactError
from runtime.mil.package import open_package


@pytest.fixture
def copy(mlpackage, tmp_path):
    return shutil.copytree(mlpackage, tmp_path / "copy.mlpackage")


def test_inputs_and_outputs_are_read_from_the_file(mlpackage):
    engine = MilEngine(mlpackage)
    assert [str(spec) for spec in engine.inputs] == ["mel (1, 80, 64) float32"]
    assert [str(spec) for spec in engine.outputs] == ["audio (1, 1, 16384) float32"]
    assert engine.inputs[0].unit == "natural-log amplitude"


def test_without_its_weight_file_it_fails(copy):
    next(copy.rglob("weight.bin")).unlink()
    with pytest.raises(ArtefactError, match=r"weight\.bin is missing"):
        MilEngine(copy)


def test_weights_are_those_of_the_file(copy):
    mel = {"mel": np.zeros((1, 80, 64), np.float32)}
    before = MilEngine(copy).run(mel)["audio"]
    blob = next(copy.rglob("weight.bin"))
    raw = bytearray(blob.read_bytes())
    raw[len(raw) // 2 : len(raw) // 2 + 4096] = bytes(4096)
    blob.write_bytes(raw)
    assert not np.array_equal(before, MilEngine(copy).run(mel)["audio"])


def test_a_truncated_package_is_a_sentence(copy):
    model = next(copy.rglob("model.mlmodel"))
    whole = model.read_bytes()
    model.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArtefactError, match=r"damaged|cannot be read"):
        MilEngine(copy)
    model.unlink()
    with pytest.raises(ArtefactError, match="truncated"):
        MilEngine(copy)


@pytest.mark.parametrize("length", [0, 10, 64, -1000])
def test_a_short_weight_file_is_a_sentence(copy, length):
    blob = next(copy.rglob("weight.bin"))
    blob.write_bytes(blob.read_bytes()[:length])
    with pytest.raises(ArtefactError, match="cannot be read as a MIL program"):
        MilEngine(copy)


def test_a_weight_beyond_the_end_of_its_file_is_a_sentence(copy):
    def move(spec):
        block = next(iter(spec.mlProgram.functions["main"].block_specializations.values()))
        values = [op.attributes["val"] for op in block.operations if op.type == "const"]
        next(v for v in values if v.WhichOneof("value") == "blobFileValue").blobFileValue.offset = 10**12

    changed(copy, move)
    with pytest.raises(ArtefactError, match="cannot be read as a MIL program"):
        MilEngine(copy)


def test_a_description_that_does_not_fit_its_program_is_a_sentence(copy):
    changed(copy, lambda spec: setattr(spec.description.output[0], "name", "other"))
    with pytest.raises(ArtefactError, match="description does not know 'audio'"):
        MilEngine(copy)


def changed(package, change):
    """Rewrites a package's specification."""
    from coremltools.proto import Model_pb2

    path = next(package.rglob("model.mlmodel"))
    spec = Model_pb2.Model()
    spec.ParseFromString(path.read_bytes())
    change(spec)
    path.write_bytes(spec.SerializeToString())


def test_a_manifest_that_points_outside_is_refused(copy):
    manifest = json.loads((copy / "Manifest.json").read_text())
    manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"] = "../../../secret"
    (copy / "Manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtefactError, match="outside its package"):
        open_package(copy)


def test_what_is_no_package_is_a_sentence(tmp_path):
    with pytest.raises(ArtefactError, match="there is no file or folder"):
        load(tmp_path / "absent.mlpackage", Execution("mil"))
    with pytest.raises(ArtefactError, match=r"executes an \.mlpackage"):
        MilEngine(tmp_path / "model.onnx")


def test_an_unknown_op_is_named_with_output_and_file(mlpackage, monkeypatch):
    from runtime.mil import graph

    monkeypatch.setattr(graph, "OPS", {name: op for name, op in graph.OPS.items() if name != "tanh"})
    with pytest.raises(ArtefactError, match=r"does not know the op 'tanh' \(output '.*generator\.mlpackage"):
        MilEngine(mlpackage)
