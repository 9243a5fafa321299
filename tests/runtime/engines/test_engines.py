import functools
import gc
import pickle
import platform
import subprocess
import sys
import time
import zipfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest

import voxport
from runtime.bundle.trust import UntrustedError, require_trust, vouch_for
from runtime.engines import Execution, mil, open_engine
from runtime.engines.coreml import MEMBERS, CoreMLEngine, guard
from runtime.engines.load import load
from runtime.errors import ArtefactError, EngineError
from runtime.speech.metrics import snr_db

MEL = {"mel": np.random.default_rng(0).normal(-4, 2, (1, 80, 64)).astype(np.float32)}


def snr(reference, output):
    return snr_db(reference.reshape(-1), output.reshape(-1))


OPENVINO = pytest.param(
    "openvino", marks=pytest.mark.skipif(find_spec("openvino") is None, reason="the extra openvino is not installed")
)


@pytest.mark.parametrize("engine", ["mil", "onnx", OPENVINO, "torch"])
def test_every_engine_opens_a_bundle_and_gives_the_component_s_names(fp32, engine):
    opened = voxport.load(fp32.bundle.path, Execution(engine))
    assert opened.name == engine
    output = opened.run(MEL)
    assert list(output) == ["audio"]
    assert output["audio"].shape == (1, 1, 16384)
    assert output["audio"].dtype == np.float32
    assert snr(load(fp32.bundle, Execution("torch")).run(MEL)["audio"], output["audio"]) > 100


def test_an_engine_s_threads_rest_between_its_calls(tmp_path):
    """Otherwise each session of a conversion takes a core from the next one, which took 1.3 times as long."""
    weight = np.ones((256, 256), np.float32)
    value = functools.partial(onnx.helper.make_tensor_value_info, elem_type=onnx.TensorProto.FLOAT, shape=weight.shape)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])], "product", [value("x")], [value("y")],
        [onnx.numpy_helper.from_array(weight, "w")],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, tmp_path / "product.onnx")
    engine, spent = open_engine(tmp_path / "product.onnx", Execution("onnx", threads=2)), 0.0
    for _ in range(20):
        engine.run({"x": weight})
        started = time.process_time()
        time.sleep(0.005)
        spent += time.process_time() - started
    assert spent < 0.5 * 20 * 0.005


def test_a_bare_artefact_opens_too(mlpackage):
    assert voxport.load(mlpackage, Execution("mil")).run(MEL)["audio"].shape == (1, 1, 16384)
    assert voxport.load(str(mlpackage), Execution("onnx")).run(MEL)["audio"].shape == (1, 1, 16384)


def test_no_garbage_is_collected_while_an_engine_opens(mlpackage, tmp_path, monkeypatch):
    collecting, read = [], mil.open_package
    monkeypatch.setattr(mil, "open_package", lambda *given: collecting.append(gc.isenabled()) or read(*given))
    open_engine(mlpackage, Execution("mil"))
    assert collecting == [False] and gc.isenabled()
    with pytest.raises(ArtefactError):
        open_engine(tmp_path / "absent.mlpackage", Execution("mil"))
    assert gc.isenabled()


def test_an_unknown_engine_is_a_sentence(mlpackage):
    with pytest.raises(EngineError, match="coreai, coreml, mil, neuralnetwork, onnx, openvino, torch"):
        open_engine(mlpackage, Execution("onxx"))


@pytest.mark.parametrize(
    ("engine", "threads", "unit", "sentence"),
    [
        ("coreml", None, "gpu", "there is no compute unit 'gpu'; there is: all, cpu, cpu_and_gpu, cpu_and_ne"),
        ("onnx", None, "cpu", "engine onnx has no compute units: they are Core ML's"),
        ("mil", 0, None, "takes at least 1 thread, got 0"),
    ],
)
def test_an_execution_that_cannot_be_is_a_sentence(engine, threads, unit, sentence):
    with pytest.raises(EngineError, match=sentence):
        Execution(engine, threads, unit)


@pytest.mark.skipif(platform.system() == "Darwin", reason="there it is Core ML's")
def test_a_compute_unit_is_not_ignored_where_auto_is_another_engine(mlpackage):
    with pytest.raises(EngineError, match="engine onnx has no compute units"):
        voxport.load(mlpackage, Execution(compute_unit="cpu"))


def test_a_damaged_onnx_file_is_a_sentence(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"no model")
    with pytest.raises(ArtefactError, match="cannot be read as an ONNX model"):
        voxport.load(tmp_path / "m.onnx")
    with pytest.raises(ArtefactError, match="there is no file or folder"):
        voxport.load(tmp_path / "absent.onnx")


class _Runs:
    """A pickle that makes a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.fixture
def foreign(fp16, tmp_path):
    """A bundle's reference with the canary of another machine in it, and the file that reading it makes."""
    canary, changed = tmp_path / "ran", tmp_path / "component.pt2"
    with zipfile.ZipFile(fp16.bundle.reference(fp16.bundle.component())) as old, zipfile.ZipFile(changed, "w") as new:
        for name in old.namelist():
            new.writestr(name, pickle.dumps(_Runs(canary)) if "/sample_inputs/" in name else old.read(name))
    return changed, canary


def test_a_reference_from_elsewhere_is_not_executed(foreign):
    changed, canary = foreign
    with pytest.raises(UntrustedError, match="that this machine did not write"):
        open_engine(changed, Execution("torch"))
    assert not canary.exists()


def test_a_reference_is_executed_where_the_user_says_so(foreign, monkeypatch):
    changed, canary = foreign
    monkeypatch.setenv("VOXPORT_TRUST_REFERENCE", "1")
    with suppress(ArtefactError):
        open_engine(changed, Execution("torch"))
    assert canary.exists(), "the attack that is refused elsewhere is a real one"


def test_a_reference_stays_trusted_wherever_it_is_moved_but_not_once_it_changes(fp16, tmp_path):
    content = fp16.bundle.reference(fp16.bundle.component()).read_bytes()
    (tmp_path / "moved.pt2").write_bytes(content)
    assert open_engine(tmp_path / "moved.pt2", Execution("torch")).run(MEL)
    (tmp_path / "longer.pt2").write_bytes(content + b"\0")
    with pytest.raises(UntrustedError):
        open_engine(tmp_path / "longer.pt2", Execution("torch"))


def test_a_machine_without_a_state_folder_trusts_what_its_process_wrote(tmp_path, monkeypatch):
    (tmp_path / "state").write_text("a file where the folder should be")
    monkeypatch.setenv("VOXPORT_STATE", str(tmp_path / "state"))
    vouch_for(b"program of this test")
    require_trust(b"program of this test", tmp_path)
    with pytest.raises(UntrustedError):
        require_trust(b"another", tmp_path)


def test_a_damaged_reference_of_ours_is_a_sentence(tmp_path):
    (tmp_path / "cut.pt2").write_bytes(b"cut")
    vouch_for(b"cut")
    with pytest.raises(ArtefactError, match="cannot be read as an exported program"):
        open_engine(tmp_path / "cut.pt2", Execution("torch"))
    with pytest.raises(ArtefactError, match="cannot be read: No such file"):
        open_engine(tmp_path / "absent.pt2", Execution("torch"))


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("nested", [True, False])
def test_tensors_of_an_onnx_file_are_read_from_its_own_folder_alone(tmp_path, inside, nested):
    folder = tmp_path / "bundle"
    folder.mkdir()
    for place in (folder, tmp_path):
        (place / "w.bin").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    location = "w.bin" if inside else "../w.bin"
    weights = onnx.TensorProto(name="w", dims=[4], data_type=1, data_location=onnx.TensorProto.EXTERNAL)
    weights.external_data.add(key="location", value=location)
    give = onnx.helper.make_node("Identity", ["w"], ["y"])
    result = onnx.helper.make_tensor_value_info("y", 1, [4])
    if nested:  # in a branch of an If
        branch = onnx.helper.make_graph([give], "branch", [], [result], [weights])
        yes = onnx.helper.make_tensor("yes", onnx.TensorProto.BOOL, [], [True])
        node = onnx.helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch)
        graph = onnx.helper.make_graph([node], "g", [], [result], [yes])
    else:
        graph = onnx.helper.make_graph([give], "g", [], [result], [weights])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    if inside:
        assert open_engine(folder / "m.onnx", Execution("onnx")).run({})["y"].tolist() == [0, 1, 2, 3]
        return
    with pytest.raises(ArtefactError, match=r"reads tensors from '\.\./w\.bin', which is not in its folder"):
        open_engine(folder / "m.onnx", Execution("onnx"))


# -------------------------------------------------------------------------------------------------------- Core ML


def test_names_and_signatures_of_coremltools_are_as_the_engine_uses_them():
    import inspect

    from runtime.machine.coreml_tools import coremltools

    ct = coremltools()
    assert set(MEMBERS.values()) == set(ct.ComputeUnit.__members__)
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
    np.testing.assert_array_equal(output, voxport.load(mlpackage, Execution("mil")).run(MEL)["audio"])


def test_a_trial_load_that_hangs_is_a_sentence_with_a_way_out(mlpackage):
    hang = [sys.executable, "-c", "import time; time.sleep(60)"]
    with pytest.raises(EngineError, match=r"loading \S+, did not end within 0\.5 s \(another compute unit may do"):
        guard(hang, mlpackage, 0.5)
    guard([sys.executable, "-c", ""], mlpackage, 30)


@pytest.mark.macos
@pytest.mark.skipif(sys.platform != "darwin", reason="Core ML is on a Mac only")
def test_core_ml_agrees_with_the_reference(fp16):
    output = voxport.load(fp16.bundle, Execution("coreml", compute_unit="cpu")).run(MEL)["audio"]
    assert snr(voxport.load(fp16.bundle, Execution("torch")).run(MEL)["audio"], output) > 35


def test_enable_predict_executes_the_package_on_disk(mlpackage):
    """In a process of its own, because it changes coremltools for good; with numpy, torch and coremltools alone."""
    program = f"""
import importlib.metadata, re, sys, tomllib
project = tomllib.load(open({str(Path(__file__).parents[3] / "pyproject.toml")!r}, "rb"))["project"]
extras = project["optional-dependencies"]
rows = [*project["dependencies"], *extras["convert"], *extras["report"]]
wanted = {{re.match("[A-Za-z0-9_-]+", row)[0] for row in rows}} - {{"voxport"}}
for name, distributions in importlib.metadata.packages_distributions().items():
    if wanted & set(distributions) - {{"numpy", "torch", "coremltools", "tqdm", "pydantic"}}:
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


@pytest.mark.parametrize(
    ("asked", "free", "threads"), [(None, 1, 1), (None, 3, 3), (None, 9, 4), (2, 1, 2)],
    ids=["beside other work", "one core taken", "alone", "named"],
)  # fmt: skip
def test_the_reference_engine_computes_with_as_many_threads_as_there_are_free_cores(asked, free, threads, monkeypatch):
    chosen = [4]
    monkeypatch.setattr(mil.torch, "get_num_threads", lambda: chosen[-1])
    monkeypatch.setattr(mil.torch, "set_num_threads", chosen.append)
    monkeypatch.setattr(mil, "free_cores", lambda: free)
    mil.choose_threads(asked)
    assert chosen[-1] == threads
