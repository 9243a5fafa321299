"""A real voice against the ONNX file that it came from; `make proof` fetches it (63 MB)."""

import json
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest

from checkpoints.download import Unavailable
from checkpoints.locate import locate
from checkpoints.options import CheckpointOptions
from runtime.engines import Execution
from runtime.playing.chains import Request
from runtime.playing.speak import Voice
from runtime.speech.metrics import snr_db
from runtime.speech.sentences import golden_sentences
from runtime.speech.text import read_symbols
from tests.conftest import ROOT

pytestmark = pytest.mark.proof


@pytest.fixture(scope="module")
def joe():
    try:
        return locate(CheckpointOptions(name="joe_vits"), "vits", "", print)
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("engine", ["onnx", "mil"])
def test_ten_sentences_equal_piper_s_own(joe, own_job, engine):
    # the fixture's checkpoint.source is overridden: the voice does not ship with voxport
    outcome = own_job("model=vits", "checkpoint=joe_vits", "checkpoint.source=auto", "precision=fp32")
    assert outcome.passed
    voice = Voice(outcome.bundle.path, Execution(engine))
    session = onnxruntime.InferenceSession(joe.weights)
    for name, _, phonemes in golden_sentences():
        ids = np.array(read_symbols(phonemes, voice.record.text).ids)
        scales = np.array([0, voice.record.length_scale, 0], np.float32)
        inputs = {"input": ids[None].astype(np.int64), "input_lengths": np.array([len(ids)]), "scales": scales}
        wanted = session.run(None, inputs)[0].ravel()
        got = voice.audio(voice.utterance(Request(ids, noise_scale=0.0, duration_noise_scale=0.0)))
        assert len(got) == len(wanted), name
        assert snr_db(wanted, got) >= 60, name


def test_fp16_passes_its_gates(joe, own_job):
    outcome = own_job("model=vits", "checkpoint=joe_vits", "checkpoint.source=auto", "precision=fp16")
    assert outcome.passed, [str(gate) for gate in outcome.gates if not gate.passed]


def test_it_speaks_where_nothing_of_the_conversion_can_be_imported(joe, own_job, tmp_path):
    """Whole utterances at the published width, from the saved bundle."""
    outcome = own_job("model=vits", "checkpoint=joe_vits", "checkpoint.source=auto", "precision=fp16")
    program = (
        "import sys, runpy\n"
        "class Block:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.split('.')[0] in ('TTS', 'mlflow', 'hydra', 'converters', 'convert', 'checkpoints'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Block())\n"
        "runpy.run_module('runtime', run_name='__main__', alter_sys=True)\n"
    )
    text = " ".join(letters for _, letters, _ in golden_sentences())
    command = [sys.executable, "-c", program, "speak", text, str(tmp_path / "said.wav")]
    command += ["--voice", str(outcome.bundle.path), "--json"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    facts = json.loads(result.stdout)
    assert facts["sentences"] == 10 and 20 < facts["seconds"] < 60
