"""RAVE's recipe on a CPU: every step of a tiny one, from recordings to a checkpoint that converts."""

import json
import sys

import numpy as np
import pytest
import soundfile
import torch

from checkpoints.load import load
from checkpoints.locate import locate
from checkpoints.options import CheckpointOptions
from checkpoints.training import rave
from checkpoints.training.mel import SAMPLE_RATE, LogMel
from checkpoints.training.networks import Discriminators
from checkpoints.training.rave import BandDistance, LearningRave, export
from checkpoints.training.state import load_state
from converters.families import rave as family
from converters.upstream.rave.settings import HalfSettings, RaveSettings
from runtime.speech.clips import clip_paths, read_clip
from runtime.speech.noise import noise_of

HALF = HalfSettings(4, (2, 2), ((1, 3), (1,)), bias=True)
SETTINGS = RaveSettings(HALF, HALF, SAMPLE_RATE, attenuation=40, latent_size=8, causal=True)
SMALL = ("--ratios", 2, 2, "--encoder", 4, "--decoder", 4, "--latents", 8, "--batch", 2, "--segment", 4096)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    for path in clip_paths()[:3]:
        soundfile.write(folder / f"{path.stem}.wav", read_clip(path, SAMPLE_RATE, 1)[: 2 * SAMPLE_RATE], SAMPLE_RATE)
    return folder


@pytest.fixture
def train(monkeypatch):
    monkeypatch.setattr(rave, "Discriminators", lambda: Discriminators((4, 4), 4))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["rave", *map(str, arguments)])
        rave.main()

    return run


def test_a_training_goes_on_through_both_phases_to_a_checkpoint_that_converts(recordings, tmp_path, train, capsys):
    torch.manual_seed(0)
    out = tmp_path / "out"
    train(recordings, out, *SMALL, "--steps", 2, "--alone", 9)
    first = _weights(out)
    train(recordings, out, *SMALL, "--steps", 3, "--alone", 0)
    said = capsys.readouterr().out
    assert "saved at step 2" in said and "resumed at step 2" in said and "saved at step 3" in said
    assert not any(part in said for part in ("nan", "inf "))
    second = _weights(out)
    moved = {name for name in first if not torch.equal(first[name], second[name])}
    assert any(name.startswith("decoder.") for name in moved)
    assert not any(name.startswith(("encoder.", "pqmf.")) for name in moved), "frozen once judges have come"
    assert float(second["taken"]) == 2
    stored = load(locate(CheckpointOptions(source=str(out / "rave")), "rave", "", print))
    module = family.load(stored)
    assert module.settings.causal and module.settings.ratio == 64
    assert module.kept == json.loads((out / "rave" / "config.json").read_text())["rave"]["latents"]
    audio = torch.from_numpy(read_clip(clip_paths()[0], SAMPLE_RATE, 64)[: 64 * 100])[None, None]
    rows = torch.zeros(1, module.completing, 100)
    made = family.Decode(module)(torch.cat([family.Encode(module)(audio), rows], 1))
    assert made.shape == audio.shape and made.isfinite().all()


def _weights(out):
    return load_state(out / "state", "cpu")["networks"]["rave"]["weights"]


def test_what_is_exported_is_what_was_trained_along_its_principal_axes(tmp_path):
    torch.manual_seed(0)
    network = LearningRave(SETTINGS).eval()
    with torch.no_grad():  # three latents that tell anything, as much each as a trained one's
        last = network.encoder.encoder.net[-1]
        weight, bias = last.weight.clone(), last.bias.clone()
        weight[3:8], bias[3:8] = 1e-5 * weight[3:8], 0
        last.weight = 40 * weight
        last.bias.copy_(bias)
    torch.save(network.state_dict(), tmp_path / "rave.pt")
    audio = torch.from_numpy(read_clip(clip_paths()[0], SAMPLE_RATE, 64))
    assert export(tmp_path / "rave.pt", SETTINGS, (audio * 32767).short(), tmp_path / "rave") == 4
    module = family.load(load(locate(CheckpointOptions(source=str(tmp_path / "rave")), "rave", "", print)))
    piece = audio[None, None, : 64 * 200]
    with torch.no_grad():
        latents = module.encode(piece)
        again = module.decode(torch.cat([latents, latents.new_zeros(1, 4, 200)], 1), None)
        bands = network.pqmf.forward_conv(piece)
        wanted = network.pqmf.inverse_conv(network.decoder(network.latents(bands)[0], None))
    torch.testing.assert_close(again, wanted, atol=5e-3, rtol=0)
    assert wanted.abs().max() > 0.02
    whole = module.encode(audio[None, None])[0]
    deviations = np.cov(whole.numpy())
    assert abs(deviations[0, 1]) < 0.02 * deviations[0, 0] and deviations[0, 0] >= deviations[1, 1] > deviations[3, 3]


def test_the_distance_of_bands_is_none_to_themselves_and_grows_with_what_is_missing():
    torch.manual_seed(0)
    bands, distance = torch.randn(2, 4, 256), BandDistance()
    assert distance(bands, bands) == 0
    missing = bands.clone()
    missing[:, 2] = 0
    assert 0 < distance(bands * 0.9, bands) < distance(missing, bands)


def test_what_cannot_be_trained_is_a_sentence(recordings, tmp_path, train, capsys):
    for arguments, sentence in (
        ((tmp_path / "none", tmp_path / "out"), "holds 0 recordings"),
        ((recordings, tmp_path / "odd", "--ratios", 3, 2), "even ones are wanted"),
        ((recordings, tmp_path / "long", "--segment", 10**7), "are no piece of --segment"),
    ):
        with pytest.raises(SystemExit):
            train(*arguments)
        assert sentence in capsys.readouterr().err


def test_the_rave_that_ships_knows_its_speaker():
    """Three of its latents tell anything; with drawn weights the mel L1 is above 2."""
    module = family.load(load(locate(CheckpointOptions(source="bundled"), "rave", "rave_kathleen", print)))
    kathleen = next(path for path in clip_paths() if "kathleen" in path.stem)
    samples = torch.from_numpy(read_clip(kathleen, SAMPLE_RATE, 256))
    with torch.inference_mode():
        latents = family.Encode(module)(samples[None, None])
        noise = torch.from_numpy(noise_of(family.noise_rows(module), 0, latents.shape[2]))[None]
        copy = family.Decode(module)(torch.cat([latents, noise], 1))[:, 0]
        mel, delay = LogMel(), 272  # of its filter bank
        error = (mel(copy[:, delay:]) - mel(samples[None, :-delay])).abs().mean()
    assert module.kept == 4 and latents[0].std(1)[2] > 0.5 > latents[0].std(1)[3]
    assert error < 0.55
