"""VITS with random weights (parity only) against coqui-tts's own inference, and what the job makes of it."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from checkpoints import CheckpointError
from checkpoints.load import LoadedCheckpoint, load
from checkpoints.locate import locate
from checkpoints.options import CheckpointOptions
from converters.families import vits
from converters.goldens import run_original
from converters.options import Shape
from runtime.bundle.spec import taken
from runtime.engines import Execution
from runtime.playing.chains import Request, utter
from tests.converters.voices import coqui_vits, padded_equals_unpadded, write_coqui, write_onnx_voice

KINDS = {
    "one speaker": {},
    "many speakers": {
        "speakers": ("ann", "bob", "cy"), "use_speaker_embedding": True, "speaker_embedding_channels": 12,
    },
    "YourTTS": {
        "use_d_vector_file": True, "d_vector_dim": 24, "languages": ("en", "fr-fr", "pt-br"),
        "use_language_embedding": True, "embedded_language_dim": 4,
    },
    "deterministic durations": {"use_sdp": False},
    "resblocks of type 1": {"resblock_type_decoder": "1", "resblock_dilation_sizes_decoder": [[1, 3, 5], [1, 3, 5]]},
}  # fmt: skip


def loaded(checkpoint, model, config):
    located = dataclasses.replace(checkpoint.located, name="random", family="vits", config=config)
    return LoadedCheckpoint(located, {key: value.detach() for key, value in model.state_dict().items()})


def components_of(module, saved, shape=None):
    return {component.name: component for component in vits.components(module, saved, shape or Shape())}


def runner(components):
    return lambda name, inputs: run_original(components[name], taken(components[name].inputs, inputs))


@pytest.fixture(scope="module", params=KINDS)
def both(request, checkpoint):
    """(upstream's model, our module, our components, the checkpoint)"""
    model, config = coqui_vits(**KINDS[request.param])
    from checkpoints.load import fold_weight_norm

    saved = loaded(checkpoint, model, config)
    saved = dataclasses.replace(saved, weights=fold_weight_norm(saved.weights))
    module = vits.load(saved)
    return model, module, components_of(module, saved), saved


def test_every_stage_equals_coqui_s_inference(both, monkeypatch):
    model, module, components, _ = both
    record = vits.voice(module)
    ids = np.random.default_rng(1).integers(0, 60, 23)
    tables = vits.tables(module)
    aux = {
        "x_lengths": torch.tensor([23]),
        "d_vectors": None,
        "speaker_ids": None,
        "language_ids": None,
        "durations": None,
    }
    speaker = language = None
    if "speakers" in tables:
        speaker, aux["speaker_ids"] = tables["speakers"][1].numpy(), torch.tensor([1])
    if record.embedding_channels:
        vector = torch.randn(1, record.embedding_channels, generator=torch.Generator().manual_seed(5))
        aux["d_vectors"], speaker = vector, torch.nn.functional.normalize(vector)[0].numpy()
    if "languages" in tables:
        language, aux["language_ids"] = tables["languages"][2].numpy(), torch.tensor([2])
    ours = {}

    def run(name, inputs):
        ours[name] = run_original(components[name], taken(components[name].inputs, inputs))
        return ours[name]

    utterance = utter(record, run, Request(ids, 7, speaker, language))
    audio = run("decoder", {"latents": utterance.frames, **utterance.constants})["audio"]

    random = np.random.default_rng(7)  # the noise that the chain drew, for upstream to draw
    first = torch.from_numpy(random.standard_normal((1, 2, 23), np.float32))
    monkeypatch.setattr(torch, "randn", lambda *shape, **_: first)
    monkeypatch.setattr(
        torch, "randn_like", lambda x, **_: torch.from_numpy(random.standard_normal(x.shape, np.float32))
    )
    theirs = model.inference(torch.from_numpy(ids)[None], aux)
    assert utterance.durations.sum() > 23, "durations that are all one frame would prove nothing"
    assert utterance.durations.tolist() == theirs["durations"].ravel().tolist()
    for name, got in (("m_p", "mean"), ("logs_p", "log_scale")):
        repeated = np.repeat(ours["text_encoder"][got], utterance.durations, axis=2)
        np.testing.assert_allclose(repeated, theirs[name].numpy(), atol=1e-5)
    np.testing.assert_allclose(utterance.frames, theirs["z"].numpy(), atol=2e-5)
    np.testing.assert_allclose(audio, theirs["model_outputs"].numpy(), atol=2e-5)


def test_padded_and_unpadded_results_are_equal(both):
    _, _, components, _ = both
    for name in ("text_encoder", "duration_predictor", "flow"):
        padded_equals_unpadded(components[name], 17, 40)


def test_the_decoder_sees_as_far_as_it_says(both):
    _, _, components, _ = both
    decoder = components["decoder"]
    time = decoder.time
    given = {spec.name: torch.randn(spec.default_shape) for spec in decoder.inputs}
    latents = given["latents"].requires_grad_(True)
    audio = decoder.module(*given.values())
    frame = 32
    piece = audio[..., frame * time.samples_per_frame : (frame + 1) * time.samples_per_frame]
    reached = torch.autograd.grad(piece.square().sum(), latents)[0].abs().sum(1)[0].nonzero().ravel()
    assert int(reached.min()) >= frame - time.left and int(reached.max()) <= frame + time.right
    assert int(reached.min()) <= frame - time.left + 1 and int(reached.max()) >= frame + time.right - 1


def test_latents_at_half_the_rate_are_interpolated(checkpoint):
    model, config = coqui_vits(encoder_sample_rate=11025, interpolate_z=True, upsample_rates_decoder=[8, 4, 4])
    from checkpoints.load import fold_weight_norm

    config["audio"]["hop_length"] = 128
    saved = loaded(checkpoint, model, config)
    module = vits.load(dataclasses.replace(saved, weights=fold_weight_norm(saved.weights)))
    decoder = components_of(module, saved)["decoder"]
    latents = torch.randn(1, 16, 64)
    with torch.inference_mode():
        doubled = torch.nn.functional.interpolate(latents, scale_factor=[2.0], mode="linear")
        wanted = model.waveform_decoder(doubled)
    np.testing.assert_allclose(run_original(decoder, {"latents": latents.numpy()})["audio"], wanted.numpy(), atol=1e-5)
    assert decoder.time.samples_per_frame == 256


# ---------------------------------------------------------------------------------------------------- ONNX voices


def test_an_onnx_voice_becomes_the_module_that_it_was_exported_from(tmp_path):
    model, _ = coqui_vits(**KINDS["many speakers"], resblock_type_decoder="1",
                          resblock_dilation_sizes_decoder=[[1, 3, 5], [1, 3, 5]], kernel_size_flow=3)  # fmt: skip
    path = write_onnx_voice(tmp_path / "voice.onnx", model)
    symbols = {symbol: [row] for row, symbol in enumerate("_^$ abcdefg")}
    piper = {
        "audio": {"sample_rate": 16000}, "espeak": {"voice": "de"}, "phoneme_id_map": symbols,
        "inference": {"noise_scale": 0.3, "length_scale": 1.2, "noise_w": 0.5}, "speaker_id_map": {"x": 0, "y": 2},
    }  # fmt: skip
    (tmp_path / "voice.onnx.json").write_text(json.dumps(piper))
    saved = load(locate(CheckpointOptions(source=str(path)), "vits", "", print))
    module = vits.load(saved)
    assert list(module.settings.upsample_rates_decoder) == [8, 8, 4]
    assert [list(row) for row in module.settings.resblock_dilation_sizes_decoder] == [[1, 3, 5], [1, 3, 5]]
    own = model.state_dict()
    for key, value in module.state_dict().items():
        part, _, name = key.rpartition(".")
        wanted = own[key] if key in own else model.get_submodule(part).get_parameter(name) if name != "weight" else None
        wanted = model.get_submodule(part).weight if wanted is None else wanted
        torch.testing.assert_close(value, wanted.detach(), msg=key)
    record = vits.voice(module)
    assert (record.noise_scale, record.duration_noise_scale, record.length_scale) == (0.3, 0.5, 1.2)
    assert (record.sample_rate, record.speakers, record.text.language) == (16000, {"x": 0, "y": 2}, "de")
    assert (record.text.begin, record.text.between, record.text.end) == ((1, 0), (0,), (2,))


def test_a_mimic_3_voice_brings_its_symbols_and_speakers(tmp_path):
    model, _ = coqui_vits(**KINDS["many speakers"])
    write_onnx_voice(tmp_path / "generator.onnx", model)
    phonemes = {
        "pad": "_", "bos": "^", "eos": "$", "blank": "_", "blank_word": "#", "blank_between": "tokens_and_words",
        "blank_at_start": True, "blank_at_end": True, "simple_punctuation": True,
    }  # fmt: skip
    config = {
        "audio": {"sample_rate": 22050}, "phonemes": phonemes, "phonemizer": "espeak", "text_language": "en_US",
        "inference": {"length_scale": 1.2, "noise_scale": 0.333, "noise_w": 0.333},
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    symbols = ["_", "^", "$", "#", "ˈ", "a", "aɪ", "b", "."]
    (tmp_path / "phonemes.txt").write_text("\n".join(f"{row} {symbol}" for row, symbol in enumerate(symbols)))
    (tmp_path / "speaker_map.csv").write_text("0|set|p239\n1|set|p236|alias\n2|set|p264\n")
    record = vits.voice(vits.load(load(locate(CheckpointOptions(source=str(tmp_path)), "vits", "", print))))
    assert record.speakers == {"p239": 0, "p236": 1, "p264": 2}
    from runtime.speech.text import read_symbols

    # ^ _ b _ ˈ _ aɪ _ # _ a _ . _ # _ $, as phonemes2ids orders them; "?" is read as "."
    assert read_symbols("bˈaɪ a?", record.text).ids == (1, 0, 7, 0, 4, 0, 6, 0, 3, 0, 5, 0, 8, 0, 3, 0, 2)


def test_files_that_are_no_voices_are_sentences(tmp_path, checkpoint):
    import onnx
    from onnx import helper

    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [], [])
    onnx.save(helper.make_model(graph), tmp_path / "a.onnx")
    (tmp_path / "a.onnx.json").write_text("{}")
    with pytest.raises(CheckpointError, match="no VITS voice"):
        vits.load(load(locate(CheckpointOptions(source=str(tmp_path / "a.onnx")), "vits", "", print)))
    (tmp_path / "a.onnx").write_bytes(b"\x08\x09 not one at all")
    with pytest.raises(CheckpointError, match="ONNX"):
        load(locate(CheckpointOptions(source=str(tmp_path / "a.onnx")), "vits", "", print))
    model, config = coqui_vits()
    saved = loaded(checkpoint, model, {**config, "model_args": {**config["model_args"], "num_layers_flow": 3}})
    with pytest.raises(CheckpointError, match="does not hold the weights"):
        vits.load(saved)


# ---------------------------------------------------------------------------------------------------- the job


@pytest.fixture(scope="module")
def voice_job(tmp_path_factory, own_job):
    """Runs the main job on a small voice of several speakers."""
    folder = write_coqui(tmp_path_factory.mktemp("small") / "small_voice", *coqui_vits(**KINDS["many speakers"]))

    def run(*overrides):
        limits = [  # random weights: how far rounding takes them says nothing
            f"gates.limits.fp16.{limit}"
            for limit in ("snr_db=-20", "log_mel_l1=5", "durations_off=1", "components.duration_predictor=0")
        ]
        return own_job("model=vits", f"checkpoint.source={folder}", "shape.frames=32", *limits, *overrides)

    return run


@pytest.fixture(scope="module")
def small_voice(voice_job):
    return voice_job("precision=fp32", "stream=stateful", "format=onnx")


@pytest.mark.proof
def test_the_job_gates_each_component_and_the_whole(voice_job):
    small_voice = voice_job("precision=fp32", "stream=stateful", "measure.engines=[mil]")
    assert small_voice.passed, [str(gate) for gate in small_voice.gates if not gate.passed]
    manifest = small_voice.bundle.manifest
    assert [record.name for record in manifest.components] == ["text_encoder", "duration_predictor", "flow", "decoder"]
    assert [sorted(record.sizes) for record in manifest.components] == [[192, 512], [192, 512], [384, 1024], []]
    assert [record.stream is not None for record in manifest.components] == [False, False, False, True]
    assert manifest.voice.speakers == {"ann": 0, "bob": 1, "cy": 2}
    judged = {gate.gate for gate in small_voice.gates if gate.engine == "mil"}
    wanted = {f"{record.name}.snr_db" for record in manifest.components}
    assert wanted | {"snr_db", "durations_off", "length_ok"} <= judged
    (mil,) = small_voice.measurements
    assert all(one.durations_off == 0 for one in mil.spoken)
    page = (small_voice.bundle.measured / "report.html").read_text()
    assert "durations that differ" in page and "text_encoder" in page


@pytest.mark.proof
def test_what_the_bundle_says_is_what_coqui_says(small_voice):
    """End to end through the artefacts, with upstream's own module beside them."""
    import soundfile  # noqa: F401  # the runtime's own reader is what users have

    from runtime.playing.speak import Voice

    voice = Voice(small_voice.bundle.path, Execution("onnx"))
    model, _ = coqui_vits(**KINDS["many speakers"])
    ids = np.random.default_rng(3).integers(0, 60, 40)
    request = Request(ids, 1, voice.speaker("bob"), noise_scale=0.0, duration_noise_scale=0.0)
    utterance = voice.utterance(request)
    model.inference_noise_scale = model.inference_noise_scale_dp = 0.0
    aux = {"x_lengths": torch.tensor([40]), "d_vectors": None, "speaker_ids": torch.tensor([1]), "language_ids": None}
    wanted = model.inference(torch.from_numpy(ids)[None], aux)["model_outputs"].ravel().numpy()
    streamed = np.concatenate(list(voice.pieces(utterance)))
    assert len(streamed) == len(wanted)
    np.testing.assert_allclose(streamed, wanted, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.proof
def test_a_precision_that_moves_durations_is_rejected(voice_job):
    outcome = voice_job("precision=fp16", "gates.limits.fp16.components.flow=200", "measure.engines=[mil]")
    missed = [gate.gate for gate in outcome.gates if not gate.passed]
    assert missed == ["flow.snr_db"]


@pytest.mark.proof
def test_any_length_by_option_and_in_one_file_formats(voice_job):
    flexible = voice_job("precision=fp32", "format=onnx", "upsampler=native", "stream=offline", "shape=flexible")
    assert flexible.passed, [str(gate) for gate in flexible.gates if not gate.passed]
    assert [record.sizes for record in flexible.bundle.manifest.components] == [{}, {}, {}, {}]
    old = voice_job("precision=fp32", "format.target=macOS13", "measure.engines=[mil]")
    assert old.passed
    assert [record.sizes for record in old.bundle.manifest.components] == [{512: ""}, {512: ""}, {1024: ""}, {}]
