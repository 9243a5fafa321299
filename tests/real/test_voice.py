"""The voice that ships with voxport, with the vocoder that does."""

import numpy as np
import pytest
import soundfile

from runtime.__main__ import main
from runtime.measuring.listening import edit_distance
from runtime.speech.metrics import snr_db
from tests.runtime.playing.test_speak import bundle

pytestmark = pytest.mark.proof  # `make test` has its small relatives (tests/runtime/playing/test_speak.py)


@pytest.fixture(scope="module")
def mel_voice(real_job):
    """The voice that ships with voxport."""
    return real_job("model=fastspeech2", "precision=fp32", "format=onnx", "stream=window", "measure.engines=[onnx]")


def test_the_voice_that_ships_is_understood(mel_voice, tmp_path):
    """By a recogniser, a sentence that neither of the networks has seen; equal to what they say in PyTorch."""
    from checkpoints.catalogue import BUNDLED
    from checkpoints.training import evaluate, listen

    text = "She was even more beautiful than when I saw her, before."
    assert main(["speak", text, str(tmp_path / "said.wav"), "--voice", str(mel_voice.bundle.path)]) == 0
    said, rate = soundfile.read(tmp_path / "said.wav", dtype="float32")
    wanted = listen.speaker(BUNDLED / "kathleen_fastspeech2", evaluate.vocoder(BUNDLED / "kathleen_hifigan"))(text)
    assert rate == 22050 and snr_db(wanted, said) > 60
    words = listen.words(text)
    assert edit_distance(words, listen.recogniser()(said)) <= 1 < len(words)
    assert edit_distance(words, listen.recogniser()(said[::-1].copy())) > 6


def test_a_voice_that_makes_a_mel_is_played_by_the_vocoder_in_its_bundle(
    mel_voice, real_job, own_job, tmp_path, capsys
):
    vocoder = real_job("precision=fp16").bundle
    manifest = mel_voice.bundle.manifest
    assert [part.name for part in manifest.components] == ["encoder", "decoder", "generator"]
    assert manifest.parts["vocoder"].name == "kathleen_hifigan" and not manifest.parts["vocoder"].fallback
    assert (manifest.voice.last, manifest.voice.features.framing) == ("generator", "inset")
    audio = {}
    other = ["--vocoder", str(vocoder.path)]
    for name, options in {"own": [], "again": [], "other": other, "high": ["--pitch", "2"]}.items():
        target = tmp_path / f"{name}.wav"
        arguments = ["speak", "Some words of some length.", str(target), "--voice", str(mel_voice.bundle.path)]
        assert main([*arguments, *options]) == 0, capsys.readouterr().err
        audio[name], _ = soundfile.read(target)
    assert np.array_equal(audio["own"], audio["again"]) and not np.array_equal(audio["own"], audio["high"])
    np.testing.assert_allclose(audio["own"], audio["other"], atol=2e-3)  # the same vocoder in fp16, in pieces
    refused = ["speak", "a", str(tmp_path / "o.wav"), "--voice", str(mel_voice.bundle.path)]
    assert main([*refused, "--vocoder", str(bundle(tmp_path / "vits", own_job))]) == 2
    assert "is no vocoder" in capsys.readouterr().err
