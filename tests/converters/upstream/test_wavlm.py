"""WavLM on a window beside coqui-tts's own `extract_features`."""

import dataclasses
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from checkpoints.files import ARCHITECTURES
from checkpoints.load import load
from checkpoints.locate import locate
from checkpoints.options import CheckpointOptions
from converters.upstream.wavlm import HOP, WINDOW, WavLMSettings, content_component, load_wavlm, published
from runtime.speech.metrics import snr_db
from tests.small_wavlm import upstream_wavlm, write_small_wavlm


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = write_small_wavlm(tmp_path_factory.mktemp("wavlm"))
    return load(locate(CheckpointOptions(source=str(folder)), "knn_vc", "", print))


def speech_like(seed=0):
    """(1, N): noise that comes and goes, at the level of speech."""
    generator = torch.Generator().manual_seed(seed)
    moments = torch.arange(WINDOW * HOP) / 16000
    return 0.1 * torch.randn(1, WINDOW * HOP, generator=generator) * torch.sin(3 * moments).abs()


def snr_of(wavlm, upstream, layer):
    samples = speech_like()
    with torch.inference_mode():
        expected = upstream.extract_features(F.pad(samples, (0, wavlm.border)), output_layer=layer)[0]
        made = wavlm(samples[None])
    assert made.shape == (1, wavlm.channels, WINDOW)
    return snr_db(expected.transpose(1, 2).numpy().ravel(), made.numpy().ravel())


@pytest.mark.parametrize("layer", [1, 2, None])
def test_it_is_upstream_s_own_on_a_window(stored, layer):
    """Up to a layer without the last norm, and whole."""
    assert snr_of(load_wavlm(stored, layers=layer), upstream_wavlm(), layer) > 90


def test_the_table_of_positions_matters(stored):
    """With these weights attention without its bias would not pass."""
    wavlm = load_wavlm(stored)
    wavlm.bias.zero_()
    assert snr_of(wavlm, upstream_wavlm(), None) < 60


def test_no_position_is_computed_in_the_graph(stored):
    component = content_component(load_wavlm(stored))
    program = torch.export.export(component.module, (), kwargs=component.example())
    ops = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert not {op for op in ops if any(name in op for name in ("arange", "log", "embedding", "where", "abs"))}
    tables = [value for name, value in program.constants.items() if name.endswith("bias")]
    assert [tuple(table.shape) for table in tables] == [(1, 4, WINDOW, WINDOW)], "one for all layers"


def test_the_layers_that_read_audio_are_read_and_not_evaluated():
    settings = WavLMSettings(conv_feature_layers="[(512,10,5)] + [(512,3,2)] * 4 + [(512, 2, 2), (256,2,2)]")
    assert settings.convolutions == [(512, 10, 5), *[(512, 3, 2)] * 4, (512, 2, 2), (256, 2, 2)]
    assert settings.hop_length == 320 and settings.field == 400
    for text in ("[]", "[(1,2)]", "[(512,10,5)] * 999", "print()", "[(512,10,5)] - [(1,1,1)]"):
        with pytest.raises(ValueError, match="no list of layers"):
            _ = dataclasses.replace(settings, conv_feature_layers=text).convolutions


@pytest.mark.proof
def test_at_the_published_width(tmp_path):
    """315 M parameters, drawn, in the published layout of keys, whole and up to kNN-VC's layer."""
    upstream = upstream_wavlm({**published()}, lively=False)
    with torch.no_grad():  # drawn ones are nearly even
        upstream.encoder.layers[0].self_attn.relative_attention_bias.weight.normal_()
    assert sum(parameter.numel() for parameter in upstream.parameters()) == 315_453_120
    torch.save({"cfg": {**published()}, "model": upstream.state_dict()}, tmp_path / "WavLM-Large.pt")
    (tmp_path / "config.json").write_text(json.dumps({}))
    stored = load(locate(CheckpointOptions(source=str(tmp_path)), "knn_vc", "", print))
    for layer in (6, None):
        assert snr_of(load_wavlm(stored, layers=layer), upstream, layer) > 90


def test_the_published_settings_are_kept_as_published():
    config = json.loads((ARCHITECTURES / "wavlm_large.json").read_text())["cfg"]
    settings = WavLMSettings(**config)
    settings.check()
    assert (settings.encoder_layers, settings.max_distance, settings.num_buckets) == (24, 800, 320)
    assert np.prod([stride for _, _, stride in settings.convolutions]) == HOP
