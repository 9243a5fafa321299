"""ForwardTTS with random weights (parity only) against coqui-tts's own inference."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from checkpoints import CheckpointError
from checkpoints.files import ARCHITECTURES
from checkpoints.load import LoadedCheckpoint, fold_weight_norm
from converters.families import forward_tts
from converters.goldens import run_original
from converters.options import Shape
from runtime.bundle.spec import taken
from runtime.errors import TextError
from runtime.playing.chains import Request, utter
from runtime.playing.chains.length_regulator import whole_frames
from tests.converters.voices import ATTENTION, coqui_forward, core_ml_computes_the_same, padded_equals_unpadded

CONVOLUTIONS = {"kernel_size": 4, "dilations": [1, 2, 4], "num_conv_blocks": 2, "num_res_blocks": 3}
RELATIVE = {**ATTENTION, "kernel_size": 3, "rel_attn_window_size": 4, "input_length": None}
WAVENET = {"num_blocks": 2, "hidden_channels": 16, "kernel_size": 5, "dilation_rate": 2, "num_layers": 3}
KINDS = {
    "transformers, pitch and energy": {"use_energy": True},
    "convolutions, no pitch": {
        "encoder_type": "residual_conv_bn", "encoder_params": CONVOLUTIONS, "use_pitch": False,
        "decoder_type": "residual_conv_bn", "decoder_params": CONVOLUTIONS,
    },
    "relative positions, many speakers": {
        "encoder_type": "relative_position_transformer", "encoder_params": RELATIVE, "use_speaker_embedding": True,
        "decoder_type": "relative_position_transformer", "decoder_params": RELATIVE, "positional_encoding": False,
    },
    "WaveNet, embeddings of recordings": {
        "decoder_type": "wavenet", "decoder_params": WAVENET, "use_d_vector_file": True, "d_vector_dim": 12,
        "use_pitch": False,
    },
}  # fmt: skip
PUBLISHED = (
    "ljspeech_fast_pitch", "ljspeech_speedy_speech",
    pytest.param("fastspeech2", marks=pytest.mark.proof),  # the first's layers, and an energy, which KINDS has
)  # fmt: skip


@pytest.fixture(scope="module", params=[*KINDS, *PUBLISHED])
def both(request, checkpoint):
    return components_of(checkpoint, request.param)


def components_of(checkpoint, kind):
    """(upstream's model, our module, our components by name)"""
    known = KINDS.get(kind)
    known = known or json.loads((ARCHITECTURES / f"{kind}.json").read_text())["model_args"]
    model, config = coqui_forward(**known)
    located = dataclasses.replace(checkpoint.located, name="random", family="forward_tts", config=config)
    weights = fold_weight_norm({key: value.detach() for key, value in model.state_dict().items()})
    saved = LoadedCheckpoint(located, weights)
    module = forward_tts.load(saved)
    return model, module, {part.name: part for part in forward_tts.components(module, saved, Shape())}


def test_every_stage_equals_coqui_s_inference(both):
    model, module, components = both
    record = forward_tts.voice(module)
    ids = np.random.default_rng(1).integers(0, 40, 121)
    aux = {"d_vectors": None, "speaker_ids": None}
    speaker = None
    if record.speakers:
        speaker, aux["speaker_ids"] = forward_tts.tables(module)["speakers"][1].numpy(), torch.tensor([1])
    if record.embedding_channels:
        aux["d_vectors"] = torch.randn(1, record.embedding_channels, generator=torch.Generator().manual_seed(5))
        speaker = aux["d_vectors"][0].numpy()
    ours = {}

    def run(name, inputs):
        ours.update(run_original(components[name], taken(components[name].inputs, inputs)))
        return ours

    utterance = utter(record, run, Request(ids, speaker=speaker))
    theirs = model.inference(torch.from_numpy(ids)[None], aux)
    assert utterance.durations.sum() >= 200 and len(set(utterance.durations)) > 1
    wanted = theirs["model_outputs"].transpose(1, 2)
    assert utterance.durations.sum() == wanted.shape[2]
    np.testing.assert_allclose(ours["log_durations"].ravel(), theirs["durations_log"].ravel(), atol=2e-5)
    for kind in record.prosody:
        np.testing.assert_allclose(ours[kind].ravel(), theirs[kind].ravel(), atol=2e-5)
    np.testing.assert_allclose(utterance.frames, wanted, atol=5e-5 * float(wanted.abs().max()))


def test_padded_and_unpadded_results_are_equal(both):
    _, _, components = both
    for component in components.values():
        padded_equals_unpadded(component, 7, 40)  # upstream takes no less than 25


@pytest.mark.parametrize(
    "kind",
    [kind if kind.startswith("transformers") else pytest.param(kind, marks=pytest.mark.proof) for kind in KINDS],
)
def test_core_ml_computes_the_same(checkpoint, kind, tmp_path):
    for component in components_of(checkpoint, kind)[2].values():
        core_ml_computes_the_same(component, 40, tmp_path)


def test_pitch_and_energy_can_be_shifted(both):
    _, module, components = both
    record = forward_tts.voice(module)
    ids = np.arange(30)
    speaker = np.ones(record.embedding_channels or module.settings.hidden_channels, np.float32)

    def run(name, inputs):
        return run_original(components[name], taken(components[name].inputs, inputs))

    plain, shifted = (utter(record, run, Request(ids, 0, speaker, pitch=by, energy=by)).frames for by in (0.0, 2.0))
    assert (plain.shape == shifted.shape) and (np.array_equal(plain, shifted) == (not record.prosody))


def test_durations_are_whole_and_at_least_one():
    logs = np.log1p(np.array([0.0, 0.4, 1.5, 2.5, 3.5]))
    assert whole_frames(logs, 1.0).tolist() == [1, 1, 2, 2, 4]
    assert whole_frames(logs, 2.0).tolist() == [1, 1, 3, 5, 7]
    with pytest.raises(TextError, match="out of range"):
        whole_frames(np.array([12.0]), 1.0)


@pytest.mark.parametrize(
    "wrong", [{"encoder_type": "lstm"}, {"decoder_params": {"kernel": 3}}, {"hidden_channels": 24}, {"num_chars": "x"}]
)
def test_a_config_that_does_not_fit_is_a_sentence(checkpoint, wrong):
    model, config = coqui_forward()
    config["model_args"] |= wrong
    located = dataclasses.replace(checkpoint.located, name="mine", family="forward_tts", config=config)
    with pytest.raises(CheckpointError, match="checkpoint mine"):
        forward_tts.load(LoadedCheckpoint(located, dict(model.state_dict())))
