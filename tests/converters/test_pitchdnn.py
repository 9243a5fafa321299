"""PitchDNN beside opus's own code as it reads, written plainly, and through the job; small or drawn weights."""

import numpy as np
import pytest
import torch

from checkpoints import CheckpointError
from checkpoints.c_arrays import read_c_arrays
from checkpoints.load import load
from checkpoints.locate import locate
from checkpoints.options import CheckpointOptions
from converters.families import pitchdnn
from converters.goldens import run_original
from converters.options import Shape
from converters.parts import pitch_stages
from runtime.bundle.conversion import Clock, Conversion, LocalStage, clock_of
from runtime.engines import Execution
from runtime.playing.conversions import parts_of
from runtime.playing.player import open_player
from runtime.playing.stages import NOBODY, Frontend
from runtime.speech.clips import clip_paths, read_clip
from runtime.speech.metrics import snr_db
from runtime.speech.spectrum import Pitch

EXECUTION = Execution("onnx")
RATE = pitchdnn.FEATURES.sample_rate
DENSE = {"dense_if_upsampler_1": (88, 64), "dense_if_upsampler_2": (64, 64), "dense_downsampler": (288, 64),
         "dense_final_upsampler": (64, 192), "gru_1_input": (64, 192), "gru_1_recurrent": (64, 192)}  # fmt: skip
MAPS = {"conv2d_1": (1, 4), "conv2d_2": (4, 1)}


def c_array(name, kind, values):
    return f"static const {kind} {name}[{len(values)}] = {{\n{','.join(map(str, values))}\n}};\n"


def write_source(path):
    """A file as opus's, its weights drawn."""
    random, parts = np.random.default_rng(0), ['/* drawn */\n#include "nnet.h"\n#ifndef USE_WEIGHTS_FILE\n']
    for name, (inputs, outputs) in DENSE.items():
        parts.append(c_array(f"{name}_weights_int8", "opus_int8", random.integers(-127, 128, inputs * outputs)))
        scale = 2.5 / 127 / 73 / np.sqrt(inputs) * random.uniform(0.5, 1, outputs)
        parts.append(c_array(f"{name}_scale", "float", scale.tolist()))
        parts.append(c_array(f"{name}_bias", "float", (random.standard_normal(outputs) / 5).tolist()))
        parts.append(c_array(f"{name}_subias", "float", random.standard_normal(outputs).tolist()))
    for name, (inputs, outputs) in MAPS.items():
        parts.append(c_array(f"{name}_weight_float", "float", random.standard_normal(inputs * outputs * 9).tolist()))
        parts.append(c_array(f"{name}_bias", "float", (random.standard_normal(outputs) / 5).tolist()))
    path.write_text("".join([*parts, "#endif\nint init_pitchdnn(PitchDNN *model) {\nreturn 0;\n}\n"]))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("opus") / "pitchdnn_data.c"
    write_source(path)
    return path


def loaded(path):
    return load(locate(CheckpointOptions(source=str(path)), "pitchdnn", "", print))


def component_of(checkpoint):
    (component,) = pitchdnn.components(pitchdnn.load(checkpoint), checkpoint, Shape(256))
    return component


def plainly(arrays, phases, correlations):
    """compute_pitchdnn frame by frame, without its rounding of what layers take: (T,) Hz."""
    arrays = {name: value.double().numpy() for name, value in arrays.items()}

    def dense(name, given):
        inputs, outputs = DENSE[name]
        integers, made = iter(arrays[f"{name}_weights_int8"]), np.zeros(outputs)
        for row in range(0, outputs, 8):
            for column in range(0, inputs, 4):
                for output in range(row, row + 8):
                    for one in range(column, column + 4):
                        made[output] += next(integers) * given[one]
        return made * arrays[f"{name}_scale"] * 127 + arrays[f"{name}_bias"]

    def maps(name, rows):
        """rows: of three frames (3, inputs, periods + 2) -> (outputs, periods)."""
        inputs, outputs = MAPS[name]
        weight = arrays[f"{name}_weight_float"].reshape(outputs, inputs, 3, 3)
        made = np.zeros((outputs, rows.shape[2] - 2)) + arrays[f"{name}_bias"][:, None]
        for time in range(3):
            for height in range(3):
                made += weight[:, :, time, height] @ rows[time, :, height : height + made.shape[1]]
        return np.tanh(made)

    state, hertz = np.zeros(64), []
    first, second = np.zeros((3, 1, 226)), np.zeros((3, 4, 226))
    for phase, correlation in zip(phases.T, correlations.T):
        hidden = np.tanh(dense("dense_if_upsampler_2", np.tanh(dense("dense_if_upsampler_1", phase))))
        first = np.concatenate([first[1:], np.pad(correlation, 1)[None, None]])
        second = np.concatenate([second[1:], np.pad(maps("conv2d_1", first), ((0, 0), (1, 1)))[None]])
        joined = np.tanh(dense("dense_downsampler", np.concatenate([maps("conv2d_2", second)[0], hidden])))
        given, kept = dense("gru_1_input", joined), dense("gru_1_recurrent", state)
        update, reset = np.split(1 / (1 + np.exp(-(given + kept)[:128])), 2)
        state = update * state + (1 - update) * np.tanh(given[128:] + reset * kept[128:])
        logits = dense("dense_final_upsampler", state)[:180]
        near = np.arange(max(logits.argmax() - 2, 0), min(logits.argmax() + 3, 180))
        weights = np.exp(logits[near])
        hertz.append(62.5 * 2 ** ((weights * near).sum() / weights.sum() / 60))
    return np.array(hertz)


def test_it_is_opus_s_own_network(source):
    checkpoint = loaded(source)
    features = pitchdnn.FEATURES.of(read_clip(clip_paths()[0], RATE, 1)[8000:14400])[:, :24]
    made = run_original(component_of(checkpoint), {"excitation": features[None]})["pitch"][0]
    np.testing.assert_allclose(made[0], plainly(checkpoint.weights, features[:88], features[88:312]), rtol=1e-4)
    assert len(set(made[0].round())) > 5
    rows = 256 - np.round(RATE / made[0]).astype(int)
    near = [features[312 + max(row - 8, 0) : 312 + row + 9, frame] for frame, row in enumerate(rows)]
    curve = [np.log1p(np.exp(5 * values)) / np.log1p(np.exp(5)) for values in near]
    assert all(one.min() - 1e-5 <= value <= one.max() + 1e-5 for one, value in zip(curve, made[1]))


def test_a_tone_repeats_at_its_period_and_its_phases_advance():
    moments = np.arange(RATE) / RATE
    tone = sum(np.sin(2 * np.pi * 200 * order * moments) / order for order in range(1, 20)).astype(np.float32) / 4
    features = pitchdnn.FEATURES.of(tone)
    assert features.shape == (536, 103) and np.abs(features).max() <= 1
    frame = features[:, 50]
    assert 256 - frame[88:312].argmax() in (80, 160, 240), "of 200 Hz"
    assert frame[88 + 256 - 80] > 0.8 > frame[88 + 256 - 60]
    assert 256 - frame[312:].argmax() in (80, 160, 240) and frame[312 + 256 - 80] > 0.95
    cosine, sine = frame[3 * 4 - 2], frame[3 * 4 - 1]  # of the bin at 200 Hz, two whole turns in 10 ms
    assert cosine == pytest.approx(1, abs=0.01) and sine == pytest.approx(0, abs=0.1)


def test_a_frame_stands_for_the_end_of_the_first_half_of_its_window():
    assert clock_of(pitchdnn.FEATURES) == Clock(16000, 160, 0.0)
    samples = np.zeros(RATE, np.float32)
    samples[8000:] = 0.1 * np.random.default_rng(0).standard_normal(8000)
    level = pitchdnn.FEATURES.of(samples)[0]
    assert level[50] > level[49] == level[10], "frame 50 reaches from 40 ms before to 10 ms after its moment"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("dense_downsampler_bias[64]", "dense_downsampler_bias[65]", "holds 64 numbers, it states 65"),
        ("dense_downsampler_scale", "other_scale", "lacks dense_downsampler_scale"),
        ("static const opus_int8 gru_1_input", "static const opus_int16 gru_1_input", "lacks gru_1_input_weights_int8"),
        ("static", "extern", "declares no arrays"),
    ],
)
def test_what_is_no_source_of_opus_is_refused(source, tmp_path, before, after, said):
    path = tmp_path / "pitchdnn_data.c"
    path.write_text(source.read_text().replace(before, after))
    with pytest.raises(CheckpointError, match=said):
        pitchdnn.load(loaded(path))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("static const float a[2] = {1.0,system(0)};", "which is no number"),
        ("static const float a[2] = {1.0,1e999};", "not finite"),
        ("static const opus_int8 a[2] = {1,128};", "are no int8"),
        ("static const opus_int8 a[2] = {1,0.5};", "are no int8"),
        ("static const float a[999999999] = {1.0};", "it states 999999999"),
        ("static const float a[1] = {1.0", "declares no arrays"),
    ],
)
def test_numbers_alone_are_read_and_nothing_is_computed(tmp_path, text, said):
    (tmp_path / "a.c").write_text(text)
    with pytest.raises(CheckpointError, match=said):
        read_c_arrays(tmp_path / "a.c")


def test_arrays_are_read_as_they_are_declared(tmp_path):
    text = "int x;\nstatic const float a[3] = {\n1.5,-2e-3f,\n.25,\n};\nstatic const opus_int8 b[2] = {-128,127};\n"
    (tmp_path / "a.c").write_text(text)
    arrays = read_c_arrays(tmp_path / "a.c")
    torch.testing.assert_close(arrays["a"], torch.tensor([1.5, -2e-3, 0.25]))
    assert arrays["b"].dtype == torch.int8 and arrays["b"].tolist() == [-128, 127]


@pytest.mark.proof
def test_it_goes_through_the_job_and_streams_as_it_is_at_once(source, clips, own_job):
    outcome = own_job("model=pitchdnn", f"checkpoint.source={source}", "precision=fp32", "format=onnx")
    assert outcome.passed, outcome.gates
    (measurement,) = outcome.measurements
    assert measurement.mode == "stateful" and min(row.snr_db for row in measurement.rows) > 90
    player, samples = open_player(outcome.bundle, EXECUTION), read_clip(clips[0], RATE, 1)
    assert player.form.lookahead == 0
    features = pitchdnn.FEATURES.of(samples)[None]
    whole = run_original(component_of(loaded(source)), {"excitation": features})["pitch"]
    assert snr_db(whole.ravel(), player.play(features).ravel()) > 90
    stages = pitch_stages(Pitch(RATE, 1024, 256), component_of(loaded(source)))
    conversion, made = Conversion((*stages, LocalStage("decoder", "decoder", ("pitch",)))), []
    frontend = Frontend(conversion, parts_of(outcome.bundle, conversion, EXECUTION), NOBODY, RATE)
    for size in (len(samples), 480, 7001):
        frontend.reset()
        pieces = [frontend.push(samples[at : at + size]) for at in range(0, len(samples), size)]
        made.append(np.concatenate([*pieces, frontend.flush()], axis=2))
    np.testing.assert_array_equal(made[0], made[1])
    np.testing.assert_array_equal(made[0], made[2])


# Hz of frames 20, 32, … of the first clip that ships with voxport by opus 1.5.2 (`fargan_demo -features`).
OPUS = [130.76, 145.161, 184.365, 183.084, 189.811, 209.093, 138.454, 123.633, 177.959, 185.258, 168.802, 163.452,
        163.403, 143.672, 129.086, 122.294]  # fmt: skip


@pytest.mark.proof
def test_opus_itself_hears_the_same_pitch():
    """To a cent, which is what its rounding to 8 bits costs."""
    checkpoint = load(locate(CheckpointOptions(name="pitchdnn"), "pitchdnn", "pitchdnn", print))
    samples = np.round(read_clip(clip_paths()[0], RATE, 1) * 32767) / np.float32(32768)
    made = run_original(component_of(checkpoint), {"excitation": pitchdnn.FEATURES.of(samples)[None]})["pitch"][0, 0]
    np.testing.assert_allclose(made[20 : 20 + 12 * len(OPUS) : 12], OPUS, rtol=6e-4)
