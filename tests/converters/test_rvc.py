"""Voices of RVC beside its own inference, and HuBERT beside the one of torchaudio; small through the job, live and the
commands. Random weights, parity only."""

import importlib
import json
import re
import struct
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import soundfile
import torch

from checkpoints import CheckpointError
from checkpoints.faiss_index import read_index
from checkpoints.load import load
from checkpoints.locate import locate
from checkpoints.options import CheckpointOptions
from converters.families import hubert, rvc, swift_f0
from converters.goldens import run_original
from converters.options import ConversionError, Shape
from converters.upstream.coqui import import_coqui
from runtime.__main__ import main
from runtime.bundle.conversion import FeatureStage, HarmonicStage, PitchStage, VoicingStage, clock_of, pitch_bins
from runtime.engines import Execution
from runtime.playing.conversions import ConversionChain, open_conversion, open_main
from runtime.playing.matching_tracks import Retrieved
from runtime.playing.parts import INDEX
from runtime.playing.pitch_tracks import Harmonic, Pitched
from runtime.playing.stages import NOBODY
from runtime.playing.tracks import Featured
from runtime.speech.clips import read_clip
from runtime.speech.metrics import snr_db
from tests.converters.rvc_upstream import PUBLISHED, arguments, network, rvc_models, save_voice
from tests.small_swift_f0 import write_small_swift_f0

EXECUTION = Execution("onnx")
FRAMES = hubert.WINDOW


@pytest.fixture(scope="module")
def models(kept):
    return rvc_models(kept)


def loaded(path, family):
    return load(locate(CheckpointOptions(source=str(path)), family, "", print))


def excitation(rate, samples, hertz):
    """What the runtime's harmonic source gives for a pitch."""
    track = Harmonic(HarmonicStage("source", "hertz", rate, samples), Featured(FeatureStage("pitch", rvc.PITCH)))
    return track._mapped(hertz[None].astype(np.float32))


def glide():
    """A pitch that glides, with gaps where it is unvoiced."""
    moments = np.arange(FRAMES)
    return np.where(moments % 60 < 45, 180 + 60 * np.sin(moments / 20), 0).astype(np.float32)


@pytest.mark.proof  # the published width
def test_a_drawn_voice_is_a_sound_and_no_constant():
    """Else half precision rounds the constant, which is larger than the sound."""
    checkpoint = load(locate(CheckpointOptions(source="random"), "rvc", "rvc_v2_40k", print))
    torch.manual_seed(0)
    decoder = next(
        one for one in rvc.components(rvc.load(checkpoint), checkpoint, Shape(FRAMES)) if one.name == "decoder"
    )
    (inputs,) = decoder.example().values()
    with torch.inference_mode():
        audio = decoder.module(0.1 * inputs[..., :32])  # the amplitude of its sines
    assert audio.mean().abs() < 10 * audio.std()


@pytest.mark.parametrize(
    ("version", "has_pitch", "rate", "sizes"),
    [(1, True, 40000, {}), (2, False, 48000, {}), pytest.param(2, True, 32000, {}, marks=pytest.mark.proof),
     pytest.param(2, True, 40000, PUBLISHED, marks=pytest.mark.proof)],
)  # fmt: skip
def test_every_stage_equals_rvc_s_own_inference(models, tmp_path, version, has_pitch, rate, sizes, monkeypatch):
    config = arguments(rate, **sizes)
    model = network(models, version, has_pitch, config)
    save_voice(tmp_path / "voice.pth", model, version, has_pitch, config)
    model.load_state_dict({key: value.half().float() for key, value in model.state_dict().items()})
    checkpoint = loaded(tmp_path / "voice.pth", "rvc")
    assert checkpoint.name == "voice"
    ours = {one.name: one for one in rvc.components(rvc.load(checkpoint), checkpoint, Shape(FRAMES))}
    random, channels, samples = np.random.default_rng(0), config[2], rate // 100
    content = random.standard_normal((1, 256 if version == 1 else 768, FRAMES)).astype(np.float32)
    noise = random.standard_normal((1, channels, FRAMES)).astype(np.float32)
    hertz = glide()
    source = excitation(rate, samples, hertz)
    drawn = noise_inside(rate, samples, hertz, source)

    def randn_like(tensor):
        return torch.from_numpy(noise if tensor.shape == noise.shape else drawn)

    with torch.no_grad(), monkeypatch.context() as patched:
        patched.setattr(torch, "randn_like", randn_like)
        given = [torch.from_numpy(content).transpose(1, 2), torch.tensor([FRAMES])]
        given += [torch.from_numpy(pitch_bins(hertz)).long()[None], torch.from_numpy(hertz)[None]] * has_pitch
        audio, _, (latents, _, mean, log_scale) = model.infer(*given, torch.tensor([0]))
    rows = [content, *[pitch_bins(hertz)[None, None]] * has_pitch]
    statistics = run_original(ours["text_encoder"], {"content": np.concatenate(rows, axis=1)})["statistics"]
    made = run_original(ours["flow"], {"statistics": np.concatenate([statistics, noise], axis=1)})["latents"]
    excited = np.concatenate([made, *[source[None]] * has_pitch], axis=1)
    heard = run_original(ours["decoder"], {"excited": excited})["audio"]
    assert snr_db(np.concatenate([mean, log_scale], axis=1).ravel(), statistics.ravel()) > 100
    assert snr_db(latents.numpy().ravel(), made.ravel()) > 100
    assert heard.shape == audio.shape == (1, 1, FRAMES * samples) and heard.std() > 3e-4
    assert snr_db(audio.numpy().ravel(), heard.ravel()) > (55 if has_pitch else 100), (
        "upstream sums the phase in float32"
    )


def noise_inside(rate, samples, hertz, source):
    """The standard noise (1, N, 1) of an excitation: what is left of it without the sine, by its amount."""
    silent = excitation(rate, samples, np.zeros_like(hertz))
    standard = silent.T.reshape(1, -1, 1) / (0.1 / 3)
    assert standard.std() == pytest.approx(1, abs=0.02) and source.shape == silent.shape
    return standard


def test_the_phase_goes_on_whatever_the_blocks(tmp_path):
    hertz, stage = glide(), HarmonicStage("source", "hertz", 40000, 400)
    wholly = excitation(40000, 400, hertz)
    pitch = Featured(FeatureStage("pitch", rvc.PITCH))
    shifted = Pitched(PitchStage("hertz", "pitch"), pitch, 12.0)
    track, pieces = Harmonic(stage, shifted), []
    for at in (0, 1, 7, 90):
        upto = {0: 1, 1: 7, 7: 90, 90: FRAMES}[at]
        pitch.frames.append(hertz[None, at:upto] / 2)  # an octave lower, and up again
        shifted.advance()
        track.advance()
        pieces.append(track.frames.taken(at, upto))
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), wholly)
    first = wholly.T.reshape(-1)[:8000]
    spectrum = np.abs(np.fft.rfft(first * np.hanning(8000)))
    assert spectrum.argmax() * 5 == pytest.approx(hertz[:20].mean(), abs=10)


def test_bins_are_rvc_s():
    hertz = np.array([0.0, 30, 50, 51, 110, 220, 440, 1100, 2000], np.float32)
    mel = 1127 * np.log(1 + hertz / 700)
    low, high = 1127 * np.log(1 + 50 / 700), 1127 * np.log(1 + 1100 / 700)
    wanted = np.where(mel > 0, (mel - low) * 254 / (high - low) + 1, mel)
    np.testing.assert_array_equal(pitch_bins(hertz), np.rint(np.clip(wanted, 1, 255)))


def torchaudio_hubert():
    import_coqui("TTS")  # which provides torchaudio's pure-Python half
    models = importlib.import_module("torchaudio.models.wav2vec2.model")
    torch.manual_seed(0)
    return models.wav2vec2_model(
        extractor_mode="group_norm",
        extractor_conv_layer_config=[(24, 10, 5), *[(24, 3, 2)] * 4, *[(24, 2, 2)] * 2],
        extractor_conv_bias=False, encoder_embed_dim=64, encoder_projection_dropout=0.0,
        encoder_pos_conv_kernel=128, encoder_pos_conv_groups=16, encoder_num_layers=3, encoder_num_heads=1,
        encoder_attention_dropout=0.0, encoder_ff_interm_features=96, encoder_ff_interm_dropout=0.0,
        encoder_dropout=0.0, encoder_layer_norm_first=False, encoder_layer_drop=0.0, aux_num_out=None,
    ).eval()  # fmt: skip


FAIRSEQ = {
    "encoder.feature_projection.layer_norm": "layer_norm", "encoder.feature_projection.projection": "post_extract_proj",
    "encoder.transformer.": "encoder.", "pos_conv_embed.conv": "pos_conv.0", ".attention.": ".self_attn.",
    "feed_forward.intermediate_dense": "fc1", "feed_forward.output_dense": "fc2",
    "parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v",
}  # fmt: skip


def fairseq_state(model, projection=256):
    """The weights of torchaudio's model under fairseq's names."""
    state = {"mask_emb": torch.zeros(64), "final_proj.weight": torch.randn(projection, 64) / 10,
             "final_proj.bias": torch.randn(projection)}  # fmt: skip
    for name, value in model.state_dict().items():
        for theirs, fairseqs in FAIRSEQ.items():
            name = name.replace(theirs, fairseqs)
        if name.startswith("encoder.layers"):
            name = re.sub(r"\.(\d+)\.layer_norm", r".\1.self_attn_layer_norm", name)
        if name.startswith("feature_extractor"):
            name = name.replace(".conv.weight", ".0.weight").replace(".layer_norm.", ".2.")
        state[name] = value
    return state


def save_reader(path):
    torch.save({"args": None, "model": fairseq_state(torchaudio_hubert())}, path)
    return path


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return save_reader(tmp_path_factory.mktemp("hubert") / "hubert_base.pt")


@pytest.mark.parametrize(("layers", "projected"), [(0, False), (2, False), (2, True)])
def test_content_is_hubert_s_own(tmp_path, layers, projected):
    model = torchaudio_hubert()
    state = fairseq_state(model)
    torch.save({"model": state}, tmp_path / "hubert_base.pt")
    (tmp_path / "config.json").write_text(json.dumps({"hubert": {"output_layer": layers, "projected": projected}}))
    checkpoint = loaded(tmp_path / "hubert_base.pt", "hubert")
    (component,) = hubert.components(hubert.load(checkpoint), checkpoint, Shape())
    samples = np.random.default_rng(0).standard_normal((1, 1, FRAMES * hubert.FRAME)).astype(np.float32) / 10
    with torch.no_grad():
        padded = torch.nn.functional.pad(torch.from_numpy(samples[0]), (0, 80))
        (*_, wanted), _ = model.extract_features(padded, num_layers=layers or 3)
        if projected:
            wanted = wanted @ state["final_proj.weight"].T + state["final_proj.bias"]
    made = run_original(component, {"samples": samples})["content"]
    assert made.shape == (1, 256 if projected else 64, FRAMES)
    np.testing.assert_array_equal(made[..., ::2], made[..., 1::2])
    assert snr_db(wanted.numpy().ravel(), made[0, :, ::2].T.ravel()) > 100


def save_small_voice(path):
    """Made without upstream's code: its layers are known by their names alone."""
    torch.manual_seed(0)
    config = arguments(32000, layers=1, inter=4, hidden=8, filter=8, wide=32, speaker=4)
    config[9], config[11] = "2", [[1, 3]]  # fewer layers than published ones have
    config[12], config[14] = [20, 16], [40, 32]
    settings = {"sample_rate": 32000, "inter_channels": 4, "hidden_channels": 8, "filter_channels": 8, "n_layers": 1,
                "upsample_rates": config[12], "upsample_kernel_sizes": config[14], "upsample_initial_channel": 32,
                "gin_channels": 4, "resblock": config[9], "resblock_kernel_sizes": config[10],
                "resblock_dilation_sizes": config[11], "content_channels": 64}  # fmt: skip
    module = rvc.Rvc(rvc.RvcSettings(**settings), 2)
    save_voice(path, module, 2, True, config)
    return path


@contextmanager
def two_couplings():
    """Makes and reads small voices whose flow has two couplings; published ones have four."""
    upstream = import_coqui("TTS.vc.models.freevc")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upstream, "ResidualCouplingBlock", partial(upstream.ResidualCouplingBlock, n_flows=2))
        yield


@pytest.fixture(scope="module")
@two_couplings()
def voice(tmp_path_factory):
    return save_small_voice(tmp_path_factory.mktemp("rvc") / "someone.pth")


def write_index(path, vectors, centroids, lists):
    """As faiss writes an IVF, Flat index; test_faiss_index.py reads one that it wrote itself."""
    channels = vectors.shape[1]

    def header(count):
        return struct.pack("<iqqq?i", channels, count, 1 << 20, 1 << 20, True, 1)

    parts = [b"IwFl", header(len(vectors)), struct.pack("<QQ", len(centroids), 1), b"IxF2", header(len(centroids))]
    parts += [struct.pack("<Q", centroids.size), centroids.astype("<f4").tobytes(), struct.pack("<bQ", 0, 0)]
    parts += [b"ilar", struct.pack("<QQ", len(centroids), 4 * channels), b"full", struct.pack("<Q", len(centroids))]
    parts += [np.array([len(rows) for rows in lists], "<u8").tobytes()]
    for rows in lists:
        parts += [vectors[rows].astype("<f4").tobytes(), np.array(rows, "<i8").tobytes()]
    path.write_bytes(b"".join(parts))


@pytest.fixture(scope="module")
def index(voice):
    """Beside the voice, with its name."""
    random = np.random.default_rng(0)
    vectors = random.standard_normal((30, 64)).astype(np.float32)
    lists = [list(range(0, 12)), list(range(12, 30))]
    centroids = np.stack([vectors[rows].mean(axis=0) for rows in lists])
    path = voice.with_name(f"added_IVF2_Flat_nprobe_1_{voice.stem}_v2.index")
    write_index(path, vectors, centroids, lists)
    return path


@pytest.fixture(scope="module")
@two_couplings()
def outcome(index, voice, reader, own_job):
    content = f"model.parts.content.checkpoint.source={reader}"
    return own_job("model=rvc", f"checkpoint.source={voice}", content, "precision=fp32", "format=onnx")


def test_a_voice_goes_through_the_job_and_passes(outcome, clips):
    assert outcome.passed, outcome.gates
    manifest = outcome.bundle.manifest
    assert manifest.conversion.components == ["content", "text_encoder", "flow", "decoder"]
    assert manifest.conversion.target == "built_in" and manifest.checkpoint.name == "someone"
    for measurement in outcome.measurements:
        assert {row.component for row in measurement.rows} == {"content", "text_encoder", "flow"}
        assert {clip.clip for clip in measurement.clips} == {path.stem for path in clips}


def test_the_manifest_says_what_a_window_costs(outcome):
    stages = outcome.bundle.manifest.conversion.stages
    costs = {stage.name: stage.costs_db for stage in stages if stage.kind == "windowed"}
    assert list(costs["content"]) == ["180/20/0", "160/20/20", "140/20/40"]
    assert list(costs["text_encoder"]) == ["180/20/0"]
    assert all(0 < decibels < 150 for stage in costs.values() for decibels in stage.values())


@pytest.mark.parametrize("context", ["live", "offline"])
def test_blocks_of_any_size_give_the_same_samples(outcome, clips, context):
    bundle, samples = outcome.bundle, read_clip(clips[0], 48000, 1)
    chain = ConversionChain(
        open_conversion(bundle, NOBODY, 48000, context, EXECUTION, pitch_shift=3.0), open_main(bundle, EXECUTION)
    )
    outputs = []
    for size in (len(samples), 480, 7001):
        chain.reset()
        pieces = [chain.push(samples[at : at + size]) for at in range(0, len(samples), size)]
        outputs.append(np.concatenate([*pieces, chain.flush()]))
    np.testing.assert_array_equal(outputs[0], outputs[1])
    np.testing.assert_array_equal(outputs[0], outputs[2])
    assert abs(len(outputs[0]) - len(samples)) < 0.02 * 48000 and outputs[0].std() > 1e-4
    parts = " ".join(chain.latency)
    assert "content, future" in parts and "flow, lookahead" in parts


def test_the_commands_take_a_voice_and_a_pitch(outcome, clips, tmp_path, capsys):
    out, bundle = tmp_path / "out.wav", str(outcome.bundle.path)
    sounds = []
    for more in ([], ["--pitch", "5"], ["--mode", "stream"]):
        assert main(["convert-voice", str(clips[0]), str(out), "--bundle", bundle, *more, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["rtf"] > 0
        sounds.append(soundfile.read(out)[0])
    assert not np.array_equal(sounds[0], sounds[1]), "higher"
    assert not np.array_equal(sounds[0], sounds[2]), "live sees less of the future"
    assert main(["live", bundle, "--in", str(clips[0]), "--out", str(out), "--pitch", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["chain"].startswith("conversion: audio, samples, content, ")
    assert main(["convert-voice", str(clips[0]), str(out), "--bundle", bundle, "--target", str(clips[1])]) == 2
    assert "has one voice" in capsys.readouterr().err


@two_couplings()
def test_a_detector_of_pitch_takes_the_place_of_yin(voice, reader, tmp_path):
    write_small_swift_f0(tmp_path / "model.onnx")
    detector = loaded(tmp_path / "model.onnx", "swift_f0")
    checkpoint = loaded(reader, "hubert")
    parts = {
        "content": hubert.components(hubert.load(checkpoint), checkpoint, Shape())[0],
        "pitch": swift_f0.components(swift_f0.load(detector), detector, Shape())[0],
    }
    made = rvc.conversion(rvc.load(loaded(voice, "rvc")), parts)
    assert made.components == ["content", "pitch", "text_encoder", "flow", "decoder"]
    (voicing,) = [stage for stage in made.stages if isinstance(stage, VoicingStage)]
    assert {one.takes for one in made.stages if isinstance(one, PitchStage)} == {voicing.name}
    assert voicing.clock == clock_of(rvc.PITCH)


@pytest.mark.proof
@pytest.mark.parametrize("family", ["swift_f0", "pitchdnn"])
@two_couplings()
def test_a_voice_with_a_detector_of_pitch_passes_and_streams(voice, reader, own_job, clips, family):
    outcome = own_job(
        "model=rvc", f"checkpoint.source={voice}", f"model.parts.content.checkpoint.source={reader}",
        f"model.parts.pitch.family={family}", f"model.parts.pitch.checkpoint.name={family}",
        "precision=fp32", "format=onnx",
    )  # fmt: skip
    assert outcome.passed, outcome.gates
    samples, made = read_clip(clips[0], 48000, 1), []
    frontend = open_conversion(outcome.bundle, NOBODY, 48000, "live", EXECUTION, pitch_shift=3.0)
    for size in (len(samples), 480, 7001):
        frontend.reset()
        pieces = [frontend.push(samples[at : at + size]) for at in range(0, len(samples), size)]
        made.append(np.concatenate([*pieces, frontend.flush()], axis=2))
    np.testing.assert_array_equal(made[0], made[1])
    np.testing.assert_array_equal(made[0], made[2])
    assert frontend.voiced_seconds > 0.3, "its own weights, on speech"


def test_content_is_drawn_to_what_the_voice_was_trained_on(outcome, index):
    """As vc of RVC's pipeline does with faiss."""
    conversion = outcome.bundle.manifest.conversion
    (stage,) = (one for one in conversion.stages if one.kind == "retrieve")
    read = read_index(index)
    content = Featured(FeatureStage("content", rvc.PITCH))
    hertz = Featured(FeatureStage("hertz", rvc.PITCH))
    track = Retrieved(stage, [content, hertz], dict(zip(INDEX, (read.vectors, read.centroids, read.ends))))
    random = np.random.default_rng(1)
    queries = np.repeat(random.standard_normal((64, 5)).astype(np.float32), 2, axis=1)
    pitch = np.array([0, 0, 200, 200, 200, 0, 0, 0, 100, 100], np.float32)
    made = track._mapped(queries, pitch[None])
    for column, (query, one) in enumerate(zip(queries.T, pitch)):
        number = int(((read.centroids - query) ** 2).sum(1).argmin())
        rows = read.vectors[[0, *read.ends][number] : read.ends[number]]
        score = np.sort(((rows - query) ** 2).sum(1))[:8]
        order = np.argsort(((rows - query) ** 2).sum(1))[:8]
        weight = np.square(1 / score)
        found = (rows[order] * (weight / weight.sum())[:, None]).sum(0)
        drawn = 0.75 * found + 0.25 * query
        wanted = drawn if one > 0 else 0.33 * drawn + 0.67 * query
        np.testing.assert_allclose(made[:, column], wanted, atol=1e-5)


@two_couplings()
def test_what_does_not_fit_is_a_sentence(voice, reader, tmp_path):
    checkpoint = loaded(voice, "rvc")
    module = rvc.load(checkpoint)
    with pytest.raises(ConversionError, match=r"model\.parts\.content\.family"):
        rvc.conversion(module, {})
    read = hubert.load(loaded(reader, "hubert"))
    (component,) = hubert.components(read, loaded(reader, "hubert"), Shape())
    narrow = rvc.Rvc(rvc.RvcSettings(content_channels=256, n_layers=1), 1)
    with pytest.raises(ConversionError, match="first version take 256"):
        rvc.conversion(narrow, {"content": component})
    with pytest.raises(ConversionError, match="fixed length"):
        rvc.components(module, checkpoint, Shape(64, 8, 512))
    saved = torch.load(voice)
    for key, changed, said in (
        ("config", saved["config"][:5], "is no voice of RVC"),
        ("weight", {"a.weight": torch.zeros(1)}, "it has none of"),
        ("config", [*saved["config"][:13], 64, *saved["config"][14:]], "has shape"),
        ("config", [*saved["config"][:12], "ten", *saved["config"][13:]], "does not fit"),
    ):
        torch.save({**saved, key: changed}, tmp_path / "voice.pth")
        with pytest.raises((CheckpointError, ValueError), match=said):
            rvc.load(loaded(tmp_path / "voice.pth", "rvc"))
    write_index(tmp_path / "x.index", np.ones((3, 8), np.float32), np.ones((1, 8), np.float32), [[0, 1, 2]])
    torch.save(saved, tmp_path / "voice.pth")
    with pytest.raises(CheckpointError, match="other version of RVC"):
        rvc.load(loaded(tmp_path / "voice.pth", "rvc"))
    torch.save({"model": {"a.weight": torch.zeros(1)}}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="no HuBERT"):
        hubert.load(loaded(tmp_path / "other.pt", "hubert"))
