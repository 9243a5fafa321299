import dataclasses
import shutil

import numpy as np
import pytest

from runtime.__main__ import main
from runtime.bundle.store import BundleError, open_bundle
from runtime.engines import Execution
from runtime.errors import EngineError
from runtime.measuring.measure import (
    engine_names,
    measure,
    measurement_key,
    measurement_path,
    read_measurement,
    write_measurement,
)
from runtime.measuring.options import MeasureOptions
from runtime.playing.player import Player

QUICK = MeasureOptions(bench_seconds=0.02, bench_min_chunks=3)


def test_fp32_artefacts_meet_100_db_in_both_engines(fp32):
    assert {m.engine for m in fp32.measurements} >= {"mil", "onnx"}
    for measurement in fp32.measurements:
        assert measurement.worst.agreement.snr_db > 100
        assert all(clip.length_ok for clip in measurement.clips)


def test_fp16_rounding_shows_in_mil_and_less_in_onnx(fp16):
    by_engine = {m.engine: m for m in fp16.measurements}
    assert 40 < by_engine["mil"].worst.agreement.snr_db < by_engine["onnx"].worst.agreement.snr_db < 80


def test_a_measurement_survives_its_file_also_with_values_that_json_has_not(fp16, tmp_path):
    first = fp16.measurements[0]
    broken = dataclasses.replace(
        first.clips[0], agreement=dataclasses.replace(first.clips[0].agreement, log_mel_l1=float("inf"))
    )
    measurement = dataclasses.replace(first, clips=(broken, *first.clips[1:]))
    write_measurement(tmp_path / "m.json", measurement)
    assert read_measurement(tmp_path / "m.json") == measurement
    (tmp_path / "m.json").write_text((tmp_path / "m.json").read_text()[:-20])
    with pytest.raises(BundleError, match="no measurement"):
        read_measurement(tmp_path / "m.json")


def test_an_output_of_the_wrong_length_is_recorded(fp16, monkeypatch):
    whole = Player.play
    monkeypatch.setattr(Player, "play", lambda *given: whole(*given)[:, :, :-100])
    measurement = measure(fp16.bundle, "onnx", dataclasses.replace(QUICK, bench_seconds=0))
    assert not any(clip.length_ok for clip in measurement.clips)


def test_a_compute_unit_is_core_ml_s_alone():
    with pytest.raises(EngineError, match="compute unit all is Core ML's, which is not among the engines: mil, onnx"):
        engine_names(MeasureOptions(["mil", "onnx"], compute_unit="all"), "mlprogram")
    both = MeasureOptions(["mil", "coreml"], compute_unit="all", threads=2)
    assert engine_names(both, "mlprogram") == ["mil", "coreml"]
    assert both.execution("mil") == Execution("mil", 2)
    assert both.execution("coreml") == Execution("coreml", 2, "all")


def test_the_reference_engines_are_not_timed_and_the_fast_one_is(fp16):
    by_engine = {m.engine: m for m in fp16.measurements}
    assert by_engine["mil"].latency is None
    assert by_engine["onnx"].latency.chunks >= 5


def test_the_bundles_own_reference_agrees_with_its_goldens(fp16):
    measurement = measure(fp16.bundle, "torch", dataclasses.replace(QUICK, bench_seconds=0))
    assert measurement.worst.agreement.snr_db > 110


def test_auto_means_every_engine_of_the_format(monkeypatch):
    assert engine_names(MeasureOptions(), "onnx") == ["onnx"]
    monkeypatch.setattr("platform.system", lambda: "Linux")
    assert engine_names(MeasureOptions(["auto", "mil"]), "mlprogram") == ["mil", "onnx"]
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    assert engine_names(MeasureOptions(), "mlprogram") == ["mil", "onnx", "coreml"]
    assert engine_names(MeasureOptions(["openvino"]), "mlprogram") == ["openvino"], "by name alone"
    with pytest.raises(EngineError, match="openvino does not execute format coreai; it takes: coreai"):
        engine_names(MeasureOptions(["openvino"]), "coreai")


def test_another_option_is_another_measurement(fp16):
    keys = {
        measurement_key(fp16.bundle, "mil", QUICK),
        measurement_key(fp16.bundle, "onnx", QUICK),
        measurement_key(fp16.bundle, "mil", dataclasses.replace(QUICK, chunk=8)),
    }
    assert len(keys) == 3
    assert measurement_key(fp16.bundle, "mil", QUICK) in keys


def test_kept_audio_is_the_output(fp16, tmp_path):
    measure(fp16.bundle, "onnx", dataclasses.replace(QUICK, bench_seconds=0), keep_audio=tmp_path)
    for case in fp16.bundle.goldens(fp16.bundle.component()):
        kept = np.load(tmp_path / f"onnx-{case.clip}.npy")
        assert kept.shape == (case.outputs["audio"].shape[2],)


def test_quality_alone_leaves_the_times_where_they_are(fp16, tmp_path):
    bundle = copied(fp16.bundle, tmp_path)
    path = measurement_path(bundle, "onnx", None)
    before = measure(bundle, "onnx", QUICK)
    write_measurement(path, before)
    written = path.stat().st_mtime_ns
    assert before.latency is not None
    assert main(["measure", str(bundle.path), "--engine", "onnx", "--no-timing"]) == 0
    after = read_measurement(path)
    assert after.latency == before.latency and path.stat().st_mtime_ns > written
    other = dataclasses.replace(before, versions={**before.versions, "torch": "0"})
    write_measurement(path, other)
    assert main(["measure", str(bundle.path), "--engine", "onnx", "--no-timing"]) == 2
    assert read_measurement(path) == other


def copied(bundle, folder):
    for path in (bundle.path, bundle.measured):
        shutil.copytree(path, folder / path.name)
    return open_bundle(folder / bundle.path.name)
