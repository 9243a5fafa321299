import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import runtime
import voxport
from runtime.engines import EngineError, open_engine
from runtime.engines.coreml import COMPUTE_UNITS, CoreMLEngine, guard
from runtime.errors import ArtefactError
from runtime.metrics import snr_db

MEL = {"mel": np.random.default_rng(0).normal(-4, 2, (1, 80, 64)).astype(np.float32)}


def snr(reference, output):
    return snr_db(reference.reshape(-1), output.reshape(-1))


@pytest.mark.parametrize("engine", ["mil", "onnx", "torch"])
def test_every_engine_opens_a_bundle_and_gives_the_component_s_names(fp32, engine):
    opened = voxport.load(fp32.bundle.path, engine)
    assert opened.name == engine
    output = opened.run(MEL)
    assert list(output) == ["audio"]
    assert output["audio"].shape == (1, 1, 16384)
    assert output["audio"].dtype == np.float32
    assert snr(runtime.load(fp32.bundle.path, "torch").run(MEL)["audio"], output["audio"]) > 100


def test_a_bare_artefact_opens_too(mlpackage):
    assert voxport.load(mlpackage, "mil").run(MEL)["audio"].shape == (1, 1, 16384)
    assert voxport.load(str(mlpackage), "onnx").run(MEL)["audio"].shape == (1, 1, 16384)


def test_an_unknown_engine_is_a_sentence(mlpackage):
    with pytest.raises(EngineError, match="coreai, coreml, mil, neuralnetwork, onnx, torch"):
        open_engine("onxx", mlpackage)


def test_a_damaged_onnx_file_is_a_sentence(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"no model")
    with pytest.raises(ArtefactError, match="cannot be read as an ONNX model"):
        voxport.load(tmp_path / "m.onnx")
    with pytest.raises(ArtefactError, match="there is no artefact"):
        voxport.load(tmp_path / "absent.onnx")


def rewritten(source, target, change):
    """A copy of a .pt2 whose model.json went through `change`."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("models/model.json"):
                model = json.loads(content)
                change(model)
                content = json.dumps(model).encode()
            new.writestr(name, content)
    return target


def first_node(model):
    return next(node for node in model["graph_module"]["graph"]["nodes"] if node["target"].startswith("torch.ops"))


def test_a_reference_that_would_run_code_is_refused(fp16, tmp_path):
    source = fp16.bundle.reference(fp16.bundle.component())
    bad = rewritten(source, tmp_path / "call.pt2", lambda m: first_node(m).update(target="torch.hub.load"))
    with pytest.raises(ArtefactError, match=r"calls 'torch\.hub\.load'"):
        open_engine("torch", bad)

    def evil(model):
        model["opset_version"]["x"] = 1
        model["range_constraints"] = {"s0": {"expr_str": "__import__('os').system('true')"}}

    with pytest.raises(ArtefactError, match="holds the expression"):
        open_engine("torch", rewritten(source, tmp_path / "expr.pt2", evil))

    def pickled(model):
        model["graph_module"]["use_pickle"] = True

    with pytest.raises(ArtefactError, match="holds a pickle"):
        open_engine("torch", rewritten(source, tmp_path / "pickle.pt2", pickled))
    (tmp_path / "cut.pt2").write_bytes(source.read_bytes()[:1000])
    with pytest.raises(ArtefactError, match="cannot be read"):
        open_engine("torch", tmp_path / "cut.pt2")


def test_example_inputs_in_a_reference_are_refused_because_they_are_pickles(fp16, tmp_path):
    source = fp16.bundle.reference(fp16.bundle.component())
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(tmp_path / "inputs.pt2", "w") as new:
        for name in old.namelist():
            new.writestr(name, b"anything" if "/sample_inputs/" in name else old.read(name))
    with pytest.raises(ArtefactError, match="holds a pickle"):
        open_engine("torch", tmp_path / "inputs.pt2")


# -------------------------------------------------------------------------------------------------------- Core ML


def test_names_and_signatures_of_coremltools_are_as_the_engine_uses_them():
    import inspect

    from runtime.coreml_tools import coremltools

    ct = coremltools()
    assert set(COMPUTE_UNITS.values()) == set(ct.ComputeUnit.__members__)
    assert {"model", "compute_units"} <= set(inspect.signature(ct.models.MLModel.__init__).parameters)
    assert list(inspect.signature(ct.models.MLModel.predict).parameters)[:3] in (
        ["self", "data", "state"],
        ["model", "data", "state"],  # after enable_predict()
    )


def test_the_core_ml_engine_s_own_code_runs_over_enable_predict(fp16, mlpackage):
    voxport.enable_predict()
    engine = CoreMLEngine(mlpackage, compute_unit="cpu", guard_seconds=0)
    assert engine.compute_unit == "cpu"
    output = engine.run(MEL)["audio"]
    np.testing.assert_array_equal(output, voxport.load(mlpackage, "mil").run(MEL)["audio"])
    with pytest.raises(EngineError, match="cpu_and_ne"):
        CoreMLEngine(mlpackage, compute_unit="gpu", guard_seconds=0)


def test_a_trial_load_that_hangs_is_a_sentence_with_a_way_out(mlpackage):
    hang = [sys.executable, "-c", "import time; time.sleep(60)"]
    with pytest.raises(EngineError, match=r"loading \S+, did not end within 0\.5 s \(another compute unit may do"):
        guard(hang, mlpackage, 0.5)
    guard([sys.executable, "-c", ""], mlpackage, 30)


@pytest.mark.macos
@pytest.mark.skipif(sys.platform != "darwin", reason="Core ML is on a Mac only")
def test_core_ml_agrees_with_the_reference(fp16):
    output = voxport.load(fp16.bundle.path, "coreml", compute_unit="cpu").run(MEL)["audio"]
    assert snr(voxport.load(fp16.bundle.path, "torch").run(MEL)["audio"], output) > 35


def test_enable_predict_executes_the_package_on_disk(mlpackage):
    """In a process of its own, because it changes coremltools for good; with numpy, torch and coremltools alone."""
    program = f"""
import importlib.metadata, re, sys, tomllib
project = tomllib.load(open({str(Path(__file__).parents[3] / "pyproject.toml")!r}, "rb"))["project"]
wanted = {{re.match("[A-Za-z0-9_-]+", row)[0] for row in project["dependencies"]}}
for name, distributions in importlib.metadata.packages_distributions().items():
    if wanted & set(distributions) - {{"numpy", "torch", "coremltools", "tqdm"}}:  # tqdm is coremltools' own
        sys.modules[name] = None
assert sys.modules["onnxruntime"] is sys.modules["hydra"] is None
import numpy as np, voxport, coremltools as ct
voxport.enable_predict()
model = ct.models.MLModel({str(mlpackage)!r})
model._mil_program = None
print(model.predict({{"mel": np.zeros((1, 80, 64))}})["audio"].shape)
print(len(model.predict([{{"mel": np.zeros((1, 80, 64), np.float32)}}] * 2)))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.split("\n")[:2] == ["(1, 1, 16384)", "2"]
