import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import runtime.machine.coreml_tools
import runtime.mil.export
import runtime.mil.lower
from runtime.engines import Execution
from runtime.engines.load import load
from runtime.engines.mil import MilEngine
from runtime.engines.onnx import OnnxEngine
from runtime.errors import NotLowered
from tests.conftest import ROOT


def onnx_files() -> set[str]:
    return {path.name for path in (Path(os.environ["VOXPORT_CACHE"]) / "onnx").glob("*.onnx")}


def test_a_program_is_lowered_once_per_content(mlpackage, tmp_path, monkeypatch):
    OnnxEngine(mlpackage)
    before = onnx_files()
    monkeypatch.setattr(runtime.mil.export, "export", lambda *_: pytest.fail("lowered again"))
    OnnxEngine(shutil.copytree(mlpackage, tmp_path / "elsewhere.mlpackage"))
    assert onnx_files() == before


def test_other_weights_are_another_program(mlpackage, tmp_path):
    from runtime.mil.lower import _content_key

    copy = shutil.copytree(mlpackage, tmp_path / "copy.mlpackage")
    blob = next(copy.rglob("weight.bin"))
    raw = bytearray(blob.read_bytes())
    raw[-1] ^= 1
    blob.write_bytes(raw)
    assert _content_key(copy, None) != _content_key(mlpackage, None)


def test_both_executions_agree_on_a_float32_program(fp32):
    path = fp32.bundle.artefact(fp32.bundle.component())
    mel = np.random.default_rng(0).normal(-4, 2, (1, 80, 64)).astype(np.float32)
    faithful, fast = MilEngine(path).run({"mel": mel})["audio"], OnnxEngine(path).run({"mel": mel})["audio"]
    assert np.abs(faithful - fast).max() < 5e-5


def test_auto_takes_the_reference_engine_where_onnx_cannot_and_says_so(fp16, monkeypatch):
    monkeypatch.setattr("platform.system", lambda: "Linux")

    def refuse(*_):
        raise NotLowered("the program cannot be lowered to ONNX (no such op)")

    monkeypatch.setattr(runtime.mil.lower, "lowered", refuse)
    with pytest.warns(UserWarning, match="no such op.*mil engine takes over"):
        assert load(fp16.bundle.path).name == "mil"
    with pytest.raises(NotLowered):
        load(fp16.bundle, Execution("onnx"))


def test_an_export_that_breaks_leaves_no_file(fp16, mlpackage, monkeypatch, tmp_path):
    monkeypatch.setenv("VOXPORT_CACHE", str(tmp_path))

    def half(package, path):
        path.write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(runtime.mil.export, "export", half)
    with pytest.raises(KeyboardInterrupt):
        OnnxEngine(mlpackage)
    assert list((tmp_path / "onnx").iterdir()) == []


def test_outputs_that_are_inputs_and_states_that_are_only_read(saved):
    from coremltools.converters.mil import Builder as mb
    from coremltools.converters.mil.mil import types

    shapes = [mb.TensorSpec(shape=(2,)), mb.TensorSpec(shape=(2,)), mb.StateTensorSpec((2,), dtype=types.fp16)]

    @mb.program(input_specs=shapes, opset_version=runtime.machine.coreml_tools.coremltools().target.iOS18)
    def passing(x, y, s):
        return mb.identity(x=y), mb.identity(x=x, name="x_again"), mb.cast(x=mb.read_state(input=s), dtype="fp32")

    path = saved(passing)
    given = {"x": np.float32([1, 2]), "y": np.float32([3, 4])}
    for engine in (MilEngine(path), OnnxEngine(path)):
        state = engine.new_state()
        state["s"][...] = 5
        first, second, third = engine.run(given, state).values()
        assert (first.tolist(), second.tolist(), third.tolist()) == ([3, 4], [1, 2], [5, 5]), engine.name
        assert state["s"].tolist() == [5, 5]


def test_a_sort_leaves_equal_values_in_their_order(saved):
    from coremltools.converters.mil import Builder as mb

    @mb.program(
        input_specs=[mb.TensorSpec(shape=(2, 40))],
        opset_version=runtime.machine.coreml_tools.coremltools().target.iOS18,
    )
    def sorting(x):
        return mb.argsort(x=x, axis=1, ascending=True), mb.argsort(x=x, axis=0)

    path = saved(sorting)
    given = {"x": np.random.default_rng(0).integers(0, 5, (2, 40)).astype(np.float32)}
    for faithful, fast in zip(MilEngine(path).run(given).values(), OnnxEngine(path).run(given).values()):
        np.testing.assert_array_equal(faithful, fast)


def test_a_convolution_to_few_positions_is_lowered_over_two_axes(saved):
    """As a stream's chunk has them (runtime/mil/convolutions.py)."""
    import onnx
    from coremltools.converters.mil import Builder as mb

    random = np.random.default_rng(0)
    weight = random.standard_normal((256, 128, 3)).astype(np.float32) / 20

    @mb.program(
        input_specs=[mb.TensorSpec(shape=(1, 128, 4))],
        opset_version=runtime.machine.coreml_tools.coremltools().target.iOS18,
    )
    def convolving(x):
        return mb.conv(x=x, weight=weight, bias=weight[:, 0, 0], name="y")

    path = saved(convolving)
    model, _ = runtime.mil.lower.lowered(path)
    assert [node.op_type for node in onnx.load(model).graph.node].count("Reshape") == 2, "of a second axis"
    given = {"x": random.standard_normal((1, 128, 4)).astype(np.float32)}
    np.testing.assert_allclose(OnnxEngine(path).run(given)["y"], MilEngine(path).run(given)["y"], atol=1e-5)


def test_what_is_in_the_cache_opens_without_pytorch(mlpackage):
    OnnxEngine(mlpackage)
    program = (
        "import sys, pathlib; from runtime.engines.onnx import OnnxEngine; OnnxEngine(pathlib.Path(sys.argv[1]))\n"
        "print([name for name in ('torch', 'coremltools', 'onnxscript') if name in sys.modules])"
    )
    command = [sys.executable, "-c", program, str(mlpackage)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
