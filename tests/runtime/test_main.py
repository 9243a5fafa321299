import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from runtime.__main__ import main
from runtime.bundle.store import open_bundle
from runtime.commands.live import _delay_parts
from runtime.engines import Execution
from runtime.engines.load import load
from runtime.playing.player import open_player
from runtime.speech.clips import clip_paths
from runtime.speech.metrics import snr_db
from runtime.speech.resampling import PROMPT, resampled


@pytest.fixture
def bundle(fp32):
    return str(fp32.bundle.path)


def result(capsys, *arguments):
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_info_says_what_a_bundle_and_a_bare_artefact_hold(bundle, mlpackage, width, capsys):
    facts = result(capsys, "info", bundle)
    assert facts["options"]["precision"] == "fp32"
    assert facts["inputs"] == ["mel (1, 80, 64) float32"]
    assert facts["parameters"] == {"small": 15_649, "full": 3_555_649}[width]
    assert result(capsys, "info", str(mlpackage))["ops"]["conv"] == {"small": 16, "full": 78}[width]
    assert main(["info", bundle]) == 0
    assert "receptive field" in capsys.readouterr().out


@pytest.mark.parametrize("engine", ["mil", "onnx", "torch"])
def test_run_takes_arrays_of_any_length_in_overlap(bundle, fp32, tmp_path, capsys, engine):
    case = fp32.bundle.goldens(fp32.bundle.component())[0]
    np.savez(tmp_path / "in.npz", **case.inputs)
    result(capsys, "run", bundle, str(tmp_path / "in.npz"), str(tmp_path / "out.npz"), "--engine", engine)
    with np.load(tmp_path / "out.npz") as stored:
        assert snr_db(case.outputs["audio"].reshape(-1), stored["audio"].reshape(-1)) > 100


def test_run_on_a_bare_artefact_takes_its_own_length(mlpackage, tmp_path, capsys):
    np.savez(tmp_path / "in.npz", mel=np.zeros((1, 80, 64), np.float32))
    facts = result(capsys, "run", str(mlpackage), str(tmp_path / "in.npz"), str(tmp_path / "out.npz"))
    assert facts["audio"] == "float32 (1, 1, 16384)"
    np.savez(tmp_path / "in.npz", mel=np.zeros((1, 80, 65), np.float32))
    assert main(["run", str(mlpackage), str(tmp_path / "in.npz"), str(tmp_path / "o.npz")]) == 2
    assert "has length 65 on axis 2, wants 64" in capsys.readouterr().err
    assert not (tmp_path / "o.npz").exists()


@pytest.mark.parametrize("mode", ["overlap", "stateful"])
def test_vocode_block_by_block_writes_what_the_whole_at_once_gives_on_every_sample(
    fp32, stateful, mode, tmp_path, capsys
):
    """44.1 kHz stereo, of which no block of a second is a whole number of frames."""
    path = (stateful if mode == "stateful" else fp32).bundle.path
    record = open_bundle(path).main
    speech, rate = soundfile.read(clip_paths()[0], dtype="float32")
    samples = soxr.resample(speech, rate, 44100)
    soundfile.write(tmp_path / "in.wav", np.stack([samples, samples[::-1]], axis=1), 44100)
    result(capsys, "vocode", str(path), str(tmp_path / "in.wav"), str(tmp_path / "out.wav"), "--engine", "onnx")
    whole = soundfile.read(tmp_path / "in.wav", dtype="float32")[0].mean(axis=1)
    frame = record.features.hop_length * 44100 // rate
    padded = np.pad(whole, (0, -len(whole) % frame))
    mel = record.features.of(soxr.resample(padded, 44100, rate, quality="VHQ"))[None]
    audio = open_player(path, Execution("onnx")).play(mel).reshape(-1)[: -(-len(whole) * rate // 44100)]
    soundfile.write(tmp_path / "whole.wav", np.clip(audio, -1, 1), rate, subtype="PCM_16")
    assert (tmp_path / "out.wav").read_bytes() == (tmp_path / "whole.wav").read_bytes()


@pytest.mark.parametrize("command", ["vocode", "live"])
def test_a_recording_that_is_not_finite_leaves_no_file(streaming, tmp_path, capsys, command):
    samples = np.zeros(3 * 22050, np.float32)
    samples[2 * 22050] = np.nan
    soundfile.write(tmp_path / "in.wav", samples, 22050, subtype="FLOAT")
    files = [str(tmp_path / "in.wav"), str(tmp_path / "out.wav")]
    options = ["--in", files[0], "--out", files[1]] if command == "live" else files
    assert main([command, streaming, *options, "--engine", "onnx"]) == 2
    assert "holds a sample that is not finite, at 2.000 s" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in.wav"]


def test_vocode_of_a_short_sound_is_padded_with_silence_and_cut_again(bundle, tmp_path, capsys):
    soundfile.write(tmp_path / "in.wav", np.sin(np.arange(3000) * 0.1) * 0.3, 22050)
    facts = result(capsys, "vocode", bundle, str(tmp_path / "in.wav"), str(tmp_path / "out.wav"))
    assert facts["padded_with_silence"] is True
    assert soundfile.info(tmp_path / "out.wav").frames == 3000


@pytest.mark.parametrize(
    ("rate", "count"), [(22050, 64 * 256), (22050, 70 * 256 + 255), (44100, 40001), (16000, 20000)]
)
@pytest.mark.parametrize("mode", ["overlap", "stateful"])
def test_vocode_gives_as_much_audio_as_it_was_given(fp32, stateful, tmp_path, capsys, mode, rate, count):
    path = str((stateful if mode == "stateful" else fp32).bundle.path)
    soundfile.write(tmp_path / "in.wav", np.sin(np.arange(count) * 0.1) * 0.3, rate)
    facts = result(capsys, "vocode", path, str(tmp_path / "in.wav"), str(tmp_path / "out.wav"), "--engine", "onnx")
    assert facts["padded_with_silence"] is False
    assert soundfile.info(tmp_path / "out.wav").frames == -(-count * 22050 // rate)


def test_bench_reports_latency_per_chunk(bundle, capsys):
    facts = result(capsys, "bench", bundle, "--quick", "--seconds", "0.1", "--min-chunks", "5", "--chunk", "8")
    closed = facts["processes"][0]["closed"]
    assert closed["chunk_frames"] == 8
    assert closed["deadline_ms"] == pytest.approx(8 * 256 / 22050 * 1e3)
    assert closed["p50_ms"] <= closed["p99_ms"] <= closed["max_ms"]
    assert len(closed["samples_ms"]) == closed["chunks"] >= 5


def test_lower_writes_programs_by_name_and_what_they_take(bundle, fp32, streaming, tmp_path, capsys):
    result(capsys, "lower", bundle, "--out", str(tmp_path / "offline"))
    result(capsys, "lower", streaming, "--out", str(tmp_path / "streaming"))
    assert sorted(path.name for path in (tmp_path / "offline").iterdir()) == ["generator.json", "generator.onnx"]
    assert sorted(path.stem for path in (tmp_path / "streaming").glob("*.onnx")) == [
        "generator.edge",
        "generator.steady",
    ]
    facts = json.loads((tmp_path / "streaming" / "generator.edge.json").read_text())
    assert {"mel", "before", "after"} <= {spec["name"] for spec in facts["inputs"]}
    (case, *_) = fp32.bundle.goldens(fp32.bundle.main)
    inputs = {"mel": case.inputs["mel"][..., :64]}
    from_file = load(tmp_path / "offline" / "generator.onnx").run(inputs)["audio"]
    assert (from_file == load(bundle, Execution("onnx")).run(inputs)["audio"]).all()


def test_what_was_lowered_opens_without_being_lowered_again(bundle, streaming, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("VOXPORT_CACHE", str(tmp_path))
    result(capsys, "lower", bundle, streaming)
    monkeypatch.setattr("runtime.mil.export.export", lambda *_: pytest.fail("lowered again"))
    for path in (bundle, streaming):
        assert open_player(open_bundle(Path(path)), Execution("onnx")).engine.name == "onnx"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["info", "{tmp}/absent"], "is not a bundle"),
        (["vocode", "{bundle}", "{tmp}/absent.wav", "{tmp}/o.wav"], "there is no audio file"),
        (["vocode", "{bundle}", "{tmp}/absent.wav", "{tmp}/absent/o.wav"], "there is no folder"),
        (["vocode", "{artefact}", "{tmp}/a.wav", "{tmp}/o.wav"], "is a bare artefact"),
        (["run", "{bundle}", "{tmp}/text.npz", "{tmp}/o.npz"], "cannot be read as arrays"),
        (["run", "{bundle}", "{tmp}/absent.npz", "{tmp}/o.npz"], "absent.npz"),
        (["bench", "{bundle}", "--chunk", "60"], "use chunk <= "),
        (["lower", "{tmp}/x.onnx"], "nothing to lower"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(bundle, mlpackage, tmp_path, capsys, arguments, sentence):
    (tmp_path / "text.npz").write_text("no arrays")
    places = {"tmp": tmp_path, "bundle": bundle, "artefact": mlpackage}
    assert main([argument.format(**places) for argument in arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_a_tampered_bundle_is_not_executed(fp32, tmp_path, capsys):
    copy = shutil.copytree(fp32.bundle.path, tmp_path / "b")
    next(copy.rglob("weight.bin")).write_bytes(b"")
    assert main(["bench", str(copy)]) == 2
    assert "not what was converted" in capsys.readouterr().err


@pytest.fixture
def streaming(stateful):
    return str(stateful.bundle.path)


def test_a_streaming_bundle_is_described_run_timed_and_played(streaming, width, tmp_path, capsys):
    facts = result(capsys, "info", streaming)
    assert facts["stream"] == "stateful, exact, chunks of 8 frames"
    assert facts["delay"] == {"small": "1111 output samples", "full": "3258 output samples"}[width]
    speech, rate = soundfile.read(clip_paths()[0], dtype="float32")
    soundfile.write(tmp_path / "in.wav", speech, rate)
    spoken = result(capsys, "vocode", streaming, str(tmp_path / "in.wav"), str(tmp_path / "out.wav"))
    assert (spoken["mode"], spoken["padded_with_silence"]) == ("stateful", False)
    timed = result(capsys, "bench", streaming, "--quick")["processes"][0]["closed"]
    of_a_call = (timed["mode"], timed["chunk_frames"], timed["window_frames"])
    assert of_a_call == ("stateful", 8, 14), (
        "the frames before a chunk that the first convolution takes come from the player"
    )
    files = ("--in", str(tmp_path / "in.wav"), "--out", str(tmp_path / "live.wav"))
    live = result(capsys, "live", streaming, *files, "--prefill", "400")
    played, played_rate = soundfile.read(tmp_path / "live.wav", dtype="float32")
    assert played_rate == 48000
    assert live["drops"] == live["dropped_samples"] == 0
    delay = round(live["delay_ms"] * 48)
    said = resampled(soundfile.read(tmp_path / "out.wav", dtype="float32")[0], rate, 48000, PROMPT)
    count = min(len(said), len(played) - delay) - 48000 // 4
    assert snr_db(said[:count], played[delay : delay + count]) > 30, "what vocode says, later"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("vocode", "IN", "OUT", "--mode", "overlap"), "there is no mode 'overlap' of this artefact"),
        (("bench", "--chunk", "4"), "the artefact takes chunks of 8 frames"),
        (("live", "--in", "IN", "--out", "OUT", "--block", "0"), "--block >= 1"),
    ],
)
def test_what_a_streaming_bundle_cannot_do_is_a_sentence(streaming, tmp_path, capsys, arguments, sentence):
    soundfile.write(tmp_path / "in.wav", np.zeros(22050, np.float32), 22050)
    files = {"IN": str(tmp_path / "in.wav"), "OUT": str(tmp_path / "out.wav")}
    command, *rest = (files.get(argument, argument) for argument in arguments)
    assert main([command, streaming, *rest]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out.wav").exists()


def test_live_wants_a_streaming_bundle(bundle, tmp_path, capsys):
    soundfile.write(tmp_path / "in.wav", np.zeros(22050, np.float32), 22050)
    assert main(["live", bundle, "--in", str(tmp_path / "in.wav"), "--out", str(tmp_path / "out.wav")]) == 2
    assert "convert it with stream=stateful" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["vocode", "convert-voice", "speak", "live"])
def test_audio_of_another_format_is_refused_before_anything_is_loaded(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = {
        "vocode": ["no_bundle", "in.wav", "o.mp3"],
        "convert-voice": ["in.wav", "o.mp3"],
        "speak": ["hello", "o.mp3"],
        "live": ["--in", "in.wav", "--out", "o.mp3"],
    }
    assert main([command, *arguments[command]]) == 2
    assert "o.mp3: audio is written as WAV; name it o.wav" in capsys.readouterr().err


def test_the_parts_of_the_delay_add_up_to_it():
    parts = _delay_parts(73.4, {"window": 23.2, "chunk": 11.6, "lookahead": 0.0, "resampling": 2.1}, 20.0)
    assert sum(float(said.partition(" ")[0]) for said in parts.values()) == pytest.approx(73.4)
