import dataclasses

import pytest
import yaml

from converters.options import PrecisionOptions
from runtime.measuring.gates import GateResult, evaluate, limits_for
from runtime.measuring.options import GateLimits
from tests.conftest import ROOT


def changed(measurement, clip=1, length_ok=True, **agreement):
    clips = list(measurement.clips)
    clips[clip] = dataclasses.replace(
        clips[clip], length_ok=length_ok, agreement=dataclasses.replace(clips[clip].agreement, **agreement)
    )
    return dataclasses.replace(measurement, clips=tuple(clips))


@pytest.fixture
def good(fp32):
    return next(m for m in fp32.measurements if m.engine == "mil")


LIMITS = GateLimits(snr_db=100, log_mel_l1=0.005, window_drop_db=20)


def missed(measurement):
    return {gate.gate for gate in evaluate(measurement, LIMITS) if not gate.passed}


def test_a_good_measurement_meets_every_gate(good):
    assert missed(good) == set()


@pytest.mark.parametrize(
    ("fault", "gate"),
    [
        ({"snr_db": 99.9}, "snr_db"),
        ({"snr_db": float("nan")}, "snr_db"),
        ({"log_mel_l1": 0.0051}, "log_mel_l1"),
        ({"log_mel_l1": float("inf")}, "log_mel_l1"),
        ({"snr_db": 120.0, "worst_window_db": 99.0}, "worst_window_drop_db"),
        ({"snr_db": 120.0, "head_db": 99.0}, "head_drop_db"),
        ({"snr_db": 120.0, "tail_db": 99.0}, "tail_drop_db"),
        ({"length_ok": False}, "length_ok"),
    ],
)
def test_one_bad_clip_misses_its_gate_and_is_named(good, fault, gate):
    results = {result.gate: result for result in evaluate(changed(good, **fault), LIMITS)}
    assert not results[gate].passed
    assert results[gate].clip == good.clips[1].clip


def test_onnx_judges_what_it_computes_as_declared():
    limits = {"fp32": GateLimits(100), "fp16": GateLimits(40)}
    assert limits_for(limits, "onnx", "mlprogram", ["fp32"]).snr_db == 100
    assert limits_for(limits, "mil", "mlprogram", ["fp16"]).snr_db == 40
    assert limits_for(limits, "onnx", "mlprogram", ["fp16"]) is None
    assert limits_for(limits, "onnx", "onnx", ["fp16"]).snr_db == 40
    assert limits_for({**limits, "fp16_onnx": GateLimits(55)}, "onnx", "mlprogram", ["fp16"]).snr_db == 55
    assert limits_for({**limits, "fp16_onnx": GateLimits(55)}, "openvino", "mlprogram", ["fp16"]).snr_db == 55
    own = {**limits, "fp16_onnx": GateLimits(55), "fp16_openvino": GateLimits(50)}
    assert limits_for(own, "openvino", "mlprogram", ["fp16"]).snr_db == 50
    assert limits_for(limits, "openvino", "mlprogram", ["fp16"]) is None
    assert limits_for(limits, "mil", "mlprogram", ["int8"]) is None


def test_a_precision_without_limits_is_judged_as_its_kind():
    limits = {"fp32": GateLimits(100), "compressed": GateLimits(20), "int8": GateLimits(35)}
    assert limits_for(limits, "mil", "mlprogram", ["int8", "compressed"]).snr_db == 35
    assert limits_for(limits, "mil", "mlprogram", ["palette3", "compressed"]).snr_db == 20
    assert limits_for(limits, "onnx", "mlprogram", ["palette3", "compressed"]) is None, "it computes otherwise"
    only_onnx = {**limits, "compressed_onnx": GateLimits(30)}
    assert limits_for(only_onnx, "onnx", "mlprogram", ["palette3", "compressed"]).snr_db == 30
    assert limits_for(limits, "mil", "mlprogram", ["bf16", "bf16"]) is None


def test_a_kind_follows_from_how_numbers_are_computed_and_stored():
    assert PrecisionOptions("palette3", "fp16", weights="palette", bits=3).kind == "compressed"
    assert PrecisionOptions("mixed20", "mixed", gain_db=20).kind == "mixed"
    assert PrecisionOptions("fp16").kind == "fp16"
    assert PrecisionOptions("half", "fp16", kind="half_precision").kind == "half_precision"


def test_every_precision_is_judged_by_every_gates_file():
    precisions = [yaml.safe_load(path.read_text()) for path in (ROOT / "conf" / "precision").glob("*.yaml")]
    assert len(precisions) >= 9
    for path in (ROOT / "conf" / "gates").glob("*.yaml"):
        limits = {name: GateLimits(**row) for name, row in yaml.safe_load(path.read_text())["limits"].items()}
        for settings in precisions:
            options = PrecisionOptions(**settings)
            assert limits_for(limits, "mil", "mlprogram", [options.name, options.kind]), (path.stem, options.name)


@pytest.mark.parametrize(
    ("gate", "heading", "sign"),
    [
        ("snr_db", "SNR, dB", "≥"),
        ("text_encoder.snr_db", "text_encoder: SNR, dB", "≥"),
        ("log_mel_l1", "log-mel L1", "≤"),
        ("live_silence_db", "live: output level for digital silence, dB", "≤"),
        ("length_ok", "length is PyTorch's (1: it is)", "≥"),
        ("worst_window_drop_db", "worst 50 ms below the whole clip, dB", "≤"),
        ("of_another_day", "of_another_day", "≥"),
    ],
)
def test_a_gate_says_what_it_limits_and_from_where(gate, heading, sign):
    result = GateResult(gate, "mil", "clip", 1.0, 2.0, passed=False)
    assert (result.heading, result.sign) == (heading, sign)
