"""How coremltools is made quiet and quick."""

import gc
import importlib
import weakref

import numpy as np
import pytest
import torch

from runtime.machine import coreml_tools
from runtime.machine.coreml_tools import coremltools, quick_conversion

PASSES = "coremltools.converters.mil.mil.passes.pass_pipeline"


@pytest.fixture
def traced():
    network = torch.nn.Sequential(torch.nn.Conv1d(4, 4, 3), torch.nn.LeakyReLU(0.1), torch.nn.Conv1d(4, 4, 3)).eval()
    return torch.jit.trace(network, torch.zeros(1, 4, 16), check_trace=False)


def converted(traced):
    ct = coremltools()
    inputs = [ct.TensorType("x", (1, 4, 16), np.float32)]
    return ct.convert(traced, inputs=inputs, convert_to="mlprogram", skip_model_load=True)


def counted(monkeypatch):
    program, calls = importlib.import_module("coremltools.converters.mil").Program, []
    validate = program.validate
    monkeypatch.setattr(program, "validate", lambda self, **how: (calls.append(1), validate(self, **how))[1])
    return calls


def test_a_submodule_that_is_left_out_can_be_imported_later(tmp_path, monkeypatch):
    (tmp_path / "outer_of_two").mkdir()
    (tmp_path / "outer_of_two" / "__init__.py").write_text("from . import inner")
    (tmp_path / "outer_of_two" / "inner.py").write_text("weight = 1")
    monkeypatch.syspath_prepend(tmp_path)
    with coreml_tools._empty("outer_of_two.inner"):
        outer = importlib.import_module("outer_of_two")
        assert not hasattr(outer.inner, "weight")
    assert not hasattr(outer, "inner")
    assert importlib.import_module("outer_of_two.inner").weight == 1


def test_a_program_that_was_converted_quickly_is_the_same_program(traced, monkeypatch):
    coremltools()
    calls = counted(monkeypatch)
    slow, often = converted(traced), len(calls)
    with quick_conversion():
        quick, seldom = converted(traced), len(calls) - often
    again = converted(traced)
    assert 0 < seldom < often / 10 and len(calls) == 2 * often + seldom
    programs = [one.get_spec().mlProgram.SerializeToString(deterministic=True) for one in (slow, quick, again)]
    assert programs[0] == programs[1] == programs[2]


def test_a_pass_that_breaks_a_program_is_found_all_the_same(traced, monkeypatch):
    coremltools()

    def breaks(_, prog):
        for op in prog.functions["main"].operations:
            if op.op_type == "leaky_relu":
                op.outputs[0]._child_ops.clear()

    last = importlib.import_module(PASSES).PASS_REGISTRY["common::dead_code_elimination"]
    monkeypatch.setattr(type(last), "apply", breaks)
    with quick_conversion(), pytest.raises(Exception, match="should be consumed by op"):
        converted(traced)


class Cycle:
    def __init__(self):
        self.itself = self


def test_what_a_conversion_leaves_is_collected_and_what_was_there_before_is_afterwards(traced):
    gc.collect()  # the next one that Python makes by itself is far away
    before = weakref.ref(Cycle())
    with quick_conversion():
        within = weakref.ref(Cycle())
        converted(traced)
        assert within() is None, "coremltools collects garbage"
        assert before() is not None, "which is not looked for among what was there before"
    gc.collect()
    assert before() is None
