"""Speaking with a small voice of random weights: what a person can ask for, and what goes wrong."""

import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from converters.options import ConversionError
from runtime.__main__ import main
from runtime.bundle import store
from runtime.bundle.spec import InputError
from runtime.bundle.store import BundleError, open_bundle
from runtime.engines import Execution
from runtime.errors import AudioError, TextError
from runtime.measuring.gates import judge, unmeasured
from runtime.measuring.listening import Listeners
from runtime.measuring.measure import measure
from runtime.measuring.options import GateLimits, MeasureOptions
from runtime.measuring.quality import quality
from runtime.playing.chains import Request
from runtime.playing.chains.flow_prior import whole_frames
from runtime.playing.speak import Voice, _speaks, utterances
from runtime.speech.metrics import snr_db
from tests.converters.voices import coqui_forward, coqui_vits, encoder_outcome, write_coqui, write_encoder
from tests.echo import Echo

# How many layers a voice has, and which predicts its durations, is nothing to who speaks with it.
FEW_LAYERS = {
    "num_layers_text_encoder": 1, "num_layers_flow": 1, "use_sdp": False, "upsample_rates_decoder": [16, 16],
    "upsample_kernel_sizes_decoder": [32, 32], "resblock_kernel_sizes_decoder": [3],
    "resblock_dilation_sizes_decoder": [[1, 2]],
}  # fmt: skip
CLONES = {
    "use_d_vector_file": True, "d_vector_dim": 256, "languages": ("en", "fr"),
    "use_language_embedding": True,
}  # fmt: skip


def bundle(folder, own_job, *overrides, **settings):
    source = write_coqui(folder / "voice", *coqui_vits(**FEW_LAYERS, **settings))
    outcome = own_job(
        "model=vits", f"checkpoint.source={source}", "precision=fp32", "format=onnx", "shape.frames=32",
        "measure.engines=[onnx]", "gates.limits.fp32.window_drop_db=200", *overrides,
    )  # fmt: skip
    (measurement,) = outcome.measurements
    assert all(one.first_audio_s < one.elapsed_s for one in measurement.spoken)
    return outcome.bundle.path


@pytest.fixture(scope="module")
def plain(tmp_path_factory, own_job):
    return bundle(tmp_path_factory.mktemp("plain"), own_job)


@pytest.fixture(scope="module")
def cloning(tmp_path_factory, own_job):
    return bundle(tmp_path_factory.mktemp("cloning"), own_job, **CLONES)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory, own_job):
    return encoder_outcome(write_encoder(tmp_path_factory), own_job).bundle.path


def test_the_same_seed_gives_the_same_audio(plain, tmp_path, capsys):
    audio = {}
    for name, options in {"a": [], "b": [], "c": ["--seed", "1"], "d": ["--pace", "2"]}.items():
        assert main(["speak", "Some words.", str(tmp_path / name), "--voice", str(plain), *options, "--json"]) in (0, 1)
        target = tmp_path / f"{name}.wav"
        assert main(["speak", "Some words.", str(target), "--voice", str(plain), *options, "--json"]) == 0
        audio[name], rate = soundfile.read(target)
        assert rate == 22050
    assert np.array_equal(audio["a"], audio["b"])
    assert not np.array_equal(audio["a"][:1000], audio["c"][:1000])
    assert len(audio["d"]) < 0.8 * len(audio["a"])


def test_a_voice_is_opened_and_hashed_once(plain, monkeypatch, tmp_path, capsys):
    """Whatever it is made of: who holds a bundle need not look again."""
    opened, hashed = [], []
    reading, hashing = store.read_manifest, store.file_hashes
    monkeypatch.setattr(store, "read_manifest", lambda path: opened.append(path) or reading(path))
    monkeypatch.setattr(store, "file_hashes", lambda path: hashed.append(path) or hashing(path))
    assert main(["speak", "Some words.", str(tmp_path / "a.wav"), "--voice", str(plain), "--engine", "onnx"]) == 0
    assert (len(opened), len(hashed)) == (1, 1)


def test_long_text_is_spoken_in_sentences_and_a_long_sentence_in_halves(plain):
    voice = Voice(plain, Execution("onnx"))
    request = Request(np.zeros(0, np.int64))
    readings = [
        reading.text for reading, _ in utterances(voice, "One. Two!  Three? " + "word, " * 150 + "end", request)
    ]
    assert readings[:3] == ["One.", "Two!", "Three?"]
    assert len(readings) > 5
    assert "".join(readings[3:]).replace(" ", "") == ("word, " * 150 + "end").replace(" ", "")
    readings = [reading.text for reading, _ in utterances(voice, "a" * 2000, request)]
    assert "".join(readings).replace(" ", "") == "a" * 2000


def test_a_word_that_no_artefact_takes_is_a_sentence(plain, monkeypatch):
    voice = Voice(plain, Execution("onnx"))

    def refuse(_):
        raise InputError("at most 4 symbols")

    monkeypatch.setattr(voice, "utterance", refuse)
    with pytest.raises(TextError, match="'a' is too long to be spoken at once: at most 4 symbols"):
        list(utterances(voice, "a word", Request(np.zeros(0, np.int64))))


def test_text_is_said_as_people_have_it_and_markup_is_told(plain, tmp_path, capsys):
    text = "<speak>Dr. Smith paid $5.50.<break/>He left…</speak>"
    voice, request = Voice(plain, Execution("onnx")), Request(np.zeros(0, np.int64))
    with pytest.warns(UserWarning, match="tags are not spoken: speak, break"):
        readings = [reading.text for reading, _ in utterances(voice, text, request)]
    assert readings == ["Doctor Smith paid five dollars and fifty cents.", "He left."]
    assert main(["speak", text, str(tmp_path / "o.wav"), "--voice", str(plain)]) == 0
    assert "note: tags are not spoken: speak, break" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["", "o.wav"], "there is no text"),
        (["...", "o.wav"], "nothing to say in '...'"),
        (["<break/>", "o.wav"], "nothing to say in '<break/>'"),
        (["你好", "o.wav"], "the voice knows none of the symbols"),
        (["a", "o.wav", "--pace", "0"], "--pace takes 0.1 to 10"),
        (["a", "o.wav", "--speaker", "ann"], "has one voice: there are no speakers to choose from"),
        (["a", "o.wav", "--language", "en"], "has one voice: there are no languages to choose from"),
        (["a", "o.wav", "--vocoder", "x"], "makes audio by itself"),
        (["a", "no/such/folder/o.wav"], "no/such/folder"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(plain, tmp_path, monkeypatch, capsys, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    assert main(["speak", *arguments, "--voice", str(plain)]) == 2
    assert sentence in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_newest_voice_speaks_where_none_is_named(plain, fp32, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["speak", "a"]) == 2 and "bundles/ holds no voice" in capsys.readouterr().err
    (tmp_path / "bundles").mkdir()
    for path in (fp32.bundle.path, plain):
        (tmp_path / "bundles" / path.name).symlink_to(path)
    (tmp_path / "bundles" / "damaged").mkdir()
    (tmp_path / "bundles" / "damaged" / "manifest.json").write_text("{")
    assert main(["speak", "a"]) == 0 and plain.name in capsys.readouterr().out
    assert (tmp_path / "speech.wav").is_file()


def test_a_vocoder_does_not_speak(fp32, tmp_path, capsys):
    assert main(["speak", "a", str(tmp_path / "o.wav"), "--voice", str(fp32.bundle.path)]) == 2
    assert "does not speak: convert a voice" in capsys.readouterr().err


def test_a_voice_clones_a_recording(cloning, encoder, plain, tmp_path, capsys):
    from runtime.speech.clips import clip_paths

    def speak(*options):
        code = main(["speak", "Some words.", str(tmp_path / "o.wav"), "--voice", str(cloning), *options])
        return code, capsys.readouterr()

    code, output = speak()
    assert code == 2 and "this voice speaks as a recording: pass --speaker" in output.err
    first, second = (str(path) for path in clip_paths()[::2])
    code, output = speak("--speaker", first)
    assert code == 2 and "pass --encoder BUNDLE" in output.err
    code, output = speak("--speaker", first, "--encoder", str(plain))
    assert code == 2 and "has no speaker encoder" in output.err
    said = []
    for options in (["--speaker", first], ["--speaker", second], ["--speaker", first, "--language", "fr"]):
        code, output = speak(*options, "--encoder", str(encoder))
        assert code == 0, output.err
        said.append((tmp_path / "o.wav").read_bytes())
    assert len(set(said)) == 3, "another recording, or another language, is another voice"
    code, output = speak("--speaker", first, "--encoder", str(encoder), "--language", "xx")
    assert code == 2 and "there is no language 'xx'; there is: en, fr" in output.err


def test_text_comes_from_standard_input_and_unknown_symbols_are_named(plain, tmp_path):
    command = [sys.executable, "-m", "runtime", "speak", "-", str(tmp_path / "o.wav"), "--voice", str(plain), "--json"]
    result = subprocess.run(command, input="Grüße, world\n", capture_output=True, text=True, check=True)
    facts = json.loads(result.stdout)
    assert facts["sentences"] == 1 and "ß" in facts["left out"]


def test_durations_out_of_range_are_a_sentence():
    assert whole_frames(np.log([0.5, 1.0, 2.1]), 1.0).tolist() == [1, 1, 3]
    assert whole_frames(np.full(3, -np.inf), 1.0).tolist() == [0, 0, 1]
    for broken in (np.inf, np.nan, 20.0):
        with pytest.raises(TextError, match="out of range"):
            whole_frames(np.array([0.0, broken]), 1.0)


def test_a_bundle_that_lost_its_table_is_refused(cloning, tmp_path):
    import shutil

    shutil.copytree(cloning, tmp_path / "copy")
    (tmp_path / "copy" / "voice.npz").unlink()
    with pytest.raises(BundleError, match=r"voice\.npz is missing"):
        Voice(tmp_path / "copy", Execution("onnx"))


def test_a_voice_that_predicts_no_energy_has_none_to_shift(plain, tmp_path, capsys):
    assert main(["speak", "a", str(tmp_path / "o.wav"), "--voice", str(plain), "--energy", "1"]) == 2
    assert "predicts no energy that --energy could shift" in capsys.readouterr().err


def test_a_vocoder_of_another_mel_is_refused(tmp_path, own_job):
    model, config = coqui_forward()
    config["audio"]["hop_length"] = 220
    source = write_coqui(tmp_path / "voice", model, config)
    with pytest.raises(AudioError, match="hop_length is 220 here and 256 there"):
        own_job("model=fast_pitch", f"checkpoint.source={source}", "model.parts.vocoder.checkpoint.source=bundled")
    with pytest.raises(ConversionError, match="choose what plays it with model"):
        own_job("model=fast_pitch", f"checkpoint.source={source}", "model.parts.vocoder.family=''")


def test_the_words_of_a_voice_are_those_of_pytorch_s_audio_or_a_gate_is_missed(plain):
    bundle = open_bundle(plain)
    sentences = bundle.spoken()
    reader = Echo("a b c", "a b c", "a b c d", "a b c")  # of PyTorch's audio, then the artefact's, of each sentence
    listeners = Listeners({"first": reader}, names=("first",))
    measurement = measure(bundle, "onnx", MeasureOptions(bench_seconds=0), listeners=listeners)
    pairs = list(zip(reader.given[::2], reader.given[1::2]))
    assert len(pairs) == len(sentences) == len(measurement.spoken)
    for case, ((original, rate), (output, same_rate)) in zip(sentences, pairs):
        np.testing.assert_array_equal(original, bundle.audio_of(case))
        assert rate == same_rate == bundle.sound.sample_rate and snr_db(original, output) > 60
    unheard = measure(bundle, "onnx", MeasureOptions(bench_seconds=0))
    wrong, words = len(sentences) // 2, sum(len(one.readings[0].reference.split()) for one in measurement.spoken)
    assert quality(measurement)["wer"] == pytest.approx(wrong / words)
    for limit, is_met in ((0.0, False), (0.5, True)):
        gates = {gate.gate: gate for gate in judge(bundle, [measurement], {"fp32": GateLimits(wer=limit)}, "fp32")}
        assert gates["wer"].passed == is_met
    assert unmeasured(bundle, [unheard], {"fp32": GateLimits(wer=0.0)}, "fp32") == ["word error rate"]


def test_drawn_weights_are_no_voice_to_choose(plain):
    manifest = open_bundle(plain).manifest
    drawn = manifest.checkpoint.model_copy(update={"random": True})
    assert _speaks(manifest)
    assert not _speaks(manifest.model_copy(update={"checkpoint": drawn}))
    assert not _speaks(manifest.model_copy(update={"parts": {"vocoder": drawn}}))
