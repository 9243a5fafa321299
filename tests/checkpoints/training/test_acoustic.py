"""FastSpeech 2's recipe on a CPU: its network is coqui-tts's, an aligner finds what is where, a training goes on where
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
from checkpoints.training import acoustic, export, recordings
from checkpoints.training.alignment import Aligner, best_durations, diagonal_prior, forward_sum
from checkpoints.training.forward import Forward, Judges, spread
from checkpoints.training.steps import halved
from converters.coqui import import_coqui
from converters.families import forward_tts
from converters.goldens import run_original
from converters.options import Shape
from runtime.chains import Request, utter
from runtime.speak import taken
from runtime.speech import clip_paths, read_clip


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


def test_an_aligner_finds_which_symbol_is_where():
    """Mels that are drawn around a symbol's own, so that the right durations are known."""
    torch.manual_seed(0)
    sounds, count = torch.randn(20, 80) * 2, 32
    symbols = torch.randint(6, 13, (count,))
    symbols[0] = 12
    ids, lasting = torch.zeros(count, 12, dtype=torch.long), torch.zeros(count, 12, dtype=torch.long)
    for row, size in enumerate(symbols):
        ids[row, :size] = torch.randint(0, 20, (int(size),))
        lasting[row, :size] = torch.randint(2, 9, (int(size),))
    frames = lasting.sum(1)
    length = int(frames.max())
    mel = torch.einsum("btf,btc->bcf", spread(lasting.float(), length), sounds[ids])
    mel += 0.1 * torch.randn(count, 80, length)
    prior = torch.full((count, length, 12), -20.0)
    for row in range(count):
        made = diagonal_prior(int(symbols[row]), int(frames[row]))
        np.testing.assert_allclose(np.exp(made).sum(1), 1, atol=1e-6)
        prior[row, : frames[row], : symbols[row]] = torch.from_numpy(made).float()
    mask = (torch.arange(12) < symbols[:, None]).float()
    aligner = Aligner()

    def share() -> float:
        found = best_durations(aligner(ids, mask, mel, prior).detach(), symbols, frames)
        assert torch.equal(found.sum(1), frames) and found[mask == 0].sum() == 0 and found[mask == 1].min() >= 1
        return ((found - lasting).abs()[mask == 1] <= 1).float().mean().item()

    before = share()
    optimiser = torch.optim.Adam(aligner.parameters(), 1e-3)
    for _ in range(120):
        loss = forward_sum(aligner(ids, mask, mel, prior), symbols, frames)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert share() > 0.7 > before + 0.1


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


@pytest.fixture
def packed(tmp_path):
    clips = []
    for number, path in enumerate(clip_paths()):
        clips.append(tmp_path / f"clip{number}.wav")
        soundfile.write(clips[-1], read_clip(path, 22050, 256)[: 2 * 22050], 22050, subtype="PCM_16")
    folder = tmp_path / "data"
    recordings.pack(clips[:-1], clips[-1:], folder)
    random = np.random.default_rng(0)
    lengths = {name: len(samples) // 256 for name, samples in recordings.clips_of(folder)}
    texts = {name: {"text": "", "ids": [2, *random.integers(3, 132, 20).tolist(), 1]} for name in lengths}
    (folder / "texts.json").write_text(json.dumps(texts))
    np.savez(folder / "pitch.npz", **{name: random.uniform(150, 250, frames) for name, frames in lengths.items()})
    return folder


def run(packed, out, monkeypatch, *options):
    arguments = ["--batch", "2", "--align-steps", "3", "--tell", "0", *options]
    monkeypatch.setattr(sys, "argv", ["acoustic", str(packed), str(out), *arguments])
    acoustic.main()


def test_a_training_goes_on_where_it_stopped(packed, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    run(packed, out, monkeypatch, "--steps", "2")
    run(packed, out, monkeypatch, "--steps", "4", "--alone", "0")
    said = capsys.readouterr().out
    assert "begun at step 0" in said and "resumed at step 2" in said and "saved at step 4" in said
    assert said.count("aligner: 3 steps") == 1, "durations are kept"
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
