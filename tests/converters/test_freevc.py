"""FreeVC beside coqui-tts's own inference, few channels wide, with drawn weights; through the job in `make proof`."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from checkpoints import CheckpointError
from checkpoints.files import ARCHITECTURES
from checkpoints.load import load
from checkpoints.locate import locate
from checkpoints.options import CheckpointOptions
from converters.families import freevc
from converters.goldens import run_original
from converters.options import ConversionError, Shape
from converters.upstream.coqui import import_coqui
from runtime.__main__ import main
from runtime.engines import Execution
from runtime.playing.conversions import ConversionChain, open_conversion, open_main
from runtime.playing.targets import target_of
from runtime.speech.clips import read_clip
from runtime.speech.metrics import snr_db
from runtime.speech.recordings import audio_blocks
from runtime.speech.target import target_embedding, trimmed
from tests.small_wavlm import CHANNELS, SMALL, upstream_wavlm

PUBLISHED = json.loads((ARCHITECTURES / "freevc24.json").read_text())
FRAMES = 24
EXECUTION = Execution("onnx")


def config_of(use_spk):
    narrow = {
        "inter_channels": 8, "hidden_channels": 8, "upsample_initial_channel": 32, "ssl_dim": CHANNELS,
        "gin_channels": 256 if use_spk else 6, "use_spk": use_spk,
    }  # fmt: skip
    return {**PUBLISHED, "model_args": {**PUBLISHED["model_args"], **narrow}}


def upstream(config, folder):
    """coqui-tts's own, with a flow and biases that do something."""
    own = import_coqui("TTS.vc.models.freevc")
    kinds = import_coqui("TTS.vc.configs.freevc_config")
    arguments = kinds.FreeVCArgs(**config["model_args"])
    audio = kinds.FreeVCAudioConfig(**config["audio"])
    torch.manual_seed(0)
    module = import_coqui("TTS.vc.layers.freevc.speaker_encoder.speaker_encoder")
    torch.save({"model_state": freevc.SpeakerEncoder(40, 256, 256).state_dict()}, folder / "speaker_encoder.pt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own, "get_wavlm", upstream_wavlm)
        patch.setattr(own, "SpeakerEncoderEx", lambda _: module.SpeakerEncoder(folder / "speaker_encoder.pt"))
        model = own.FreeVC(kinds.FreeVCConfig(model_args=arguments, audio=audio))
    for name, parameter in model.named_parameters():
        if not name.startswith(("wavlm", "enc_spk")):
            if name.endswith("bias"):
                torch.nn.init.normal_(parameter, std=0.05)
            if name.endswith("post.weight"):
                torch.nn.init.normal_(parameter, std=0.2)
            if name.startswith("dec.ups") and name.endswith("original0"):
                parameter.data *= 3  # else next to silence
    return model.eval()


def write_freevc(folder, use_spk):
    """As published: the converter, WavLM and the external speaker encoder in files of their own."""
    folder.mkdir()
    config = config_of(use_spk)
    model = upstream(config, folder)
    apart = ("wavlm.", "enc_spk_ex.", "enc_q.")
    state = {name: value for name, value in model.state_dict().items() if not name.startswith(apart)}
    torch.save({"model": state}, folder / "model.pth")
    torch.save({"cfg": SMALL, "model": model.wavlm.state_dict()}, folder / "WavLM-Large.pt")
    (folder / "config.json").write_text(json.dumps(config))
    return model


def loaded(folder):
    return load(locate(CheckpointOptions(source=str(folder)), "freevc", "", print))


@pytest.fixture(
    scope="module",
    params=[pytest.param(True, marks=pytest.mark.proof), False],
    ids=["external speaker encoder", "its own"],
)
def both(request, tmp_path_factory):
    """coqui-tts's, ours, and our components by name."""
    folder = tmp_path_factory.mktemp("freevc") / "small"
    model = write_freevc(folder, request.param)
    stored = loaded(folder)
    module = freevc.load(stored)
    return model, module, {one.name: one for one in freevc.components(module, stored, Shape(FRAMES))}


def test_every_stage_equals_coqui_s_own_inference(both, monkeypatch):
    model, _, ours = both
    random = np.random.default_rng(0)
    samples = (random.standard_normal((1, 1, 150 * 320)) / 10).astype(np.float32)
    noise = random.standard_normal((1, 8, FRAMES)).astype(np.float32)
    target = random.random((1, model.args.gin_channels, 1), np.float32)
    with torch.no_grad(), monkeypatch.context() as patched:
        patched.setattr(torch, "randn_like", lambda *_: torch.from_numpy(noise))
        padded = torch.nn.functional.pad(torch.from_numpy(samples[0]), (0, 80))
        features = model.extract_wavlm_features(padded)
        content, speaker = features[:, :, :FRAMES], torch.from_numpy(target)
        encoded, _, _, mask = model.enc_p(content, torch.tensor([FRAMES]))
        converted = model.flow(encoded, mask, g=speaker, reverse=True)
        audio = model.inference(content, g=speaker)

    def ran(name, given):
        assert set(ours[name].targets) == {spec.name for spec in ours[name].inputs} & {"target"}
        return next(iter(run_original(ours[name], given | dict.fromkeys(ours[name].targets, target)).values()))

    made = ran("content", {"samples": samples})
    assert snr_db(features.numpy().ravel(), made.ravel()) > 90
    latents = ran("encoder", {"content": np.concatenate([made[:, :, :FRAMES], noise], axis=1)})
    moved = ran("flow", {"encoded": latents})
    sound = ran("decoder", {"converted": moved})
    for name, theirs, one in (("encoded", encoded, latents), ("converted", converted, moved), ("audio", audio, sound)):
        assert snr_db(theirs.numpy().ravel(), one.ravel()) > 90, name
    assert sound.shape == (1, 1, 480 * FRAMES) and sound.std() > 1e-3
    assert np.abs(moved - latents).max() > 1e-2, "the flow does something"
    reached = {name: (one.time.left, one.time.right) for name, one in ours.items() if one.time}
    assert reached == {"encoder": (32, 32), "flow": (32, 32), "decoder": (11, 11)}


def test_a_target_is_embedded_as_upstream_does(both, clips, monkeypatch):
    """Silence cut from both ends, windows as upstream's, their mean."""
    model, _, ours = both
    # librosa would compile itself for it: test_target.py compares the two
    trim = SimpleNamespace(trim=lambda samples, top_db: (trimmed(samples), top_db))
    monkeypatch.setattr(import_coqui("TTS.vc.models.freevc").librosa, "effects", trim)
    samples = read_clip(clips[0], 16000, 1)
    samples = np.concatenate([np.zeros(9000), *3 * [samples], np.zeros(5000)]).astype(np.float32)
    expected = model._extract_target_se([torch.from_numpy(samples)]).numpy()
    encoder = ours["speaker_encoder"]
    made = target_embedding(
        samples, encoder.features, freevc.PARTIAL, lambda mels: run_original(encoder, {"mels": mels})["voices"]
    )
    assert made.shape == expected.shape == (1, model.args.gin_channels, 1)
    assert snr_db(expected.ravel(), made.ravel()) > 90


def test_the_conversion_is_a_chain_to_an_embedding(both):
    _, module, ours = both
    conversion = freevc.conversion(module, {})
    assert conversion.components == ["content", "encoder", "flow", "decoder"] and conversion.target == "embedding"
    with pytest.raises(ConversionError, match="decoder of its own"):
        freevc.conversion(module, {"vocoder": ours["decoder"]})


def test_what_does_not_fit_is_refused(tmp_path):
    write_freevc(tmp_path / "model", use_spk=True)
    stored = loaded(tmp_path / "model")

    def changed(weights=None, **changes):
        config = {**stored.config, "model_args": {**stored.config["model_args"], **changes}}
        located = dataclasses.replace(stored.located, config=config)
        return dataclasses.replace(stored, located=located, weights=weights or stored.weights)

    for changes, said in (
        ({"inter_channels": 16}, "has shape"),
        ({"upsample_rates": [10, 8, 2, 2]}, "as long as no 320"),
        ({"gin_channels": 6}, "gives 256"),
        ({"use_spk": False}, "enc_spk"),
    ):
        with pytest.raises(CheckpointError, match=said):
            freevc.load(changed(**changes))
    without = {name: value for name, value in stored.weights.items() if not name.startswith("wavlm.")}
    with pytest.raises(CheckpointError, match="it has none of"):
        freevc.load(changed(without))
    (tmp_path / "model" / "WavLM-Large.pt").unlink()
    with pytest.raises(CheckpointError, match="no `cfg`"):
        freevc.load(loaded(tmp_path / "model"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, own_job):
    folder = tmp_path_factory.mktemp("freevc") / "small"
    write_freevc(folder, use_spk=True)
    outcome = own_job("model=freevc", f"checkpoint.source={folder}", "precision=fp32")
    assert outcome.passed, outcome.gates
    return outcome.bundle


@pytest.mark.proof
def test_it_goes_through_the_job_and_streams_on_every_sample(bundle, clips):
    """Three artefacts with states behind WavLM's windows, in ragged blocks, against the same at once."""
    manifest = bundle.manifest
    assert manifest.conversion.components == ["content", "encoder", "flow", "decoder"]
    target = target_of(bundle, [clips[1], clips[1]], EXECUTION).target
    expected = bundle.goldens(bundle.main)[0].outputs["audio"].ravel()  # PyTorch's own, in the next clip's voice
    samples = np.concatenate(list(audio_blocks(clips[0], 16000)))
    for context in ("live", "offline"):
        frontend, player = open_conversion(bundle, target, 16000, context, EXECUTION), open_main(bundle, EXECUTION)
        frames = np.concatenate([frontend.push(samples), frontend.flush()], axis=2)
        offline = player.play(frames, target.of(bundle.main)).reshape(-1)
        frontend.reset()
        chain = ConversionChain(frontend, player, target.of(bundle.main), player.time.sample_rate)
        random, at, pieces = np.random.default_rng(0), 0, []
        while at < len(samples):
            size = int(random.choice([1, 128, 480, 7000]))
            pieces.append(chain.push(samples[at : at + size]))
            at += size
        streamed = np.concatenate([*pieces, chain.flush()])
        assert len(streamed) == 480 * (len(samples) // 320) and streamed.std() > 1e-3
        np.testing.assert_allclose(streamed, offline, atol=1e-6)
    assert snr_db(expected, offline) > 80


@pytest.mark.proof
def test_the_commands_take_a_recording_and_a_target_that_is_kept(bundle, clips, tmp_path, capsys):
    kept, out = tmp_path / "her.npz", tmp_path / "out.wav"
    assert main(["target", str(clips[1]), str(clips[1]), str(kept), "--bundle", str(bundle.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "embedding"
    command = ["convert-voice", str(clips[0]), str(out), "--bundle", str(bundle.path), "--target", str(kept)]
    for mode in ([], ["--mode", "stream"]):
        assert main([*command, *mode, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["rtf"] > 0
    assert soundfile.info(out).samplerate == 24000
