"""RAVE with drawn weights: read from a run and from an export, its parts by their definitions, streamed and live."""

import dataclasses
import json
import re

import numpy as np
import pytest
import soundfile
import torch

from checkpoints import CheckpointError
from checkpoints.load import load
from checkpoints.locate import locate
from checkpoints.options import CheckpointOptions
from converters.families import rave
from converters.options import ConversionError, Shape
from converters.upstream.rave.layers import AdaptiveNorm, Snake
from converters.upstream.rave.network import Rave
from converters.upstream.rave.noise import NoiseGenerator, NoiseSettings, mod_sigmoid
from converters.upstream.rave.pqmf import Analysis, Synthesis, filter_bank
from ops.streaming import Input, read
from runtime.__main__ import main
from runtime.bundle.conversion import FeatureStage, LatentStage, LocalStage
from runtime.bundle.store import BundleError
from runtime.engines import Execution
from runtime.playing.conversions import ConversionChain, open_conversion, open_main
from runtime.playing.stages import NOBODY
from runtime.speech.clips import read_clip
from runtime.speech.metrics import snr_db
from runtime.speech.noise import noise_of
from tests.converters.rave_models import BANDS, MODELS, RATE, SECOND, built, gin_of, learned, write_export, write_run
from tests.ops.streaming.player import artefact, play, streaming

EXECUTION = Execution("onnx")


def loaded(path, **options):
    return load(locate(CheckpointOptions(source=str(path), **options), "rave", "", print))


def network(path) -> Rave:
    module = rave.load(loaded(path))
    assert isinstance(module, Rave)
    return module


# ----------------------------------------------------------------------------------------------------- checkpoints


@pytest.mark.parametrize("kind", MODELS)
def test_a_run_and_its_exports_give_the_network_that_they_were_written_of(kind, tmp_path):
    module = built(MODELS[kind])
    write_run(tmp_path / "run", module)
    sources = {"run": tmp_path / "run" / "version_0" / "checkpoints" / "best.ckpt"}
    for streaming_export in (False, True):
        name = f"export {streaming_export}"
        sources[name] = tmp_path / f"{name}.ts"
        write_export(sources[name], module, streaming_export)
    rows = module.kept + rave.noise_rows(module)
    audio, latents = torch.randn(1, 1, 6 * module.settings.ratio), torch.randn(1, rows, 6)
    for name, source in sources.items():
        again = network(source)
        assert again.kept == module.kept, name
        torch.testing.assert_close(again.encode(audio), module.encode(audio), rtol=0, atol=0, msg=name)
        torch.testing.assert_close(rave.Decode(again)(latents), rave.Decode(module)(latents), rtol=0, atol=0, msg=name)
        plain = {"attenuation", "latents", "encoder"}  # of an export, the first's unknown and the second's known
        states = [vars(one.settings) | dict.fromkeys(plain) for one in (again, module)]
        assert states[0] == states[1], name


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("RAVE.decoder = @blocks.GeneratorV2", "RAVE.decoder = @blocks.Other"), "builds a decoder @Other"),
        (("@blocks.VariationalEncoder\n", "@blocks.DiscreteEncoder\n"), "builds an encoder @DiscreteEncoder"),
        (("N_BAND = 4", "N_BAND = 'four'"), "says bands: 'four'"),
        (("N_BAND = 4", "N_BAND = 4\nmodel.RAVE.input_mode = 'mel'"), "says RAVE.input_mode = 'mel'"),
        (("N_BAND = 4", "N_BAND = 4\nmodel.RAVE.n_channels = 2"), "says RAVE.n_channels = 2"),
        (("N_BAND = 4", "N_BAND = 4\nblocks.GeneratorV2.recurrent_layer = @blocks.GRU"), "a recurrent layer"),
        (("mode = 'centered'", "mode = 'anticausal'"), "pads 'anticausal'"),
        (("ratios = [2]", "ratios = [3]"), "do not follow each other evenly"),
        (("blocks.GeneratorV2.ratios = [2]", "blocks.GeneratorV2.ratios = [4]"), "and its decoder's .* differ"),
        (("GeneratorV2.capacity = 4", "GeneratorV2.capacity = 8"), "has shape"),
        (("GeneratorV2.capacity = 4", "GeneratorV2.capacity = -8"), "capacity"),
        (("scope/blocks.EncoderV2.capacity = 4\n", ""), "does not say EncoderV2.capacity"),
        (("dilations = [[3]]", "dilations = [[3], [1]]"), "dilations at 2 levels of 1"),
    ],
)
def test_a_run_of_another_architecture_is_a_sentence(tmp_path, change, sentence):
    write_run(tmp_path / "run", built(SECOND))
    text = gin_of(SECOND)
    assert change[0] in text
    (tmp_path / "run" / "config.gin").write_text(text.replace(*change))
    with pytest.raises((CheckpointError, ConversionError), match=sentence):
        network(tmp_path / "run" / "version_0" / "checkpoints" / "best.ckpt")


def test_a_run_without_its_gin_config_is_a_sentence(tmp_path):
    write_run(tmp_path / "run", built(SECOND))
    (tmp_path / "run" / "config.gin").unlink()
    with pytest.raises(CheckpointError, match=r"there is no config .*config\.gin"):
        loaded(tmp_path / "run" / "version_0" / "checkpoints" / "best.ckpt")


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [({"n_channels": 2}, "n_channels = 2"), ({"input_mode": "mel"}, "'mel'"), ({"sr": "fast"}, "has no number sr")],
)
def test_an_export_of_another_architecture_is_a_sentence(tmp_path, facts, sentence):
    write_export(tmp_path / "m.ts", built(SECOND), False, **facts)
    with pytest.raises(CheckpointError, match=sentence):
        network(tmp_path / "m.ts")


def test_an_export_of_another_program_is_a_sentence(tmp_path):
    torch.jit.script(torch.nn.Sequential(torch.nn.Linear(2, 2))).save(str(tmp_path / "m.ts"))
    with pytest.raises(CheckpointError, match="no export of RAVE"):
        network(tmp_path / "m.ts")


def test_notes_say_whether_a_normalisation_has_learned_and_what_an_export_was_made_for(tmp_path):
    module = built(MODELS["third"])
    for is_learned in (False, True):
        if is_learned:
            learned(module)
        for streaming_export in (False, True):
            path = tmp_path / f"{is_learned} {streaming_export}.ts"
            write_export(path, module, streaming_export)
            first, *others = rave.notes(network(path), loaded(path))
            does = "keeps the statistics that it had learned" if is_learned else "has learned no statistics"
            assert does in first and "does not learn while it plays" in first
            assert [("without --streaming" in note) for note in others] == [True] * (not streaming_export)
    write_run(tmp_path / "run", built(SECOND))
    run = tmp_path / "run" / "version_0" / "checkpoints" / "best.ckpt"
    assert rave.notes(network(run), loaded(run)) == []


@pytest.mark.parametrize("name", ["rave_v1", "rave_v2_small", "rave_v3", "rave_brave"])
def test_published_sizes_are_known(name):
    """Weights as acids-rave 2.3.1's own modules have them, gains of weight norm included there."""
    located = locate(CheckpointOptions(source="random", name=name), "rave", "rave_v2", print)
    settings = rave._settings(load(located))
    with torch.device("meta"):
        module = Rave(settings, (513, 33))
    counted = sum(part.numel() for part in [*module.encoder.parameters(), *module.decoder.parameters()])
    published = {"rave_v1": 17_612_369, "rave_v2_small": 7_762_512, "rave_v3": 31_541_952, "rave_brave": 4_191_441}
    assert counted == pytest.approx(published[name], rel=0.005)
    assert settings.ratio == {"rave_v2_small": 512, "rave_brave": 128}.get(name, 2048)


# ----------------------------------------------------------------------------------------------------------- parts


def test_the_filter_bank_reconstructs():
    for bands, attenuation, reached in ((16, 100, 55), (4, 40, 25)):
        weights = filter_bank(bands, attenuation)
        analysis = Analysis(bands, weights[0].shape[2], False)
        synthesis = Synthesis(bands, weights[1].shape[2], False)
        analysis.weight.data, synthesis.weight.data = weights
        audio = torch.randn(1, 1, bands * 400)
        with torch.no_grad():
            made = synthesis(analysis(audio))
        inner, later = (slice(bands * (40 + delay), -bands * (40 - delay)) for delay in (0, 1))
        assert snr_db(audio[0, 0, inner].numpy(), made[0, 0, later].numpy()) > reached, "a position of the bands later"


def test_latents_are_cropped_to_the_power_of_two_that_holds_their_variance():
    module = built(SECOND)
    assert module.kept == 2, "the third first exceeds 0.95, and its place is 2"
    module.fidelity.copy_(torch.tensor([0.5, 0.6, 0.7, 0.99]))
    module.settle()
    assert module.kept == 4
    audio = torch.randn(1, 1, 64)
    inner = module.encoder(module.pqmf.forward_conv(audio))[:, :4]
    torch.testing.assert_close(
        module.decode(module.encode(audio), None), module.pqmf.inverse_conv(module.decoder(inner, None))
    )
    module.fidelity.zero_()
    module.settle()
    assert module.kept == 1, "as upstream, before its first phase has ended"


def test_noise_is_filtered_block_by_block():
    """Against the definition: an impulse response with a window, and its convolution cut off at the block's end."""
    settings = NoiseSettings((4, 2), 5)
    generator = NoiseGenerator(settings, 2, [torch.nn.Identity()], [])
    magnitudes, noise = torch.randn(1, 10, 3), torch.rand(1, 2 * 8, 3) * 2 - 1
    with torch.no_grad():
        made = generator(magnitudes, noise)[0].numpy()
    for band in range(2):
        for block in range(3):
            wanted = mod_sigmoid(magnitudes[0, 5 * band : 5 * band + 5, block] - 5).numpy()
            response = np.roll(np.fft.irfft(wanted), 4) * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(8) / 8))
            response, given = np.roll(response, -4), noise[0, 8 * band : 8 * band + 8, block].numpy()
            np.testing.assert_allclose(
                made[band, 8 * block : 8 * block + 8], np.convolve(given, response)[:8], atol=1e-6
            )


def test_statistics_that_were_learned_move_a_source_to_a_target():
    module = built(MODELS["third"])
    audio = torch.randn(1, 1, 64)
    plain = module.encode(audio)
    learned(module)
    layer = next(layer for layer in module.modules() if isinstance(layer, AdaptiveNorm))
    x = torch.randn(1, 4, 5)
    torch.testing.assert_close(layer(x), (x - 0.25) / 2 * 3 - 1, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(module.encode(audio), plain, atol=1e-3)
    snake = Snake(4)
    torch.testing.assert_close(snake(x), x + torch.sin(x) ** 2)


# ------------------------------------------------------------------------------------------------------- streaming


@pytest.mark.parametrize("kind", ["noise", *(pytest.param(kind, marks=pytest.mark.proof) for kind in MODELS)])
@torch.no_grad()
def test_streamed_equals_offline_on_every_sample(kind):
    """Encoder and decoder on their grid of blocks, for utterances shorter and longer than what they see."""
    module = built(MODELS[kind]).double()
    ratio, rows = module.settings.ratio, module.kept + rave.noise_rows(module)
    for part, inputs in (
        (rave.Encode(module), Input("audio", (1, 1, ratio), 2, ratio, torch.float64)),
        (rave.Decode(module), Input("latents", (1, rows, 1), 2, 1, torch.float64)),
    ):
        read_network = read(part.eval(), [inputs])
        for mode, chunk in (("stateful", 1), ("window", 2)):
            made = artefact(streaming(read_network, mode, chunk))
            for frames in (1, 2, 24):
                given = torch.randn(1, inputs.shape[1], frames * inputs.rate, dtype=torch.float64)
                (streamed,) = play(made, {inputs.name: given})
                torch.testing.assert_close(streamed, part(given), rtol=0, atol=1e-12)


@pytest.mark.proof
def test_a_causal_encoder_does_not_wait_for_another_block():
    module = built(MODELS["causal"])
    encode, decode = rave.components(module, None, Shape(24))
    assert (encode.time.positions, encode.time.samples_per_frame, encode.time.hop_length) == (8, 1, 8)
    assert (decode.time.positions, decode.time.samples_per_frame) == (1, 8)
    assert (encode.time.right, decode.time.right) == (0, 1), "transposed layers are padded on both sides"


# ------------------------------------------------------------------------------------------------ through artefacts


@pytest.fixture(scope="module", params=["onnx", pytest.param("mlprogram", marks=pytest.mark.proof)])
def outcome(own_job, tmp_path_factory, request):
    folder = tmp_path_factory.mktemp("rave")
    write_export(folder / "noisy_rave.ts", built(MODELS["noise"]), False)
    source = f"checkpoint.source={folder / 'noisy_rave.ts'}"
    return own_job("model=rave", source, f"format={request.param}", "precision=fp32", "stream.chunk=32",
                   "measure.engines=[onnx]")  # fmt: skip


def test_it_goes_through_the_job_and_passes(outcome):
    assert outcome.passed, outcome.gates
    manifest = outcome.bundle.manifest
    assert manifest.conversion.components == ["encode", "decode"] and manifest.options.mode == "stateful32"
    assert any("exported without --streaming" in note for note in manifest.notes), "which info tells"
    assert [type(stage) for stage in manifest.conversion.stages] == [FeatureStage, LocalStage, LatentStage, LocalStage]


def ragged(samples):
    random, at = np.random.default_rng(0), 0
    while at < len(samples):
        size = int(random.choice([1, 128, 480, 7000]))
        yield samples[at : at + size]
        at += size


def test_streamed_through_artefacts_is_pytorch_s_own_on_every_sample(outcome, clips):
    bundle, module = outcome.bundle, built(MODELS["noise"])
    samples = read_clip(clips[0], RATE, 1)
    chain = ConversionChain(open_conversion(bundle, NOBODY, RATE, "live", EXECUTION), open_main(bundle, EXECUTION), {})
    pieces = [chain.push(block) for block in ragged(samples)]
    streamed = np.concatenate([*pieces, chain.flush()])
    frames = len(samples) // 8
    latents = module.encode(torch.from_numpy(samples[: frames * 8])[None, None])
    rows = torch.from_numpy(noise_of(rave.noise_rows(module), 0, frames)[None].copy())
    offline = rave.Decode(module)(torch.cat([latents, rows], 1)).numpy().ravel()
    assert streamed.shape == offline.shape
    np.testing.assert_allclose(streamed, offline, atol=5e-5)
    assert offline.std() > 1e-2


def test_latents_are_scaled_and_moved_while_audio_comes(outcome, clips):
    bundle, module = outcome.bundle, built(MODELS["noise"])
    samples = read_clip(clips[0], RATE, 1)[: 8 * 500]
    frontend = open_conversion(bundle, NOBODY, RATE, "live", EXECUTION)
    plain = np.concatenate([frontend.push(samples), frontend.flush()], axis=2)
    frontend.reset()
    frontend.latents.control(1, scale=-2.0, bias=0.5)
    moved = [frontend.push(samples[: 8 * 300])]
    frontend.latents.control(1)
    moved = np.concatenate([*moved, frontend.push(samples[8 * 300 :]), frontend.flush()], axis=2)
    changed = int(np.argmax(plain[0, 1, 200:] == moved[0, 1, 200:])) + 200
    assert 250 < changed <= 300, "the next frame on"
    np.testing.assert_allclose(moved[0, 1, :changed], -2 * plain[0, 1, :changed] + 0.5, atol=1e-6)
    np.testing.assert_array_equal(moved[0, 1, changed:], plain[0, 1, changed:])
    np.testing.assert_array_equal(np.delete(moved, 1, 1), np.delete(plain, 1, 1))
    with pytest.raises(BundleError, match=f"there is no latent {module.kept}"):
        frontend.latents.control(module.kept)
    with pytest.raises(BundleError, match="cannot be scaled by nan"):
        frontend.latents.control(0, float("nan"))


def test_the_commands_control_latents_and_say_what_live_waits_for(outcome, clips, tmp_path, capsys):
    bundle, out, sounds = str(outcome.bundle.path), tmp_path / "o.wav", []
    spoken = tmp_path / "in.wav"
    soundfile.write(spoken, read_clip(clips[0], RATE, 1)[: RATE // 2], RATE)
    for latents in ([], ["--latent", "0:0:2", "--latent", "1:1"]):
        live = ["live", bundle, "--in", str(spoken), "--out", str(out), "--engine", "onnx", "--json", *latents]
        assert main(live) == 0
        facts = json.loads(capsys.readouterr().out)
        assert any("encode, lookahead" in name for name in facts)
        sounds.append(soundfile.read(out)[0])
    assert not np.allclose(*sounds, atol=1e-3)
    waited = sum(float(value.split()[0]) for name, value in facts.items() if name.startswith("of which"))
    assert main(["info", bundle, "--json"]) == 0
    told = float(json.loads(capsys.readouterr().out)["latency"].split()[0])
    block, resampling = 1e3 * 32 * 8 / RATE, 5.0
    assert block < told < waited + resampling, "live counts in whole frames"
    convert = ["convert-voice", str(spoken), str(out), "--bundle", bundle, "--engine", "onnx"]
    assert main([*convert, "--latent", "7:1:0"]) == 2
    assert re.search(r"there is no latent 7: this bundle's are 0 to \d", capsys.readouterr().err)
    with pytest.raises(SystemExit):
        main([*convert, "--latent", "7"])


def test_parts_of_other_models_are_refused():
    with pytest.raises(ConversionError, match=r"leave out model\.parts\.pitch"):
        rave.conversion(built(SECOND), {"pitch": None})
    assert dataclasses.replace(SECOND).ratio == BANDS * 2
