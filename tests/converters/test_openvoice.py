"""OpenVoice beside coqui-tts's own inference, at its published architecture with random weights (parity only); and
small through the job and the commands."""

import dataclasses
import json

import numpy as np
import pytest
import soundfile
import torch

from checkpoints import CheckpointError
from checkpoints.catalogue import ARCHITECTURES
from checkpoints.load import LoadedCheckpoint, fold_weight_norm
from converters.families import openvoice
from converters.goldens import run_original
from converters.options import ConversionError, Shape
from converters.upstream.coqui import import_coqui
from runtime.__main__ import main
from runtime.bundle.conversion import LocalStage
from runtime.bundle.store import BundleError
from runtime.engines import Execution
from runtime.playing.conversions import ConversionChain, open_conversion, open_main
from runtime.playing.targets import make_target, target_of, write_target
from runtime.speech.clips import read_clip
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
    def save(config, model=None):
        located = dataclasses.replace(checkpoint.located, name="random", family="openvoice", config=config)
        weights = {key: value.detach().clone() for key, value in (model or upstream(config)).state_dict().items()}
        return LoadedCheckpoint(located, fold_weight_norm(weights))

    return save


@pytest.mark.parametrize("zero_g", [True, False])
def test_every_stage_equals_coqui_s_own_inference(saved, zero_g, monkeypatch):
    config = with_zeroed(PUBLISHED, zero_g)
    model = upstream(config)
    stored = saved(config, model)
    module = openvoice.load(stored)
    ours = {one.name: one for one in openvoice.components(module, stored, Shape(48))}
    random = np.random.default_rng(0)
    spectrum, noise = random.random((1, 513, 48), np.float32), random.standard_normal((1, 192, 48), np.float32)
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
    assert reached == {"encoder": (32, 32), "flow": (64, 64), "decoder": (13, 13)}


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


def test_streamed_is_pytorch_s_own_on_every_sample(converted, clips):
    """Three artefacts with states in a row, in ragged blocks, against the originals at once."""
    bundle = converted("stream=stateful").bundle
    golden = bundle.goldens(bundle.main)[0]
    target = target_of(bundle, her(clips), EXECUTION, [clips[0]]).target
    samples = read_clip(clips[0], 22050, 1)
    for context, offline in (("live", "stateful"), ("offline", "offline")):
        other = converted(*FORMS[offline]).bundle
        frontend, player = open_conversion(other, target, 22050, context, EXECUTION), open_main(other, EXECUTION)
        random, at, frames = np.random.default_rng(0), 0, []
        while at < len(samples):
            size = int(random.choice([1, 128, 480, 7000]))
            frames.append(frontend.push(samples[at : at + size]))
            at += size
        frames = np.concatenate([*frames, frontend.flush()], axis=2)
        assert snr_db(golden.inputs["converted"].ravel(), frames.ravel()) > 90
        made = player.play(frames, target.of(other.main)).reshape(-1)
        assert made.shape == golden.outputs["audio"].reshape(-1).shape
        assert snr_db(golden.outputs["audio"].ravel(), made) > 90


def test_blocks_of_any_size_give_the_same_samples(converted, clips):
    bundle = converted("stream=stateful").bundle
    target = target_of(bundle, her(clips), EXECUTION, [clips[0]]).target
    chain = ConversionChain(
        open_conversion(bundle, target, 48000, "live", EXECUTION), open_main(bundle, EXECUTION), target.of(bundle.main)
    )
    samples = read_clip(clips[0], 48000, 1)[:96000]
    outputs = []
    for size in (len(samples), 480, 4001):
        chain.reset()
        pieces = [chain.push(samples[at : at + size]) for at in range(0, len(samples), size)]
        outputs.append(np.concatenate([*pieces, chain.flush()]))
    np.testing.assert_array_equal(outputs[0], outputs[1])
    np.testing.assert_array_equal(outputs[0], outputs[2])
    structure = sum(chain.latency.values())
    assert structure > 1e3 * (32 + 64 + 13) * 256 / 22050, "by structure, as both sides of the flow reach"


def test_a_bounded_lookahead_is_measured_for_every_component(converted):
    bundle = converted("stream=lowlat", "stream.lookahead=3").bundle
    for name in ("encoder", "flow", "decoder"):
        form = bundle.component(name).stream
        assert (form.exact, form.lookahead) == (False, 3)
        (worst, _), (best, _) = form.truncation_db[3], form.truncation_db[13]
        assert best >= worst > 0
    assert any(("flow" in note and "lookahead" in note) or "frames ahead" in note for note in bundle.manifest.notes)


def test_the_commands_ask_whose_voice_the_source_is(converted, clips, tmp_path, capsys):
    bundle = converted("stream=stateful").bundle
    kept, own, out = tmp_path / "her.npz", tmp_path / "me.npz", tmp_path / "out.wav"
    for recordings, file in ((her(clips), kept), ([clips[0], clips[0]], own)):
        assert main(["target", *map(str, recordings), str(file), "--bundle", str(bundle.path), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["kind"] == "embedding"
    sounds = []
    for more in ([], ["--own", str(own)], ["--mode", "stream"], ["--own", str(clips[1])]):
        command = ["convert-voice", str(clips[0]), str(out), "--bundle", str(bundle.path), "--target", str(kept)]
        assert main([*command, *more, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["rtf"] > 0
        sounds.append(soundfile.read(out)[0])
    np.testing.assert_allclose(sounds[1], sounds[0], atol=1e-4, err_msg="the source itself says whose voice it is")
    np.testing.assert_allclose(sounds[2], sounds[0], atol=1e-4)
    assert not np.array_equal(sounds[3], sounds[0])
    live = ["live", str(bundle.path), "--in", str(clips[0]), "--out", str(out), "--target", str(kept), "--json"]
    assert main(live) == 2
    assert "pass --own REF.wav" in capsys.readouterr().err
    assert main([*live, "--own", str(own)]) == 0
    facts = " ".join(json.loads(capsys.readouterr().out))
    assert "flow, lookahead" in facts and "encoder, lookahead" in facts


def test_what_is_no_voice_is_a_sentence(converted, clips, tmp_path, capsys):
    bundle = converted("stream=stateful").bundle
    for name, samples, said in (
        ("short", read_clip(clips[0], 22050, 1)[:22050], "too short"),
        ("silent", np.zeros(60000), "is silent"),
    ):
        soundfile.write(tmp_path / f"{name}.wav", samples, 22050)
        assert (
            main(["target", str(tmp_path / f"{name}.wav"), str(tmp_path / "t.npz"), "--bundle", str(bundle.path)]) == 2
        )
        assert said in capsys.readouterr().err
    clipped = np.tile(np.clip(20 * read_clip(clips[0], 22050, 1), -1, 1), 2)
    soundfile.write(tmp_path / "clipped.wav", clipped, 22050)
    assert "full scale" in make_target(bundle, [tmp_path / "clipped.wav"], EXECUTION).notes[0]
    with pytest.raises(BundleError, match="takes no pitch"):
        open_conversion(bundle, target_of(bundle, her(clips), EXECUTION, clips[:1]).target, 22050, pitch_shift=2.0)


def test_a_live_one_that_takes_all_at_once_is_refused(converted, clips, tmp_path, capsys):
    bundle = converted(*FORMS["offline"]).bundle
    made = make_target(bundle, her(clips), EXECUTION)
    write_target(tmp_path / "t.npz", bundle, made)
    live = ["live", str(bundle.path), "--in", str(clips[0]), "--out", str(tmp_path / "o.wav")]
    assert main([*live, "--target", str(tmp_path / "t.npz"), "--own", str(clips[0])]) == 2
    assert "convert it with stream=stateful" in capsys.readouterr().err


def test_what_does_not_fit_is_refused(saved):
    wider = {**SMALL, "model": {**SMALL["model"], "inter_channels": 16}}
    with pytest.raises(CheckpointError, match="has shape"):
        openvoice.load(saved(wider, upstream(SMALL)))
    module = openvoice.load(saved(SMALL))
    (first, *_) = openvoice.components(module, saved(SMALL), Shape(150))
    with pytest.raises(ConversionError, match="decoder of its own"):
        openvoice.conversion(module, {"vocoder": first})
    assert isinstance(openvoice.conversion(module, {}).stages[-1], LocalStage)
