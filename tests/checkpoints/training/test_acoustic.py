"""FastSpeech 2's recipe on a CPU: its network is coqui-tts's, it is found what is said where, a training goes on where
it was stopped, and what comes out converts."""

import json
import sys

import numpy as np
import pytest
import soundfile
import torch

from checkpoints.load import load
from checkpoints.locate import locate
from checkpoints.options import CheckpointOptions
from checkpoints.training import acoustic, alignment, export, recordings
from checkpoints.training.alignment import Sounds, aligned, best_durations
from checkpoints.training.forward import Forward, Judges
from checkpoints.training.steps import halved
from converters.families import forward_tts
from converters.goldens import run_original
from converters.options import Shape
from converters.upstream.coqui import import_coqui
from runtime.bundle.spec import taken
from runtime.playing.chains import Request, utter
from runtime.speech.clips import clip_paths, read_clip


@pytest.fixture
def trained(tmp_path):
    """As a training leaves it: weights that matter, symbols of a few frames."""
    torch.manual_seed(0)
    network = Forward().eval()
    for name, parameter in network.named_parameters():
        if parameter.dim() == 1 and "norm" not in name:
            torch.nn.init.normal_(parameter, std=0.1)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm1d):
            layer.running_mean.normal_(std=0.3)
            layer.running_var.uniform_(0.5, 2.0)
    torch.nn.init.constant_(network.duration_predictor.proj.bias, 1.5)
    rounded = halved(network.state_dict())
    torch.save(rounded, tmp_path / "forward.pt")
    network.load_state_dict(rounded)
    export.export_forward(tmp_path / "forward.pt", tmp_path / "voice")
    return network, tmp_path / "voice"


def test_the_network_is_coqui_s(trained):
    network, folder = trained
    config = json.loads((folder / "config.json").read_text())
    models = import_coqui("TTS.tts.models.forward_tts")
    args = models.ForwardTTSArgs(**config["model_args"])
    theirs = models.ForwardTTS(import_coqui("TTS.tts.configs.fastspeech2_config").Fastspeech2Config(model_args=args))
    theirs.emb = torch.nn.Embedding(132, 192)  # upstream counts the symbols of its config
    missing, surplus = theirs.load_state_dict(network.state_dict(), strict=False)
    assert not surplus and not missing
    ids = torch.from_numpy(np.random.default_rng(0).integers(3, 132, (1, 23)))
    with torch.no_grad():
        wanted = theirs.eval().inference(ids)["model_outputs"].transpose(1, 2)
    made = network.spoken(ids)
    assert made.shape == wanted.shape and made.shape[2] > 46 and made.std() > 0.1
    torch.testing.assert_close(made, wanted, atol=2e-4, rtol=1e-4)


def test_what_is_exported_converts(trained):
    network, folder = trained
    checkpoint = load(locate(CheckpointOptions(source=str(folder)), "forward_tts", "", print))
    module = forward_tts.load(checkpoint)
    components = {part.name: part for part in forward_tts.components(module, checkpoint, Shape())}
    ids = np.random.default_rng(0).integers(3, 132, 23)

    def run(name, given):
        return run_original(components[name], taken(components[name].inputs, given))

    made = utter(forward_tts.voice(module), run, Request(ids)).frames
    np.testing.assert_allclose(made, network.spoken(torch.from_numpy(ids)[None]), atol=5e-4)


def test_padding_changes_nothing():
    torch.manual_seed(0)
    network = Forward().eval()
    ids, durations = torch.randint(3, 132, (1, 9)), torch.randint(1, 5, (1, 9)).float()
    frames = int(durations.sum())
    values = torch.randn(2, 1, 1, 9)

    def made(text, time):
        pad = torch.nn.functional.pad
        masks = [(torch.arange(size) < length).float()[None] for size, length in ((text, 9), (time, frames))]
        given = [pad(part, (0, text - 9)) for part in (ids, durations, *values)]
        with torch.no_grad():
            return network(given[0], masks[0], *given[1:], masks[1])

    whole, padded = made(9, frames), made(14, frames + 11)
    torch.testing.assert_close(padded[0][..., :frames], whole[0], atol=1e-4, rtol=1e-4)
    for one, other in zip(padded[1:], whole[1:]):
        torch.testing.assert_close(one[..., :9], other, atol=1e-4, rtol=1e-4)
    assert not padded[0][..., frames:].any()


def test_it_is_found_which_symbol_is_where():
    """Mels that are drawn around a sound's own, so that the right durations are known."""
    random = np.random.default_rng(0)
    sounds = Sounds({" ": 0, "ˈ": 1, "ˌ": 2, "ː": 3, **dict(zip("abcdefghij", range(4, 14)))}, (14,))
    looks = random.normal(0, 2, (15, 80)).cumsum(1) / 3
    ids, lasting, mels = [], [], []
    for _ in range(60):
        symbols = [
            14,
            *random.permutation(range(4, 14))[: random.integers(5, 11)],
            0,
            *random.permutation(range(4, 10)),
            14,
        ]
        durations = random.integers(3, 12, len(symbols))
        frames = np.repeat(looks[[0 if one == 14 else one for one in symbols]], durations, 0)
        mels.append(torch.from_numpy(frames + random.normal(0, 0.2, frames.shape)).float().T)
        ids.append([int(one) for one in symbols])
        lasting.append(durations)
    said = []
    found = aligned(ids, mels, sounds, said.append)
    assert all(one.sum() == other.sum() and one.min() >= 1 for one, other in zip(found, lasting))
    off = np.abs(np.concatenate([(one - other).cumsum() for one, other in zip(found, lasting)]))
    assert (off <= 1).mean() > 0.95 and len(said) == 15
    with pytest.raises(ValueError, match="clip 1: 20 frames are too few for"):
        aligned(ids, [mels[0], mels[1][:, :20], *mels[2:]], sounds)


def test_marks_sound_as_what_they_mark():
    sounds = Sounds({" ": 3, "ˈ": 4, "ˌ": 5, "ː": 6, ".": 7, "a": 8, "b": 9}, (1, 2))
    states, owners = sounds.states([2, 4, 8, 6, 3, 9, 7, 1])
    assert states == [0, 17, 17, 18, 18, 0, 19, 20, 0, 0] and owners == [0, 1, 2, 2, 3, 4, 5, 5, 6, 7]
    assert max(states) < sounds.count


def test_the_best_path_is_the_best_of_all():
    from itertools import combinations

    scores = torch.randn(1, 7, 3)
    found = best_durations(scores, torch.tensor([3]), torch.tensor([7]))[0]
    best = max(
        ((sum(scores[0, t, (t >= a) + (t >= b)].item() for t in range(7)), (a, b - a, 7 - b))
         for a, b in combinations(range(1, 7), 2))
    )  # fmt: skip
    assert tuple(found.tolist()) == best[1]


def test_judges_look_at_sound_alone():
    torch.manual_seed(0)
    judges = Judges().eval()
    mel = torch.randn(2, 80, 200)
    changed = mel.clone()
    changed[:, :, 150:] = 9
    for one, other in zip(
        *(judges(each, torch.tensor([150, 140]), torch.tensor([1.0, 0.5])) for each in (mel, changed))
    ):
        assert torch.equal(one, other)
    short = torch.nn.functional.pad(mel[:, :, :50], (0, 150))
    at = torch.tensor([50, 50]), torch.tensor([0.3, 1.0])
    assert all(map(torch.equal, judges(mel[:, :, :50], *at), judges(short, *at)))


@pytest.fixture
def packed(tmp_path, monkeypatch):
    clips = []
    for number, path in enumerate(clip_paths()):
        clips.append(tmp_path / f"clip{number}.wav")
        soundfile.write(clips[-1], read_clip(path, 22050, 256)[:22050], 22050, subtype="PCM_16")
    folder = tmp_path / "data"
    recordings.pack(clips[:-1], clips[-1:], folder)
    random = np.random.default_rng(0)
    lengths = {name: len(samples) // 256 for name, samples in recordings.clips_of(folder)}
    texts = {name: {"text": "", "ids": [2, *random.integers(3, 132, 20).tolist(), 1]} for name in lengths}
    (folder / "texts.json").write_text(json.dumps(texts))
    np.savez(folder / "pitch.npz", **{name: random.uniform(150, 250, frames) for name, frames in lengths.items()})
    monkeypatch.setattr(alignment, "GAUSSIANS", (1, 1))
    monkeypatch.setattr(sys, "argv", ["alignment", str(folder)])
    alignment.main()
    return folder


def run(packed, out, monkeypatch, *options):
    arguments = ["--batch", "2", "--progress", "0", *options]
    monkeypatch.setattr(sys, "argv", ["acoustic", str(packed), str(out), *arguments])
    acoustic.main()


@pytest.mark.proof
def test_a_training_goes_on_where_it_stopped(packed, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    run(packed, out, monkeypatch, "--steps", "1")
    run(packed, out, monkeypatch, "--steps", "2", "--alone", "0")
    said = capsys.readouterr().out
    assert "begun at step 0" in said and "resumed at step 1" in said and "saved at step 2" in said
    weights = torch.load(out / "forward.pt", weights_only=True)
    assert set(weights) == set(Forward().state_dict()) and weights["emb.weight"].dtype == torch.float16


def test_texts_and_pitch(packed, tmp_path, monkeypatch, capsys):
    pytest.importorskip("swift_f0")
    from checkpoints.training import texts

    (tmp_path / "metadata.csv").write_text("clip0|Hello there.\nclip1|It is 5.\n")
    (tmp_path / "clip2.txt").write_text("Good-bye.\n")
    given = [str(packed), str(tmp_path / "metadata.csv"), str(tmp_path / "clip2.txt")]
    monkeypatch.setattr(sys, "argv", ["texts", *given])
    texts.main()
    rows = json.loads((packed / "texts.json").read_text())
    assert [rows[name]["ids"][0] for name in rows] == [2] * 3 and rows["clip1"]["text"] == "It is 5."
    with np.load(packed / "pitch.npz") as pitches:
        voiced = pitches["clip0"][pitches["clip0"] > 0]
        assert len(voiced) > 40 and 120 < np.median(voiced) < 320
    monkeypatch.setattr(sys, "argv", ["texts", *given[:2]])
    with pytest.raises(SystemExit, match="no transcript of clip2"):
        texts.main()
