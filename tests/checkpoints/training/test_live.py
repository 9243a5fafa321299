"""The live voice's recipe on a CPU: its disguises, what is told of a mel, and every step of the training, from
recordings to a checkpoint that the family takes."""

import json
import sys

import numpy as np
import pytest
import soundfile
import torch

from checkpoints.load import load
from checkpoints.locate import locate
from checkpoints.options import CheckpointOptions
from checkpoints.training import live_voice, recordings
from checkpoints.training.live import content, converter, generator, networks, offline
from checkpoints.training.live.content import Content, unlike
from checkpoints.training.live.converter import FRAMES
from checkpoints.training.live.disguise import MARGIN, Disguise, Frames, Ranges
from checkpoints.training.live.export import export
from checkpoints.training.live.generator import LearningGenerator
from checkpoints.training.live.networks import LearningConverter, OfflineConverter, loudness_of
from checkpoints.training.live.schedule import Networks, set_from_state, set_weights
from checkpoints.training.live.speech import read_speech, without_noise, write_pitch
from checkpoints.training.mel import FLOOR, HOP, SAMPLE_RATE, LogMel
from checkpoints.training.networks import Discriminators
from checkpoints.training.state import load_state
from converters.families import live_voice as family
from converters.upstream.live_voice import CausalGenerator, Converter, ConverterSettings, GeneratorSettings
from converters.upstream.whisper import ContentEncoder
from runtime.speech.clips import clip_paths, read_clip

PLAIN = Ranges(
    pitch=(1.0, 1.0), formants=(1.0, 1.0), uneven=0.0, resonance=(1.0, 1.0), breathy=0.0, equaliser_db=0.0,
    level_db=(0.0, 0.0), stretched=0.0, echoing=0.0, narrow=0.0, noisy=0.0, silent=0.0,
)  # fmt: skip


def pieces(frames=40):
    samples = read_clip(clip_paths()[0], SAMPLE_RATE, HOP)
    length = 2 * MARGIN + frames * HOP
    return torch.from_numpy(np.stack([samples[at : at + length] for at in (0, 8000)]))


def test_a_piece_without_a_disguise_is_the_mel_of_the_recording():
    one, samples = torch.ones(2), pieces()
    wanted = LogMel()(samples)[..., MARGIN // HOP : -MARGIN // HOP]
    disguise = Disguise(40, PLAIN)
    torch.testing.assert_close(disguise.clean(samples, one), wanted, atol=1e-3, rtol=0)
    made, is_silent = disguise(samples, one)
    assert not is_silent.any()
    assert (made - wanted).abs().mean() < 0.02, "a cepstrum apart and together again"


def test_what_is_read_faster_is_higher_and_no_sooner():
    time = torch.arange(2 * MARGIN + 40 * HOP) / SAMPLE_RATE
    begins = (torch.arange(len(time)) > len(time) / 2).float()
    samples = (torch.sin(2 * torch.pi * 1000 * time) * begins)[None].repeat(3, 1)
    speed = torch.tensor([0.6, 1.0, 1.9])
    magnitude = Frames(40)(samples, speed, torch.ones(3))
    peaks = magnitude[:, -5].argmax(1) * SAMPLE_RATE / 1024
    torch.testing.assert_close(peaks, 1000 * speed, atol=25.0, rtol=0)
    levels = magnitude.amax(2)
    assert (levels[:, :15] < 0.1 * levels[:, -5:].mean()).all() and (levels[:, 25:] > 0.5 * levels[:, -1:]).all()


def test_disguises_are_others_and_silence_is_silence():
    torch.manual_seed(0)
    one, samples = torch.ones(2), pieces()
    disguise = Disguise(40, Ranges(silent=0.0))
    clean = disguise.clean(samples, one)
    first, second = (disguise(samples, one)[0] for _ in range(2))
    assert all(made.isfinite().all() and (made - clean).abs().mean() > 0.3 for made in (first, second))
    assert (first - second).abs().mean() > 0.3
    assert first.amax() < 4 and first.amin() >= np.log(FLOOR) - 1e-4
    _, is_silent = Disguise(40, Ranges(silent=1.0))(samples, one)
    assert is_silent.all()


def test_pauses_become_softer_and_speech_stays():
    rng = np.random.default_rng(0)
    speech = 8000 * np.sin(np.arange(40 * HOP) * 0.1)
    hiss = rng.normal(0, 70, 40 * HOP)  # -53 dB of full scale
    samples = np.rint(np.concatenate([speech, hiss])).astype(np.int16)
    made = without_noise(samples)
    np.testing.assert_allclose(made[: 36 * HOP], samples[: 36 * HOP], atol=1)
    assert made[50 * HOP :].std() < 0.12 * samples[50 * HOP :].std()


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A voice of three clips, one of them held, and two other speakers, with their pitch."""
    folder = tmp_path_factory.mktemp("live")
    for number, path in enumerate(clip_paths()):
        audio = read_clip(path, 24000, 1)
        soundfile.write(folder / f"clip{number}.flac", np.stack([audio, audio], 1), 24000, subtype="PCM_16")
    clips = sorted(folder.glob("clip*.flac"))
    recordings.pack(clips[:2], clips[2:], folder / "voice", bits=12)
    recordings.pack(clips[1:], clips[:1], folder / "speakers")
    for name in ("voice", "speakers"):
        write_pitch(folder / name)
    encoder = ContentEncoder(80, 64, content.LAYERS, 200)
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    state = {name: value.half() for name, value in encoder.state_dict().items()}
    torch.save({"encoder": state, "offsets": torch.zeros(80)}, folder / "teacher.pt")
    return folder


def test_recordings_of_any_rate_are_packed_in_fewer_bits(packed):
    samples, rate = soundfile.read(packed / "voice" / "train-0.flac", dtype="int16")
    assert rate == SAMPLE_RATE and samples.ndim == 1 and not (samples % 16).any() and (samples % 32).any()


def test_speech_is_drawn_from_one_clip_with_its_pitch_around_its_mean(packed):
    torch.manual_seed(0)
    speech = read_speech(packed / "voice", "cpu")
    assert len(speech.starts) == 2 and speech.minutes == pytest.approx(
        int(speech.frames.sum()) * HOP / SAMPLE_RATE / 60
    )
    clips, first = speech.drawn(64, 50)
    assert {0, 1} == set(clips.tolist())
    assert (first >= speech.starts[clips]).all()
    assert (first + 50 <= speech.starts[clips] + speech.frames[clips]).all()
    voiced = speech.voiced[: int(speech.frames[0])] > 0
    assert voiced.float().mean() > 0.3
    assert abs(float(speech.pitch[: int(speech.frames[0])][voiced].mean())) < 1e-4
    track = speech.track(first, 50, torch.ones(64))
    assert track.shape == (64, 2, 50) and set(track[:, 1].unique().tolist()) == {0.0, 1.0}
    assert (track[:, 0][track[:, 1] == 0] == 0).all()
    held = read_speech(packed / "voice", "cpu", is_held=True)
    assert len(held.starts) == 1


def test_content_is_of_the_moments_of_the_mel(packed):
    judge = Content(packed / "teacher.pt", FRAMES)
    torch.manual_seed(0)
    mel = torch.randn(2, 80, FRAMES) - 5
    made = judge(mel)
    assert made.shape[:2] == (2, 64) and judge.on_frames(made).shape == (2, 64, FRAMES)
    steps = torch.arange(made.shape[2], dtype=torch.float32).expand(1, 1, -1)
    moments = judge.on_frames(steps)[0, 0] * 0.02  # seconds
    wanted = (torch.arange(FRAMES) + 0.5) * HOP / SAMPLE_RATE
    torch.testing.assert_close(moments[:-4], wanted[:-4], atol=1e-4, rtol=0)
    assert unlike(made, made) < 1e-5 < unlike(made, made.roll(1, 2))


def ran(program, *arguments):
    def call(monkeypatch):
        monkeypatch.setattr(sys, "argv", [program.__name__, *map(str, arguments)])
        program.main()

    return call


SMALL = ("--batch", 3, "--held", 2, "--channels", 16, "--blocks", 2, "--progress", 1000, "--warm-up", 1)


def test_every_step_of_the_training_up_to_a_checkpoint(packed, tmp_path, monkeypatch, capsys):
    torch.manual_seed(0)
    for name, small in (("CHANNELS", 16), ("NARROW", 8), ("BLOCKS", 2)):
        monkeypatch.setattr(networks, name, small)
    real = ("--speakers", packed / "speakers", "--teacher", packed / "teacher.pt")
    aside = ("--steps", 1, "--no-state", "--agreeing", 0)
    ran(offline, packed / "voice", tmp_path / "zero", *SMALL, *real, *aside, "--alone", 0)(monkeypatch)
    real = (*real, "--following", tmp_path / "zero")
    first = ran(converter, packed / "voice", tmp_path / "one", *SMALL, *real, "--steps", 1, "--alone", 9)
    first(monkeypatch)
    ran(converter, packed / "voice", tmp_path / "one", *SMALL, *real, "--steps", 2, "--alone", 0)(monkeypatch)
    said = capsys.readouterr().out
    assert "saved at step 1" in said and "resumed at step 1" in said and "saved at step 2" in said
    assert not any(part in said for part in ("nan", "inf "))
    wave = ("--waves", 1, "--segment", 8, "--width", 16)
    ran(generator, packed / "voice", tmp_path / "two", *SMALL, *wave, "--steps", 1, "--alone", 0)(monkeypatch)
    both = ("--converter", tmp_path / "one", "--begin", tmp_path / "two")
    joint = ran(
        generator, packed / "voice", tmp_path / "three", *SMALL, *wave, *real, *both, "--steps", 1, "--no-state"
    )
    joint(monkeypatch)
    assert not (tmp_path / "three" / "state").exists()
    before, after = (torch.load(tmp_path / name / "converter.pt", weights_only=True) for name in ("one", "three"))
    assert any(not torch.equal(before[name], after[name]) for name in before)
    export(tmp_path / "three" / "converter.pt", tmp_path / "three" / "generator.pt", tmp_path / "voice", 2)
    config = json.loads((tmp_path / "voice" / "config.json").read_text())
    assert config["converter"]["channels"] == 16 and config["converter"]["blocks"] == 2
    assert config["generator"]["upsampling"] == [8, 8] and config["generator"]["samples"] == 4
    settings = ConverterSettings(**{**config["converter"], "dilations": tuple(config["converter"]["dilations"])})
    from safetensors.torch import load_file

    weights = load_file(tmp_path / "voice" / "model.safetensors")
    mine = {name.removeprefix("converter."): one.float() for name, one in weights.items() if name.startswith("conv")}
    Converter(settings).load_state_dict(mine)
    stored = load(locate(CheckpointOptions(source=str(tmp_path / "voice")), "live_voice", "", print))
    assert family.conversion(family.load(stored), {}).sample_rate == SAMPLE_RATE


def test_a_training_begins_as_another_left_off_with_its_judges(packed, tmp_path, monkeypatch):
    torch.manual_seed(0)
    wave = ("--waves", 1, "--segment", 8, "--width", 16, "--steps", 1, "--alone", 0)
    ran(generator, packed / "voice", tmp_path / "one", *SMALL, *wave)(monkeypatch)
    state = load_state(tmp_path / "one" / "state", "cpu")["networks"]["discriminators"]["weights"]
    judges = Discriminators()
    before = {name: value.clone() for name, value in judges.state_dict().items()}
    set_from_state(judges, tmp_path / "one", "discriminators", "cpu")
    assert all(torch.equal(value, state[name]) for name, value in judges.state_dict().items())
    assert any(not torch.equal(value, before[name]) for name, value in judges.state_dict().items())
    set_from_state(judges, tmp_path / "one", "judges", "cpu")  # it had none: they stay
    assert all(torch.equal(value, state[name]) for name, value in judges.state_dict().items())


def test_what_an_offline_converter_needs_is_said(packed, tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match="--teacher makes it of mels"):
        ran(offline, packed / "voice", tmp_path / "zero", *SMALL, "--steps", 1)(monkeypatch)
    with pytest.raises(SystemExit, match="--following needs --speakers and --teacher"):
        ran(converter, packed / "voice", tmp_path / "one", *SMALL, "--following", tmp_path)(monkeypatch)
    with pytest.raises(SystemExit, match="make 128 samples of 256"):
        ran(generator, packed / "voice", tmp_path / "two", *SMALL, "--samples", 2)(monkeypatch)


def test_an_offline_converter_sees_ahead_as_far_as_back_and_hears_how_loud():
    torch.manual_seed(0)
    network = OfflineConverter(8, 80).eval()
    content, track = torch.randn(1, 8, 300), torch.zeros(1, 2, 300)
    mel = torch.randn(1, 80, 300)
    loudness = loudness_of(mel)
    torch.testing.assert_close(loudness_of(mel + 3.0), loudness, atol=1e-5, rtol=0)  # however loud the recording
    assert loudness.amax() == 0
    plain = network(content, track, loudness)
    changed = content.clone()
    changed[..., 150] += 1
    moved = (network(changed, track, loudness) - plain).abs().amax(1)[0] > 0
    positions = torch.nonzero(moved)[:, 0]
    assert 150 - positions[0] == positions[-1] - 150 > 40


def test_an_exported_voice_is_what_was_trained_and_trains_on(tmp_path):
    torch.manual_seed(0)
    learning = LearningGenerator(GeneratorSettings(channels=16)).eval()
    networks = {"converter": LearningConverter(ConverterSettings(channels=8, blocks=2), 4), "generator": learning}
    Networks(networks, list(networks), 1e-3, "cpu").save(tmp_path, with_state=False)
    export(tmp_path / "converter.pt", tmp_path / "generator.pt", tmp_path / "voice", 2)
    again = LearningGenerator(GeneratorSettings(channels=16)).eval()
    set_weights(again, tmp_path / "voice", "generator", "cpu")
    exported = CausalGenerator(GeneratorSettings(channels=16)).eval()
    from safetensors.torch import load_file

    weights = load_file(tmp_path / "voice" / "model.safetensors")
    exported.load_state_dict(
        {name.removeprefix("generator."): one.float() for name, one in weights.items() if name.startswith("generator.")}
    )
    mel = torch.randn(1, 80, 12)
    with torch.no_grad():
        wanted = exported(mel)
        torch.testing.assert_close(learning(mel), wanted, atol=2e-3, rtol=2e-2)
        torch.testing.assert_close(again(mel), wanted, atol=1e-5, rtol=1e-4)
    other = LearningConverter(ConverterSettings(channels=8, blocks=2), 4)
    set_weights(other, tmp_path / "voice", "converter", "cpu")
    torch.testing.assert_close(other.into.weight, networks["converter"].into.weight, atol=1e-3, rtol=1e-2)


@pytest.fixture
def shipped(tmp_path):
    """A voice of tiny networks, as `kathleen_live` is: what one's own begins as."""
    learning = {
        "converter": LearningConverter(ConverterSettings(channels=16, blocks=2), 4),
        "generator": LearningGenerator(GeneratorSettings(channels=16)),
    }
    Networks(learning, list(learning), 1e-3, "cpu").save(tmp_path, with_state=False)
    export(tmp_path / "converter.pt", tmp_path / "generator.pt", tmp_path / "shipped", 2)
    return tmp_path / "shipped"


def test_one_s_own_voice_begins_as_the_one_that_ships(packed, shipped, tmp_path, monkeypatch, capsys):
    begin = ("--begin", shipped, "--converter", shipped)
    small = (*SMALL, "--waves", 1, "--segment", 8, "--width", 16, "--steps", 1, "--no-state")
    ran(live_voice, packed, tmp_path / "mine", *small, *begin)(monkeypatch)
    assert f"checkpoint.source={tmp_path / 'mine' / 'voice'}" in capsys.readouterr().out
    assert (tmp_path / "mine" / "voice" / "model.safetensors").is_file()
    with pytest.raises(ValueError, match="of other sizes"):
        set_weights(LearningGenerator(GeneratorSettings(channels=32)), shipped, "generator", "cpu")
    with pytest.raises(SystemExit):
        ran(live_voice, packed, tmp_path / "none", *small, "--begin", tmp_path)(monkeypatch)
    assert "takes the folder of an exported live voice" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit):
        ran(live_voice, tmp_path / "empty", tmp_path / "none", *small, *begin)(monkeypatch)
    assert "holds 0 recordings" in capsys.readouterr().err


def test_one_s_own_voice_follows_an_offline_converter_of_its_own(packed, shipped, tmp_path, monkeypatch, capsys):
    for name, small in (("CHANNELS", 16), ("NARROW", 8), ("BLOCKS", 2)):
        monkeypatch.setattr(networks, name, small)
    small = (*SMALL, "--waves", 1, "--segment", 8, "--width", 16, "--begin", shipped, "--converter", shipped)
    others = ("--speakers", packed / "speakers", "--teacher", packed / "teacher.pt")
    options = (live_voice, packed, tmp_path / "mine", *small, *others, "--steps", 1)
    ran(*options)(monkeypatch)
    offline_weights = (tmp_path / "mine" / "offline" / "offline.pt").read_bytes()
    assert capsys.readouterr().out.count("saved at step 1") == 2
    ran(*options)(monkeypatch)  # an interrupted training goes on: nothing is left of either schedule
    said = capsys.readouterr().out
    assert said.count("resumed at step 1") == 2 and said.count("saved at step 1") == 2
    assert (tmp_path / "mine" / "offline" / "offline.pt").read_bytes() == offline_weights


def test_a_training_is_over_when_its_schedule_is(packed, tmp_path, monkeypatch, capsys):
    small = (*SMALL, "--waves", 1, "--segment", 8, "--width", 16, "--alone", 9, "--no-state")
    ran(generator, packed / "voice", tmp_path / "one", *small, "--minutes", 5, "--total", 1e-3)(monkeypatch)
    assert "saved at step 1," in capsys.readouterr().out
