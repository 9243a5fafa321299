"""Who listens in a measurement, and what is said of those who cannot."""

import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from checkpoints.download import Unavailable
from convert import listening
from convert.listening import ENCODER, OPINION, READERS, listener_names, open_listeners
from runtime.errors import AudioError
from runtime.measuring import listening as measuring
from tests.convert.test_job import composed


class Recogniser:
    def __init__(self, folder):
        self.folder = folder


def test_without_the_extra_nothing_is_fetched_and_it_is_said_once(monkeypatch):
    def no_import(name):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(listening, "import_module", no_import)
    monkeypatch.setattr(listening, "fetch", lambda *_: pytest.fail("fetched what nothing can read"))
    said = []
    listeners = open_listeners(READERS, said.append)
    assert not listeners.readers and listeners.opinion is None and listeners.names == ()
    (sentence,) = said
    assert sentence.startswith(f"{', '.join(READERS)} cannot listen: this needs faster_whisper")
    assert "pip install -e '.[listen]'" in sentence


def test_who_can_be_had_listens_without_the_others(monkeypatch):
    def fetch(entry, progress):
        if entry.name == READERS[1]:
            raise Unavailable("no network")
        return entry.name

    monkeypatch.setattr(listening, "import_module", lambda name: None)
    monkeypatch.setattr(listening, "fetch", fetch)
    monkeypatch.setattr(listening, "Recogniser", Recogniser)
    said = []
    listeners = open_listeners(READERS, said.append)
    assert list(listeners.readers) == [READERS[0]] and said == [f"{READERS[1]} cannot listen: no network"]
    assert listeners.names == (READERS[0],), "by which a measurement is another"


def test_the_encoder_embeds_speech_at_length_one(monkeypatch, clips):
    from runtime.speech.recordings import read_audio

    located = listening.locate
    random = lambda options, *rest: located(listening.CheckpointOptions(ENCODER, "random"), *rest)  # noqa: E731
    monkeypatch.setattr(listening, "locate", random)
    embed = open_listeners([ENCODER], print).embed
    vector = embed(read_audio(clips[0], 16000))
    assert vector.shape == (256,) and np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    with pytest.raises(AudioError):
        embed(np.zeros(16000, np.float32))


def test_who_listens_depends_on_what_a_bundle_says(fp16):
    manifest = fp16.bundle.manifest
    assert listener_names(manifest) == (), "a vocoder's words are the recording's"
    assert composed("measure.listen=true").measure.listen and not composed().measure.listen


def test_a_predicted_opinion_is_of_the_samples_and_leaves_nothing_behind(monkeypatch, capsys):
    class ConvTransformerSQAModel(torch.nn.Module):
        def __init__(self):
            super().__init__()
            assert "torchaudio" in sys.modules, "which distillmos imports"
            print("where its weights lie")

        def forward(self, samples):
            return 5 * samples.abs().amax(dim=1)

    def no_torchaudio(name):
        if name == "torchaudio":
            raise OSError("its native half does not load")
        return package

    package = ModuleType("distillmos")
    package.ConvTransformerSQAModel = ConvTransformerSQAModel
    monkeypatch.delitem(sys.modules, "torchaudio", raising=False)
    monkeypatch.setattr(measuring, "import_module", no_torchaudio)
    listeners = open_listeners([OPINION], pytest.fail)
    assert listeners.names == (OPINION,) and listeners.opinion(np.full(100, -0.5, np.float32)) == 2.5
    assert "torchaudio" not in sys.modules and capsys.readouterr().out == "", "stdout is the job's result"
