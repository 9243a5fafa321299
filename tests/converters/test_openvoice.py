"""OpenVoice beside coqui-tts's own inference, at its published architecture with random weights (parity only); and
small through the job and the commands."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from checkpoints import CheckpointError
from checkpoints.files import ARCHITECTURES
from checkpoints.load import LoadedCheckpoint, fold_weight_norm
from converters.families import openvoice
from converters.goldens import run_original
from converters.options import ConversionError, Shape
from converters.upstream.coqui import import_coqui
from runtime.bundle.conversion import LocalStage
from runtime.engines import Execution
from runtime.speech.metrics import snr_db

EXECUTION = Execution("onnx")
PUBLISHED = json.loads((ARCHITECTURES / "openvoice_v2.json").read_text())
SMALL = {
    "data": PUBLISHED["data"],
    "model": {
        **PUBLISHED["model"], "inter_channels": 8, "hidden_channels": 8, "gin_channels": 6,
        "upsample_initial_channel": 32, "resblock": "2", "resblock_kernel_sizes": [3],
        "resblock_dilation_sizes": [[1, 3]],
    },
}  # fmt: skip

FORMS = {"stateful": ("stream=stateful",), "offline": ("stream=offline", "shape=flexible")}


def with_zeroed(config, zero_g):
    return {**config, "model": {**config["model"], "zero_g": zero_g}}


def upstream(config):
    """coqui-tts's own, with a flow and biases that do something."""
    torch.manual_seed(0)
    kinds = import_coqui("TTS.vc.configs.openvoice_config")
    arguments = kinds.OpenVoiceArgs(**config["model"])
    model = import_coqui("TTS.vc.models.openvoice").OpenVoice(kinds.OpenVoiceConfig(model_args=arguments))
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.05)
        if name.endswith("post.weight"):
            torch.nn.init.normal_(parameter, std=0.02)
    return model.eval()


@pytest.fixture
def saved(checkpoint):
    def save(config, model):
        located = dataclasses.replace(checkpoint.located, name="random", family="openvoice", config=config)
        weights = {key: value.detach().clone() for key, value in model.state_dict().items()}
        return LoadedCheckpoint(located, fold_weight_norm(weights))

    return save


@pytest.mark.parametrize(
    ("architecture", "zero_g"),
    [(SMALL, True), *(pytest.param(*case, marks=pytest.mark.proof) for case in ((SMALL, False), (PUBLISHED, True)))],
    ids=["zeroed", "small", "published"],
)
def test_every_stage_equals_coqui_s_own_inference(saved, architecture, zero_g, monkeypatch):
    config = with_zeroed(architecture, zero_g)
    model = upstream(config)
    stored = saved(config, model)
    module = openvoice.load(stored)
    ours = {one.name: one for one in openvoice.components(module, stored, Shape(48))}
    random = np.random.default_rng(0)
    spectrum, noise = (
        random.random((1, 513, 48), np.float32),
        random.standard_normal((1, config["model"]["inter_channels"], 48), np.float32),
    )
    windows = random.random((2, 513, openvoice.WINDOW), np.float32)
    with torch.no_grad(), monkeypatch.context() as patched:
        patched.setattr(torch, "randn_like", lambda *_: torch.from_numpy(noise))
        voices = model.ref_enc(torch.from_numpy(windows).transpose(1, 2)).unsqueeze(2)
        given = {"g_src": voices[:1], "g_tgt": voices[1:]}
        wanted = {name: value.numpy() for name, value in model.inference(torch.from_numpy(spectrum), given).items()}
    made = run_original(ours["reference_encoder"], {"windows": windows})["voices"]
    np.testing.assert_allclose(made, voices, atol=1e-5)
    constants = {"source": made[:1], "target": made[1:]}

    def ran(name, given):
        known = {spec.name for spec in ours[name].inputs}
        assert set(ours[name].targets) | set(ours[name].sources) == known - {ours[name].time.input}
        (output,) = run_original(
            ours[name], {**given, **{key: constants[key] for key in known & set(constants)}}
        ).values()
        return output

    encoded = ran("encoder", {"spectrum": np.concatenate([spectrum, noise], axis=1)})
    converted = ran("flow", {"encoded": encoded})
    audio = ran("decoder", {"converted": converted})
    for one, name in ((encoded, "z"), (converted, "z_hat"), (audio, "model_outputs")):
        assert snr_db(wanted[name].ravel(), one.ravel()) > 100, name
    assert audio.std() > 1e-3
    reached = {name: (one.time.left, one.time.right) for name, one in ours.items() if one.time}
    sees = 13 if architecture is PUBLISHED else 5
    assert reached == {"encoder": (32, 32), "flow": (64, 64), "decoder": (sees, sees)}


def her(clips):
    """Two seconds, which a target takes."""
    return [clips[1], clips[1]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("openvoice") / "small"
    path.mkdir()
    torch.save({"model": upstream(SMALL).state_dict(), "iteration": 1}, path / "checkpoint.pth")
    (path / "config.json").write_text(json.dumps(SMALL))
    return path


@pytest.fixture(scope="module")
def converted(folder, own_job):
    return lambda *overrides: own_job("model=openvoice", f"checkpoint.source={folder}", "precision=fp32", *overrides)


@pytest.mark.proof  # forty-eight gated layers take a minute to convert; test_chain.py has the way through the job
@pytest.mark.parametrize("stream", FORMS)
def test_it_goes_through_the_job_and_passes(converted, stream, clips):
    outcome = converted(*FORMS[stream])
    assert outcome.passed, outcome.gates
    manifest = outcome.bundle.manifest
    assert manifest.conversion.components == ["encoder", "flow", "decoder"] and outcome.bundle.main.name == "decoder"
    assert manifest.conversion.target == "embedding"
    for measurement in outcome.measurements:
        assert {row.component for row in measurement.rows} == {"encoder", "flow", "reference_encoder"}
        assert {clip.clip for clip in measurement.clips} == {path.stem for path in clips}


def test_what_does_not_fit_is_refused(saved):
    wider = {**SMALL, "model": {**SMALL["model"], "inter_channels": 16}}
    with pytest.raises(CheckpointError, match="has shape"):
        openvoice.load(saved(wider, upstream(SMALL)))
    module = openvoice.load(saved(SMALL, upstream(SMALL)))
    with pytest.raises(ConversionError, match="decoder of its own"):
        openvoice.conversion(module, {"vocoder": None})
    assert isinstance(openvoice.conversion(module, {}).stages[-1], LocalStage)
