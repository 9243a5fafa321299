"""A live voice, few channels wide, with drawn weights: parity and streaming, the job and the commands."""

import dataclasses
import json

import numpy as np
import pytest
import soundfile
import torch

from checkpoints import CheckpointError
from checkpoints.files import ARCHITECTURES
from checkpoints.load import LoadedCheckpoint, load
from checkpoints.locate import locate
from checkpoints.options import CheckpointOptions
from converters.families import live_voice, swift_f0
from converters.goldens import run_original
from converters.options import ConversionError, Shape, StreamOptions
from converters.streaming import streaming_component
from converters.upstream.live_voice import ConverterSettings, GeneratorSettings, LiveVoice
from reports.converted import converted_clips
from runtime.__main__ import main
from runtime.bundle.conversion import FeatureStage, LocalStage, PitchStage, TrackingStage, VoicingStage
from runtime.bundle.form import Pace
from runtime.engines import Execution
from runtime.playing.conversions import ConversionChain, open_conversion, open_main
from runtime.playing.live import Session, VirtualDevice
from runtime.playing.stages import NOBODY
from runtime.speech.clips import read_clip
from runtime.speech.metrics import snr_db
from tests.small_swift_f0 import write_small_swift_f0

EXECUTION = Execution("onnx")
FULL = json.loads((ARCHITECTURES / "kathleen_live.json").read_text())
SMALL = {
    **FULL,
    "converter": {"bands": 80, "channels": 16, "blocks": 2, "kernel": 5, "dilations": [1, 4], "lookahead": 2},
    "generator": {"bands": 80, "channels": 16, "upsampling": [16, 16], "kernels": [3], "dilations": [1, 3]},
}
AUDIO = {**FULL["audio"], "framing": "hifigan"}
FRAME_MS = 1e3 * 256 / 22050


def network(config):
    torch.manual_seed(0)
    sections = {
        name: {key: tuple(value) if isinstance(value, list) else value for key, value in config[name].items()}
        for name in ("converter", "generator")
    }
    module = LiveVoice(ConverterSettings(**sections["converter"]), GeneratorSettings(**sections["generator"]))
    for name, parameter in module.named_parameters():  # as loud as trained ones
        if name.endswith("weight"):
            torch.nn.init.kaiming_normal_(parameter)
    with torch.no_grad():
        module.generator.last.weight *= 0.05
    return module.eval()


@pytest.fixture
def saved(checkpoint):
    def save(config, module=None):
        whole = {**config, "audio": {**config["audio"], "framing": "hifigan"}}
        located = dataclasses.replace(checkpoint.located, name="mine", family="live_voice", config=whole)
        module = network(SMALL) if module is None else module
        return LoadedCheckpoint(located, {key: value.detach().clone() for key, value in module.state_dict().items()})

    return save


def write_small_live_voice(path):
    from safetensors.torch import save_file

    path.mkdir()
    weights = {name: value.half().contiguous() for name, value in network(SMALL).state_dict().items()}
    save_file(weights, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps({**SMALL, "audio": AUDIO}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("live") / "small_live"
    write_small_live_voice(path)
    return path


QUIET = [f"gates.limits.fp32.{name}=0" for name in ("silence_db", "room_db")]  # which drawn weights are not


@pytest.fixture(scope="module", params=["onnx", pytest.param("mlprogram", marks=pytest.mark.proof)])
def outcome(own_job, folder, request):
    source = (f"checkpoint.source={folder}", f"format={request.param}")
    return own_job("model=live_voice", *source, "precision=fp32", "measure.engines=[onnx]", *QUIET)


@pytest.fixture(scope="module")
def bundle(outcome):
    return outcome.bundle


# ------------------------------------------------------------------------------------------------------- the family


def test_the_components_are_the_networks_and_see_what_they_say(saved):
    module = network(SMALL)
    stored = saved(SMALL, module)
    converter, generator = live_voice.components(live_voice.load(stored), stored, Shape(24))
    assert (converter.time.left, converter.time.right) == (2 + 4 + 16, 2)
    assert generator.time.right == 0, "not a sample of the future"
    speech = torch.randn(1, 82, 24, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        mel = module.converter(speech)
        audio = module.generator(mel)
    made = run_original(converter, {"speech": speech.numpy()})["mel"]
    np.testing.assert_allclose(made, mel, atol=1e-5)
    np.testing.assert_allclose(run_original(generator, {"mel": made})["audio"], audio, atol=1e-5)
    assert audio.shape == (1, 1, 24 * 256) and audio.std() > 1e-3


@pytest.mark.parametrize(
    ("config", "chunk"),
    [(SMALL, 2), *(pytest.param(*case, marks=pytest.mark.proof) for case in ((SMALL, 1), (FULL, 2)))],
    ids=["small-2", "small-1", "full-2"],
)
def test_streamed_they_wait_for_the_lookahead_alone(saved, config, chunk):
    """Of padding on the left a layer waits for nothing."""
    stored = saved(config, network(config))
    parts = live_voice.components(live_voice.load(stored), stored, Shape(24))
    forms = [streaming_component(one, StreamOptions("stateful", chunk), "polyphase", False).form for one in parts]
    assert [form.lookahead for form in forms] == [2, 0] and all(form.exact for form in forms)
    assert [form.pace for form in forms] == [Pace(chunk, chunk, chunk - 2), Pace(chunk, chunk, chunk)]


@pytest.mark.parametrize(
    ("section", "changes", "sentence"),
    [
        ("generator", {"upsampling": [16, 8]}, "makes 128 samples of a frame, its audio config says hop_length 256"),
        ("converter", {"bands": 40}, "mels of different bands: converter 40, generator 80, audio 80"),
        ("converter", {"lookahead": 5}, "of kernel 5 cannot see 5 frames ahead"),
        ("converter", {"channels": "wide"}, "channels: 'wide'"),
        ("converter", {"kernel": 0}, "kernel is 0"),
        ("converter", {"channels": 32}, "has shape"),
        ("converter", {"blocks": 3}, "are missing, such as converter.blocks.2"),
        ("pitch", {"n_fft": 400}, "its pitch does not fit its audio"),
        ("pitch", {"n_fft": 769}, "stand for different moments"),
        ("audio", {"framing": "centered"}, "stand for different moments"),
    ],
)
def test_what_does_not_fit_is_a_sentence(saved, section, changes, sentence):
    stored = saved({**SMALL, section: {**SMALL[section], **changes}})
    if "framing" in changes:
        stored.config["audio"]["framing"] = changes["framing"]
    with pytest.raises((CheckpointError, ConversionError), match=sentence):
        live_voice.load(stored)


@pytest.mark.parametrize("missing", ["converter", "generator", "pitch"])
def test_another_model_s_config_is_none_of_a_live_voice(saved, missing):
    stored = saved({key: value for key, value in SMALL.items() if key != missing})
    with pytest.raises(CheckpointError, match=f"is no live voice: .* here {missing} is missing"):
        live_voice.load(stored)


def test_the_stages_take_the_mel_and_the_melody_and_another_detector_of_pitch(saved, tmp_path):
    write_small_swift_f0(tmp_path / "model.onnx")
    stored = load(locate(CheckpointOptions(source=str(tmp_path / "model.onnx")), "swift_f0", "", print))
    (detector,) = swift_f0.components(swift_f0.load(stored), stored, Shape())
    module = live_voice.load(saved(SMALL))
    stages = live_voice.conversion(module, {}).stages
    pitch = [FeatureStage, TrackingStage, PitchStage]
    assert [type(stage) for stage in stages] == [FeatureStage, *pitch, LocalStage, LocalStage]
    assert live_voice.conversion(module, {}).target == "built_in"
    kinds = [type(stage) for stage in live_voice.conversion(module, {"pitch": detector}).stages]
    assert VoicingStage in kinds and TrackingStage not in kinds
    with pytest.raises(ConversionError, match=r"leave out model\.parts\.vocoder"):
        live_voice.conversion(module, {"vocoder": None})


# ------------------------------------------------------------------------------------------------ through artefacts


def test_it_goes_through_the_job_and_passes(outcome):
    assert outcome.passed, outcome.gates
    manifest = outcome.bundle.manifest
    assert manifest.conversion.components == ["converter", "generator"] and manifest.options.mode == "stateful2"
    (measurement,) = outcome.measurements
    assert {row.component for row in measurement.rows} == {"converter"}
    results = {one.case: one for one in measurement.converted}
    assert results["silence"].silence_db is not None
    assert all(one.register is None and one.similarity_to_target is None for one in results.values()), "whose is known"


def test_its_report_names_no_recording_as_the_target(outcome):
    (measurement,) = outcome.measurements
    for clip in converted_clips(outcome.bundle, measurement):
        assert clip.target == "" and [sound.label.split(":")[0] for sound in clip.sounds][:2] != ["source", "target"]
    page = (outcome.bundle.measured / "report.html").read_text()
    assert "in the voice of the weights" in page and "in the voice of the next" not in page


def ragged(samples, seed):
    random, at = np.random.default_rng(seed), 0
    while at < len(samples):
        size = int(random.choice([1, 128, 480, 7000]))
        yield samples[at : at + size]
        at += size


def test_streamed_is_pytorch_s_own_on_every_sample(bundle, clips):
    """Both artefacts with their states in a row, in ragged blocks, against the networks at once."""
    golden = bundle.goldens(bundle.main)[0]
    samples = read_clip(clips[0], 22050, 1)
    chain = ConversionChain(open_conversion(bundle, NOBODY, 22050, "live", EXECUTION), open_main(bundle, EXECUTION))
    made = []
    for seed in range(2):
        chain.reset()
        made.append(np.concatenate([*map(chain.push, ragged(samples, seed)), chain.flush()]))
    np.testing.assert_array_equal(made[1], made[0])
    wanted = golden.outputs["audio"].reshape(-1)
    assert made[0].shape == wanted.shape and snr_db(wanted, made[0]) > 90
    melody = bundle.goldens(bundle.component("converter"))[0].inputs["speech"][0, 80:]
    assert set(np.unique(melody[1])) == {0, 1} and not melody[0, melody[1] == 0].any()


def test_live_is_as_late_as_it_says(bundle, clips):
    """On a device at its own rate: what it says is what passes until the output, but for the device's blocks."""
    samples = read_clip(clips[0], 22050, 1)
    chain = ConversionChain(open_conversion(bundle, NOBODY, 22050, "live", EXECUTION), open_main(bundle, EXECUTION))
    parts = chain.latency
    assert parts["converter, lookahead"] == pytest.approx(2 * FRAME_MS)
    assert parts["converter, chunk"] == pytest.approx(2 * FRAME_MS)
    assert parts["chunk"] == parts["lookahead"] == 0, "it ticks with the converter"
    assert sum(parts.values()) == pytest.approx(4 * FRAME_MS + 384 / 22.05)
    assert chain.chunk == 512
    session = Session(chain, 128)
    played = VirtualDevice(lambda index: 0.0).play(session, samples)
    whole = bundle.goldens(bundle.main)[0].outputs["audio"].reshape(-1)
    known = len(whole) - 4096  # in the call silence follows where the recording ends
    np.testing.assert_allclose(played[session.delay : session.delay + known], whole[:known], atol=1e-4)
    assert session.counters.underruns == 0
    assert 1e3 * session.delay / 22050 <= sum(parts.values()) + 1e3 * 128 / 22050 + 0.1


def test_one_thread_computes_short_chunks_where_nobody_names_more(bundle):
    for threads, used in ((None, 1), (2, 2)):
        engine = open_main(bundle, Execution("onnx", threads)).engine
        assert engine._session.get_session_options().intra_op_num_threads == used


def test_the_commands_take_no_target_and_find_the_newest_live_voice(bundle, clips, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["live"]) == 2
    assert "bundles/ holds no live voice: `python -m convert model=kathleen_live` makes one" in capsys.readouterr().err
    (tmp_path / "bundles").mkdir()
    (tmp_path / "bundles" / bundle.path.name).symlink_to(bundle.path)
    sounds = []
    for more in ([], ["--mode", "stream"], ["--pitch", "3"]):
        assert main(["convert-voice", str(clips[0]), "out.wav", *more, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["bundle"] == bundle.manifest.name
        sounds.append(soundfile.read("out.wav")[0])
    assert np.abs(sounds[0]).max() > 0.01
    np.testing.assert_allclose(sounds[1], sounds[0], atol=1e-4)
    assert not np.allclose(sounds[2], sounds[0], atol=1e-3)
    live = ["live", "--in", str(clips[0]), "--out", "out.wav", "--pitch", "1", "--json"]
    assert main(live) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["bundle"] == bundle.manifest.name and facts["of which resampling"] == "2.3 ms, by structure"
    for command in (["convert-voice", str(clips[0]), "out.wav"], ["live", "--in", str(clips[0]), "--out", "out.wav"]):
        assert main([*command, "--target", str(clips[1])]) == 2
        assert "has one voice: leave out --target" in capsys.readouterr().err
    assert main(["target", str(clips[0]), "t.npz", "--bundle", str(bundle.path)]) == 2
    assert "has one voice: it takes no target" in capsys.readouterr().err


def test_the_model_of_the_readme_is_a_choice_with_chunks_of_two_frames():
    """`python -m convert model=kathleen_live`."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    import conf
    from convert.schema import register

    register()
    with initialize_config_dir(config_dir=str(next(iter(conf.__path__))), version_base="1.3"):
        jobs = [
            OmegaConf.to_object(compose("config", overrides=overrides))
            for overrides in (["model=kathleen_live"], ["model=kathleen_live", "stream.chunk=4"])
        ]
    assert [job.stream.name for job in jobs] == ["stateful2", "stateful4"]
    assert jobs[0].model.family == "live_voice" and jobs[0].model.default_checkpoint == "kathleen_live"
    assert {"fp32", "fp16", "fp16_onnx", "mixed", "compressed", "lowlat"} <= set(jobs[0].gates.limits)
