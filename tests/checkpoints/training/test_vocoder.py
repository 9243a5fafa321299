"""The vocoder's recipe on a CPU: its network is coqui-tts's, a training goes on where it was stopped."""

import sys

import numpy as np
import pytest
import soundfile
import torch

from checkpoints.coqui_audio import mel_settings
from checkpoints.load import fold_weight_norm
from checkpoints.training import export, recordings, vocoder
from checkpoints.training.mel import LogMel, mel_filters
from checkpoints.training.networks import Generator
from checkpoints.training.state import load_state, save_state
from converters.upstream.coqui import import_coqui
from runtime.speech.clips import clip_paths, read_clip


def test_the_generator_is_coqui_s():
    torch.manual_seed(0)
    ours = Generator(32).eval()
    for parameter in ours.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    theirs = import_coqui("TTS.vocoder.models.hifigan_generator").HifiganGenerator(
        80, 1, "1", [[1, 3, 5]] * 3, [3, 7, 11], [16, 16, 4, 4], 32, [8, 8, 2, 2]
    )
    theirs.remove_weight_norm()
    theirs.load_state_dict(fold_weight_norm({name: value.detach() for name, value in ours.state_dict().items()}))
    mel = torch.randn(2, 80, 20)
    with torch.no_grad():
        torch.testing.assert_close(ours(mel), theirs(mel), atol=2e-5, rtol=1e-4)


def test_its_mel_is_the_one_that_a_bundle_takes():
    import librosa

    for n_fft, bands, fmax in ((1024, 80, 8000.0), (256, 20, 11025.0)):
        wanted = librosa.filters.mel(sr=22050, n_fft=n_fft, n_mels=bands, fmin=0.0, fmax=fmax)
        np.testing.assert_allclose(mel_filters(22050, n_fft, bands, fmax), wanted, atol=1e-7)
    settings = mel_settings(
        {"framing": "hifigan", "mel_fmax": 8000.0, "log_func": "np.log", "spec_gain": 1.0, "signal_norm": False}
    )
    samples = read_clip(clip_paths()[0], 22050, 256)
    made = LogMel()(torch.from_numpy(samples)[None])[0]
    np.testing.assert_allclose(made, settings.of(samples), atol=2e-3)


@pytest.fixture
def packed(tmp_path):
    for number, path in enumerate(clip_paths()):
        samples = np.concatenate([np.zeros(22050), read_clip(path, 22050, 256)])
        soundfile.write(tmp_path / f"clip{number}.wav", samples, 22050, subtype="PCM_16")
    clips = sorted(tmp_path.glob("clip*.wav"))
    recordings.pack(clips[:-1], clips[-1:], tmp_path / "data", seconds=5.0)
    return tmp_path / "data"


def test_recordings_are_packed_without_their_silence(packed, tmp_path):
    (held,) = recordings.held_clips(packed)
    assert len(held) % 256 == 0 and abs(len(held) - soundfile.info(tmp_path / "clip2.wav").frames) < 256
    whole = sum(soundfile.info(tmp_path / f"clip{number}.wav").frames for number in range(2))
    joined = recordings.joined(packed)
    assert joined.dtype == torch.int16 and len(joined) < whole - 2 * 0.8 * 22050
    assert len(list(packed.glob("train-*.flac"))) == 2, "each file holds five seconds at most, or one clip"


def run(packed, out, monkeypatch, *options):
    arguments = [str(packed), str(out), "--channels", "16", "--batch", "2", "--segment", "4096", *options]
    monkeypatch.setattr(sys, "argv", ["vocoder", *arguments])
    vocoder.main()


@pytest.mark.proof
def test_a_training_goes_on_where_it_stopped(packed, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    run(packed, out, monkeypatch, "--steps", "3", "--alone", "9")
    state = load_state(out / "state", "cpu")
    assert state["steps"] == 3 and "generator_optimiser" in state
    run(packed, out, monkeypatch, "--steps", "5", "--alone", "0")
    said = capsys.readouterr().out
    assert "begun at step 0" in said and "resumed at step 3" in said and "saved at step 5" in said
    weights = torch.load(out / "generator.pt", weights_only=True)
    assert weights["conv_pre.bias"].dtype == torch.float16 and set(weights) == set(Generator(16).state_dict())


def test_a_training_goes_on_from_an_exported_generator(tmp_path):
    torch.manual_seed(0)
    first, second = Generator(16), Generator(16)
    torch.save(first.state_dict(), tmp_path / "generator.pt")
    export.export_generator(tmp_path / "generator.pt", tmp_path / "voice")
    vocoder.begin_from(second, tmp_path / "voice")
    mel = torch.randn(1, 80, 12)
    with torch.no_grad():
        torch.testing.assert_close(second(mel), first(mel), atol=1e-3, rtol=1e-2)


def test_a_state_travels_in_small_files_and_a_torn_one_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("checkpoints.training.state.PART_BYTES", 10_000)
    save_state(tmp_path / "state", {"x": torch.arange(10_000.0)})
    parts = sorted((tmp_path / "state").glob("state.*"))
    assert len(parts) > 3 and max(part.stat().st_size for part in parts) <= 10_000
    assert torch.equal(load_state(tmp_path / "state", "cpu")["x"], torch.arange(10_000.0))
    parts[1].unlink()
    with pytest.raises(ValueError, match="not whole"):
        load_state(tmp_path / "state", "cpu")
    assert load_state(tmp_path / "none", "cpu") is None


def test_an_exported_generator_is_a_checkpoint_and_copies_a_recording(tmp_path, monkeypatch):
    from checkpoints.load import load
    from checkpoints.locate import locate
    from checkpoints.options import CheckpointOptions
    from checkpoints.training.evaluate import copies
    from checkpoints.training.export import export_generator
    from converters.families import hifigan

    torch.manual_seed(0)
    network = Generator(16)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    torch.save({name: value.half() for name, value in network.state_dict().items()}, tmp_path / "generator.pt")
    export_generator(tmp_path / "generator.pt", tmp_path / "voice")
    located = locate(CheckpointOptions(source=str(tmp_path / "voice")), "hifigan", "", print)
    samples = read_clip(clip_paths()[0], 22050, 256)[: 256 * 60]
    mel = LogMel()(torch.from_numpy(samples)[None])
    with torch.inference_mode():
        wanted = hifigan.load(load(located))(mel)[0, 0]
    made = copies(tmp_path / "voice")(samples)
    np.testing.assert_allclose(made, wanted, atol=1e-5)


@pytest.mark.proof  # librosa compiles itself first
def test_griffin_lims_frames_lie_where_the_mels_do():
    from checkpoints.training.evaluate import griffin_lim

    samples = read_clip(clip_paths()[0], 22050, 256)[: 256 * 60]
    mel, guessed = (LogMel()(torch.from_numpy(audio)[None]) for audio in (samples, griffin_lim(samples)))
    assert float((guessed - mel).abs().mean()) < 0.2


def test_the_bundled_voice_copies_its_speaker_better_than_the_older_one():
    from checkpoints.catalogue import BUNDLED
    from checkpoints.training.evaluate import copies

    samples = read_clip(next(path for path in clip_paths() if "kathleen" in path.stem), 22050, 256)
    mel = LogMel()
    copy = copies(BUNDLED / "kathleen_hifigan")(samples)
    with torch.inference_mode():
        error = (mel(torch.from_numpy(copy)[None]) - mel(torch.from_numpy(samples)[None])).abs().mean()
    assert error < 0.34
