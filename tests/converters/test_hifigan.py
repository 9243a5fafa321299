import copy
import dataclasses

import pytest
import torch

from checkpoints import CheckpointError
from checkpoints.load import LoadedCheckpoint
from converters.families import hifigan
from converters.options import ConversionError, Shape
from converters.upstream.coqui import import_coqui
from tests.conftest import hifigan_component

AUDIO = {
    "sample_rate": 22050, "fft_size": 1024, "win_length": 1024, "hop_length": 256, "num_mels": 80, "mel_fmin": 0,
    "mel_fmax": 8000, "log_func": "np.log", "spec_gain": 1.0, "signal_norm": False,
}  # fmt: skip
V1 = {
    "in_channels": 80, "out_channels": 1, "resblock_type": "1", "upsample_factors": [8, 8, 2, 2],
    "upsample_kernel_sizes": [16, 16, 4, 4], "upsample_initial_channel": 512, "resblock_kernel_sizes": [3, 7, 11],
    "resblock_dilation_sizes": [[1, 3, 5]] * 3,
}  # fmt: skip
V3 = {
    **V1, "resblock_type": "2", "upsample_factors": [8, 8, 4], "upsample_kernel_sizes": [16, 16, 8],
    "upsample_initial_channel": 256, "resblock_kernel_sizes": [3, 5, 7],
    "resblock_dilation_sizes": [[1, 2], [2, 6], [3, 12]],
}  # fmt: skip


def with_random_weights(checkpoint, settings, layout="parametrizations") -> LoadedCheckpoint:
    """Randomly initialised at a published architecture: for shapes and receptive fields, not for quality."""
    torch.manual_seed(0)
    generator = import_coqui("TTS.vocoder.models.hifigan_generator").HifiganGenerator(**settings)
    if layout == "folded":
        generator.remove_weight_norm()
    from checkpoints.load import fold_weight_norm

    located = dataclasses.replace(
        checkpoint.located, name="random", config={"generator_model_params": settings, "audio": dict(AUDIO)}
    )
    return LoadedCheckpoint(located, fold_weight_norm(generator.state_dict()))


@pytest.mark.parametrize(
    ("settings", "parameters", "halo"), [(V1, 13_926_017, 13), (V3, 1_461_857, 11)], ids=["V1", "V3"]
)
def test_published_architectures_have_their_published_size_and_receptive_field(checkpoint, settings, parameters, halo):
    loaded = with_random_weights(checkpoint, settings)
    module = hifigan.load(loaded)
    assert abs(sum(p.numel() for p in module.parameters()) - parameters) < 2000
    (component,) = hifigan.components(module, loaded, Shape())
    assert component.time.right == halo
    assert component.time.left <= halo
    assert component.outputs[0].shape == (1, 1, 64 * 256)


def test_v3_s_stated_receptive_field_is_the_measured_one(checkpoint):
    loaded = with_random_weights(checkpoint, V3)
    (component,) = hifigan.components(hifigan.load(loaded), loaded, Shape())
    mel = torch.randn(1, 80, 48, dtype=torch.float64, requires_grad=True)
    audio = component.module.double()(mel)
    touched = []
    for sample in (24 * 256, 24 * 256 + 255):
        (gradient,) = torch.autograd.grad(audio[0, 0, sample], mel, retain_graph=True)
        touched += gradient.abs().sum((0, 1)).nonzero().flatten().tolist()
    assert (24 - min(touched), max(touched) - 24) == (component.time.left, component.time.right)


ODD = {
    **V3, "upsample_factors": [5, 4, 3], "upsample_kernel_sizes": [10, 8, 6], "upsample_initial_channel": 32,
    "resblock_dilation_sizes": [[1, 1]] * 3,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "extra"),
    [
        ({}, 13),  # 5 - 2 * 2 at stride 5, as many again for each of the samples of the layers behind, 3 - 2 * 1 at 3
        ({"upsample_paddings": [3, 2, 2], "upsample_output_paddings": [1, 0, 1]}, 0),
        ({"upsample_output_paddings": [0, 0, 2]}, 15),
    ],
    ids=["as coqui-tts pads", "as ESPnet pads", "output padding alone"],
)
def test_a_length_is_what_the_network_gives_at_odd_kernels_and_with_output_padding(checkpoint, change, extra):
    loaded = with_random_weights(checkpoint, ODD)
    loaded.config["generator_model_params"] = {**ODD, **change}
    loaded.config["audio"]["hop_length"] = 60
    (component,) = hifigan.components(hifigan.load(loaded), loaded, Shape(24))
    mel = torch.randn(1, 80, 24, dtype=torch.float64, requires_grad=True)
    audio = component.module.double()(mel)
    assert audio.shape == component.outputs[0].shape == (1, 1, 24 * 60 + extra)
    assert component.time.samples(24) == audio.shape[2]
    touched = {}
    for sample in (12 * 60, 12 * 60 + 59, 24 * 60 + extra - 1):
        (gradient,) = torch.autograd.grad(audio[0, 0, sample], mel, retain_graph=True)
        touched[sample] = gradient.abs().sum((0, 1)).nonzero().flatten()
        assert touched[sample].min() >= sample // 60 - component.time.left
        assert touched[sample].max() <= sample // 60 + component.time.right


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"upsample_output_paddings": [0, 0, 3]}, "kernel 6, stride 3, padding 1 and output padding 3"),
        ({"upsample_paddings": [3, 2, 2]}, "kernel 10, stride 5, padding 3 and output padding 0 gives fewer"),
        ({"upsample_paddings": [3]}, "upsample_paddings has 1 values for 3 upsampling layers"),
    ],
)
def test_a_padding_that_fits_no_layer_is_a_sentence(checkpoint, change, sentence):
    loaded = with_random_weights(checkpoint, ODD)
    loaded.config["generator_model_params"] = {**ODD, **change}
    with pytest.raises(CheckpointError, match=sentence):
        hifigan.load(loaded)


def test_weight_norm_changes_nothing(checkpoint):
    normed = with_random_weights(checkpoint, V3)
    folded = with_random_weights(checkpoint, V3, "folded")
    mel = torch.randn(1, 80, 8)
    torch.testing.assert_close(hifigan.load(normed)(mel), hifigan.load(folded)(mel))


def test_the_component_is_coquis_forward_and_not_its_inference(checkpoint):
    generator = hifigan_component("bundled")
    upstream = import_coqui("TTS.vocoder.models.hifigan_generator").HifiganGenerator(
        **checkpoint.config["generator_model_params"]
    )
    upstream.remove_weight_norm()
    upstream.load_state_dict(checkpoint.weights)
    upstream.eval()
    mel = generator.example()["mel"]
    with torch.no_grad():
        torch.testing.assert_close(generator.module(mel), upstream(mel), rtol=0, atol=0)
        assert upstream.inference(mel).shape[2] == generator.module(mel).shape[2] + 10 * 256


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda c: c.update(generator_model="melgan_generator"), "of generator 'melgan_generator'"),
        (lambda c: c.pop("generator_model_params"), "has no generator_model_params, which say how large"),
        (lambda c: c["generator_model_params"].pop("upsample_factors"), "do not say upsample_factors, which nothing"),
        (lambda c: c["generator_model_params"].update(kernel=3), "do not fit: .*kernel"),
        (lambda c: c["generator_model_params"].update(upsample_initial_channel=64), "has shape"),
        (lambda c: c["audio"].update(hop_length=300), "upsamples by 256, its audio config says hop_length 300"),
        (
            lambda c: c["audio"].update(num_mels=100),
            r"takes 80 bands \(in_channels\), its audio config says num_mels 100",
        ),
        (lambda c: c["generator_model_params"].update(upsample_kernel_sizes=[4, 4, 2, 2]), "kernel 4 .* at stride 8"),
    ],
)
def test_a_config_that_does_not_fit_the_weights_is_a_sentence(checkpoint, change, sentence):
    config = copy.deepcopy(checkpoint.config)
    change(config)
    bad = dataclasses.replace(checkpoint, located=dataclasses.replace(checkpoint.located, config=config))
    with pytest.raises(CheckpointError, match=sentence):
        hifigan.components(hifigan.load(bad), bad, Shape())


def test_flexible_bounds_reach_the_specs(checkpoint, generator):
    module = generator.module.generator
    (component,) = hifigan.components(module, checkpoint, Shape(64, 8, 512))
    assert str(component.inputs[0]) == "mel (1, 80, 8..512) float32"
    assert str(component.outputs[0]) == "audio (1, 1, 2048..131072) float32"
    with pytest.raises(ConversionError, match="both"):
        Shape(64, min_frames=8)
