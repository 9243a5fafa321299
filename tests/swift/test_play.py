"""The Swift package's command on Linux, over ONNX Runtime, beside Python's: the same bundles, the same sound.

`make swift-test` builds it. Where there is no Swift, nothing here runs.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import soundfile
import soxr
import torch

from runtime.__main__ import main
from runtime.bundle.store import open_bundle
from runtime.engines import Execution
from runtime.playing.conversions import ConversionChain, open_conversion, open_main
from runtime.playing.live import Session, VirtualDevice
from runtime.playing.mixer import Gate
from runtime.playing.stages import NOBODY
from runtime.playing.stream import prefill
from runtime.playing.targets import make_target
from runtime.speech.clips import clip_paths
from runtime.speech.metrics import snr_db
from runtime.speech.text import read
from tests.conftest import ROOT
from tests.converters.rave_models import MODELS, built, write_run
from tests.converters.test_live_voice import QUIET, write_small_live_voice
from tests.converters.test_openvoice import SMALL as SMALL_OPENVOICE
from tests.converters.test_openvoice import upstream as small_openvoice
from tests.converters.test_rvc import save_reader, save_small_voice
from tests.converters.test_whisper import NO_SPEECH
from tests.runtime.playing.test_speak import bundle as small_voice
from tests.small_wavlm import write_small_content_vocoder, write_small_wavlm
from tests.small_whisper import write_small_whisper

ENVIRONMENT = dict(os.environ)  # that of whoever runs the tests, in whose cache the toolchain is
PLAY = ROOT / ".cache" / "swift" / "build" / "debug" / "voxport-play"
FAKED = ROOT / ".cache" / "swift" / "fakes" / "debug" / "voxport-play"  # with a Core ML that ONNX Runtime computes
TOOLCHAIN = ROOT / "swift" / "toolchain"
ONNX = Execution("onnx")
(LIBRARY,) = Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.*") or [None]

pytestmark = pytest.mark.skipif(
    not PLAY.is_file() or LIBRARY is None, reason="voxport-play is not built here (make swift-test)"
)


@pytest.fixture
def play(tmp_path, kept):
    """Runs voxport-play; gives its exit code and what it said."""

    def run(*arguments, binary=PLAY, **environment):
        folders = {tmp_path, kept, LIBRARY.parent}
        environment |= {
            "VOXPORT_SWIFT_FOLDERS": ":".join(map(str, folders)),
            "VOXPORT_ONNXRUNTIME": str(LIBRARY),
        }
        command = [str(TOOLCHAIN), "run", str(binary), *map(str, arguments)]
        done = subprocess.run(command, env=ENVIRONMENT | environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    return run


def assert_is_pythons(swift, python):
    """Two recordings are equal but for the steps of their 16 bits."""
    theirs, ours = (soundfile.read(path)[0] for path in (python, swift))
    assert len(ours) == len(theirs) and snr_db(theirs, ours) > 60


def assert_live_is_pythons(play, bundle, frontend, source, swift, *options):
    """A live session without a sound card gives what Python's gives through `frontend`, as late to the sample."""
    code, said = play("live", bundle, source, swift, *options, "--block", "128")
    facts = dict(line.split(maxsplit=1) for line in said.splitlines())
    assert code == 0 and facts["underruns"] == "0", said
    chain = ConversionChain(frontend, open_main(open_bundle(bundle), ONNX))
    session = Session(chain, 128, prefill(128, chain.chunk))
    theirs = VirtualDevice(lambda index: 0.0).play(session, soundfile.read(source, dtype="float32")[0])
    assert int(facts["delay_samples"]) == session.delay
    ours = soundfile.read(swift)[0]
    shorter = min(len(ours), len(theirs))
    assert snr_db(np.clip(theirs[:shorter], -1, 1), ours[:shorter]) > 60  # as a file holds it


@pytest.fixture
def lowered(tmp_path):
    """Writes the programs of a bundle as ONNX files."""

    def lower(bundle):
        assert main(["lower", str(bundle.path), "--out", str(tmp_path / "lowered")]) == 0
        return tmp_path / "lowered"

    return lower


@pytest.fixture(params=["fp32", "stateful"])
def bundle(request, width):
    return request.getfixturevalue(request.param).bundle


def test_frames_become_the_same_samples(bundle, lowered, play, tmp_path, capsys):
    (case, *_) = bundle.goldens(bundle.main)
    np.savez(tmp_path / "in.npz", **case.inputs)
    files = str(tmp_path / "in.npz"), str(tmp_path / "python.npz")
    assert main(["run", str(bundle.path), *files, "--engine", "onnx"]) == 0
    code, text = play("run", bundle.path, files[0], tmp_path / "swift.npz", "--lowered", lowered(bundle))
    assert code == 0, text
    with np.load(files[1]) as python, np.load(tmp_path / "swift.npz") as swift:
        assert swift["audio"].shape == python["audio"].shape
        assert np.abs(swift["audio"] - python["audio"]).max() <= 1e-5


def test_a_recording_becomes_the_same_recording(bundle, lowered, play, tmp_path, capsys):
    speech, rate = soundfile.read(clip_paths()[0], dtype="float32")
    soundfile.write(tmp_path / "in.wav", speech, rate, subtype="PCM_16")
    files = str(tmp_path / "in.wav"), str(tmp_path / "python.wav")
    assert main(["vocode", str(bundle.path), *files, "--engine", "onnx"]) == 0
    code, text = play("vocode", bundle.path, files[0], tmp_path / "swift.wav", "--lowered", lowered(bundle))
    assert code == 0, text
    assert_is_pythons(tmp_path / "swift.wav", tmp_path / "python.wav")


@pytest.mark.parametrize("block", [100, pytest.param(256, marks=pytest.mark.proof)])
def test_live_every_sample_comes_as_late_as_the_first(stateful, lowered, play, tmp_path, capsys, block):
    speech, rate = soundfile.read(clip_paths()[0], dtype="float32")
    soundfile.write(tmp_path / "in.wav", speech, rate, subtype="PCM_16")
    folder = lowered(stateful.bundle)
    files = [stateful.bundle.path, tmp_path / "in.wav"]
    assert play("vocode", *files, tmp_path / "whole.wav", "--lowered", folder)[0] == 0
    code, text = play("live", *files, tmp_path / "live.wav", "--lowered", folder, "--block", block)
    assert code == 0, text
    facts = dict(line.split(maxsplit=1) for line in text.splitlines())
    assert facts["underruns"] == "0"
    whole, live = (soundfile.read(tmp_path / f"{name}.wav", dtype="int16")[0] for name in ("whole", "live"))
    delay = int(facts["delay_samples"])
    complete = len(whole) - 8 * 256 - delay  # the end of a file that goes on in silence is another one
    assert delay < 0.5 * rate and not live[:delay].any()
    assert (live[delay : delay + complete] == whole[:complete]).all()
    code, text = play("live", *files, tmp_path / "gated.wav", "--lowered", folder, "--block", block, "--gate", "-10")
    assert code == 0, text
    gate = Gate(rate, -10.0)
    gate.push(speech)
    gains = gate.gains(0, complete)
    gated = soundfile.read(tmp_path / "gated.wav", dtype="int16")[0][delay : delay + complete]
    assert 0.1 < (gains > 0).mean() < 0.95
    assert np.abs(gated - whole[:complete] * gains).max() <= 1


def test_a_short_sound_is_padded_and_cut_again(fp32, lowered, play, tmp_path, capsys):
    soundfile.write(tmp_path / "in.wav", np.sin(np.arange(3000) * 0.1) * 0.3, 22050)
    arguments = [tmp_path / "in.wav", tmp_path / "out.wav", "--lowered", lowered(fp32.bundle)]
    code, text = play("vocode", fp32.bundle.path, *arguments)
    assert code == 0 and "padded with silence  yes" in text
    assert soundfile.info(tmp_path / "out.wav").frames == 3000


def test_goldens_are_checked_on_the_machine_that_plays(fp32, lowered, play, tmp_path, capsys):
    folder = lowered(fp32.bundle)
    code, text = play("check", fp32.bundle.path, "--lowered", folder)
    assert code == 0 and "as it was converted" in text
    copy = shutil.copytree(fp32.bundle.path, tmp_path / "copy")
    with np.load(copy / "goldens.npz") as stored:
        arrays = {name: -value if name.endswith("/out/audio") else value for name, value in stored.items()}
    np.savez(copy / "goldens.npz", **arrays)
    code, text = play("check", copy, "--lowered", folder)
    assert code == 1 and "NOT as it was converted" in text


@pytest.mark.skipif(not FAKED.is_file(), reason="voxport-play is not built with a fake Core ML (make swift-check)")
class TestOverAFakeCoreML:
    """Its outputs lie in memory with gaps, its compiled models at a new place each time."""

    def test_frames_become_the_same_samples(self, bundle, lowered, play, tmp_path, capsys):
        """Whether Core ML takes arrays for its outputs, refuses them, or takes them and gives others."""
        (case, *_) = bundle.goldens(bundle.main)
        np.savez(tmp_path / "in.npz", **case.inputs)
        arguments = [bundle.path, tmp_path / "in.npz"]
        folder = lowered(bundle)
        assert play("run", *arguments, tmp_path / "onnx.npz", "--lowered", folder)[0] == 0
        for backings in ("used", "refused", "ignored"):
            options = {"VOXPORT_FAKE_LOWERED": str(folder), "VOXPORT_FAKE_BACKINGS": backings}
            files = [tmp_path / f"{backings}.npz", "--cache", tmp_path / "cache"]
            code, text = play("run", *arguments, *files, binary=FAKED, **options)
            assert code == 0, text
            with np.load(tmp_path / "onnx.npz") as onnx, np.load(tmp_path / f"{backings}.npz") as coreml:
                assert (onnx["audio"] == coreml["audio"]).all()

    def test_a_state_of_core_ml_s_own_goes_from_call_to_call(self, convert_job, lowered, play, tmp_path, capsys):
        states = ("stream=stateful", "stream.keep=stage", "stream.state=mlstate")
        kept = convert_job("precision=fp16", *states, "measure.engines=[mil]").bundle
        assert kept.component(kept.main.name).stream.state == "mlstate"
        (case, *_) = kept.goldens(kept.main)
        np.savez(tmp_path / "in.npz", **case.inputs)
        files = [str(tmp_path / f"{name}.npz") for name in ("in", "python", "swift")]
        assert main(["run", str(kept.path), *files[:2], "--engine", "onnx"]) == 0
        options = {"binary": FAKED, "VOXPORT_FAKE_LOWERED": str(lowered(kept))}
        code, text = play("run", kept.path, files[0], files[2], "--cache", tmp_path / "cache", **options)
        assert code == 0, text
        with np.load(files[1]) as python, np.load(files[2]) as swift:
            assert np.abs(python["audio"] - swift["audio"]).max() <= 1e-5

    def test_outputs_in_half_precision_are_read_as_such(self, fp32, lowered, play, tmp_path, capsys):
        options = {"binary": FAKED, "VOXPORT_FAKE_LOWERED": str(lowered(fp32.bundle)), "VOXPORT_FAKE_HALF": "1"}
        code, text = play("check", fp32.bundle.path, "--cache", tmp_path / "cache", **options)
        assert code == 0, text

    def test_a_model_is_compiled_once_and_kept_under_the_bundle_s_key(self, fp32, lowered, play, tmp_path, capsys):
        options = {"binary": FAKED, "VOXPORT_FAKE_LOWERED": str(lowered(fp32.bundle))}
        for _ in range(2):
            assert play("check", fp32.bundle.path, "--cache", tmp_path / "cache", **options)[0] == 0
            kept = list((tmp_path / "cache" / fp32.bundle.manifest.key).glob("*/*"))
            assert [path.name for path in kept] == ["generator.mlmodelc"]
            (kept[0] / "mark").touch()
        assert (kept[0] / "mark").exists()

    def test_where_a_unit_is_missing_the_next_one_computes(self, fp32, lowered, play, tmp_path, capsys):
        options = {"binary": FAKED, "VOXPORT_FAKE_LOWERED": str(lowered(fp32.bundle)), "VOXPORT_FAKE_NE": "absent"}
        (case, *_) = fp32.bundle.goldens(fp32.bundle.main)
        np.savez(tmp_path / "in.npz", **case.inputs)
        arguments = ["run", fp32.bundle.path, tmp_path / "in.npz", tmp_path / "out.npz"]
        code, text = play(*arguments, "--cache", tmp_path / "cache", "--units", "cpu_and_ne", **options)
        assert code == 0, text

    def test_every_unit_is_checked_by_itself(self, fp32, lowered, play, tmp_path, capsys):
        options = {"binary": FAKED, "VOXPORT_FAKE_LOWERED": str(lowered(fp32.bundle))}
        arguments = ["check", fp32.bundle.path, "--cache", tmp_path / "cache"]
        verdicts = {
            None: (0, "dB to PyTorch"),
            "absent": (0, "not executed: generator.mlmodelc cannot be loaded"),  # what a device lacks is no fault
            "wrong": (1, "NOT as it was converted"),
        }
        for engine, (expected, sentence) in verdicts.items():
            neural = {} if engine is None else {"VOXPORT_FAKE_NE": engine}
            code, text = play(*arguments, **options, **neural)
            rows = dict(line.split(maxsplit=1) for line in text.splitlines())
            assert code == expected, text
            assert set(rows) == {"cpu", "cpu_and_gpu", "cpu_and_ne", "all", "least"}
            assert sentence in rows.pop("cpu_and_ne")
            least = rows.pop("least")
            assert least == "60 dB for fp32" and all(": as it was converted" in row for row in rows.values())
            assert play(*arguments, "--units", "cpu_and_ne", **options, **neural)[0] == (1 if engine else 0)


@pytest.fixture
def voice(tmp_path, own_job):
    """A small VITS voice of random weights, whose artefacts are ONNX files: noise, sizes, flow and decoder."""
    return small_voice(tmp_path / "vits", own_job)


def test_a_voice_says_the_same(voice, play, tmp_path, capsys):
    text = "Dr. Smith has 2 dogs… They bark at 5 p.m.!"
    for options in ([], ["--seed", "3", "--pace", "1.3"]):
        python, swift = tmp_path / "python.wav", tmp_path / "swift.wav"
        assert main(["speak", text, str(python), "--voice", str(voice), "--engine", "onnx", *options]) == 0
        code, said = play("speak", voice, swift, "--text", text, *options)
        assert code == 0, said
        recording = soundfile.info(swift)
        assert recording.samplerate == 22050 and recording.duration > 0.2
        assert_is_pythons(swift, python)


@pytest.fixture
def conversion(tmp_path, own_job):
    """A small kNN-VC of random weights: WavLM in windows, frames matched with a target's, a vocoder of content."""
    wavlm = write_small_wavlm(tmp_path / "wavlm")
    vocoder = f"model.parts.vocoder.checkpoint.source={write_small_content_vocoder(tmp_path / 'vocoder')}"
    return own_job("model=knn_vc", f"checkpoint.source={wavlm}", vocoder, "precision=fp32", "format=onnx").bundle.path


def test_a_conversion_gives_the_same_voice(conversion, play, tmp_path, capsys):
    """At the rate of its features: resampled by another filter, another frame may be the nearest."""
    for path, name in zip(clip_paths(), ("in", "target")):
        speech, rate = soundfile.read(path, dtype="float32")
        soundfile.write(tmp_path / f"{name}.wav", soxr.resample(speech, rate, 16000), 16000, subtype="PCM_16")
    kept, source, python, swift = (str(tmp_path / name) for name in ("target.npz", "in.wav", "python.wav", "swift.wav"))
    bundle = str(conversion)
    assert main(["target", str(tmp_path / "target.wav"), kept, "--bundle", bundle]) == 0
    files = ["--bundle", bundle, source, python]
    assert main(["convert-voice", *files, "--target", kept, "--engine", "onnx"]) == 0
    code, said = play("convert-voice", bundle, source, swift, "--target", kept)
    assert code == 0, said
    assert_is_pythons(swift, python)
    code, said = play("convert-voice", bundle, source, swift, "--target", tmp_path / "target.wav")
    assert code == 0, said
    assert_is_pythons(swift, python)  # of the recording itself, whose frames are found here
    code, said = play("convert-voice", bundle, source, swift)
    assert code == 2 and "a conversion that matches frames, which needs them" in said


@pytest.mark.proof  # forty-eight gated layers take a minute to convert
def test_a_target_is_made_of_recordings(play, tmp_path, own_job):
    """A small OpenVoice of random weights, which asks whose voice it is to be and whose goes in."""
    folder = tmp_path / "openvoice"
    folder.mkdir()
    torch.save({"model": small_openvoice(SMALL_OPENVOICE).state_dict(), "iteration": 1}, folder / "checkpoint.pth")
    (folder / "config.json").write_text(json.dumps(SMALL_OPENVOICE))
    options = ("precision=fp32", "format=onnx", "stream=stateful", "measure.engines=[onnx]")
    bundle = own_job("model=openvoice", f"checkpoint.source={folder}", *options).bundle.path
    for path, name in zip(clip_paths(), ("in", "her")):
        speech, rate = soundfile.read(path, dtype="float32")
        soundfile.write(tmp_path / f"{name}.wav", np.tile(speech, 3)[: 3 * rate], rate, subtype="PCM_16")
    source, her, python, swift = (str(tmp_path / f"{name}.wav") for name in ("in", "her", "python", "swift"))
    targets = ["--target", her, "--own", source]
    assert main(["convert-voice", "--bundle", str(bundle), source, python, *targets, "--engine", "onnx"]) == 0
    code, said = play("convert-voice", bundle, source, swift, *targets)
    assert code == 0, said
    assert_is_pythons(swift, python)
    soundfile.write(her, np.zeros(1000), rate)
    code, said = play("convert-voice", bundle, source, swift, *targets)
    assert code == 2 and "is too short: it takes 2 s" in said


def at_16_khz(tmp_path):
    """The clips as files at the rate of FARGAN's features: their paths."""
    paths = []
    for path, name in zip(clip_paths(), ("in", "her")):
        speech, rate = soundfile.read(path, dtype="float32")
        paths.append(str(tmp_path / f"{name}.wav"))
        soundfile.write(paths[-1], soxr.resample(speech, rate, 16000), 16000, subtype="PCM_16")
    return paths


@pytest.mark.proof  # the job takes half a minute
def test_fargan_gives_the_same_recording(own_job, play, tmp_path, capsys):
    bundle = str(own_job("model=fargan", "checkpoint.source=bundled", "precision=fp32", "format=onnx").bundle.path)
    (source, _), python, swift = at_16_khz(tmp_path), str(tmp_path / "python.wav"), str(tmp_path / "swift.wav")
    assert main(["vocode", bundle, source, python, "--engine", "onnx"]) == 0
    code, said = play("vocode", bundle, source, swift)
    assert code == 0, said
    assert (soundfile.read(swift)[0] == soundfile.read(python)[0]).all()


@pytest.mark.proof  # the job and five calls
def test_latents_are_moved_and_decoded_as_pythons(own_job, play, tmp_path, capsys):
    """A small RAVE of random weights, with noise under its latents: a file, and live."""
    write_run(tmp_path / "a_rave", built(MODELS["noise"]))
    source = f"checkpoint.source={tmp_path / 'a_rave' / 'version_0' / 'checkpoints' / 'best.ckpt'}"
    options = ("precision=fp32", "format=onnx", "stream.chunk=32", "measure.engines=[onnx]")
    bundle = str(own_job("model=rave", source, *options).bundle.path)
    (source, _), python, swift = at_16_khz(tmp_path), str(tmp_path / "python.wav"), str(tmp_path / "swift.wav")
    moved = ("--latent", "0:1.5", "--latent", "1:0.5:-0.4")
    heard = []
    for latents in ((), moved):
        assert main(["convert-voice", "--bundle", bundle, source, python, *latents, "--engine", "onnx"]) == 0
        code, said = play("convert-voice", bundle, source, swift, *latents)
        assert code == 0, said
        assert_is_pythons(swift, python)
        heard.append(soundfile.read(python)[0])
    assert snr_db(*heard) < 20, "latents that are moved are heard"
    frontend = open_conversion(open_bundle(bundle), NOBODY, 16000, "live", ONNX)
    frontend.latents.control(0, 1.5)
    frontend.latents.control(1, 0.5, -0.4)
    assert_live_is_pythons(play, bundle, frontend, source, swift, *moved)
    for latent, sentence in (("9:1", "there is no latent 9"), ("a:1", "--latent wants NUMBER:SCALE[:BIAS]")):
        code, said = play("convert-voice", bundle, source, swift, "--latent", latent)
        assert code == 2 and sentence in said


@pytest.mark.proof  # the job takes half a minute
def test_pitchdnn_s_pitch_is_pythons_from_audio_to_the_decoder(own_job, play, tmp_path, capsys):
    """A small voice of RVC whose pitch is PitchDNN's, with its own weights: excitation, detector, voicing, decoder."""
    parts = (
        f"checkpoint.source={save_small_voice(tmp_path / 'someone.pth')}",
        f"model.parts.content.checkpoint.source={save_reader(tmp_path / 'hubert_base.pt')}",
        "model.parts.pitch.family=pitchdnn", "model.parts.pitch.checkpoint.name=pitchdnn",
    )  # fmt: skip
    bundle = str(own_job("model=rvc", *parts, "precision=fp32", "format=onnx").bundle.path)
    (source, _), python, swift = at_16_khz(tmp_path), str(tmp_path / "python.wav"), str(tmp_path / "swift.wav")
    assert main(["convert-voice", "--bundle", bundle, source, python, "--engine", "onnx"]) == 0
    code, said = play("convert-voice", bundle, source, swift)
    assert code == 0, said
    assert_is_pythons(swift, python)
    frontend = open_conversion(open_bundle(bundle), NOBODY, 16000, "live", ONNX)
    assert_live_is_pythons(play, bundle, frontend, source, swift)


@pytest.mark.proof
def test_cepstra_of_a_target_are_matched_and_played_as_pythons(own_job, play, tmp_path, capsys):
    """A small Whisper of random weights before FARGAN: the target made of a recording here, offline and live."""
    folder = tmp_path / "whisper"
    write_small_whisper(folder)
    overrides = ("model=whisper_fargan", f"checkpoint.source={folder}", "precision=fp32", "format=onnx")
    parts = ("model.parts.vocoder.checkpoint.source=bundled", "measure.engines=[onnx]")
    bundle = str(own_job(*overrides, *parts, *NO_SPEECH).bundle.path)
    (source, her), python, swift = at_16_khz(tmp_path), str(tmp_path / "python.wav"), str(tmp_path / "swift.wav")
    target = ("--target", her, "--pitch", "2")
    assert main(["convert-voice", "--bundle", bundle, source, python, *target, "--engine", "onnx"]) == 0
    code, said = play("convert-voice", bundle, source, swift, *target)
    assert code == 0, said
    assert_is_pythons(swift, python)
    opened = open_bundle(bundle)
    made = make_target(opened, [Path(her)], ONNX).target
    frontend = open_conversion(opened, made, 16000, "live", ONNX, 2.0)
    assert_live_is_pythons(play, bundle, frontend, source, swift, *target)
    soundfile.write(her, np.zeros(16000), 16000)
    code, said = play("convert-voice", bundle, source, swift, *target)
    assert code == 2 and "a target of 1.0 s is too short: it takes 2 s, better ten minutes" in said


@pytest.fixture
def live_voice(tmp_path, own_job):
    """A small live voice of random weights: a mel and a melody in, two components in a row."""
    path = tmp_path / "small_live"
    write_small_live_voice(path)
    source = ("model=live_voice", f"checkpoint.source={path}", "precision=fp32", "format=onnx")
    return own_job(*source, "measure.engines=[onnx]", *QUIET).bundle.path


@pytest.mark.proof  # the job takes 7 s
def test_a_live_voice_asks_for_nobody_and_comes_as_soon(live_voice, play, tmp_path, capsys):
    speech, rate = soundfile.read(clip_paths()[0], dtype="float32")
    soundfile.write(tmp_path / "in.wav", speech[: 2 * rate], rate, subtype="PCM_16")
    bundle, source, python, swift = str(live_voice), *(str(tmp_path / f"{name}.wav") for name in ("in", "py", "sw"))
    assert main(["convert-voice", "--bundle", bundle, source, python, "--pitch", "3", "--engine", "onnx"]) == 0
    code, said = play("convert-voice", bundle, source, swift, "--pitch", "3")
    assert code == 0, said
    assert_is_pythons(swift, python)
    for device_rate in (rate, 48000):
        sound = soxr.resample(speech[: 2 * rate], rate, device_rate)
        soundfile.write(source, sound, device_rate, subtype="PCM_16")
        frontend = open_conversion(open_bundle(bundle), NOBODY, device_rate, "live", ONNX)
        assert_live_is_pythons(play, bundle, frontend, source, swift)


@pytest.mark.proof
def test_the_voice_that_ships_says_the_same(real_job, play, tmp_path, capsys):
    ships = real_job("model=fastspeech2", "precision=fp32", "format=onnx", "stream=window", "measure.engines=[onnx]")
    text = "Some words of some length."
    path = ships.bundle.path
    assert main(["speak", text, str(tmp_path / "python.wav"), "--voice", str(path), "--engine", "onnx"]) == 0
    symbols = read(text, ships.bundle.manifest.voice.text).symbols
    code, said = play("speak", path, tmp_path / "swift.wav", "--symbols", symbols)
    assert code == 0, said
    assert_is_pythons(tmp_path / "swift.wav", tmp_path / "python.wav")


@pytest.mark.proof
@pytest.mark.parametrize("rate", [22050, 48000])
def test_the_live_voice_that_ships_is_pythons(real_job, play, tmp_path, capsys, rate):
    """A file at its own rate, where no filter differs, and a session at either."""
    ships = real_job("model=kathleen_live", "precision=fp32", "format=onnx", "measure.engines=[onnx]")
    bundle = str(ships.bundle.path)
    speech, own_rate = soundfile.read(clip_paths()[0], dtype="float32")
    source, python, swift = (str(tmp_path / f"{name}.wav") for name in ("in", "python", "swift"))
    soundfile.write(source, soxr.resample(speech, own_rate, rate), rate, subtype="PCM_16")
    if rate == own_rate:
        assert main(["convert-voice", "--bundle", bundle, source, python, "--engine", "onnx"]) == 0
        code, said = play("convert-voice", bundle, source, swift)
        assert code == 0, said
        assert_is_pythons(swift, python)
    frontend = open_conversion(open_bundle(bundle), NOBODY, rate, "live", ONNX)
    assert_live_is_pythons(play, bundle, frontend, source, swift)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["info", "{tmp}"], "is not a bundle: it has no manifest.json"),
        (["vocode", "{bundle}", "{tmp}/absent.wav", "{tmp}/o.wav"], "there is no audio file"),
        (["check", "{bundle}"], "is a program of Core ML: write it as ONNX files first"),
        (["check", "{bundle}", "--lowered", "{tmp}"], "there is no generator.onnx in"),
        (
            ["check", "{bundle}", "--lowered", "{tmp}", "--onnxruntime", "{tmp}/a.so"],
            "there is no library of ONNX Runtime",
        ),
        (["check", "{bundle}", "--threads", "none"], "--threads wants a positive number"),
        (["speak", "{bundle}", "{tmp}/o.wav", "--text", "a"], "does not speak: convert a voice"),
        (["dance"], "there is no command dance"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(fp32, play, tmp_path, arguments, sentence):
    places = {"tmp": tmp_path, "bundle": fp32.bundle.path}
    code, text = play(*(argument.format(**places) for argument in arguments))
    assert code == 2 and sentence in text


def test_files_are_compared_with_the_manifest(fp32, play, tmp_path):
    code, text = play("verify", fp32.bundle.path)
    assert code == 0 and f"{len(fp32.bundle.manifest.files)} as they were written" in text
    copy = shutil.copytree(fp32.bundle.path, tmp_path / "copy")
    with (copy / "goldens.npz").open("ab") as file:
        file.write(b"\0")
    code, text = play("verify", copy)
    assert code == 2 and "sha256 of goldens.npz differs" in text


def test_info_says_what_a_bundle_holds(stateful, play):
    code, text = play("info", stateful.bundle.path)
    assert code == 0 and "stateful, exact, chunks of 8 frames" in text
