"""The vocoder that ships with voxport, at its own width on real speech: the figures that README and docs state."""

import json

import numpy as np
import pytest
import soundfile
import soxr

from converters.options import StreamOptions
from converters.streaming import streaming_component
from runtime.__main__ import main
from runtime.engines import Execution
from runtime.measuring.bench.correctness import correctness
from runtime.playing.player import open_player
from runtime.speech.clips import clip_paths
from runtime.speech.metrics import stoi
from tests.conftest import hifigan_component, job_runner


@pytest.fixture(scope="module")
def vocoder(kept):
    """Of the shortest of the clips that ship: the default job has them all."""
    shortest = next(path for path in clip_paths() if path.stem == "kathleen_b0015")
    return job_runner(kept / "bundles", "checkpoint.source=bundled", f"goldens.clips=[{shortest}]")("precision=fp16")


@pytest.mark.proof
def test_the_default_job_has_three_clips(real_job):
    outcome = real_job("precision=fp16")
    assert outcome.passed
    assert [case.clip for case in outcome.bundle.goldens(outcome.bundle.main)] == [
        "kathleen_b0015", "kathleen_b0455", "ljspeech_001_0005"
    ]  # fmt: skip


def test_the_job_passes_its_gates_on_real_weights_and_speech(vocoder):
    assert vocoder.passed and vocoder.bundle.path.parent.name != "rejected"
    assert {gate.engine for gate in vocoder.gates} == {"mil", "onnx"}
    record = vocoder.bundle.component()
    assert (vocoder.bundle.manifest.parameters, record.ops["conv"]) == (3_555_649, 78)
    assert vocoder.bundle.manifest.name.startswith("kathleen_hifigan-mlprogram-fp16-polyphase-offline-")


def test_fp16_rounding_shows_in_mil_and_less_in_onnx(vocoder):
    by_engine = {measurement.engine: measurement for measurement in vocoder.measurements}
    assert 40 < by_engine["mil"].worst.agreement.snr_db < by_engine["onnx"].worst.agreement.snr_db < 80


def test_its_stream_delays_and_keeps_what_the_docs_say():
    form = streaming_component(hifigan_component("bundled"), StreamOptions("stateful", 8), "polyphase", True).form
    assert (form.exact, form.chunk, form.delay, form.lookahead) == (True, 8, 3258, 13)
    assert len(form.states) <= 6, "packed per stage"
    assert sum(np.prod(state.shape) for state in form.states) < 96_096, "no more than layer by layer"


@pytest.mark.parametrize("rate", [16000, 22050, 48000])
def test_vocode_keeps_the_words_at_any_sample_rate_in(vocoder, tmp_path, capsys, rate):
    recording = vocoder.bundle.goldens(vocoder.bundle.component())[0].recording
    files = [str(tmp_path / name) for name in ("in.wav", "out.wav")]
    soundfile.write(files[0], soxr.resample(recording, 22050, rate), rate)
    assert main(["vocode", str(vocoder.bundle.path), *files, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    audio, out_rate = soundfile.read(files[1])
    assert out_rate == 22050
    assert facts["seconds"] == pytest.approx(len(recording) / 22050, abs=0.02)
    common = min(len(audio), len(recording))
    assert stoi(recording[:common], audio[:common], 22050) > 0.8


def test_it_is_played_in_pieces_as_well_as_whole(vocoder):
    record = vocoder.bundle.component()
    case = vocoder.bundle.goldens(record)[0]
    found = correctness(open_player(vocoder.bundle, Execution("onnx")), record.sound, [case], "fp16")
    assert found.problem is None and found.snr_db > 55
