"""Glow-TTS with random weights (parity only) against coqui-tts's own inference, at its published width too."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from checkpoints import CheckpointError
from checkpoints.load import LoadedCheckpoint, fold_weight_norm
from converters.component import format_
from converters.families import glow_tts
from converters.goldens import run_original
from converters.options import FormatOptions, PrecisionOptions, Shape
from converters.upstream.coqui import import_coqui
from runtime.bundle.spec import taken
from runtime.errors import TextError
from runtime.playing.chains import Request, utter
from runtime.playing.chains.flow_mel import squeezed, unsqueezed, whole_frames
from tests.converters.voices import LJSPEECH_MEL, core_ml_computes_the_same, padded_equals_unpadded

SMALL = {
    "hidden_channels_enc": 16, "hidden_channels_dec": 16, "hidden_channels_dp": 8, "num_flow_blocks_dec": 2,
    "encoder_params": {
        "kernel_size": 3, "dropout_p": 0.1, "num_layers": 2, "num_heads": 2, "hidden_channels_ffn": 24,
        "rel_attn_window_size": 4,
    },
}  # fmt: skip
KINDS = {
    "published": {},
    "scales and noise": {**SMALL, "mean_only": False, "inference_noise_scale": 0.4, "sigmoid_scale": True},
    "convolutions, many speakers": {
        **SMALL, "encoder_type": "residual_conv_bn", "use_encoder_prenet": False, "num_squeeze": 1,
        "use_speaker_embedding": True,
        "encoder_params": {"kernel_size": 4, "dilations": [1, 2], "num_conv_blocks": 2, "num_res_blocks": 2},
    },
}  # fmt: skip


def coqui_glow(**settings):
    """coqui-tts's own GlowTTS and its config; what is initialised with zeros, where nothing would happen, is drawn."""
    config = import_coqui("TTS.tts.configs.glow_tts_config").GlowTTSConfig(**settings)
    for name, value in LJSPEECH_MEL.items():
        setattr(config.audio, name, value)
    if config.use_speaker_embedding:
        config.speakers, config.num_speakers = ["ann", "bob", "cy"], 3
    torch.manual_seed(0)
    model = import_coqui("TTS.tts.models.glow_tts").GlowTTS(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith((".end.weight", ".end.bias", ".logs", ".proj.weight", "decoder.flows.0.bias")):
                torch.nn.init.normal_(parameter, std=0.02)
        model.encoder.duration_predictor.proj.weight.mul_(60)
        model.encoder.duration_predictor.proj.bias.fill_(1.6)
        for layer in model.modules():
            if isinstance(layer, torch.nn.BatchNorm1d):
                layer.running_mean.normal_(std=0.3)
                layer.running_var.uniform_(0.5, 2.0)
    return model.eval(), json.loads(config.to_json())


def loaded(checkpoint, model, config):
    located = dataclasses.replace(checkpoint.located, name="mine", family="glow_tts", config=config)
    return LoadedCheckpoint(located, fold_weight_norm({k: v.detach() for k, v in model.state_dict().items()}))


@pytest.fixture(scope="module", params=KINDS)
def both(request, checkpoint):
    return components_of(checkpoint, request.param)


def components_of(checkpoint, kind):
    """(upstream's model, our module, our components by name)"""
    model, config = coqui_glow(**KINDS[kind])
    saved = loaded(checkpoint, model, config)
    module = glow_tts.load(saved)
    return model, module, {part.name: part for part in glow_tts.components(module, saved, Shape())}


def test_every_stage_equals_coqui_s_inference(both, monkeypatch):
    model, module, components = both
    record, ids = glow_tts.voice(module), np.random.default_rng(1).integers(0, 60, 103)
    aux = {"x_lengths": torch.tensor([103]), "d_vectors": None, "speaker_ids": None}
    speaker = None
    if record.speakers:
        speaker, aux["speaker_ids"] = glow_tts.tables(module)["speakers"][1].numpy(), torch.tensor([1])
    ours = {}

    def run(name, inputs):
        ours.update(run_original(components[name], taken(components[name].inputs, inputs)))
        return ours

    utterance = utter(record, run, Request(ids, 5, speaker))
    random = np.random.default_rng(5)
    with monkeypatch.context() as patched:
        patched.setattr(
            torch, "randn_like", lambda x, **_: torch.from_numpy(random.standard_normal(x.shape, np.float32))
        )
        theirs = model.inference(torch.from_numpy(ids)[None], aux)
    np.testing.assert_allclose(ours["log_durations"].ravel(), theirs["durations_log"].ravel(), atol=2e-5)
    repeated = np.repeat(ours["mean"], utterance.durations, axis=2)
    np.testing.assert_allclose(repeated, theirs["y_mean"].transpose(1, 2), atol=2e-5)
    wanted = theirs["model_outputs"].transpose(1, 2)
    assert wanted.shape[2] >= 200 and len(set(utterance.durations)) > 1
    np.testing.assert_allclose(utterance.frames, wanted, atol=2e-4 * float(wanted.abs().max()))


def test_padded_and_unpadded_results_are_equal(both):
    _, _, components = both
    for component in components.values():
        padded_equals_unpadded(component, 30, 60)


@pytest.mark.parametrize(
    "kind", ["scales and noise", pytest.param("convolutions, many speakers", marks=pytest.mark.proof)]
)
def test_core_ml_computes_the_same(checkpoint, kind, tmp_path):
    for component in components_of(checkpoint, kind)[2].values():
        core_ml_computes_the_same(component, 40, tmp_path)


def test_an_onnx_file_has_each_name_once(checkpoint, tmp_path):
    """The encoder's output is called as the exporter calls what its norms compute."""
    import onnx

    encoder = components_of(checkpoint, "convolutions, many speakers")[2]["encoder"].at_size(40)
    path = format_("onnx").convert(encoder, PrecisionOptions("fp32"), FormatOptions("onnx"), tmp_path).path
    names = [name for node in onnx.load(path).graph.node for name in node.output]
    assert len(set(names)) == len(names) and {"mean", "log_durations"} <= set(names)


def test_frames_fill_columns_and_the_odd_one_is_left_out():
    frames = np.arange(14.0).reshape(1, 2, 7)
    columns = squeezed(frames, 2)
    assert columns.shape == (1, 4, 3) and columns[0, :, 0].tolist() == [0, 7, 1, 8]
    np.testing.assert_array_equal(unsqueezed(columns, 2), frames[:, :, :6])


def test_durations_are_whole_and_at_least_one():
    assert whole_frames(np.log1p(np.array([0.0, 0.4, 1.5, 2.5])), 1.0).tolist() == [1, 1, 2, 3]
    with pytest.raises(TextError, match="out of range"):
        whole_frames(np.array([12.0]), 1.0)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"encoder_type": "time_depth_separable"}, "there is: rel_pos_transformer, residual_conv_bn"),
        ({"hidden_channels_enc": 24}, "checkpoint mine"),
        ({"encoder_params": {"layers": 2}}, "its config does not fit"),
    ],
)
def test_a_config_that_does_not_fit_is_a_sentence(checkpoint, change, sentence):
    model, config = coqui_glow(**SMALL)
    with pytest.raises(CheckpointError, match=sentence):
        glow_tts.load(loaded(checkpoint, model, {**config, **change}))
