"""Components in a row through the whole job: streamed by their artefacts, from one voice to another."""

import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from converters import component
from converters.options import Shape, StreamOptions
from converters.streaming import truncation_db
from runtime.__main__ import main
from runtime.bundle.store import BundleError
from runtime.engines import Execution
from runtime.measuring.bench.bundle import read_bench
from runtime.playing.conversions import ConversionChain, open_conversion, open_main
from runtime.playing.targets import make_target, target_of, write_target
from runtime.speech.clips import read_clip
from runtime.speech.metrics import snr_db
from tests.converters.audio_to_audio import chain
from tests.converters.audio_to_audio.chain import Chain
from tests.converters.audio_to_audio.family import FRAME, RATE

EXECUTION = Execution("onnx")
CONF = Path(__file__).parent / "conf"
FORMS = {"stateful": ("stream=stateful",), "offline": ("stream=offline",)}


@pytest.fixture(scope="module", autouse=True)
def known_family():
    """As an entry in the table of families would do."""
    component.FAMILIES["toy_chain"] = "tests.converters.audio_to_audio.chain"
    yield
    del component.FAMILIES["toy_chain"]


@pytest.fixture(scope="module")
def converted(own_job, tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("toy") / "chain"
    folder.mkdir()
    torch.save({"model": Chain().state_dict()}, folder / "model_file.pth")
    (folder / "config.json").write_text("{}")
    searched = f"hydra.searchpath=[file://{CONF}]"
    return lambda *overrides: own_job(
        searched, "model=toy_chain", f"checkpoint.source={folder}", "precision=fp32", "format=onnx", *overrides
    )


def her(clips):
    """Two seconds, which a target takes."""
    return [clips[1], clips[1]]


@pytest.mark.parametrize("stream", FORMS)
def test_it_goes_through_the_job_and_passes(converted, stream, clips):
    outcome = converted(*FORMS[stream])
    assert outcome.passed, outcome.gates
    manifest = outcome.bundle.manifest
    assert manifest.conversion.components == ["reader", "flow", "player"] and outcome.bundle.main.name == "player"
    for measurement in outcome.measurements:
        assert {row.component for row in measurement.rows} == {"reader", "flow", "target_encoder"}
        assert {clip.clip for clip in measurement.clips} == {path.stem for path in clips}
        if measurement.engine == "onnx" and stream == "stateful":
            assert {"reader", "flow"} <= {call.component for call in measurement.calls}


def test_streamed_is_pytorch_s_own_on_every_sample(converted, clips):
    """Three artefacts with states in a row, in ragged blocks, against the originals at once."""
    bundle = converted("stream=stateful").bundle
    golden = bundle.goldens(bundle.main)[0]
    target = target_of(bundle, her(clips), EXECUTION, [clips[0]]).target
    samples = read_clip(clips[0], RATE, 1)
    for context, offline in (("live", "stateful"), ("offline", "offline")):
        other = converted(*FORMS[offline]).bundle
        frontend, player = open_conversion(other, target, RATE, context, EXECUTION), open_main(other, EXECUTION)
        random, at, frames = np.random.default_rng(0), 0, []
        while at < len(samples):
            size = int(random.choice([1, 128, 480, 7000]))
            frames.append(frontend.push(samples[at : at + size]))
            at += size
        frames = np.concatenate([*frames, frontend.flush()], axis=2)
        assert snr_db(golden.inputs["converted"].ravel(), frames.ravel()) > 90
        made = player.play(frames, target.of(other.main)).reshape(-1)
        assert made.shape == golden.outputs["audio"].reshape(-1).shape
        assert snr_db(golden.outputs["audio"].ravel(), made) > 90


def test_blocks_of_any_size_give_the_same_samples(converted, clips):
    bundle = converted("stream=stateful").bundle
    target = target_of(bundle, her(clips), EXECUTION, [clips[0]]).target
    converting = ConversionChain(
        open_conversion(bundle, target, 48000, "live", EXECUTION), open_main(bundle, EXECUTION), target.of(bundle.main)
    )
    samples = read_clip(clips[0], 48000, 1)[:96000]
    outputs = []
    for size in (len(samples), 480, 4001):
        converting.reset()
        pieces = [converting.push(samples[at : at + size]) for at in range(0, len(samples), size)]
        outputs.append(np.concatenate([*pieces, converting.flush()]))
    np.testing.assert_array_equal(outputs[0], outputs[1])
    np.testing.assert_array_equal(outputs[0], outputs[2])
    structure = sum(converting.latency.values())
    assert structure > 1e3 * (2 + 7 + 1) * FRAME / RATE, "by structure, what each sees of the future"


def test_what_a_bounded_lookahead_costs_is_measured_with_whose_voice_it_is():
    module = Chain().eval()
    flow = chain.components(module, None, Shape(64))[1]
    generator = torch.Generator().manual_seed(0)
    case = {spec.name: torch.randn((1, spec.shape[1], 120 if spec.name == "encoded" else 1), generator=generator)
            for spec in flow.inputs}  # fmt: skip
    table = truncation_db(flow, StreamOptions("lowlat", 2, 3), [case])
    assert table[13][0] > 80 > table[3][0] > 0, "it sees seven frames ahead"


def test_the_commands_ask_whose_voice_the_source_is(converted, clips, tmp_path, capsys):
    bundle = converted("stream=stateful").bundle
    kept, own, out = tmp_path / "her.npz", tmp_path / "me.npz", tmp_path / "out.wav"
    for recordings, file in ((her(clips), kept), ([clips[0], clips[0]], own)):
        assert main(["target", *map(str, recordings), str(file), "--bundle", str(bundle.path), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["kind"] == "embedding"
    sounds = []
    for more in ([], ["--own", str(own)], ["--mode", "stream"], ["--own", str(clips[1])]):
        command = ["convert-voice", str(clips[0]), str(out), "--bundle", str(bundle.path), "--target", str(kept)]
        assert main([*command, *more, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["rtf"] > 0
        sounds.append(soundfile.read(out)[0])
    np.testing.assert_allclose(sounds[1], sounds[0], atol=1e-4, err_msg="the source itself says whose voice it is")
    np.testing.assert_allclose(sounds[2], sounds[0], atol=1e-4)
    assert not np.array_equal(sounds[3], sounds[0])
    live = ["live", str(bundle.path), "--in", str(clips[0]), "--out", str(out), "--target", str(kept), "--json"]
    assert main(live) == 2
    assert "pass --own REF.wav" in capsys.readouterr().err
    assert main([*live, "--own", str(own)]) == 0
    facts = " ".join(json.loads(capsys.readouterr().out))
    assert "flow, lookahead" in facts and "reader, lookahead" in facts


def test_what_is_no_voice_is_a_sentence(converted, clips, tmp_path, capsys):
    bundle = converted("stream=stateful").bundle
    for name, samples, said in (
        ("short", read_clip(clips[0], RATE, 1)[:RATE], "too short"),
        ("silent", np.zeros(60000), "is silent"),
    ):
        soundfile.write(tmp_path / f"{name}.wav", samples, RATE)
        assert (
            main(["target", str(tmp_path / f"{name}.wav"), str(tmp_path / "t.npz"), "--bundle", str(bundle.path)]) == 2
        )
        assert said in capsys.readouterr().err
    clipped = np.tile(np.clip(20 * read_clip(clips[0], RATE, 1), -1, 1), 2)
    soundfile.write(tmp_path / "clipped.wav", clipped, RATE)
    assert "full scale" in make_target(bundle, [tmp_path / "clipped.wav"], EXECUTION).notes[0]
    with pytest.raises(BundleError, match="takes no pitch"):
        open_conversion(bundle, target_of(bundle, her(clips), EXECUTION, clips[:1]).target, RATE, pitch_shift=2.0)


def test_a_live_one_that_takes_all_at_once_is_refused(converted, clips, tmp_path, capsys):
    bundle = converted(*FORMS["offline"]).bundle
    made = make_target(bundle, her(clips), EXECUTION)
    write_target(tmp_path / "t.npz", bundle, made)
    live = ["live", str(bundle.path), "--in", str(clips[0]), "--out", str(tmp_path / "o.wav")]
    assert main([*live, "--target", str(tmp_path / "t.npz"), "--own", str(clips[0])]) == 2
    assert "convert it with stream=stateful" in capsys.readouterr().err


def test_a_bench_times_the_whole_chain_and_its_stages(converted, clips, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("runtime.measuring.bench.bundle.busy_cores", nullcontext)  # test_bundle.py has them busy
    bundle, out = converted("stream=stateful").bundle, tmp_path / "bench.json"
    short = ["--seconds", "0.2", "--min-chunks", "5", "--paced-seconds", "0.5", "--threads", "1", "--out", str(out)]
    target = ["--target", *map(str, her(clips))]
    assert main(["bench", str(bundle.path), *short, *target]) == 0
    said = capsys.readouterr().out
    assert "stage flow" in said and "flow, lookahead" in said
    (one,) = read_bench(out).processes
    assert [stage.component for stage in one.stages] == ["reader", "flow", "player"]
    assert all(stage.calls >= 5 and 0 < stage.rtf < one.closed.rtf for stage in one.stages)
    assert one.correctness.problem is None and one.paced.chunks >= 5 and one.silence.not_finite == 0
    names = {part.name: part.milliseconds for part in one.budget.parts}
    assert names["flow, lookahead"] == pytest.approx(1e3 * 7 * FRAME / RATE)
    assert one.budget.structural_ms == pytest.approx(sum(names.values()) - names["inference, p99"])
