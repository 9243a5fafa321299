"""Memory that does not grow with the audio: what two minutes take beyond ten seconds, each in a process of its own."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile

from runtime.speech.clips import clip_paths
from tests.conftest import ROOT

ALLOWED_MB = 20.0  # a whole second copy of two minutes at 48 kHz is 23 MB, and each of the paths held several

# Runs a command and prints its peak memory. The engine answers from a table of its first results, so that minutes of
# audio take seconds.
CHILD = """
import sys
import numpy as np
import runtime.engines.onnx
from runtime.__main__ import main
from tests.faults.memory import peak_mb

engine = runtime.engines.onnx.OnnxEngine
run, known = engine.run, {}

def recalled(self, inputs, state=None):
    key = id(self), *((name, value.shape) for name, value in sorted(inputs.items()))
    if key not in known:
        known[key] = run(self, inputs, state)
    return {name: value.copy() for name, value in known[key].items()}

engine.run = recalled

exec(sys.argv[1])
assert main(sys.argv[2:]) == 0
print("peak", peak_mb())
"""


def growth_mb(short, long, setup=""):
    peaks = []
    for command in (short, long):
        line = [sys.executable, "-c", CHILD, setup, *command]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        peaks.append(float(done.stdout.rpartition("peak ")[2]))
    return peaks[1] - peaks[0]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Ten seconds and two minutes of speech."""
    folder = tmp_path_factory.mktemp("recordings")
    speech = np.concatenate([soundfile.read(path, dtype="float32")[0] for path in clip_paths()])
    rate = soundfile.info(clip_paths()[0]).samplerate
    paths = []
    for seconds in (10, 120):
        paths.append(folder / f"{seconds}.wav")
        soundfile.write(paths[-1], np.resize(speech, seconds * rate), rate)
    return paths


@pytest.fixture
def streaming(stateful):
    return str(stateful.bundle.path)


def test_vocode_of_a_streaming_bundle_takes_the_same_memory_for_any_length(streaming, recordings, tmp_path):
    runs = [["vocode", streaming, str(path), str(tmp_path / "out.wav"), "--engine", "onnx"] for path in recordings]
    assert growth_mb(*runs) < ALLOWED_MB
    assert soundfile.info(tmp_path / "out.wav").duration == pytest.approx(120, abs=0.1)


def test_vocode_in_overlapping_pieces_takes_the_same_memory_for_any_length(fp32, recordings, tmp_path):
    bundle = str(fp32.bundle.path)
    runs = [["vocode", bundle, str(path), str(tmp_path / "out.wav"), "--engine", "onnx"] for path in recordings]
    assert growth_mb(*runs) < ALLOWED_MB
    assert soundfile.info(tmp_path / "out.wav").duration == pytest.approx(120, abs=0.1)


@pytest.mark.proof  # 8 s; the stream that it plays is the first test's
def test_live_takes_the_same_memory_for_any_length(streaming, recordings, tmp_path):
    out = str(tmp_path / "out.wav")
    runs = [["live", streaming, "--in", str(path), "--out", out, "--engine", "onnx"] for path in recordings]
    assert growth_mb(*runs) < ALLOWED_MB
    assert soundfile.info(out).duration == pytest.approx(121, abs=0.1)


def test_embed_takes_the_same_memory_for_any_length(recordings, tmp_path):
    setup = """
import runtime.commands.speaker
from types import SimpleNamespace
from runtime.playing.embed import SpeakerEmbedder
from runtime.speech.speaker import SpeakerMel

class Embedder(SpeakerEmbedder):
    def __init__(self, *_):
        spec = SimpleNamespace(name="x")
        self.record, self.settings = SimpleNamespace(inputs=[spec], outputs=[spec]), SpeakerMel()
        self.encoder = SimpleNamespace(name="none", device="none", run=lambda given: {"x": given["x"].mean(axis=1)})

runtime.commands.speaker.SpeakerEmbedder = Embedder
"""
    runs = [["embed", str(path), "--bundle", "none", "--out", str(tmp_path / "e.npy")] for path in recordings]
    assert growth_mb(*runs, setup) < ALLOWED_MB
    assert np.load(tmp_path / "e.npy").shape == (1, 40)


def test_speak_takes_the_same_memory_for_any_text(tmp_path):
    setup = """
import runtime.commands.speak as speak
from types import SimpleNamespace

class Voice:
    def __init__(self, *_):
        self.record = SimpleNamespace(sample_rate=48000, prosody=(), speakers={}, embedding_channels=0)
        self.bundle, self.engine = SimpleNamespace(manifest=SimpleNamespace(name="none")), "none"
    def speaker(self, name): return None
    def language(self, name): return None
    def pieces(self, seconds): yield from np.zeros((seconds, 48000), np.float32)

speak.Voice = Voice
speak.utterances = lambda voice, text, request: ((SimpleNamespace(unknown=()), 5) for _ in text.split("."))
"""
    runs = [["speak", "a" + ".a" * more, str(tmp_path / "out.wav"), "--voice", "none"] for more in (1, 23)]
    assert growth_mb(*runs, setup) < ALLOWED_MB
    assert soundfile.info(tmp_path / "out.wav").duration == pytest.approx(24 * 5 + 23 * 0.2)
