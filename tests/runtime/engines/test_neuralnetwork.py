"""The engine for `.mlmodel`: refusals with names, streaming, and the shipped kernels only."""

import numpy as np
import pytest

import voxport
from runtime.engines import Execution, open_engine
from runtime.errors import ArtefactError, EngineError
from runtime.machine.coreml_tools import coremltools
from runtime.neuralnetwork import read_network
from runtime.neuralnetwork.layers import LAYERS
from runtime.neuralnetwork.layers.arithmetic import ACTIVATIONS
from runtime.speech.metrics import snr_db

METAL = ("format=neuralnetwork", "upsampler=metal")


@pytest.fixture(scope="module")
def metal(convert_job):
    return convert_job(*METAL)


def changed(metal, folder, change):
    spec = read_network(metal.bundle.artefact(metal.bundle.component()))
    change(spec)
    path = folder / "changed.mlmodel"
    coremltools().utils.save_spec(spec, str(path))
    return path


def test_the_job_converts_executes_and_gates_it_like_any_other(metal, width):
    assert metal.passed
    (measurement,) = metal.measurements
    assert (measurement.engine, measurement.mode, measurement.latency) == ("neuralnetwork", "overlap", None)
    assert measurement.worst.agreement.snr_db > 48
    component = metal.bundle.component()
    channels = {"small": [16, 8], "full": [256, 128, 64, 32]}[width]
    assert component.ops["custom"] == len(channels)
    assert [stage.channels_in for stage in component.upsampling] == channels
    files = metal.bundle.manifest.files
    assert "custom_layer/Sources/HiFiGANUpsample/HiFiGANUpsample.swift" in files
    assert any("Swift package" in note for note in metal.bundle.manifest.notes)


def test_load_takes_the_engine_of_the_format(metal):
    assert voxport.load(metal.bundle.path).name == "neuralnetwork"
    assert voxport.load(metal.bundle.artefact(metal.bundle.component())).name == "neuralnetwork"


def test_a_streamed_form_equals_the_offline_one(metal, convert_job):
    """In half precision the forms differ by what their roundings do."""
    streamed = convert_job(*METAL, "stream=window", "stream.chunk=16")
    assert streamed.passed
    (one,), (other,) = metal.measurements, streamed.measurements
    assert other.worst.agreement.snr_db > one.worst.agreement.snr_db - 1
    clip = one.worst.clip
    offline, window = (
        np.load(outcome.bundle.measured / "audio" / f"neuralnetwork-{clip}.npy") for outcome in (metal, streamed)
    )
    assert snr_db(offline, window) > one.worst.agreement.snr_db - 3


def test_every_layer_of_the_specification_is_known():
    from coremltools.proto import NeuralNetwork_pb2

    kinds = {field.name for field in NeuralNetwork_pb2.NeuralNetworkLayer.DESCRIPTOR.oneofs_by_name["layer"].fields}
    activations = NeuralNetwork_pb2.ActivationParams.DESCRIPTOR.oneofs_by_name["NonlinearityType"].fields
    assert kinds == {*LAYERS, "branch", "custom", "loop", "loopBreak", "loopContinue"}
    assert {field.name for field in activations} == set(ACTIVATIONS)


def test_a_layer_of_a_later_specification_is_refused_by_name(metal, tmp_path, monkeypatch):
    monkeypatch.delitem(LAYERS, "activation")
    path = changed(metal, tmp_path, lambda spec: None)
    with pytest.raises(
        EngineError, match=r"changed\.mlmodel: layer '.*' is of kind activation, which .* does not know"
    ):
        open_engine(path, Execution("neuralnetwork"))


def test_kernels_that_are_not_ours_are_not_stood_in_for(metal, tmp_path):
    """A bundle whose kernels differ from those that would be run here would be validated by another text."""
    import shutil

    bundle = tmp_path / "bundle"
    shutil.copytree(metal.bundle.path, bundle)
    kernel = bundle / "custom_layer" / "Kernels" / "upsample_core.h"
    kernel.write_text(kernel.read_text().replace("value * slope", "value * slope * 2.0f"))
    with pytest.raises(ArtefactError, match=r"upsample_core\.h are not this voxport's kernels: convert again"):
        open_engine(bundle / "generator.mlmodel", Execution("neuralnetwork"))


def test_damage_is_a_sentence(metal, tmp_path):
    source = metal.bundle.artefact(metal.bundle.component())
    content = source.read_bytes()
    (tmp_path / "cut.mlmodel").write_bytes(content[: len(content) // 2])
    with pytest.raises(ArtefactError, match=r"cut\.mlmodel is damaged|cut\.mlmodel: "):
        open_engine(tmp_path / "cut.mlmodel", Execution("neuralnetwork"))
    with pytest.raises(ArtefactError, match="there is no artefact"):
        open_engine(tmp_path / "none.mlmodel", Execution("neuralnetwork"))
    with pytest.raises(ArtefactError, match=r"executes an \.mlmodel, not net\.onnx"):
        open_engine(tmp_path / "net.onnx", Execution("neuralnetwork"))
    model = coremltools().utils.load_spec(str(source))
    model.ClearField("neuralNetwork")
    model.pipeline.SetInParent()
    coremltools().utils.save_spec(model, str(tmp_path / "pipeline.mlmodel"))
    with pytest.raises(ArtefactError, match="is a pipeline of no models"):
        open_engine(tmp_path / "pipeline.mlmodel", Execution("neuralnetwork"))
    model.treeEnsembleRegressor.SetInParent()
    coremltools().utils.save_spec(model, str(tmp_path / "trees.mlmodel"))
    with pytest.raises(EngineError, match="holds a treeEnsembleRegressor; off a Mac ML programs, neural networks and"):
        open_engine(tmp_path / "trees.mlmodel", Execution("neuralnetwork"))


# ------------------------------------------------------------------------------------------- Core ML's own way, faked


def test_core_ml_gets_the_class_before_it_loads_the_model(metal, monkeypatch, tmp_path):
    """The library is built from voxport's sources with the compiler's real command line, here a stand-in's."""
    import runtime.engines.coreml as coreml

    seen = []

    def compile_(command, **_):
        seen.append(command)
        assert all((tmp_path / part).is_file() or part.endswith(".swift") for part in command if part.endswith("swift"))
        open(command[command.index("-o") + 1], "wb").close()

        class Done:
            returncode = 0

        return Done

    class Model:
        def __init__(self, path, **_):
            seen.append(path)

        def predict(self, arrays):
            return {"audio": np.zeros((1, 1, 16384), np.float32)}

    monkeypatch.setenv("VOXPORT_CACHE", str(tmp_path))
    monkeypatch.setattr(coreml.subprocess, "run", compile_)
    monkeypatch.setattr(coreml.ctypes, "CDLL", lambda path: seen.append(path))
    monkeypatch.setattr(coremltools().models, "MLModel", Model)
    coreml.load_custom_layer.cache_clear()
    path = metal.bundle.artefact(metal.bundle.component())
    engine = coreml.CoreMLEngine(path, guard_seconds=0)
    coreml.load_custom_layer.cache_clear()
    command, loaded, opened = seen
    assert command[:2] == ["xcrun", "swiftc"]
    assert loaded.endswith(".dylib")
    assert opened == str(path)
    assert [spec.name for spec in engine.inputs] == ["mel"]


def test_a_layer_that_cannot_be_built_is_a_sentence(monkeypatch, tmp_path):
    import runtime.engines.coreml as coreml

    monkeypatch.setenv("VOXPORT_CACHE", str(tmp_path))
    coreml.load_custom_layer.cache_clear()
    with pytest.raises(EngineError, match=r"cannot be built: .*xcode-select --install"):
        coreml.load_custom_layer()
