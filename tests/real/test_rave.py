"""RAVE at its published width with drawn weights, as the nightly suite has it: the whole job in both engines."""

import numpy as np
import pytest

from runtime.rounding.audit import audit_bundle

pytestmark = pytest.mark.proof  # `make test` has its small relatives (tests/converters/test_rave.py)
DRAWN = ("checkpoint.source=random", "checkpoint.name=rave_v2_causal")


@pytest.fixture(scope="module", params=["fp32", "fp16"])
def outcome(real_job, request):
    return real_job("model=rave", *DRAWN, f"precision={request.param}")


def test_it_passes_its_gates_as_an_ml_program_of_all_its_weights(outcome):
    assert outcome.passed, outcome.gates
    assert {gate.engine for gate in outcome.gates} == {"mil", "onnx"}
    manifest = outcome.bundle.manifest
    assert manifest.checkpoint.random and manifest.notes == ("random weights of rave_v2_causal_random: parity only",)
    assert manifest.parameters == pytest.approx(31.5e6, rel=0.01)
    encode, decode = (outcome.bundle.component(name) for name in manifest.conversion.components)
    assert (encode.time.positions, decode.time.samples_per_frame, decode.time.sample_rate) == (2048, 2048, 48000)
    assert all(np.isfinite(case.outputs["latents"]).all() for case in outcome.bundle.goldens(encode))


def test_an_audit_finds_no_value_that_half_precision_cannot_hold(outcome):
    audit = audit_bundle(outcome.bundle)
    assert [program.component for program in audit.programs] == ["encode", "decode"]
    for program in audit.programs:
        assert all(op.overflowed == 0 for op in program.ops)
        assert program.snr_db > (100 if outcome.bundle.manifest.options.precision == "fp32" else 40)
