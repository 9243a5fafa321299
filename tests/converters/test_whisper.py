"""Whisper's encoder beside the one of transformers, and a conversion that matches frames through the whole job."""

import itertools
import json
import shutil
from dataclasses import replace

import librosa
import numpy as np
import pytest
import soundfile
import torch
import torch.nn.functional as F
from torch import nn

from checkpoints import CheckpointError
from checkpoints.load import load
from checkpoints.locate import locate
from checkpoints.options import CheckpointOptions
from convert import listening
from convert.job import run_job
from converters.families import whisper
from converters.goldens import conversion_goldens
from converters.options import ConversionError, Shape
from reports import tracking
from reports.nights import write_night
from reports.options import TrackingOptions
from reports.store import prepared
from reports.suite import SuiteResult, SuiteRow, facts_of
from runtime.__main__ import main
from runtime.bundle.store import RECORDINGS, Bundle, BundleError, read_goldens, write_goldens
from runtime.engines import Execution
from runtime.measuring.gates import judge, unmeasured
from runtime.measuring.listening import NOBODY_LISTENS, Listeners
from runtime.measuring.measure import measure
from runtime.measuring.options import GateLimits, MeasureOptions
from runtime.measuring.quality import quality
from runtime.playing.conversions import ConversionChain, converted, open_conversion, open_main
from runtime.playing.live import Session, VirtualDevice
from runtime.playing.targets import make_target, read_target, write_target
from runtime.speech.clips import read_clip, transcript_of
from runtime.speech.matching import ARRAYS
from runtime.speech.metrics import snr_db
from runtime.speech.recordings import audio_blocks
from tests.conftest import hifigan_component
from tests.convert.test_config import composed
from tests.echo import Echo
from tests.small_whisper import small_whisper, write_ctranslate2, write_small_whisper

EXECUTION = Execution("onnx")
NO_SPEECH = [f"gates.limits.fp32.{name}=null" for name in ("silence_db", "room_db", "register")]  # of drawn weights


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("whisper") / "small"
    write_small_whisper(path)
    return path


def loaded(folder):
    return load(locate(CheckpointOptions(source=str(folder)), "whisper", "", print))


@pytest.fixture(scope="module")
def outcome(folder, small_hifigan, own_job):
    vocoder = f"model.parts.vocoder.checkpoint.source={small_hifigan}"
    source = f"checkpoint.source={folder}"
    return own_job("model=whisper_knn", source, vocoder, "precision=fp32", "format=onnx", *NO_SPEECH)


@pytest.fixture(scope="module")
def bundle(outcome):
    return outcome.bundle


def test_the_encoder_is_pytorch_s_own_with_its_weights(folder):
    module, arrays = whisper.load(loaded(folder)), small_whisper()
    weights = {name: torch.from_numpy(array).float() for name, array in arrays.items()}
    mel = torch.randn(1, 80, 200)
    with torch.inference_mode():
        frames = torch.maximum(mel, mel.max() - 8) / 4 + 1
        for name, stride in (("conv1", 1), ("conv2", 2)):
            weight, bias = (weights[f"encoder/{name}/{kind}"] for kind in ("weight", "bias"))
            frames = F.gelu(F.conv1d(frames, weight, bias, stride, padding=1))
        frames = frames.transpose(1, 2) + weights["encoder/position_encodings/encodings"][:100]
        for index in range(2):
            layer = nn.TransformerEncoderLayer(64, 1, 256, 0.0, "gelu", batch_first=True, norm_first=True).eval()
            layer.load_state_dict(torch_names(weights, f"encoder/layer_{index}"))
            frames = layer(frames)
        made = module(mel)
    assert len(module.layers) == 2, "two thirds of three"
    torch.testing.assert_close(made, frames.transpose(1, 2), atol=2e-5, rtol=1e-4)


def torch_names(weights, layer):
    """A layer's weights as nn.TransformerEncoderLayer calls them."""
    linear = {"self_attention/linear_1": "self_attn.out_proj", "ffn/linear_0": "linear1", "ffn/linear_1": "linear2"}
    state = {}
    for kind, norm in (("weight", "gamma"), ("bias", "beta")):
        state[f"self_attn.in_proj_{kind}"] = weights[f"{layer}/self_attention/linear_0/{kind}"]
        state |= {f"{theirs}.{kind}": weights[f"{layer}/{ours}/{kind}"] for ours, theirs in linear.items()}
        state[f"norm1.{kind}"] = weights[f"{layer}/self_attention/layer_norm/{norm}"]
        state[f"norm2.{kind}"] = weights[f"{layer}/ffn/layer_norm/{norm}"]
    return state


def test_the_mel_is_whisper_s_own():
    """As whisper/audio.py makes it, before the maximum over the audio."""
    samples = np.random.default_rng(0).standard_normal(16000).astype(np.float32) / 10
    spectrum = torch.stft(torch.from_numpy(samples), 400, 160, window=torch.hann_window(400), return_complex=True)
    bands = librosa.filters.mel(sr=16000, n_fft=400, n_mels=80) @ (spectrum.abs() ** 2).numpy()
    np.testing.assert_allclose(whisper.MEL.of(samples), np.log10(np.maximum(bands, 1e-10)), atol=1e-4)


def test_it_goes_through_the_job_and_passes(outcome, clips):
    assert outcome.passed, outcome.gates
    manifest = outcome.bundle.manifest
    assert manifest.conversion.components == ["content", "generator"] and manifest.conversion.target == "pool"
    assert outcome.bundle.main.name == "generator"
    for measurement in outcome.measurements:
        assert {row.component for row in measurement.rows} == {"content"}
        assert {clip.clip for clip in measurement.clips} == {path.stem for path in clips}
    page = (outcome.bundle.measured / "report.html").read_text()
    assert "content" in page
    for index, path in enumerate(clips):
        assert f"{path.stem} in the voice of {clips[1 - index].stem}" in page
    assert page.count("<label>converted, live</label>") == page.count("<label>converted, offline</label>") == 2
    plots = {path.stem for path in (outcome.bundle.measured / "plots").iterdir()}
    assert {"waits", *(f"converted-{path.stem}" for path in clips)} < plots and "similarity" not in plots
    assert "offline: F0 correlation" in page and "word error rate" not in page, "nobody listened"


@pytest.mark.proof  # it takes thrice as long to convert and execute
def test_its_core_ml_programs_pass_in_both_engines(folder, small_hifigan, own_job):
    vocoder = f"model.parts.vocoder.checkpoint.source={small_hifigan}"
    outcome = own_job("model=whisper_knn", f"checkpoint.source={folder}", vocoder, "precision=fp32", *NO_SPEECH)
    assert outcome.passed and [one.engine for one in outcome.measurements] == ["mil", "onnx"]


@pytest.fixture(scope="module")
def listened(bundle, tmp_path_factory):
    """(a measurement in which somebody listens, the audio that it kept)."""
    whole, part = "one two three", "one too"
    texts = (whole, whole, whole, part, whole, whole)  # of both sources; of both in the contexts offline and live
    readers = {"first": Echo(*texts), "second": Echo("so")}
    listeners = Listeners(readers, lambda samples: np.array([1.0, len(samples)]), lambda samples: 3.5)
    kept = tmp_path_factory.mktemp("kept")
    return measure(bundle, "onnx", MeasureOptions(bench_seconds=0), kept, listeners), kept


def test_each_clip_is_converted_to_the_voice_of_the_next_in_both_contexts(listened, bundle, clips):
    measurement, kept = listened
    names = [path.stem for path in clips]
    spoken = [one for one in measurement.converted if one.f0_correlation is not None]
    pairs = [(one.case, one.target, one.context) for one in spoken]
    assert pairs == [(names[i], names[1 - i], context) for i in range(2) for context in ("offline", "live")]
    assert all(one.similarity_to_target is not None and one.register is not None for one in spoken)
    for path, context in itertools.product(clips, ("offline", "live")):
        audio = np.load(kept / f"onnx-converted-{context}-{path.stem}.npy")
        target = make_target(bundle, [clips[1 - clips.index(path)]] * 2, EXECUTION).target
        frontend = open_conversion(bundle, target, 22050, context, EXECUTION, quality="VHQ")
        (again,) = [np.concatenate([*converted(frontend, open_main(bundle, EXECUTION), audio_blocks(path, 22050))])]
        assert snr_db(again, audio) > 20, "the pool twice over has the same frames, and two of each among the nearest"


def test_silence_is_converted_and_its_level_is_measured(listened):
    measurement, _ = listened
    for name in ("silence_db", "room_db"):
        levels = {one.context: getattr(one, name) for one in measurement.converted if getattr(one, name) is not None}
        assert set(levels) == {"offline", "live"} and all(-60 < level < 0 for level in levels.values()), (
            "drawn weights hum"
        )


def test_words_are_counted_over_all_clips_by_each_reader(listened):
    values = quality(listened[0])
    assert values["live_wer"] == pytest.approx(2 / 6), "`too` for `two`, `three` left out"
    assert values["live_wer_second"] == 0.0 and 0 < values["live_cer"] < 1
    assert values["offline_similarity_to_target"] <= 1 and values["offline_mos"] == 3.5


def test_what_a_conversion_is_judged_by_has_gates(listened, bundle):
    limits = {"fp32": GateLimits(silence_db=-55, f0_correlation=-2, wer=0.1, cer=0.9)}
    gates = {gate.gate: gate for gate in judge(bundle, [listened[0]], limits, "fp32")}
    assert not gates["live_silence_db"].passed and not gates["offline_silence_db"].passed
    assert not gates["live_wer"].passed and gates["live_cer"].passed
    assert not unmeasured(bundle, [listened[0]], limits, "fp32")


def test_what_is_not_defined_in_one_clip_meets_no_limit(listened, bundle):
    first, *others = listened[0].converted
    measurement = replace(listened[0], converted=(*others, replace(first, register=float("nan"))))
    assert np.isnan(quality(measurement)["offline_register"]) and np.isfinite(quality(measurement)["live_register"])
    gates = {gate.gate: gate for gate in judge(bundle, [measurement], {"fp32": GateLimits(register=99)}, "fp32")}
    assert not gates["offline_register"].passed and gates["live_register"].passed


def test_what_was_not_measured_is_no_met_gate_and_is_said(outcome, bundle):
    limits = {"fp32": GateLimits(wer=0.1, similarity_to_target=0.7, silence_db=0)}
    gates = [gate.gate for gate in judge(bundle, outcome.measurements, limits, "fp32")]
    assert {"live_silence_db", "offline_silence_db"} < set(gates) and not any("wer" in gate for gate in gates)
    assert unmeasured(bundle, outcome.measurements, limits, "fp32") == ["similarity to the target", "word error rate"]


def test_what_drawn_weights_say_is_not_judged_as_speech(listened, bundle):
    drawn = bundle.manifest.checkpoint.model_copy(update={"random": True})
    drawn_bundle = replace(bundle, manifest=bundle.manifest.model_copy(update={"checkpoint": drawn}))
    limits = {"fp32": GateLimits(silence_db=-55, wer=0.0, similarity_to_source=0.0)}
    assert all(gate.passed for gate in judge(drawn_bundle, [listened[0]], limits, "fp32"))
    assert not unmeasured(drawn_bundle, [listened[0]], limits, "fp32")


def test_what_was_measured_of_a_conversion_is_logged_and_has_trends(outcome, store_uri, tmp_path):
    for path in (outcome.bundle.path, outcome.bundle.measured):
        shutil.copytree(path, tmp_path / path.name)
    store = TrackingOptions(uri=store_uri)
    copy = Bundle(tmp_path / outcome.bundle.path.name, outcome.bundle.manifest)
    ids = tracking.track(copy.path, store)
    with prepared(store) as (client, _):
        (onnx,) = [run for run in map(client.get_run, ids.values()) if run.data.params.get("engine") == "onnx"]
        audio = {item.path for item in client.list_artifacts(onnx.info.run_id, "audio")}
    values = quality(next(one for one in outcome.measurements if one.engine == "onnx"))
    assert {"live_silence_db", "offline_room_db"} < set(values)
    logged = {name: value for name, value in values.items() if np.isfinite(value)}
    assert onnx.data.metrics["live_silence_db"] == pytest.approx(values["live_silence_db"])
    assert set(logged) <= set(onnx.data.metrics)
    clips = [one.clip for one in copy.recordings()]
    assert {f"audio/converted-{one}-{clip}.wav" for one in ("offline", "live") for clip in clips} < audio
    row = SuiteRow("job", (), "passed", 1.0, facts=facts_of(copy.path, store))
    page = write_night(SuiteResult("own", "2026-11-01T02:17:00+00:00", (row,)), tmp_path, [], store, None).read_text()
    assert "live: output level for digital silence" in page and "similarity" not in page, "which nobody measured"


def test_the_job_measures_anew_who_listens_and_says_what_was_not_measured(
    outcome, folder, small_hifigan, clips, tmp_path, in_a_row, monkeypatch, capsys
):
    for path in (outcome.bundle.path, outcome.bundle.measured):
        shutil.copytree(path, tmp_path / path.name)
    sources = [f"checkpoint.source={folder}", f"goldens.clips=[{','.join(map(str, clips))}]"]
    job = composed(
        "model=whisper_knn", *sources, f"model.parts.vocoder.checkpoint.source={small_hifigan}", "precision=fp32",
        "format=onnx", "tracking=off", f"output={tmp_path}", "measure.engines=[onnx]", "measure.bench_seconds=0",
        "measure.listen=true", *NO_SPEECH, "gates.limits.fp32.similarity_to_target=null", "+gates.limits.fp32.wer=0.0",
    )  # fmt: skip
    monkeypatch.setattr(listening, "open_listeners", lambda *_: NOBODY_LISTENS)
    none = run_job(job)
    assert none.passed and "not measured, and so not judged: word error rate" in capsys.readouterr().err
    names = listening.listener_names(outcome.bundle.manifest)
    everybody = Listeners({"first": Echo("one", "one", "two")}, names=names)
    monkeypatch.setattr(listening, "open_listeners", lambda *_: everybody)
    heard = run_job(job)
    assert not heard.passed and not heard.reused and "not measured" not in capsys.readouterr().err
    assert {gate.gate for gate in heard.gates if not gate.passed} == {"live_wer", "offline_wer"}
    page = (heard.bundle.measured / "report.html").read_text()
    assert "live: word error rate" in page and "1 of 1" in page
    monkeypatch.setattr(listening, "open_listeners", lambda *_: pytest.fail("nobody is asked again"))
    assert run_job(job).reused


def test_what_live_audio_waits_for_is_measured(outcome):
    for measurement in outcome.measurements:
        assert {"content, future", "content, chunk", "chunk", "lookahead"} < set(measurement.waits_ms)
        assert measurement.waits_ms["content, future"] == 300


@pytest.mark.parametrize("context", ["live", "offline"])
def test_streamed_is_what_comes_at_once_on_every_sample(bundle, clips, context):
    target = make_target(bundle, clips, EXECUTION).target
    player = open_main(bundle, EXECUTION)
    samples = read_clip(clips[0], 48000, 1)
    frontend = open_conversion(bundle, target, 48000, context, EXECUTION)
    frames = np.concatenate([frontend.push(samples), frontend.flush()], axis=2)
    offline = player.play(frames).reshape(-1)
    frontend.reset()
    chain = ConversionChain(frontend, player, rate_out=player.time.sample_rate)
    random, at, pieces = np.random.default_rng(0), 0, []
    while at < len(samples):
        size = int(random.choice([1, 128, 480, 7000]))
        pieces.append(chain.push(samples[at : at + size]))
        at += size
    streamed = np.concatenate([*pieces, chain.flush()])
    np.testing.assert_allclose(streamed, offline, atol=1e-6)


def test_live_is_the_offline_output_with_the_delay_that_it_says(bundle, clips):
    target = make_target(bundle, clips, EXECUTION).target
    player = open_main(bundle, EXECUTION)
    rate = player.time.sample_rate
    samples = read_clip(clips[0], rate, 1)
    frontend = open_conversion(bundle, target, rate, "live", EXECUTION)
    offline = player.play(np.concatenate([frontend.push(samples), frontend.flush()], axis=2)).reshape(-1)
    frontend.reset()
    chain = ConversionChain(frontend, player)
    session = Session(chain, 256, 512)
    played = VirtualDevice(lambda index: 0.01).play(session, samples, tail=2.0)
    assert session.counters.underruns == session.counters.late_samples == 0
    known = len(offline) - rate  # in the call silence follows where the audio ends
    np.testing.assert_allclose(played[session.delay : session.delay + known], offline[:known], atol=1e-6)
    structure = sum(chain.latency.values()) + chain.latency["chunk"]  # what comes at once is not played at once
    assert session.delay < structure / 1e3 * rate + 512 + 3 * 256


def test_a_target_is_kept_and_read_again(bundle, clips, tmp_path):
    made = make_target(bundle, [clips[0], clips[1]], EXECUTION)
    write_target(tmp_path / "target.npz", bundle, made)
    pool, again = made.target.pool, read_target(tmp_path / "target.npz", bundle).pool
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(again, name), getattr(pool, name))
    assert any("likeness" in note for note in made.notes), "four seconds are little, and that is said"


def test_the_commands_convert_a_recording_of_any_rate(bundle, clips, tmp_path, capsys):
    source, out, kept = tmp_path / "in.flac", tmp_path / "out.wav", tmp_path / "target.npz"
    samples = read_clip(clips[0], 44100, 1)
    soundfile.write(source, np.stack([samples, samples], axis=1), 44100)
    made_by = ["--bundle", str(bundle.path), "--json"]
    assert main(["target", *map(str, clips), str(kept), *made_by]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "pool"
    sounds = []
    for mode, whose in ((None, clips), (None, [kept]), ("stream", [kept])):
        command = ["convert-voice", str(source), str(out), *made_by, "--target", *map(str, whose)]
        assert main([*command, *(["--mode", mode] if mode else [])]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert facts["seconds"] == pytest.approx(len(samples) / 44100, abs=0.03) and facts["rtf"] > 0
        sounds.append(soundfile.read(out)[0])
    assert not np.array_equal(sounds[1], sounds[2]), "live sees less of the future"
    assert (
        main(["live", str(bundle.path), "--in", str(source), "--out", str(out), "--target", str(kept), "--json"]) == 0
    )
    facts = json.loads(capsys.readouterr().out)
    assert "content, future" in " ".join(facts)


def test_info_says_what_happens_to_audio(bundle, capsys):
    assert main(["info", str(bundle.path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["conversion"].startswith("speech_mel (features) -> content (windowed) -> ")
    assert facts["target"] == "recordings" and "live 150 + 20 + 30" in facts["content sees"]


def test_what_is_no_target_is_a_sentence(bundle, fp32, clips, tmp_path, capsys):
    kept, out = tmp_path / "target.npz", tmp_path / "out.wav"

    def said(*command):
        assert main([*map(str, command)]) == 2
        return capsys.readouterr().err

    convert = ("convert-voice", clips[0], out, "--bundle", bundle.path)
    assert "pass --target" in said(*convert)
    assert "has one voice" in said("convert-voice", clips[0], out, "--bundle", fp32.bundle.path, "--target", clips[1])
    assert "takes no target" in said("target", clips[0], kept, "--bundle", fp32.bundle.path)
    assert "there is no audio file" in said(*convert, "--target", tmp_path / "none.wav")
    assert ".npz file" in said("target", clips[0], tmp_path / "target.wav", "--bundle", bundle.path)
    soundfile.write(tmp_path / "short.wav", read_clip(clips[0], 16000, 1)[:16000], 16000)
    assert "too short" in said("target", tmp_path / "short.wav", kept, "--bundle", bundle.path)
    soundfile.write(tmp_path / "silent.wav", np.zeros(80000), 16000)
    assert "hardly a voice" in said("target", tmp_path / "silent.wav", kept, "--bundle", bundle.path)
    np.savez(kept, made_by=np.array("another 0000 0000"))
    assert "was made for another" in said(*convert, "--target", kept)
    np.savez(kept, something=np.zeros(2))
    assert "is no target" in said(*convert, "--target", kept)
    write_target(kept, bundle, make_target(bundle, clips, EXECUTION))
    arrays = dict(np.load(kept))
    for name, wrong in (
        ("content", arrays["content"][:, :5]),
        ("pitch", arrays["pitch"].astype(str)),
        ("mel", arrays["mel"][1:]),
    ):
        np.savez(kept, **{**arrays, name: wrong})
        assert "is no target" in said(*convert, "--target", kept)
    assert "leave out --pitch" in said("vocode", fp32.bundle.path, clips[0], out, "--pitch", "3")
    kept.write_bytes(b"PK but no archive")
    assert "is no target" in said(*convert, "--target", kept)
    assert not out.exists()


def test_a_source_without_a_voice_is_silent_and_that_is_said(bundle, clips, tmp_path, capsys):
    soundfile.write(tmp_path / "silent.wav", np.zeros(96000), 48000)
    out = tmp_path / "out.wav"
    command = ["convert-voice", str(tmp_path / "silent.wav"), str(out), "--bundle", str(bundle.path)]
    assert main([*command, "--target", *map(str, clips)]) == 0
    assert "hardly a voice in" in capsys.readouterr().err
    assert main(["convert-voice", str(clips[0]), *command[2:], "--target", *map(str, clips)]) == 0
    assert "hardly" not in capsys.readouterr().err


def test_clipped_recordings_are_said_to_be(bundle, clips, tmp_path):
    samples = np.clip(20 * np.concatenate([read_clip(path, 16000, 1) for path in clips]), -1, 1)
    soundfile.write(tmp_path / "clipped.wav", samples, 16000)
    assert any("full scale" in note for note in make_target(bundle, [tmp_path / "clipped.wav"], EXECUTION).notes)


def test_a_target_of_several_speakers_is_said_to_be(bundle, clips, tmp_path, monkeypatch, capsys):
    class Embedder:
        def __init__(self, path, execution):
            assert path.name == "encoder"

        def least_agreement(self, paths):
            assert paths == clips
            return 0.7

    monkeypatch.setattr("runtime.commands.conversion.SpeakerEmbedder", Embedder)
    kept = tmp_path / "target.npz"
    command = ["target", *map(str, clips), str(kept), "--bundle", str(bundle.path), "--encoder", "encoder"]
    assert main(command) == 0
    assert "several speakers: a piece of them is like the rest by 0.70" in capsys.readouterr().err and kept.exists()


def test_another_model_s_target_is_refused(bundle, clips, tmp_path):
    made = make_target(bundle, clips, EXECUTION)
    write_target(tmp_path / "target.npz", bundle, made)
    other = bundle.manifest.checkpoint.model_copy(update={"sha256": "0" * 64})
    changed = replace(bundle, manifest=bundle.manifest.model_copy(update={"checkpoint": other}))
    with pytest.raises(BundleError, match="make it anew"):
        read_target(tmp_path / "target.npz", changed)


def test_what_is_no_whisper_is_refused(tmp_path):
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    write_ctranslate2(folder / "model.bin", {"decoder/weight": np.zeros((2, 2), np.float32)})
    with pytest.raises(CheckpointError, match="no encoder of Whisper"):
        whisper.load(loaded(folder))
    arrays = small_whisper()
    del arrays["encoder/layer_1/ffn/linear_0/weight"]
    write_ctranslate2(folder / "model.bin", arrays)
    with pytest.raises(CheckpointError, match="whole encoder"):
        whisper.load(loaded(folder))


def test_it_takes_a_vocoder_and_a_fixed_window(folder):
    module = whisper.load(loaded(folder))
    with pytest.raises(ConversionError, match=r"parts\.vocoder"):
        whisper.conversion(module, {})
    with pytest.raises(ConversionError, match="fixed length"):
        whisper.components(module, loaded(folder), Shape(64, 8, 512))


def test_a_transcript_beside_a_clip_is_kept_with_it(folder, small_hifigan, own_job, clips, tmp_path):
    clip = tmp_path / "spoken.flac"
    soundfile.write(clip, read_clip(clips[0], 22050, 1), 22050)
    assert transcript_of(clip) == ""
    clip.with_suffix(".txt").write_text("They robbed me\n  a few years later.\n")
    module, vocoder = whisper.load(loaded(folder)), hifigan_component(str(small_hifigan))
    components = (*whisper.components(module, loaded(folder), Shape()), vocoder)
    cases = conversion_goldens(components, whisper.conversion(module, {"vocoder": vocoder}), [clip])
    write_goldens(tmp_path / "goldens.npz", cases)
    (case,) = read_goldens(tmp_path / "goldens.npz", RECORDINGS)
    assert str(case.inputs["transcript"]) == "They robbed me a few years later."
    np.testing.assert_array_equal(case.recording, read_clip(clips[0], 22050, 1))
