"""SwiftF0 beside ONNX Runtime on its own graph, through the job, and as the pitch of conversions."""

import dataclasses

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper

from checkpoints import CheckpointError
from checkpoints.load import load
from checkpoints.locate import locate
from checkpoints.options import CheckpointOptions
from converters.families import hubert, rvc, swift_f0, whisper
from converters.goldens import run_original
from converters.options import ConversionError, Shape
from converters.parts import pitch_stages
from runtime.bundle.conversion import Conversion, FeatureStage, LocalStage, VoicingStage, clock_of
from runtime.engines import Execution
from runtime.playing.conversions import open_conversion, parts_of
from runtime.playing.player import open_player
from runtime.playing.stages import NOBODY, Frontend
from runtime.playing.targets import make_target
from runtime.speech.clips import clip_paths, read_clip
from runtime.speech.mel import Mel
from runtime.speech.metrics import snr_db
from tests.small_swift_f0 import write_small_swift_f0
from tests.small_whisper import write_small_whisper

EXECUTION = Execution("onnx")
RATE = swift_f0.FEATURES.sample_rate


def loaded(path):
    return load(locate(CheckpointOptions(source=str(path)), "swift_f0", "", print))


def component_of(checkpoint):
    (component,) = swift_f0.components(swift_f0.load(checkpoint), checkpoint, Shape(64))
    return component


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("swift_f0") / "model.onnx"
    write_small_swift_f0(path)
    return path


@pytest.fixture(scope="module")
def component(path):
    return component_of(loaded(path))


def test_it_is_its_own_graph_and_its_own_steps_to_a_frequency(path, component):
    bands = swift_f0.FEATURES.of(read_clip(clip_paths()[0], RATE, 1)[: 2 * RATE])
    bands[-1, 30:40] = 0.0
    made = run_original(component, {"bands": bands[None]})["pitch"][0]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    logits, confidence = session.run(None, {"spectra": bands[None, :-1].reshape(1, 3, 128, -1)})
    np.testing.assert_allclose(made[1], confidence[0, 0] * bands[-1], atol=1e-5)
    assert not made[1, 30:40].any(), "silence has no voice"
    peaks = logits[0].argmax(axis=0)
    assert len(set(peaks)) > 5
    for frame, (peak, scores) in enumerate(zip(peaks, logits[0].T.astype(np.float64))):
        near = np.arange(max(peak - 1, 0), min(peak + 2, 95))
        weights = np.exp(scores[near] - scores[peak])
        logs = np.log(46.875) + near / 94 * np.log(2093.75 / 46.875)
        assert made[0, frame] == pytest.approx(np.exp((weights * logs).sum() / weights.sum()), rel=1e-5)


def test_of_equal_bins_the_first_is_taken(path):
    module = swift_f0.load(loaded(path))
    module.salience.weight.zero_()
    with torch.inference_mode():
        made = module(torch.ones(1, swift_f0.FEATURES.channels, 16))
    half = np.log(2093.75 / 46.875) / 94 / 2  # between the lowest two, which weigh the same
    np.testing.assert_allclose(made[0, 0], 46.875 * np.exp(half), rtol=1e-6)


def test_a_frame_depends_on_seven_on_both_sides(component):
    assert (component.time.left, component.time.right, component.time.frame_seconds) == (7, 7, 0.016)
    parameters = sum(parameter.numel() for parameter in component.module.parameters())
    assert parameters == 18558


def test_a_file_that_is_another_s_is_refused_by_a_sentence(path, tmp_path):
    model = onnx.load(path)
    broken = tmp_path / "model.onnx"

    def refused(said):
        onnx.save(model, broken)
        with pytest.raises(CheckpointError, match=said):
            swift_f0.load(loaded(broken))

    convolution = [node for node in model.graph.node if node.op_type == "Conv"][3]
    dilations = next(item for item in convolution.attribute if item.name == "dilations")
    dilations.ints[0] = 16
    refused("convolution .* another dilation")
    dilations.ints[0] = 17
    model.graph.node.append(helper.make_node("Conv", ["logits", "v0", "v1"], ["more"]))
    refused("has 19 convolutions, not 18")
    del model.graph.node[-1]
    del model.graph.node[0]
    refused("is missing|another dilation")
    model.CopyFrom(onnx.load(path))
    model.graph.initializer[0].dims[:] = [12, 3, 9, 1]
    refused("has shape")
    broken.write_bytes(b"no graph")
    with pytest.raises(CheckpointError, match="cannot be read"):
        loaded(broken)


def test_what_detects_no_pitch_is_refused(component):
    stages = pitch_stages(rvc.PITCH, component)
    assert [type(stage) for stage in stages] == [FeatureStage, LocalStage, VoicingStage]
    assert stages[-1].clock == clock_of(rvc.PITCH) and stages[-1].name == "pitch"
    assert pitch_stages(rvc.PITCH, None) == [FeatureStage("pitch", rvc.PITCH)]
    module = hubert.Hubert(8, 64, 64, 1, 0)
    reader = hubert.components(module, None, Shape())[0]
    with pytest.raises(ConversionError, match=r"model\.parts\.pitch"):
        pitch_stages(rvc.PITCH, reader)


def test_it_goes_through_the_job_and_streams_as_it_is_at_once(path, clips, own_job):
    outcome = own_job("model=swift_f0", f"checkpoint.source={path}", "precision=fp32", "format=onnx")
    assert outcome.passed, outcome.gates
    (measurement,) = outcome.measurements
    assert measurement.mode == "stateful" and {row.case for row in measurement.rows} == {one.stem for one in clips}
    assert min(row.snr_db for row in measurement.rows) > 90 and measurement.calls
    assert_streams(outcome.bundle, clips)


def assert_streams(bundle, clips):
    player = open_player(bundle, EXECUTION)
    bands = swift_f0.FEATURES.of(read_clip(clips[0], RATE, 1))[None]
    at_once, stream, pieces = player.play(bands), player.stream(), []
    for at in range(0, bands.shape[2], 5):
        pieces.append(stream.push({"bands": bands[:, :, at : at + 5]})["pitch"])
    pieces.append(stream.flush()["pitch"])
    np.testing.assert_array_equal(np.concatenate(pieces, axis=2), at_once)


def test_as_the_pitch_of_a_conversion_it_is_the_same_whatever_the_blocks(path, component, own_job):
    bundle = own_job("model=swift_f0", f"checkpoint.source={path}", "precision=fp32", "format=onnx").bundle
    stages = pitch_stages(rvc.PITCH, component)
    conversion = Conversion((*stages, LocalStage("decoder", "decoder", ("pitch",))))
    assert_same_in_blocks(Frontend(conversion, parts_of(bundle, conversion, EXECUTION), NOBODY, 48000))


def assert_same_in_blocks(frontend):
    """Bit for bit, and the pitch that is shown is one."""
    samples, made = read_clip(clip_paths()[0], 48000, 1)[: 2 * 48000], []
    for size in (len(samples), 480, 7001):
        frontend.reset()
        pieces = [frontend.push(samples[at : at + size]) for at in range(0, len(samples), size)]
        made.append(np.concatenate([*pieces, frontend.flush()], axis=2))
    np.testing.assert_array_equal(made[0], made[1])
    np.testing.assert_array_equal(made[0], made[2])
    assert made[0].shape[2] > 150 and 0.1 < frontend.voiced_seconds < 2 and frontend.pitch is not None


def test_a_conversion_takes_it_instead_of_yin(component):
    module, mel = whisper.ContentEncoder(80, 64, 1, 100), Mel(framing="inset", signal_norm=False)
    parts = {"vocoder": dataclasses.replace(component, name="generator", features=mel)}
    yin, learned = (whisper.conversion(module, {**parts, **more}) for more in ({}, {"pitch": component}))
    assert learned.components == ["content", "pitch", "generator"] and yin.components == ["content", "generator"]
    (voicing,) = [stage for stage in learned.stages if isinstance(stage, VoicingStage)]
    (pitch,) = [stage for stage in yin.stages if isinstance(stage, FeatureStage) and stage.name == "pitch"]
    assert (voicing.name, voicing.clock) == (pitch.name, clock_of(pitch.features))


@pytest.mark.proof
def test_the_wheel_s_own_model_is_equalled_on_real_speech(own_job, clips):
    """To 90 dB; ours has one frame more than its own, so that it is given zeros up to the next hop."""
    located = locate(CheckpointOptions(name="swift_f0"), "swift_f0", "swift_f0", print)
    component = component_of(load(located))
    session = onnxruntime.InferenceSession(located.weights, providers=["CPUExecutionProvider"])
    limits = {"fmin": np.array(46.875, np.float32), "fmax": np.array(2093.75, np.float32)}
    for clip in clip_paths():
        samples = read_clip(clip, RATE, 1)
        made = run_original(component, {"bands": swift_f0.FEATURES.of(samples)[None]})["pitch"][0]
        padded = np.pad(samples, (0, 256 - len(samples) % 256))
        hertz, confidence = session.run(None, {"audio": padded[None], **limits})
        loud = np.abs(padded.reshape(-1, 256)).max(axis=1) >= 1e-3
        assert snr_db(hertz[0], made[0]) > 90 and snr_db(confidence[0] * loud, made[1]) > 90
        assert 0.3 < (made[1] >= 0.5).mean() < 0.95
    outcome = own_job("model=swift_f0", "checkpoint.source=auto", "precision=fp16")
    assert outcome.passed, outcome.gates
    outcome = own_job("model=swift_f0", "checkpoint.source=auto", "precision=fp32", "format=onnx")
    assert outcome.passed, outcome.gates
    assert_streams(outcome.bundle, clips)


@pytest.mark.proof
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_conversion_with_it_passes_and_is_the_same_whatever_the_blocks(tmp_path, small_hifigan, own_job, precision):
    write_small_whisper(tmp_path / "whisper")
    outcome = own_job(
        "model=whisper_knn", f"checkpoint.source={tmp_path / 'whisper'}", f"precision={precision}",
        f"model.parts.vocoder.checkpoint.source={small_hifigan}", "model.parts.pitch.family=swift_f0",
        f"goldens.clips=[{','.join(map(str, clip_paths()))}]",
    )  # fmt: skip
    assert outcome.passed, outcome.gates
    bundle = outcome.bundle
    assert bundle.manifest.conversion.components == ["content", "pitch", "generator"]
    assert {row.component for one in outcome.measurements for row in one.rows} == {"content", "pitch"}
    target = make_target(bundle, clip_paths(), EXECUTION).target
    assert_same_in_blocks(open_conversion(bundle, target, 48000, "live", EXECUTION))
