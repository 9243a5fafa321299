"""kNN-VC beside coqui-tts's own, with drawn weights, and through the whole job."""

import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from checkpoints import CheckpointError
from checkpoints.load import load
from checkpoints.locate import locate
from checkpoints.options import CheckpointOptions
from converters.families import hifigan, knn_vc
from converters.goldens import run_original
from converters.options import ConversionError, Shape
from converters.upstream.coqui import import_coqui
from runtime.__main__ import main
from runtime.engines import Execution
from runtime.playing.conversions import ConversionChain, open_conversion, open_main
from runtime.playing.parts import Parts
from runtime.playing.stages import Frontend, Target
from runtime.playing.targets import make_target, read_target, write_target
from runtime.speech.clips import read_clip
from runtime.speech.matching import Pool
from runtime.speech.metrics import snr_db
from tests.small_wavlm import (
    CHANNELS,
    LAYERS,
    content_vocoder_config,
    upstream_wavlm,
    write_small_content_vocoder,
    write_small_wavlm,
)

EXECUTION = Execution("onnx")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("knn_vc")
    return write_small_wavlm(root / "wavlm"), write_small_content_vocoder(root / "vocoder")


def loaded(folder, family):
    return load(locate(CheckpointOptions(source=str(folder)), family, "", print))


def parts_of(folders):
    """The family's module, its component and its vocoder's."""
    shape = Shape(40)
    stored, other = loaded(folders[0], "knn_vc"), loaded(folders[1], "hifigan")
    module = knn_vc.load(stored)
    (content,), (vocoder,) = (
        knn_vc.components(module, stored, shape),
        hifigan.components(hifigan.load(other), other, shape),
    )
    return module, content, vocoder


@pytest.fixture(scope="module")
def bundle(folders, own_job):
    wavlm, vocoder = folders
    outcome = own_job(
        "model=knn_vc", f"checkpoint.source={wavlm}", f"model.parts.vocoder.checkpoint.source={vocoder}",
        "precision=fp32", "format=onnx",
    )  # fmt: skip
    assert outcome.passed, outcome.gates
    return outcome.bundle


def test_every_stage_equals_coqui_s_own_inference(folders, monkeypatch):
    """WavLM's second layer, the matching, the vocoder."""
    module, content, vocoder = parts_of(folders)
    upstream = upstream_wavlm()
    own = import_coqui("TTS.vc.models.knnvc")
    monkeypatch.setattr(own, "get_wavlm", lambda: upstream)
    config = import_coqui("TTS.vc.configs.knnvc_config").KNNVCConfig(wavlm_layer=LAYERS - 1)
    knn = own.KNNVC(config)
    random = np.random.default_rng(0)
    recordings = (random.standard_normal((2, 1, 1, 150 * 320)) / 10).astype(np.float32)
    features = [knn.get_features(torch.nn.functional.pad(torch.from_numpy(one[0]), (0, 80))) for one in recordings]
    made = [run_original(content, {"samples": one})["content"] for one in recordings]
    for ours, theirs in zip(made, features):
        assert ours.shape == (1, CHANNELS, 150)
        assert snr_db(theirs.numpy().T.ravel(), ours.ravel()) > 100
    pool = Pool(made[1][0].T.astype(np.float16), is_centred=False)
    expected = knn.match(features[0], torch.from_numpy(pool.content.astype(np.float32)))
    conversion = knn_vc.conversion(module, {"vocoder": vocoder})
    # upstream matches one window, ours several: each is given what the one had there
    padded = np.pad(made[0], ((0, 0), (0, 0), (50, 100)))
    windows = (padded[:, :, start : start + 150] for start in (0, 50, 100))
    frontend = Frontend(conversion, Parts(lambda name, samples: next(windows)), Target(pool=pool), 16000)
    matched = np.concatenate([frontend.push(recordings[0].ravel()), frontend.flush()], axis=2)
    frames = [snr_db(theirs, ours) > 100 for theirs, ours in zip(expected.numpy()[0], matched[0].T)]
    assert len(frames) == 150 and sum(frames) >= 145  # where two neighbours are as near, processors choose otherwise
    generator = import_coqui("TTS.vocoder.models.hifigan_generator").HifiganGenerator(
        **content_vocoder_config()["generator_model_params"]
    )
    generator.load_checkpoint(None, folders[1] / "model_file.pth", eval=True)
    audio = generator.inference(torch.from_numpy(matched).transpose(1, 2)).numpy()
    assert audio.std() > 1e-3
    assert snr_db(audio.ravel(), run_original(vocoder, {"content": matched})["audio"].ravel()) > 100


def test_it_goes_through_the_job_and_passes(bundle, clips):
    manifest = bundle.manifest
    assert manifest.conversion.components == ["content", "generator"] and manifest.conversion.target == "pool"
    assert manifest.conversion.matching.mel is None and bundle.main.name == "generator"
    assert bundle.component("content").inputs[0].default_shape == (1, 1, 150 * 320)
    assert bundle.main.inputs[0].default_shape[1] == CHANNELS


@pytest.mark.parametrize("context", ["live", "offline"])
def test_streamed_is_what_comes_at_once_on_every_sample(bundle, clips, context):
    target = make_target(bundle, clips, EXECUTION).target
    player = open_main(bundle, EXECUTION)
    samples = read_clip(clips[0], 48000, 1)
    frontend = open_conversion(bundle, target, 48000, context, EXECUTION)
    frames = np.concatenate([frontend.push(samples), frontend.flush()], axis=2)
    assert frames.shape == (1, CHANNELS, len(samples) // 3 // 320)
    offline = player.play(frames).reshape(-1)
    frontend.reset()
    chain = ConversionChain(frontend, player, rate_out=player.time.sample_rate)
    random, at, pieces = np.random.default_rng(0), 0, []
    while at < len(samples):
        size = int(random.choice([1, 128, 480, 7000]))
        pieces.append(chain.push(samples[at : at + size]))
        at += size
    streamed = np.concatenate([*pieces, chain.flush()])
    np.testing.assert_allclose(streamed, offline, atol=1e-6)
    assert np.abs(offline).max() > 1e-3
    if context == "live":
        assert {"content, future": 200.0, "content, chunk": 200.0}.items() <= chain.latency.items()


def test_the_commands_take_recordings_and_a_target_that_is_kept(bundle, clips, tmp_path, capsys):
    kept, out = tmp_path / "her.npz", tmp_path / "out.wav"
    assert main(["target", *map(str, clips), str(kept), "--bundle", str(bundle.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "pool"
    made = make_target(bundle, clips, EXECUTION).target.pool
    again = read_target(kept, bundle).pool
    assert set(made.arrays) == set(again.arrays) == {"content"} and made.content.dtype == np.float16
    np.testing.assert_array_equal(made.content, again.content)
    sounds = []
    for whose in (clips, [kept]):
        command = ["convert-voice", str(clips[0]), str(out), "--bundle", str(bundle.path), "--target", *map(str, whose)]
        assert main([*command, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["rtf"] > 0
        sounds.append(soundfile.read(out)[0])
    np.testing.assert_array_equal(*sounds)
    assert main([*command, "--pitch", "3"]) == 2
    assert "takes no pitch" in capsys.readouterr().err
    live = ["live", str(bundle.path), "--in", str(clips[0]), "--out", str(out), "--target", str(kept), "--json"]
    assert main(live) == 0
    assert "content, future" in " ".join(json.loads(capsys.readouterr().out))


def test_what_is_no_target_is_a_sentence(bundle, clips, tmp_path, capsys):
    kept, out = tmp_path / "target.npz", tmp_path / "out.wav"
    soundfile.write(tmp_path / "silent.wav", np.zeros(80000), 16000)
    assert main(["target", str(tmp_path / "silent.wav"), str(kept), "--bundle", str(bundle.path)]) == 2
    assert "is silent" in capsys.readouterr().err
    write_target(kept, bundle, make_target(bundle, clips, EXECUTION))
    arrays = dict(np.load(kept))
    np.savez(kept, **{**arrays, "content": arrays["content"][:, :5]})
    command = ["convert-voice", str(clips[0]), str(out), "--bundle", str(bundle.path), "--target", str(kept)]
    assert main(command) == 2
    assert "5 channels" in capsys.readouterr().err


def test_it_takes_a_vocoder_of_its_content(folders, small_hifigan):
    module, _, vocoder = parts_of(folders)
    with pytest.raises(ConversionError, match=r"parts\.vocoder"):
        knn_vc.conversion(module, {})
    other = loaded(small_hifigan, "hifigan")
    (of_mel,) = hifigan.components(hifigan.load(other), other, Shape(40))
    with pytest.raises(ConversionError, match=f"{CHANNELS} channels"):
        knn_vc.conversion(module, {"vocoder": of_mel})
    slower = replace(vocoder, time=replace(vocoder.time, samples_per_frame=160))
    with pytest.raises(ConversionError, match="20 ms"):
        knn_vc.conversion(module, {"vocoder": slower})


def test_a_vocoder_of_content_is_no_model_by_itself(folders, own_job):
    with pytest.raises(ConversionError, match="model=knn_vc"):
        own_job("model=hifigan", f"checkpoint.source={folders[1]}")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"layer_norm_first": False}, "norms first"),
        ({"activation_fn": "relu"}, "no relu"),
        ({"conv_feature_layers": "__import__('os')"}, "no list of layers"),
        ({"conv_feature_layers": "[(16,10,5)]"}, "5 samples a frame"),
        ({"encoder_layers": 1}, "1 layers, not 2"),
        ({"num_buckets": -1}, "num_buckets"),
    ],
)
def test_what_is_no_wavlm_is_refused(folders, changes, said):
    stored = loaded(folders[0], "knn_vc")
    with pytest.raises(CheckpointError, match=said):
        knn_vc.load(replace(stored, settings={**stored.settings, **changes}))
    with pytest.raises(CheckpointError, match="no `cfg`"):
        knn_vc.load(replace(stored, settings={}))
