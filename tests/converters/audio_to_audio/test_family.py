"""A family from audio to audio through the whole job, live and the report: one file, one YAML, and this."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from converters import component
from runtime.__main__ import main
from runtime.engines import Execution
from runtime.playing.conversions import ConversionChain, open_conversion, says
from runtime.playing.live import Session, VirtualDevice
from runtime.playing.player import open_player
from runtime.playing.targets import embedded, target_of
from runtime.speech.clips import read_clip
from runtime.speech.metrics import snr_db
from tests.converters.audio_to_audio.family import FRAME, NETWORKS, RATE

FOLDER = Path(__file__).parent
READS = sorted(NETWORKS)


@pytest.fixture(scope="module", autouse=True)
def known_family():
    """As an entry in the table of families would do."""
    component.FAMILIES["toy"] = "tests.converters.audio_to_audio.family"
    yield
    del component.FAMILIES["toy"]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folders = {}
    for reads, network in NETWORKS.items():
        torch.manual_seed(0)
        folders[reads] = folder = tmp_path_factory.mktemp("toy") / reads
        folder.mkdir()
        torch.save({"model": network().state_dict()}, folder / "model_file.pth")
        (folder / "config.json").write_text(json.dumps({"reads": reads}))
    return folders


@pytest.fixture(scope="module")
def converted(checkpoints, own_job):
    """Outcomes by what is read and how it is called."""

    def convert(reads, *overrides):
        searched = f"hydra.searchpath=[file://{FOLDER / 'conf'}]"
        return own_job(searched, "model=toy", f"checkpoint.source={checkpoints[reads]}", "format=onnx", *overrides)

    return convert


# Of a spectrum offline, as test_chain.py has it, is another job.
@pytest.mark.parametrize(
    ("stream", "reads"),
    [("stateful", "samples"), ("stateful", "spectrum"), ("offline", "samples"),
     pytest.param("offline", "spectrum", marks=pytest.mark.proof)],
)  # fmt: skip
def test_it_goes_through_the_job_and_passes(converted, reads, stream):
    outcome = converted(reads, "precision=fp32", f"stream={stream}")
    assert outcome.passed, outcome.gates
    main_record = outcome.bundle.main
    assert (main_record.name, main_record.time.samples_per_frame) == (
        {"samples": "filter", "spectrum": "converter"}[reads], FRAME,
    )  # fmt: skip
    for measurement in outcome.measurements:
        assert measurement.clips and all(clip.length_ok for clip in measurement.clips)
        assert {row.component for row in measurement.rows} == ({"target_encoder"} if reads == "spectrum" else set())
    page = (outcome.bundle.measured / "report.html").read_text()
    assert "PyTorch" in page and main_record.name in page


@pytest.mark.parametrize("reads", READS)
def test_whom_it_is_to_sound_like_is_a_golden_input(converted, reads, clips):
    bundle = converted(reads, "precision=fp32", "stream=stateful").bundle
    cases = bundle.goldens(bundle.main)
    assert [case.clip for case in cases] == [path.stem for path in clips]
    if reads == "samples":
        np.testing.assert_array_equal(cases[0].inputs["samples"][0, 0], cases[0].recording)
        return
    given = embedded(bundle, "target_encoder", [clips[1]], Execution("torch"))
    np.testing.assert_allclose(cases[0].inputs["target"], given, atol=1e-6, err_msg="the next clip's voice")
    assert cases[0].recording is None, "the source is not what it should sound like"
    assert not np.allclose(cases[0].inputs["target"], cases[1].inputs["target"], atol=1e-4)


@pytest.mark.parametrize("reads", READS)
def test_live_is_the_offline_output_on_every_sample(converted, reads, clips):
    bundle = converted(reads, "precision=fp32", "stream=stateful").bundle
    assert says(bundle).startswith("conversion")
    execution = Execution("onnx")
    target = target_of(bundle, [clips[1], *clips] if reads == "spectrum" else [], execution).target
    samples = read_clip(clips[0], RATE, FRAME)
    player, features = open_player(bundle, execution), bundle.main.features
    chain = ConversionChain(open_conversion(bundle, target, RATE), player, target.constants)
    session = Session(chain, 256, 512)
    played = VirtualDevice(lambda index: 0.001).play(session, samples)
    assert session.counters.underruns == 0
    offline = player.play(features.of(samples)[None], target.constants).reshape(-1)
    known = len(offline) - 8 * FRAME  # in the call silence follows where the offline end is
    heard = played[session.delay : session.delay + known]
    np.testing.assert_allclose(heard, offline[:known], atol=1e-6)


@pytest.mark.parametrize("reads", ["samples", pytest.param("spectrum", marks=pytest.mark.proof)])
def test_whole_pieces_and_stream_are_what_pytorch_gives(converted, reads):
    streaming = converted(reads, "precision=fp32", "stream=stateful").bundle
    offline = converted(reads, "precision=fp32", "stream=offline").bundle
    case = streaming.goldens(streaming.main)[0]
    frames, constants = case.along(streaming.main.time)
    for bundle, chunk in ((streaming, None), (offline, None), (offline, 7)):
        made = open_player(bundle, Execution("onnx"), chunk=chunk).play(frames, constants)
        assert made.shape == case.outputs["audio"].shape
        assert snr_db(case.outputs["audio"], made) > 100


def test_the_commands_take_a_target_and_say_where_it_lacks(converted, clips, tmp_path, capsys):
    plain = converted("samples", "precision=fp32", "stream=stateful").bundle.path
    whose = converted("spectrum", "precision=fp32", "stream=stateful").bundle.path
    out = tmp_path / "out.wav"
    assert main(["vocode", str(whose), str(clips[0]), str(out)]) == 2
    assert "speaks as somebody: pass --target REF.wav" in capsys.readouterr().err
    assert main(["vocode", str(plain), str(clips[0]), str(out), "--target", str(clips[1])]) == 2
    assert "has one voice: leave out --target" in capsys.readouterr().err
    assert main(["vocode", str(whose), str(clips[0]), str(out), "--target", str(tmp_path / "none.wav")]) == 2
    assert "none.wav" in capsys.readouterr().err
    sounds = []
    for target in ([clips[0], clips[0]], clips):
        command = ["live", str(whose), "--in", str(clips[0]), "--out", str(out), "--json"]
        command += ["--target", *map(str, target)]
        assert main(command) == 0
        assert json.loads(capsys.readouterr().out)["chain"].startswith("conversion")
        sounds.append(soundfile.read(out)[0])
    assert not np.array_equal(*sounds), "another target, another sound"
    command = ["bench", str(whose), "--quick", "--json"]
    assert main(command) == 0
    (one,) = json.loads(capsys.readouterr().out)["processes"]
    assert one["correctness"]["problem"] is None and one["correctness"]["repeatable"]


def test_the_frame_of_what_reads_samples_is_its_own(converted):
    record = converted("samples", "precision=fp32", "stream=stateful").bundle.main
    assert (record.time.positions, record.features.hop_length) == (FRAME, FRAME)
    assert [(port.name, port.rate) for port in record.stream.inputs] == [("samples", FRAME)]
