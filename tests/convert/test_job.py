import dataclasses
import json
import shutil

import numpy as np
import pytest
import soundfile
import torch

from checkpoints.catalogue import BUNDLED
from checkpoints.locate import FALLBACK
from convert.key import bundle_key
from converters.options import ConversionError
from runtime.bundle.store import open_bundle
from tests.convert.test_config import composed


@pytest.fixture
def quick(sources, in_a_row):
    """The main job, without a bench."""
    return lambda output, *overrides: composed(
        *sources, "tracking=off", "measure.bench_seconds=0", f"output={output}", *overrides
    )


def test_the_default_job_passes_its_gates_on_real_weights_and_speech(fp16):
    assert fp16.passed
    assert fp16.bundle.path.parent.name != "rejected"
    assert {gate.engine for gate in fp16.gates} == {"mil", "onnx"}
    assert (fp16.bundle.measured / "report.html").is_file()
    assert open_bundle(fp16.bundle.path).manifest.checkpoint.fallback is False


def test_an_unchanged_job_is_reused_in_every_part(quick, fp16, monkeypatch):
    from convert import job as module

    for part in ("_convert", "_measure", "_report", "_track"):
        monkeypatch.setattr(module, part, lambda *_, part=part: pytest.fail(f"{part} ran again"))
    again = module.run_job(quick(fp16.bundle.path.parent, "measure.bench_seconds=0.05", "measure.bench_min_chunks=5"))
    assert again.reused
    assert again.bundle.path == fp16.bundle.path
    assert again.measurements == fp16.measurements


def test_programs_are_lowered_once_into_the_cache_before_one_is_timed(quick, fp16, tmp_path, monkeypatch, in_a_row):
    from convert import job as module

    def lowered_before(bundle, engine, *rest):
        before[engine] = [path.name for path in tmp_path.rglob("*.onnx")]
        return measured(bundle, engine, *rest)

    before, measured = {}, module.measure
    monkeypatch.setenv("VOXPORT_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "measure", lowered_before)
    for path in (fp16.bundle.path, fp16.bundle.measured):
        shutil.copytree(path, tmp_path / path.name)
    outcome = module.run_job(quick(tmp_path, "measure.bench_seconds=0.1", "measure.bench_min_chunks=5"))
    assert [one.engine for one in outcome.measurements] == ["mil", "onnx"]
    assert len(before["onnx"]) == 1
    assert before["onnx"] == [path.name for path in tmp_path.rglob("*.onnx")]


def test_a_reused_job_sweeps_what_killed_jobs_left(quick, fp16, tmp_path):
    from convert.job import run_job

    for path in (fp16.bundle.path, fp16.bundle.measured):
        shutil.copytree(path, tmp_path / path.name)
    left = tmp_path / ".voice.partial-0123abcd"
    left.mkdir()
    (left / ".voxport-lock").touch()
    assert run_job(quick(tmp_path, "measure.bench_seconds=0.05", "measure.bench_min_chunks=5")).reused
    assert not left.exists()


def test_a_threshold_can_change_without_a_conversion(quick, fp16, tmp_path, monkeypatch):
    from convert import job as module

    for path in (fp16.bundle.path, fp16.bundle.measured):
        shutil.copytree(path, tmp_path / path.name)
    options = ("measure.bench_seconds=0.05", "measure.bench_min_chunks=5")
    monkeypatch.setattr(module, "_convert", lambda *_: pytest.fail("converted again"))
    strict = module.run_job(quick(tmp_path, *options, "gates.limits.fp16.snr_db=90"))
    assert not strict.passed
    assert strict.bundle.path.parent == tmp_path / "rejected"
    assert "Rejected" in (strict.bundle.measured / "report.html").read_text()
    lenient = module.run_job(quick(tmp_path, *options))
    assert lenient.passed
    assert lenient.bundle.path.parent == tmp_path
    assert "All gates met" in (lenient.bundle.measured / "report.html").read_text()
    assert not (tmp_path / "rejected" / lenient.bundle.path.name).exists()


def test_an_audit_is_made_once_where_it_is_asked_for_and_stands_in_the_report(quick, fp16, tmp_path, monkeypatch):
    from convert import job as module
    from runtime.rounding import audit
    from runtime.rounding.record import read_audit

    for path in (fp16.bundle.path, fp16.bundle.measured):
        shutil.copytree(path, tmp_path / path.name)
    options = ("measure.bench_seconds=0.05", "measure.bench_min_chunks=5", "audit=true")
    outcome = module.run_job(quick(tmp_path, *options))
    assert outcome.reused
    (program,) = read_audit(outcome.bundle.measured / "audit.json").programs
    page = (outcome.bundle.measured / "report.html").read_text()
    assert "Rounding in generator" in page and program.ops[0].output in page
    monkeypatch.setattr(audit, "audit_bundle", lambda _: pytest.fail("audited again"))
    module.run_job(quick(tmp_path, *options))


def test_a_conversion_that_went_wrong_is_rejected_and_keeps_its_report(quick, tmp_path, monkeypatch):
    """One weight of the artefact off by a little: nothing but executing the artefact shows it."""
    import convert.stages as stages
    from convert.job import run_job

    rewrite = stages.rewrite_upsampling

    def damaged(module, upsampler, example):
        rewritten = rewrite(module, upsampler, example)
        with torch.no_grad():
            rewritten.generator.conv_post.weight[0, 0, 0] += 0.02
        return rewritten

    monkeypatch.setattr(stages, "rewrite_upsampling", damaged)
    outcome = run_job(quick(tmp_path, "precision=fp32", "measure.engines=[mil]"))
    assert not outcome.passed
    assert outcome.bundle.path.parent == tmp_path / "rejected"
    assert {gate.gate for gate in outcome.gates if not gate.passed} >= {"snr_db"}
    assert (outcome.bundle.measured / "report.html").is_file()
    assert not list(tmp_path.glob(".*"))


def test_a_damaged_bundle_is_converted_anew(quick, fp16, tmp_path):
    from convert.job import run_job

    for path in (fp16.bundle.path, fp16.bundle.measured):
        shutil.copytree(path, tmp_path / path.name)
    (tmp_path / fp16.bundle.path.name / "goldens.npz").write_bytes(b"")
    outcome = run_job(quick(tmp_path, "measure.engines=[mil]"))
    assert not outcome.reused
    open_bundle(outcome.bundle.path)


def test_a_damaged_measurement_is_measured_again_without_a_conversion(quick, fp16, tmp_path, monkeypatch):
    from convert import job as module

    for path in (fp16.bundle.path, fp16.bundle.measured):
        shutil.copytree(path, tmp_path / path.name)
    damaged = next((tmp_path / fp16.bundle.measured.name).glob("mil-*.json"))
    damaged.write_text(damaged.read_text()[:100])
    monkeypatch.setattr(module, "_convert", lambda *_: pytest.fail("converted again"))
    outcome = module.run_job(quick(tmp_path, "measure.engines=[mil]"))
    assert not outcome.reused
    assert outcome.measurements[0].worst.agreement.snr_db == pytest.approx(
        fp16.measurements[0].worst.agreement.snr_db, abs=0.5
    )


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, OSError])
@pytest.mark.parametrize("stage", ["convert_artefact", "write_references", "make_goldens", "finish_bundle"])
def test_whatever_stops_a_job_nothing_is_left_that_looks_finished(quick, tmp_path, monkeypatch, stage, error):
    import convert.stages as stages
    from convert.job import run_job

    def stop(*_):
        raise error("stopped")

    monkeypatch.setattr(stages, stage, stop)
    if stage != "convert_artefact":
        converted = stages.Converted(tmp_path / "generator.none")
        monkeypatch.setattr(stages, "convert_artefact", lambda *_: converted)
    with pytest.raises(error):
        run_job(quick(tmp_path, "measure.engines=[mil]"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change", ["precision=fp32", "upsampler=native", "shape.frames=48", "format=onnx", "format.target=macOS14"]
)
def test_what_the_artefact_depends_on_is_in_the_key(checkpoint, change):
    assert bundle_key(composed(change), checkpoint.located, {}) != bundle_key(composed(), checkpoint.located, {})


@pytest.mark.parametrize(
    "change", ["gates.limits.fp16.snr_db=1", "tracking=off", "output=elsewhere", "measure.chunk=8", "force=true"]
)
def test_what_it_does_not_depend_on_is_not(checkpoint, change):
    assert bundle_key(composed(change), checkpoint.located, {}) == bundle_key(composed(), checkpoint.located, {})


def test_clips_are_in_the_key_by_name_and_content(checkpoint, tmp_path):
    def key(name, seconds):
        soundfile.write(tmp_path / name, np.zeros(int(seconds * 16000)), 16000)
        return bundle_key(composed(f"goldens.clips=[{tmp_path / name}]"), checkpoint.located, {})

    keys = [bundle_key(composed(), checkpoint.located, {}), key("a.wav", 1), key("a.wav", 2), key("b.wav", 2)]
    assert len(set(keys)) == 4
    assert key("a.wav", 1) == keys[1]
    (tmp_path / "a.txt").write_text("Its words.")
    assert key("a.wav", 1) not in keys, "words are counted against its transcript"


def test_a_clip_shorter_than_the_artefact_s_input_is_a_sentence(sources, tmp_path):
    from convert.job import run_job

    soundfile.write(tmp_path / "short.wav", np.zeros(22050 * 6 // 10), 22050)
    job = composed(*sources, f"goldens.clips=[{tmp_path}/short.wav]", f"output={tmp_path}/out", "tracking=off")
    with pytest.raises(ConversionError, match=r"short.wav of 0.60 s, less than the 0.74 s .*smaller shape.frames"):
        run_job(job)


def test_other_weights_or_another_config_are_another_key(checkpoint):
    located = checkpoint.located
    keys = {
        bundle_key(composed(), located, {}),
        bundle_key(composed(), located, {"vocoder": located}),
        bundle_key(composed(), dataclasses.replace(located, sha256="0" * 64), {}),
        bundle_key(composed(), dataclasses.replace(located, config={**located.config, "x": 1}), {}),
    }
    assert len(keys) == 4


def test_anyones_own_checkpoint_converts(quick, tmp_path):
    """Coqui's own layout: a pickle with a config beside it, at another sample rate and channel count."""
    from convert.job import run_job
    from converters.upstream.coqui import import_coqui

    folder = tmp_path / "tiny_voice"
    folder.mkdir()
    config = json.loads((BUNDLED / FALLBACK["hifigan"] / "config.json").read_text())
    config["generator_model_params"] |= {
        "upsample_initial_channel": 32,
        "upsample_factors": [16, 16],
        "upsample_kernel_sizes": [32, 32],
    }
    config["audio"]["sample_rate"] = 16000
    torch.manual_seed(0)
    module = import_coqui("TTS.vocoder.models.hifigan_generator").HifiganGenerator(**config["generator_model_params"])
    torch.save({"model": module.state_dict(), "model_loss": np.float64(0.5)}, folder / "model_file.pth")
    (folder / "config.json").write_text(json.dumps(config))
    outcome = run_job(quick(tmp_path / "out", f"checkpoint.source={folder}", "measure.engines=[mil]", "precision=fp32"))
    assert outcome.passed
    record = outcome.bundle.component()
    assert record.time.sample_rate == 16000
    assert outcome.bundle.path.name.startswith("tiny_voice-mlprogram-fp32")
    assert outcome.bundle.manifest.checkpoint.licence == "not stated"
