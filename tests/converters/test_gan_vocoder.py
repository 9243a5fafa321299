"""MelGAN, Parallel WaveGAN and UnivNet at their published architecture, random weights (parity only), against
coqui-tts's own forward; and through the job."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from checkpoints import CheckpointError
from checkpoints.catalogue import catalogue
from checkpoints.files import ARCHITECTURES
from checkpoints.load import LoadedCheckpoint, fold_weight_norm
from converters.families import gan_vocoder
from converters.goldens import run_original
from converters.options import Shape
from converters.upstream.coqui import import_coqui
from runtime.speech.mel import Mel, with_noise

PUBLISHED = (
    "melgan", "ljspeech_multiband_melgan", "fullband_melgan", "parallel_wavegan",
    "ljspeech_univnet",
)  # fmt: skip


def architecture(name):
    return json.loads((ARCHITECTURES / f"{name}.json").read_text())


def coqui_generator(config):
    """As coqui-tts's setup_generator builds it, weight norm and all, with biases that matter."""

    class Config(dict):
        __getattr__ = dict.__getitem__

    torch.manual_seed(0)
    generator = import_coqui("TTS.vocoder.models").setup_generator(Config(config))
    for name, parameter in generator.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.05)
    return generator.eval()


def saved(checkpoint, name, config, weights):
    family = catalogue()[name].family
    located = dataclasses.replace(checkpoint.located, name="random", family=family, config=config)
    return LoadedCheckpoint(located, fold_weight_norm({key: value.detach() for key, value in weights.items()}))


# Thirty layers, each over all samples; and MelGAN's layers again with other factors.
PROOF = ("parallel_wavegan", "fullband_melgan")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.proof) if name in PROOF else name for name in PUBLISHED]
)
def test_it_equals_coqui_s_own_forward(checkpoint, name, monkeypatch):
    config = architecture(name)
    generator = coqui_generator(config)
    stored = saved(checkpoint, name, config, generator.state_dict())
    (component,) = gan_vocoder.components(gan_vocoder.load(stored), stored, Shape())
    features, time = component.features, component.time
    mel = np.random.default_rng(0).standard_normal((1, 80, 24)).astype(np.float32)
    given = with_noise(mel, features)
    noise = torch.from_numpy(given[:, 80:].copy())
    noise = noise if "univnet" in name else noise.transpose(1, 2).reshape(1, 1, -1)
    with torch.no_grad(), monkeypatch.context() as patched:
        patched.setattr(torch, "randn", lambda *_, **__: noise)
        wanted = generator(torch.from_numpy(mel))
        if "multiband" in name:
            wanted = generator.pqmf_synthesis(wanted)
    made = run_original(component, {"mel": given})["audio"]
    assert made.shape == (1, 1, 24 * 256) and made.std() > 1e-3
    np.testing.assert_allclose(made, wanted, atol=1e-5 * max(1.0, float(wanted.abs().max())))
    first, last = _reached(component, 40)
    assert 40 - time.left <= first and last <= 40 + time.right
    # location-variable convolutions are read a whole frame at a time
    loose = 9 if "univnet" in name else 2
    assert first <= 40 - time.left + loose and last >= 40 + time.right - loose


def _reached(component, frame):
    """The first and last frame that the samples of one frame depend on, by gradient."""
    torch.manual_seed(0)
    spec = component.inputs[0]
    mel = torch.randn(1, spec.shape[1], 81, requires_grad=True)
    hop = component.time.samples_per_frame
    piece = component.module(mel)[..., frame * hop : (frame + 1) * hop]
    columns = torch.autograd.grad(piece.square().sum(), mel)[0].abs().sum((0, 1)).nonzero().ravel()
    return int(columns.min()), int(columns.max())


def test_noise_is_a_frame_s_own_in_whatever_pieces_the_audio_comes():
    settings = Mel(noise_rows=3)
    samples = np.random.default_rng(0).standard_normal(40000).astype(np.float32)
    whole = settings.of(samples)
    assert whole.shape == (83, 157) and abs(whole[80:].std() - 1) < 0.1
    stream = settings.stream()
    pieces = [stream.push(part) for part in np.array_split(samples, 23)] + [stream.flush()]
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1)[80:], whole[80:])
    stream.reset()
    np.testing.assert_array_equal(stream.push(samples)[80:], whole[80:, :-2])


@pytest.mark.proof
@pytest.mark.parametrize("name", ["ljspeech_multiband_melgan", "ljspeech_univnet"])
def test_the_job_converts_and_streams_it(own_job, name):
    family = catalogue()[name].family
    outcome = own_job(
        f"model={name.removeprefix('ljspeech_')}", "checkpoint.source=random", "precision=fp32", "stream=stateful",
        "measure.engines=[onnx]", "measure.bench_seconds=0",
    )  # fmt: skip
    manifest = outcome.bundle.manifest
    assert outcome.passed and manifest.checkpoint.random and manifest.checkpoint.family == family
    assert manifest.checkpoint.name == f"{name}_random"
    assert f"random weights of {name}_random: parity only" in manifest.notes
    assert outcome.measurements[0].worst.agreement.snr_db > 90


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"generator_model": "hifigan_generator"}, "reads generator_model: melgan_generator, multiband"),
        ({"generator_model_params": {"upsample_factors": [8, 8, 2, 2, 2], "num_res_blocks": 3}}, "such as"),
        ({"generator_model_params": {"num_res_blocks": "three"}}, "do not fit"),
        ({"audio": {"hop_length": 200}}, "makes 16384 samples of 64 frames, its audio config says hop_length 200"),
    ],
)
def test_a_config_that_does_not_fit_is_a_sentence(checkpoint, change, sentence):
    config = architecture("melgan")
    stored = saved(checkpoint, "melgan", config, coqui_generator(config).state_dict())
    changed = {**config, **change}
    stored = dataclasses.replace(stored, located=dataclasses.replace(stored.located, config=changed))
    with pytest.raises(CheckpointError, match=sentence):
        gan_vocoder.components(gan_vocoder.load(stored), stored, Shape())
