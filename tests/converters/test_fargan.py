"""FARGAN beside the code of opus and xiph as it reads, written plainly, and through the job; small or drawn weights."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from checkpoints import CheckpointError
from checkpoints.load import load
from checkpoints.locate import locate
from checkpoints.options import CheckpointOptions
from converters.families import fargan, pitchdnn, whisper
from converters.goldens import run_original
from converters.options import Shape
from runtime.__main__ import main
from runtime.engines import Execution
from runtime.errors import StreamError
from runtime.playing.parts import Collected, Parts
from runtime.playing.player import open_player
from runtime.playing.sampling import Sampling
from runtime.playing.stages import Frontend, Target, pool_of
from runtime.speech.bark import WEIGHTS, Bark, PitchTracker, shifted_bark
from runtime.speech.clips import clip_paths, read_clip
from runtime.speech.metrics import log_mel_l1, snr_db
from tests.converters.fargan_upstream import Plainly, checkpoint_of_training, features_of, write_source
from tests.small_whisper import write_small_whisper

EXECUTION = Execution("onnx")
RATE = 16000


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("opus") / "fargan_data.c"
    write_source(path)
    return path


def loaded(path):
    return load(locate(CheckpointOptions(source=str(path)), "fargan", "", print))


def bundled():
    return load(locate(CheckpointOptions(source="bundled"), "fargan", "fargan", print))


def parts(checkpoint):
    return fargan.components(fargan.load(checkpoint), checkpoint, Shape())


@pytest.fixture(scope="module")
def ours():
    """The components of what ships."""
    return parts(bundled())


def made_by(components, features):
    """features (21, T) -> (160 T,) by the original modules."""
    conditions, block = components
    sampling = Sampling(lambda inputs: run_original(block, inputs), conditions.sampler)
    conditioning = run_original(conditions, {"features": features[None]})["conditioning"]
    return np.concatenate([sampling.push(conditioning), sampling.flush()], axis=2).ravel()


# ------------------------------------------------------------------------------------------------ networks


def test_its_samples_are_those_of_upstream_s_code_in_float(source):
    checkpoint, features = loaded(source), features_of(12)
    made, plain = made_by(parts(checkpoint), features), Plainly(checkpoint.weights).audio(features)
    assert len(set(np.abs(plain[-200:]).round(3))) > 20
    np.testing.assert_allclose(made, plain, atol=2e-4 * np.abs(plain).max())
    assert snr_db(plain, made) > 90


def test_a_checkpoint_of_xiph_s_training_code_is_the_same_network(source, tmp_path):
    checkpoint = loaded(source)
    module = fargan.load(checkpoint)
    saved = checkpoint_of_training(module.state_dict())
    torch.save(saved, tmp_path / "fargan_20.pth")
    again = fargan.load(loaded(tmp_path / "fargan_20.pth"))
    for name, value in module.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value)


@pytest.mark.parametrize("period", [32, 33, 45, 255, 256])
def test_what_a_period_ago_is_read_of_is_what_opus_reads(ours, period):
    chosen = ours[1].module._chosen(torch.tensor([[float(period)]]))[0]
    place, places = 256 - period - 2, []
    for _ in range(44):
        places.append(max(place, 0))
        place += 1
        if place == 256:
            place -= period
    assert (chosen.sum(1) == 1).all() and chosen.argmax(1).tolist() == places


def test_it_has_the_size_and_reach_of_upstream_s(ours):
    conditions, block = ours
    assert sum(value.numel() for value in bundled().weights.values()) == 816_597
    assert (conditions.time.left, conditions.time.right, conditions.time.samples_per_frame) == (1, 1, 160)
    assert conditions.sampler.columns == 1 and conditions.sampler.conditioning(conditions.time).samples_per_frame == 1
    assert block.outputs[0].shape == (1, 160)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("sig_net_gru1_input_scale", "other_scale", "lacks sig_net_gru1_input_scale"),
        ("sig_net_gain_dense_out_bias[4]", "sig_net_gain_dense_out_bias[5]", "holds 4 numbers, it states 5"),
        ("cond_net_pembed_weights_float", "other", "lacks cond_net_pembed_weights_float"),
        ("cond_net_fdense1_bias[64] = {\n0.0", "cond_net_fdense1_bias[64] = {\n0.1", "fdense1_bias is not zero"),
    ],
)
def test_what_is_no_source_of_opus_is_refused(source, tmp_path, before, after, said):
    path = tmp_path / "fargan_data.c"
    path.write_text(source.read_text().replace(before, after))
    with pytest.raises(CheckpointError, match=said):
        fargan.load(loaded(path))


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    torch.save({"state_dict": {"cond_net.fdense1.weight": torch.zeros(64, 32)}}, tmp_path / "fargan.pth")
    with pytest.raises(CheckpointError, match="are missing, such as"):
        fargan.load(loaded(tmp_path / "fargan.pth"))


# ------------------------------------------------------------------------------------------------ features


def test_the_extractor_s_pitch_is_that_of_the_pitch_detector():
    """The weights that the runtime keeps, in PyTorch's own layers."""
    module = pitchdnn.PitchDNN()
    with np.load(WEIGHTS) as file:
        weights = {name: torch.from_numpy(file[name]) for name in file.files}
    state = module.state_dict()
    module.load_state_dict({name: value.reshape(state[name].shape) for name, value in weights.items()})
    excitation = pitchdnn.FEATURES.of(read_clip(clip_paths()[0], RATE, 1)[8000:20000])
    hertz, confidence = module(torch.from_numpy(excitation)[None])[0].detach().numpy()
    tracker = PitchTracker({name: value.double().numpy() for name, value in weights.items()})
    pitch, correlation, period = np.array([tracker.push(frame) for frame in excitation.T]).T
    np.testing.assert_allclose(256 / 2 ** (pitch + 1.5), RATE / hertz, rtol=1e-4)
    assert (np.abs(period - RATE / hertz) <= 0.51).all()
    assert np.median(np.abs(correlation + 0.5 - confidence)) < 0.01


def test_a_frame_says_how_loud_its_hop_is_and_which_period_it_has():
    features, moments = Bark(), np.arange(RATE) / RATE
    tone = sum(np.sin(2 * np.pi * 200 * order * moments) / order for order in range(1, 20)).astype(np.float32) / 4
    frames = features.of(np.concatenate([np.zeros(8000, np.float32), tone]))
    assert frames.shape == (21, 150) and (features.latency, features.border) == (80, 80)
    assert frames[0, 60:].min() > frames[0, :49].max() + 5, "the loudness of all bands"
    assert frames[20, 70:] == pytest.approx(80, abs=1) and frames[19, 70:-1].min() > 0.45
    np.testing.assert_allclose(frames[20, 70:], 256 / 2 ** (frames[18, 70:] + 1.5), atol=0.5)
    assert features.of(np.zeros(100, np.float32)).shape == (21, 0)


def test_matched_frames_get_the_source_s_pitch_and_become_softer():
    frames = np.stack([features_of(1)[:, 0]] * 4, axis=1)
    frames[18], frames[20] = np.log2(256 / 100) - 1.5, 100
    logs = np.log(np.array([200.0, 30.0, 900.0, np.nan], np.float32))
    shifted = shifted_bark(frames, np.array([0.0, -10.0, -1000.0, 0.0]), logs)
    assert shifted[20].tolist() == [80, 256, 32, 100], "what opus detects lies between 62.5 and 494 Hz"
    np.testing.assert_allclose(shifted[18, [0, 3]], np.log2(256 / np.array([80, 100])) - 1.5, atol=1e-6)
    levels = np.full((1, 18), 1.5)
    cosines = np.cos((np.arange(18)[:, None] + 0.5) * np.arange(18) * np.pi / 18) * np.sqrt(2 / 18)
    softer = (levels - 1.0) @ cosines * np.where(np.arange(18) == 0, np.sqrt(0.5), 1)
    louder = levels @ cosines * np.where(np.arange(18) == 0, np.sqrt(0.5), 1)
    assert shifted[0, 1] - frames[0, 1] == pytest.approx((softer - louder)[0, 0], abs=1e-5), "10 dB in every band"
    silent = Bark().of(np.zeros(3200, np.float32))
    np.testing.assert_allclose(shifted[0, 2], silent[0, 5], atol=1e-4)
    np.testing.assert_array_equal(shifted[1:18], frames[1:18])


def test_whisper_s_frames_are_matched_in_its_features(ours, tmp_path):
    """At once and as it comes: the same frames, of a target's cepstra."""
    write_small_whisper(tmp_path / "small")
    content = load(locate(CheckpointOptions(source=str(tmp_path / "small")), "whisper", "", print))
    encoder = whisper.load(content)
    vocoder, _ = ours
    conversion = whisper.conversion(encoder, {"vocoder": vocoder})
    assert (conversion.components, conversion.sample_rate) == (["content", "conditions"], RATE)
    (component,) = whisper.components(encoder, content, Shape())

    def run(name, frames):
        return run_original(component, {"mel": frames})["content"]

    joined = Parts(run, lambda name: Collected(lambda frames: run(name, frames), 1), {})
    voice = [read_clip(path, RATE, 160)[:48000] for path in clip_paths()[:2]]
    pool = pool_of(conversion, joined, [[voice[1]]], RATE)
    assert pool.mel.shape[1] == 21
    made = []
    for size in (48000, 1234):
        frontend = Frontend(conversion, joined, Target(pool=pool), RATE)
        pieces = [frontend.push(voice[0][at : at + size]) for at in range(0, 48000, size)]
        made.append(np.concatenate([*pieces, frontend.flush()], axis=2)[0])
    np.testing.assert_array_equal(made[0], made[1])
    lags = np.floor(0.5 + 256 / 2 ** (made[0][18] + 1.5))
    np.testing.assert_array_equal(made[0][20], lags)
    cepstra, hers = made[0][1:18].T, pool.mel[:, 1:18]
    within = np.clip(cepstra, hers.min(axis=0), hers.max(axis=0))
    np.testing.assert_allclose(within, cepstra, atol=1e-5, err_msg="means of hers")


# Of every twelfth frame from 20 on of the first clip that ships with voxport, what opus 1.5.2's `fargan_demo -features`
# makes of it behind 80 zeros: the first three cepstra, pitch and correlation.
OPUS = np.array(
    [[7.7153, 4.3896, 1.7943, -0.4399, 0.0378],
     [15.6700, 2.2138, 0.0080, -0.2750, 0.4403],
     [9.6555, 3.9523, 1.0889, 0.0683, -0.2488],
     [10.5695, 2.3783, 0.8710, 0.0445, 0.0984],
     [11.6529, 1.4975, 2.1842, 0.1095, 0.4617],
     [11.0963, 1.0462, 0.5832, 0.2418, -0.2162],
     [9.4904, -2.0401, 0.5004, -0.1339, -0.2932],
     [7.2962, -4.5446, 2.0748, -0.5137, -0.1864],
     [9.9797, 1.7881, 2.7823, 0.0131, 0.3917],
     [8.6967, 2.0676, 2.4284, 0.0667, 0.3471],
     [12.0183, 0.9676, 1.3717, -0.0777, 0.4040],
     [10.3100, 3.9786, -0.6261, -0.1120, 0.4490],
     [11.5791, -5.2066, 3.0905, -0.1150, -0.2661],
     [12.8682, 3.2900, 0.5237, -0.3089, 0.2799],
     [8.6756, 1.4071, 0.6098, -0.4678, -0.1747]]
)  # fmt: skip


def test_opus_itself_extracts_the_same():
    """Cepstra to 0.0006, by which its logarithm is off; pitch to a fiftieth of a semitone but where its rounding to 8
    bits takes another bin."""
    samples = np.round(read_clip(clip_paths()[0], RATE, 1) * 32767) / np.float32(32768)
    made = Bark().of(samples.astype(np.float32))[[0, 1, 2, 18, 19], 20 : 20 + 12 * len(OPUS) : 12].T
    np.testing.assert_allclose(made[:, :3], OPUS[:, :3], atol=6e-4)
    off = np.abs(made[:, 3:] - OPUS[:, 3:])
    assert (off[:, 0] < 1 / 600).all() and (off[:, 1] < 1e-3).all()


# ------------------------------------------------------------------------------------------------ artefacts


@pytest.mark.proof
def test_it_goes_through_the_job_and_streams_as_it_is_at_once(ours, own_job, clips, capsys):
    outcome = own_job("model=fargan", "checkpoint.source=bundled", "precision=fp32", "format=onnx")
    assert outcome.passed, outcome.gates
    (measurement,) = outcome.measurements
    assert measurement.mode == "stateful"
    features = Bark().of(read_clip(clips[0], RATE, 160)[:16000])
    plain = made_by(ours, features)
    assert main(["info", str(outcome.bundle.path)]) == 0
    said = capsys.readouterr().out
    assert "25.0 ms by structure: window 5.0, chunk 10.0, lookahead 10.0" in said and "160 output samples" in said
    with pytest.raises(StreamError, match="there is: stateful"):
        open_player(outcome.bundle, EXECUTION, mode="fold")
    player = open_player(outcome.bundle, EXECUTION)
    assert (player.form.lookahead, player.chunk) == (1, 1)
    whole = player.play(features[None]).ravel()
    assert snr_db(plain, whole) > 80
    stream, pieces = player.stream(), []
    for start in range(0, features.shape[1], 7):
        pieces.append(stream.push({"features": features[None, :, start : start + 7]})["audio"])
    streamed = np.concatenate([*pieces, stream.flush()["audio"]], axis=2).ravel()
    np.testing.assert_array_equal(streamed, whole)
    assert len(whole) == 160 * features.shape[1]


# ------------------------------------------------------------------------------------------------ opus itself


@pytest.fixture(scope="module")
def opus(tmp_path_factory):
    """Runs opus's own C program: a source tree of opus 1.5.2, configured with --enable-deep-plc, in which `make
    fargan_demo` was run, is named by VOXPORT_OPUS."""
    tree = os.environ.get("VOXPORT_OPUS")
    if not tree:
        pytest.skip("VOXPORT_OPUS names no built source tree of opus 1.5.2")
    root, folder = Path(tree), tmp_path_factory.mktemp("built")
    objects = [
        str(path)
        for path in root.rglob(".libs/*.o")
        if path.name != "fargan.o" and "demo" not in path.name and "dump" not in path.name
    ]
    folders = [f"-I{root / name}" for name in ("", "dnn", "include", "celt", "silk")]
    harness = Path(__file__).parent / "fargan_harness.c"
    command = ["cc", "-O2", "-DHAVE_CONFIG_H", *folders, str(harness), *objects, "-lm", "-o", str(folder / "harness")]
    subprocess.run(command, check=True, capture_output=True)

    def features(samples):
        samples.astype(np.int16).tofile(folder / "in.pcm")
        command = [root / "fargan_demo", "-features", folder / "in.pcm", folder / "features.f32"]
        subprocess.run(command, check=True, capture_output=True)
        return np.fromfile(folder / "features.f32", np.float32).reshape(-1, 36)

    def synthesis(features, kind):
        features.tofile(folder / "given.f32")
        subprocess.run([folder / "harness", folder / "given.f32", folder / "frames.f32", kind], check=True)
        return np.split(np.fromfile(folder / "frames.f32", np.float32).reshape(-1, 1318), [321, 1158], axis=1)

    return features, synthesis


@pytest.mark.proof
def test_what_ships_is_what_opus_s_source_holds():
    """The vocoder's weights and those of the extractor's detector of pitch, out of the release."""
    released = load(locate(CheckpointOptions(name="fargan_opus"), "fargan", "fargan_opus", print))
    theirs, ours = fargan.load(released).state_dict(), fargan.load(bundled()).state_dict()
    assert set(theirs) == set(ours)
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=0, atol=0)
    released = load(locate(CheckpointOptions(name="pitchdnn"), "pitchdnn", "pitchdnn", print))
    detector = pitchdnn.load(released).state_dict()
    with np.load(WEIGHTS) as file:
        assert set(file.files) == set(detector)
        for name, value in detector.items():
            np.testing.assert_array_equal(file[name].ravel(), value.numpy().ravel())


@pytest.mark.proof
def test_it_is_as_near_to_the_c_program_as_that_is_to_itself_on_another_processor(ours, opus):
    """Frame by frame from the program's own state, the rounding of a layer's input to 8 bits is all that differs. Over
    a whole recording any rounding makes another waveform of the same sound, the program's own with other instructions
    too; so the bands are compared."""
    features, synthesis = opus
    conditions, block = ours
    for clip in clip_paths():
        samples = np.round(read_clip(clip, RATE, 160) * 32767)
        rows = features(np.concatenate([np.zeros(80), samples, np.zeros(160)]))[1:]
        extracted = Bark().of((samples / 32768).astype(np.float32))
        off = np.abs(extracted[:20] - rows[: extracted.shape[1], :20].T)
        assert off[:18].max() < 1e-3
        assert (np.median(off[18]) < 1 / 1200) and (np.median(off[19]) < 1e-4)
        columns, states, theirs = synthesis(rows, "fast")
        periods = np.floor(0.5 + 256 / 2 ** (rows[:, 18:19] + 1.5))
        given = np.concatenate([rows[:, :20], periods], axis=1).T.astype(np.float32)
        conditioning = run_original(conditions, {"features": given[None]})["conditioning"][0].T[: len(columns)]
        assert snr_db(columns[:, :320].ravel(), conditioning[:, :320].ravel()) > 38
        np.testing.assert_array_equal(columns[:, 320], conditioning[:, 320])
        states[:, -257:] *= 256  # the block's excitation and last sample are louder
        made = [run_original(block, {"conditioning": column[None, :, None], "carried": state[None]})["samples"][0]
                for column, state in zip(columns, states)]  # fmt: skip
        assert snr_db(theirs.ravel(), np.concatenate(made)) > 28
        whole, plain = made_by((conditions, block), given)[: theirs.size], synthesis(rows, "c")[2].ravel()
        between = [_bands_off(plain, theirs.ravel()), _bands_off(whole, theirs.ravel())]
        assert between[1] < 1.5 * between[0] and between[1] < 0.2, between


def _bands_off(one, other):
    """The mean difference of natural-log mel bands."""
    return log_mel_l1(one.astype(np.float32), other.astype(np.float32), fargan.JUDGED)
