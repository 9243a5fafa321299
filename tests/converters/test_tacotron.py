"""Tacotron 2 at its published width, random weights (parity only), against coqui-tts's own inference."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from checkpoints import CheckpointError
from checkpoints.load import LoadedCheckpoint
from converters.families import tacotron
from converters.goldens import run_original
from converters.options import Shape
from converters.upstream.coqui import import_coqui
from runtime.bundle.spec import taken
from runtime.errors import TextError
from runtime.playing.chains import Request, utter
from tests.converters.voices import LJSPEECH_MEL, padded_equals_unpadded

FRAMES = 72  # of an utterance: steps of one frame, two or three
KINDS = {
    "double decoder, two frames a step": {"r": 2, "double_decoder_consistency": True, "attention_norm": "softmax"},
    "dynamic convolutions": {"r": 1, "attention_type": "dynamic_convolution"},
    "forward attention": {
        "r": 2, "use_forward_attn": True, "transition_agent": True, "forward_attn_mask": True,
    },
    "windowed, dropout at inference": {
        "r": 3, "attention_win": True, "prenet_dropout_at_inference": True, "prenet_type": "bn",
        "attention_norm": "softmax",
    },
    "no location": {"r": 2, "location_attn": False, "use_forward_attn": True},
}  # fmt: skip


def coqui_tacotron(**settings):
    """coqui-tts's own Tacotron2 and its config, random weights that do not stop by themselves."""
    kind = import_coqui("TTS.tts.configs.tacotron2_config").Tacotron2Config
    config = kind(max_decoder_steps=FRAMES, **settings)
    for name, value in LJSPEECH_MEL.items():
        setattr(config.audio, name, value)
    torch.manual_seed(0)
    model = import_coqui("TTS.tts.models.tacotron2").Tacotron2(config)
    with torch.no_grad():
        model.decoder.stopnet[1].linear_layer.bias.fill_(-8)
        for name, parameter in model.named_parameters():
            if "linear_projection" in name or "query_layer" in name or ".v." in name:
                parameter.mul_(3)  # so that frames and attention move
        for layer in model.modules():
            if isinstance(layer, torch.nn.BatchNorm1d):
                layer.running_mean.normal_(std=0.3)
                layer.running_var.uniform_(0.5, 2.0)
    return model.eval(), json.loads(config.to_json())


def loaded(checkpoint, model, config, **numbers):
    located = dataclasses.replace(checkpoint.located, name="mine", family="tacotron", config=config)
    weights = {key: value.detach() for key, value in model.state_dict().items()}
    return LoadedCheckpoint(located, weights, numbers=numbers)


@pytest.fixture(scope="module", params=KINDS)
def both(request, checkpoint):
    """(upstream's model, our module, our components by name)"""
    model, config = coqui_tacotron(**KINDS[request.param])
    saved = loaded(checkpoint, model, config)
    module = tacotron.load(saved)
    return model, module, {part.name: part for part in tacotron.components(module, saved, Shape())}


def runner(components, kept=None):
    def run(name, inputs):
        results = run_original(components[name], taken(components[name].inputs, inputs))
        if kept is not None:
            kept.setdefault(name, []).append(results)
        return results

    return run


def test_every_stage_equals_coqui_s_inference(both, monkeypatch):
    model, module, components = both
    record, ids = tacotron.voice(module), np.random.default_rng(1).integers(1, 60, 31)
    kept = {}
    utterance = utter(record, runner(components, kept), Request(ids, 5))
    random = np.random.default_rng(5)
    drawn = []

    def dropout(x, p=0.5, training=True, inplace=False):
        if not training:
            return x
        if not drawn:
            drawn.extend(torch.from_numpy(2.0 * random.integers(0, 2, (1, 2, 256)).astype(np.float32))[0])
        return x * drawn.pop(0)

    with monkeypatch.context() as patched:
        patched.setattr(torch.nn.functional, "dropout", dropout)
        theirs = model.inference(torch.from_numpy(ids)[None])
    frames = utterance.frames.shape[2]
    assert frames >= FRAMES and frames == theirs["model_outputs"].shape[1] and utterance.durations.sum() == frames
    row = record.attending.row
    ours = np.stack([step["next_alignment"][0, row] for step in kept["decoder_step"]])
    np.testing.assert_allclose(ours, theirs["alignments"][0], atol=2e-4)
    spoken = theirs["model_outputs"][0].T
    scale = float(spoken.abs().max())
    assert float(spoken.std(1).mean()) > 1e-3 * scale, "frames that are all alike would prove nothing"
    np.testing.assert_allclose(utterance.frames[0], spoken, atol=2e-3 * scale)


def test_padded_and_unpadded_results_are_equal(both):
    _, _, components = both
    for name in ("encoder", "postnet"):
        padded_equals_unpadded(components[name], 17, 40, {"backward": lambda length: np.arange(length)[::-1]})
    step = components["decoder_step"]
    alignment = np.random.default_rng(0).dirichlet(np.ones(17), (1, step.inputs[4].shape[1])).astype(np.float32)
    padded_equals_unpadded(step, 17, 40, {"alignment": lambda length: alignment})


def test_it_ends_where_the_stop_token_says(checkpoint):
    model, config = coqui_tacotron(r=2, attention_norm="softmax")
    with torch.no_grad():
        model.decoder.stopnet[1].linear_layer.bias.fill_(0.042)
        model.decoder.stopnet[1].linear_layer.weight.mul_(2)
    saved = loaded(checkpoint, model, config)
    module = tacotron.load(saved)
    components = {part.name: part for part in tacotron.components(module, saved, Shape())}
    lengths = set()
    for seed in range(3):
        ids = np.random.default_rng(seed).integers(1, 60, 9 + seed)
        ours = utter(tacotron.voice(module), runner(components), Request(ids)).frames.shape[2]
        assert ours == model.inference(torch.from_numpy(ids)[None])["model_outputs"].shape[1]
        lengths.add(ours)
    assert min(lengths) == 4 and len(lengths) > 1, "two steps at least"


def test_gradual_training_ends_with_fewer_frames_a_step(checkpoint):
    model, config = coqui_tacotron(r=4)
    model.decoder.set_r(2)
    saved = loaded(checkpoint, model, config, r=2)
    module = tacotron.load(saved)
    components = {part.name: part for part in tacotron.components(module, saved, Shape())}
    ids = np.random.default_rng(1).integers(1, 60, 12)
    record = dataclasses.replace(tacotron.voice(module))
    assert record.attending.frames_per_step == 2
    ours = utter(record, runner(components), Request(ids, durations=np.full(12, 2))).frames
    model.decoder.max_decoder_steps = 12
    theirs = model.inference(torch.from_numpy(ids)[None])["model_outputs"].transpose(1, 2)
    np.testing.assert_allclose(ours, theirs, atol=1e-3 * float(theirs.abs().max()))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"use_gst": True}, "in the style of a recording"),
        ({"attention_type": "graves"}, "no attention_type 'graves'; there is: original, dynamic_convolution"),
        ({"attention_win": True, "use_forward_attn": True}, "is not known"),
        ({"encoder_in_features": 256}, "mine"),
    ],
)
def test_what_is_not_converted_is_a_sentence(checkpoint, change, sentence):
    model, config = coqui_tacotron()
    with pytest.raises(CheckpointError, match=sentence):
        tacotron.load(loaded(checkpoint, model, {**config, **change}))


def test_it_has_one_pace(both):
    _, module, components = both
    with pytest.raises(TextError, match="leave out --pace"):
        utter(tacotron.voice(module), runner(components), Request(np.arange(5), pace=2.0))


@pytest.mark.proof
def test_the_job_converts_and_gates_it_with_weights_that_were_drawn(own_job):
    """At the published width: 260 frames a sentence, in a runtime that knows nothing of coqui-tts."""
    outcome = own_job(
        "model=tacotron2", "checkpoint.source=random", "model.parts.vocoder.checkpoint.source=bundled",
        "precision=fp32",
        "measure.engines=[onnx]", "measure.bench_seconds=0", "stream=offline",
    )  # fmt: skip
    manifest, (measurement,) = outcome.bundle.manifest, outcome.measurements
    assert outcome.passed and manifest.checkpoint.random and not manifest.parts["vocoder"].random
    assert "random weights of ljspeech_tacotron2_ddc_random: parity only" in manifest.notes
    assert {row.component for row in measurement.rows} == {"encoder", "decoder_step", "postnet", "generator"}
    assert min(clip.seconds for clip in measurement.clips) > 260 * 256 / 22050 - 0.1
    assert min(row.snr_db for row in measurement.rows) > 90
    steps = [case.clip for case in outcome.bundle.goldens(outcome.bundle.component("decoder_step"))]
    assert [name for name in steps if name.startswith("sentence_01")][-1] == "sentence_01_step128"
