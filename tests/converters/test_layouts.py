"""Checkpoints of other trainers: what comes of their files equals what their networks compute, in float32 noise."""

import io
import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch
import yaml

from checkpoints import CheckpointError, layouts
from checkpoints.coqui_audio import mel_settings
from checkpoints.files import ARCHITECTURES
from checkpoints.load import load
from checkpoints.locate import locate
from checkpoints.options import CheckpointOptions
from converters.component import family as family_of
from converters.fitting import fitting
from converters.options import Shape
from tests.converters import layout_twins as twins


def converted(path, family="hifigan", warnings=None, frames=24):
    """The components that a job makes of a path."""
    given = [] if warnings is None else warnings
    checkpoint = load(locate(CheckpointOptions(source=str(path)), family, "", given.append))
    with fitting(checkpoint):
        module = family_of(family).load(checkpoint)
        return family_of(family).components(module, checkpoint, Shape(frames))


def loaded(path, family="hifigan"):
    """The network that a family makes of a path."""
    checkpoint = load(locate(CheckpointOptions(source=str(path)), family, "", lambda _: None))
    with fitting(checkpoint):
        return family_of(family).load(checkpoint)


def features_of(path, family="hifigan"):
    """The mel that a path's generator takes."""
    checkpoint = load(locate(CheckpointOptions(source=str(path)), family, "", lambda _: None))
    return mel_settings(checkpoint.audio, checkpoint.stats)


def drawn_mel(frames=24, rows=twins.MELS):
    return torch.randn(1, rows, frames, generator=torch.Generator().manual_seed(3))


def assert_equal(ours, theirs):
    assert theirs.abs().mean() > 1e-3, "the network gives a sound"
    assert ours.shape == theirs.shape
    torch.testing.assert_close(ours, theirs, atol=2e-6, rtol=1e-4)


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


@pytest.mark.parametrize("paired", [True, False], ids=["type 1", "type 2"])
def test_a_generator_of_jik876_is_computed_as_upstream_does(tmp_path, paired):
    network = twins.redraw(twins.Generator(paired))
    (component,) = converted(twins.write_jik876(tmp_path, network, resblock="1" if paired else "2"))
    assert_equal(component.module(drawn_mel()), network(drawn_mel()))
    mel = component.features
    assert (mel.sample_rate, mel.fmax, mel.framing, mel.log_base, mel.amplitude_floor) == (
        8000, 4000, "inset", np.e, 1e-5,
    )  # fmt: skip


def test_a_network_with_more_layers_than_are_built_is_refused(tmp_path):
    network = twins.redraw(twins.Generator())
    for block in network.resblocks:
        block.convs1.append(torch.nn.Conv1d(4, 4, 3))
    with pytest.raises(CheckpointError, match=r"has resblocks\.0\.convs1\.3\.weight"):
        converted(twins.write_jik876(tmp_path, network))


def test_of_a_training_s_steps_the_last_is_taken_and_named_and_discriminators_are_none(tmp_path):
    for step in ("g_00005000", "g_00010000"):
        twins.write_jik876(tmp_path, name=step)
    torch.save({"mpd": {}, "steps": 10000}, tmp_path / "do_00010000")
    warnings = []
    converted(tmp_path, warnings=warnings)
    assert "of g_00005000, g_00010000 it is g_00010000" in warnings[0]
    assert converted(tmp_path / "g_00005000")


def test_istftnet_s_last_transform_is_torch_s_on_every_sample(tmp_path):
    network = twins.redraw(twins.Generator(out=18))
    twins.write_istftnet(tmp_path, network)
    assert_equal(loaded(tmp_path)(drawn_mel()), network(drawn_mel()))


@pytest.mark.parametrize("kind", ["snake", "snakebeta"])
def test_bigvgan_s_activations_are_upstream_s_on_every_sample(tmp_path, kind):
    network = twins.redraw(twins.Bigvgan(kind))
    twins.write_bigvgan(tmp_path, network)
    assert_equal(loaded(tmp_path)(drawn_mel()), network(drawn_mel()))


def test_speechbrain_s_convolutions_reflect_the_ends(tmp_path):
    network = twins.redraw(twins.Generator(mode="reflect"))
    twins.write_speechbrain(tmp_path, network)
    assert_equal(loaded(tmp_path)(drawn_mel()), network(drawn_mel()))
    mel = features_of(tmp_path)
    assert (mel.framing, mel.amplitude_floor, mel.log_base) == ("centered", 1e-5, np.e)
    text = (tmp_path / "hyperparams.yaml").read_text()
    (tmp_path / "hyperparams.yaml").write_text(text.replace("sample_rate", "# sample_rate"))
    with pytest.raises(CheckpointError, match=r"does not say enough\. Add there the audio it was trained on"):
        loaded(tmp_path)


# ------------------------------------------------------------------------------------------------- kan-bayashi


def in_kan_bayashi_names(state):
    names = {
        r"^conv_pre\.": "input_conv.", r"^conv_post\.": "output_conv.1.", r"^ups\.(\d+)\.": r"upsamples.\1.1.",
        r"^resblocks\.(\d+)\.(convs\d)\.(\d+)\.": r"blocks.\1.\2.\3.1.",
    }  # fmt: skip
    renamed = {}
    for key, value in twins.old_norm(state).items():
        for pattern, name in names.items():
            key = re.sub(pattern, name, key)
        renamed[key] = value
    return renamed


HIFIGAN = {
    "in_channels": twins.MELS, "out_channels": 1, "channels": twins.WIDTH, "kernel_size": 7,
    "upsample_scales": twins.RATES, "upsample_kernel_sizes": twins.KERNELS, "resblock_kernel_sizes": twins.BLOCKS,
    "resblock_dilations": twins.DILATIONS, "use_additional_convs": True, "bias": True,
}  # fmt: skip


def test_kan_bayashi_s_hifigan_takes_a_mel_normalised_by_its_statistics(tmp_path):
    network = twins.redraw(twins.Generator())
    folder = twins.write_kan_bayashi(
        tmp_path / "voice", in_kan_bayashi_names(network.state_dict()), "HiFiGANGenerator", HIFIGAN, 32
    )
    assert_equal(loaded(folder)(drawn_mel()), network(drawn_mel()))
    mean, scale = np.load(folder / "stats.npy")
    samples = torch.randn(4000, generator=torch.Generator().manual_seed(0)) * 0.1
    spectrum = torch.stft(samples, 128, 32, window=torch.hann_window(128), return_complex=True).abs().numpy()
    bands = librosa.filters.mel(sr=8000, n_fft=128, n_mels=twins.MELS, fmin=80, fmax=3800) @ spectrum
    theirs = (np.log10(np.maximum(bands, 1e-10)) - mean[:, None]) / scale[:, None]
    np.testing.assert_allclose(features_of(folder).of(samples.numpy()), theirs, atol=2e-5)


def test_without_its_statistics_kan_bayashi_s_mel_is_not_known(tmp_path):
    state = in_kan_bayashi_names(twins.redraw(twins.Generator()).state_dict())
    folder = twins.write_kan_bayashi(tmp_path / "voice", state, "HiFiGANGenerator", HIFIGAN, 32, stats=False)
    with pytest.raises(CheckpointError, match=r"normalises the mel by stats\.h5 or stats\.npy"):
        converted(folder)
    (folder / "stats.npy").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="does not hold mean and scale"):
        converted(folder)


@pytest.fixture
def hdf5_folder(tmp_path):
    """kan-bayashi's files with no stats but an empty stats.h5, and what stats.npy beside them said."""
    state = in_kan_bayashi_names(twins.redraw(twins.Generator()).state_dict())
    folder = twins.write_kan_bayashi(tmp_path / "voice", state, "HiFiGANGenerator", HIFIGAN, 32)
    statistics, mel = np.load(folder / "stats.npy"), features_of(folder)
    (folder / "stats.npy").unlink()
    (folder / "stats.h5").write_bytes(b"nothing")
    return folder, statistics, mel


def test_without_h5py_the_way_to_read_statistics_in_hdf5_is_said(hdf5_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(
        CheckpointError, match=r"stats\.h5 is HDF5, for which `pip install h5py` is needed; or save its"
    ):
        features_of(hdf5_folder[0])


def test_statistics_in_hdf5_are_those_of_stats_npy(hdf5_folder):
    """As the trainer's compute_statistics writes them, by h5py, which voxport does not install."""
    h5py = pytest.importorskip("h5py")
    folder, (mean, scale), mel = hdf5_folder
    with pytest.raises(CheckpointError, match=r"stats\.h5 does not hold mean and scale"):
        features_of(folder)
    with h5py.File(folder / "stats.h5", "w") as file:
        file["mean"], file["scale"] = mean, scale
    assert features_of(folder) == mel


def test_kan_bayashi_s_parallel_wavegan_has_a_context_and_another_scale_than_coqui_s(tmp_path):
    network = twins.redraw(twins.ParallelWavegan())
    settings = {
        "aux_channels": twins.MELS, "aux_context_window": 2, "layers": 4, "stacks": 2,
        "upsample_net": "ConvInUpsampleNetwork", "upsample_params": {"upsample_scales": [4, 4]},
    }  # fmt: skip
    folder = twins.write_kan_bayashi(tmp_path / "voice", network.state_dict(), "ParallelWaveGANGenerator", settings, 16)
    noise = torch.randn(1, 16, 24, generator=torch.Generator().manual_seed(5))
    theirs = network(noise.transpose(1, 2).reshape(1, 1, -1), drawn_mel())
    assert_equal(loaded(folder, "parallel_wavegan")(torch.cat([drawn_mel(), noise], dim=1)), theirs)


def test_kan_bayashi_s_melgan_is_one_flat_list_of_layers(tmp_path):
    torch.manual_seed(0)
    network = twins.Melgan().eval()
    settings = {"in_channels": twins.MELS, "upsample_scales": [4, 3], "stacks": 2}
    folder = twins.write_kan_bayashi(tmp_path / "voice", network.state_dict(), "MelGANGenerator", settings, 12)
    assert_equal(loaded(folder, "melgan")(drawn_mel()), network(drawn_mel()))


# -------------------------------------------------------------------------------------------------------- NeMo


def write_nemo(path, state, preprocessor=(), target="nemo.collections.tts.models.hifigan.HifiGanModel"):
    names = ("upsample_rates", "upsample_kernel_sizes", "upsample_initial_channel", "resblock_kernel_sizes",
             "resblock_dilation_sizes")  # fmt: skip
    config = {
        "target": target,
        "generator": {"resblock": 1, **{name: twins.JIK876[name] for name in names}},
        "preprocessor": {
            "nfilt": twins.MELS, "lowfreq": 0, "highfreq": 4000, "n_fft": 128, "n_window_size": 128,
            "n_window_stride": 32, "sample_rate": 8000, "log_zero_guard_type": "clamp", "log_zero_guard_value": 1e-5,
            "mag_power": 1.0, "normalize": None, "exact_pad": True, **dict(preprocessor),
        },
    }  # fmt: skip
    weights = io.BytesIO()
    torch.save(state, weights)
    with tarfile.open(path, "w:gz") as archive:
        for name, data in (
            ("./model_config.yaml", yaml.safe_dump(config).encode()), ("./model_weights.ckpt", weights.getvalue()),
        ):  # fmt: skip
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def test_a_nemo_archive_is_read_with_flat_and_with_nested_blocks(tmp_path):
    network = twins.redraw(twins.Generator())
    flat = {f"generator.{key}": value for key, value in twins.old_norm(network.state_dict()).items()}

    def nested(match):
        return f"resblocks.{int(match[1]) // 2}.{int(match[1]) % 2}."

    for number, state in enumerate((flat, {re.sub(r"resblocks\.(\d+)\.", nested, key): flat[key] for key in flat})):
        path = tmp_path / str(number) / "tts_en_hifigan.nemo"
        path.parent.mkdir()
        write_nemo(path, state)
        assert_equal(loaded(path)(drawn_mel()), network(drawn_mel()))


def test_a_mel_of_nemo_that_is_another_is_refused(tmp_path):
    path = tmp_path / "vocoder.nemo"
    write_nemo(path, {}, {"normalize": "per_feature"})
    with pytest.raises(CheckpointError, match="normalize: 'per_feature'; voxport makes mels with None"):
        converted(path)
    write_nemo(path, {}, target="nemo.collections.tts.models.FastPitchModel")
    with pytest.raises(CheckpointError, match="FastPitchModel of NVIDIA NeMo, which voxport does not convert"):
        converted(path)


# ------------------------------------------------------------------------------------------------ transformers


def write_speecht5(folder, network, normalises=True):
    state = {re.sub(r"^ups\.", "upsampler.", key): value for key, value in twins.old_norm(network.state_dict()).items()}
    generator = torch.Generator().manual_seed(2)
    state["mean"] = torch.randn(twins.MELS, generator=generator)
    state["scale"] = torch.rand(twins.MELS, generator=generator) + 0.5
    torch.save(state, folder / "pytorch_model.bin")
    names = ("upsample_rates", "upsample_kernel_sizes", "upsample_initial_channel", "resblock_kernel_sizes",
             "resblock_dilation_sizes")  # fmt: skip
    config = {name: twins.JIK876[name] for name in names} | {
        "architectures": ["SpeechT5HifiGan"], "model_type": "hifigan", "model_in_dim": twins.MELS,
        "normalize_before": normalises, "sampling_rate": 16000,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    return state


@pytest.mark.parametrize("normalises", [True, False])
def test_speecht5_s_vocoder_keeps_the_statistics_of_its_mel_among_its_weights(tmp_path, normalises):
    network = twins.redraw(twins.Generator())
    state = write_speecht5(tmp_path, network, normalises)
    mel = features_of(tmp_path)
    assert (mel.signal_norm, mel.log_base, mel.gain, mel.amplitude_floor) == (normalises, 10.0, 1.0, 1e-10)
    assert (mel.win_length, mel.hop_length, mel.fmin, mel.fmax) == (1024, 32, 80, 7600)
    if normalises:
        np.testing.assert_allclose(mel.mean, state["mean"].numpy())
    assert_equal(loaded(tmp_path)(drawn_mel()), network(drawn_mel()))


# --------------------------------------------------------------------------------------------------------- VITS


@pytest.fixture(scope="module")
def small_vits():
    """Coqui's own, small, the parts that inference runs; its state dict under Coqui's names."""
    from converters.families import vits

    torch.manual_seed(4)
    args = {**MODEL, "use_speaker_embedding": True, "speaker_embedding_channels": 8, "num_chars": 178}
    network = vits.Vits(vits.known_settings(vits.VitsSettings, args), 3, 0)
    for value in network.parameters():
        value.data = 0.05 * torch.randn_like(value)
    return network.eval().requires_grad_(False)


MODEL = {
    "hidden_channels": 192, "hidden_channels_ffn_text_encoder": 64, "num_layers_text_encoder": 1,
    "resblock_type_decoder": "2", "resblock_kernel_sizes_decoder": [3], "resblock_dilation_sizes_decoder": [[1, 2]],
    "upsample_rates_decoder": [8, 8, 4], "upsample_initial_channel_decoder": 16,
    "upsample_kernel_sizes_decoder": [16, 16, 8],
}  # fmt: skip


def in_jaywalnut_names(state):
    """The inverse of the reader: flows are numbered with the flips between them."""
    renamed = {}
    for key, value in state.items():
        key = key.replace("text_encoder.", "enc_p.", 1).replace("waveform_decoder.", "dec.", 1)
        key = key.replace("dec.cond_layer.", "dec.cond.")
        if key.startswith("flow."):
            key = re.sub(r"flows\.(\d+)", lambda match: f"flows.{2 * int(match[1])}", key)
        if key.startswith("duration_predictor."):
            key = re.sub(r"flows\.([1-9])\.", lambda match: f"flows.{2 * int(match[1]) - 1}.", key)
            key = key.replace("translation", "m").replace("flows.0.log_scale", "flows.0.logs")
            key = key.replace("duration_predictor.", "dp.", 1)
        renamed[key] = value
    return {**renamed, "enc_q.pre.weight": torch.zeros(3), "dp.post_pre.weight": torch.zeros(3)}


def assert_same_parts(ours, network):
    state = ours.state_dict()
    assert set(state) == set(network.state_dict())
    for key, value in network.state_dict().items():
        assert torch.equal(state[key], value), key


JAYWALNUT = {
    "train": {"segment_size": 8192},
    "data": {"sampling_rate": 22050, "filter_length": 1024, "hop_length": 256, "win_length": 1024, "n_mel_channels": 80,
             "text_cleaners": ["english_cleaners2"], "add_blank": True, "n_speakers": 3},
    "model": {"inter_channels": 192, "hidden_channels": 192, "filter_channels": 64, "n_heads": 2, "n_layers": 1,
              "kernel_size": 3, "resblock": "2", "resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1, 2]],
              "upsample_rates": [8, 8, 4], "upsample_initial_channel": 16, "upsample_kernel_sizes": [16, 16, 8],
              "gin_channels": 8},
}  # fmt: skip


def test_a_voice_of_jaywalnut310_is_coqui_s_under_other_names(tmp_path, small_vits):
    torch.save({"model": in_jaywalnut_names(small_vits.state_dict()), "iteration": 8}, tmp_path / "G_800000.pth")
    (tmp_path / "D_800000.pth").touch()
    (tmp_path / "config.json").write_text(json.dumps(JAYWALNUT))
    module = loaded(tmp_path, "vits")
    assert_same_parts(module, small_vits)
    text = family_of("vits").voice(module).text
    assert (text.phonemizer, text.language, text.between) == ("espeak", "en-us", (0,))
    # text/symbols.py of jaywalnut310/vits: pad, 16 marks, 52 letters, then IPA
    assert [text.symbols[symbol] for symbol in " AaɑˈᵻX"] == [(16,), (17,), (43,), (69,), (156,), (177,), (40,)]


def test_a_voice_with_other_symbols_or_cleaners_is_refused_unless_its_config_lists_them(tmp_path, small_vits):
    state = in_jaywalnut_names(small_vits.state_dict())
    state["enc_p.emb.weight"] = state["enc_p.emb.weight"][:40]
    torch.save({"model": state}, tmp_path / "G_0.pth")
    (tmp_path / "config.json").write_text(json.dumps(JAYWALNUT))
    with pytest.raises(CheckpointError, match="reads 40 symbols, 178 are known"):
        loaded(tmp_path, "vits")
    symbols = ["_", *"abcdefghijklmnopqrstuvwxyzäöüß ,.!?;:-'"]
    (tmp_path / "config.json").write_text(json.dumps({**JAYWALNUT, "symbols": symbols}))
    assert family_of("vits").voice(loaded(tmp_path, "vits")).text.symbols["a"] == (1,)
    other = {**JAYWALNUT, "data": {**JAYWALNUT["data"], "text_cleaners": ["japanese_cleaners"]}}
    (tmp_path / "config.json").write_text(json.dumps(other))
    with pytest.raises(CheckpointError, match=r"japanese_cleaners of the trainer's own text/cleaners\.py"):
        loaded(tmp_path, "vits")


def test_openvoice_s_converter_is_no_voice_of_vits(tmp_path):
    """It has a config of jaywalnut310's sections and a family of its own, which other descendants have not."""
    config = json.loads((ARCHITECTURES / "openvoice_v2.json").read_text())
    torch.save({"model": {}}, tmp_path / "checkpoint.pth")
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert layouts.recognise(tmp_path) is None
    config["model"] |= {"n_heads": 2, "n_layers": 6, "filter_channels": 768}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "no text_cleaners" in layouts.recognise(tmp_path).needs


def test_a_checkpoint_of_piper_s_training_holds_paths_and_is_the_voice_of_its_dataset(tmp_path, small_vits):
    from pathlib import PosixPath, PurePosixPath

    state = in_jaywalnut_names(small_vits.state_dict())
    saved = {
        "epoch": 2164, "pytorch-lightning_version": "1.9.5",
        "state_dict": {f"model_g.{key}": value for key, value in state.items()},
        "hyper_parameters": {"dataset": [PosixPath("/data/dataset.jsonl")], "num_symbols": 178},
    }  # fmt: skip
    assert isinstance(saved["hyper_parameters"]["dataset"][0], PurePosixPath)
    path = tmp_path / "epoch=2164-step=1355540.ckpt"
    torch.save(saved, path)
    ids = {symbol: [row] for row, symbol in enumerate("_^$abc")}
    config = {"audio": {"sample_rate": 22050, "quality": "my_training"}, "phoneme_id_map": ids, "num_speakers": 3,
              "espeak": {"voice": "de"}, "inference": {"noise_scale": 0.5}}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    # the published architecture's kernels do not fit a small one's
    with pytest.raises(CheckpointError, match=r"does not hold the weights|has shape"):
        loaded(path, "vits")
    assert layouts.recognise(path).layout == "piper_training"
    located = locate(CheckpointOptions(source=str(path)), "vits", "", lambda _: None)
    checkpoint = load(located)
    assert set(small_vits.state_dict()) <= set(checkpoint.weights)
    args = checkpoint.config["model_args"]
    assert (args["num_chars"], args["resblock_type_decoder"], args["inference_noise_scale"]) == (178, "2", 0.5)
    torch.save({"state_dict": {"model_g.enc_p.emb.weight": state["enc_p.emb.weight"]}}, path)
    with pytest.raises(CheckpointError, match=r"its weights have no 'text_encoder\.encoder\.ffn_layers"):
        loaded(path, "vits")


def in_transformers_names(state):
    names = (
        (r"^text_encoder\.emb\.", "text_encoder.embed_tokens."), (r"^text_encoder\.proj\.", "text_encoder.project."),
        (r"encoder\.attn_layers\.(\d+)\.conv_([qkv])\.", r"encoder.layers.\1.attention.\2_proj."),
        (r"encoder\.attn_layers\.(\d+)\.conv_o\.", r"encoder.layers.\1.attention.out_proj."),
        (r"encoder\.attn_layers\.(\d+)\.", r"encoder.layers.\1.attention."),
        (r"encoder\.norm_layers_1\.(\d+)\.", r"encoder.layers.\1.layer_norm."),
        (r"encoder\.norm_layers_2\.(\d+)\.", r"encoder.layers.\1.final_layer_norm."),
        (r"encoder\.ffn_layers\.(\d+)\.", r"encoder.layers.\1.feed_forward."),
        (r"^(flow|duration_predictor)\.(.*?)pre\.", r"\1.\2conv_pre."), (r"^flow\.(.*?)post\.", r"flow.\1conv_post."),
        (r"^flow\.(.*?)enc\.", r"flow.\1wavenet."),
        (r"^duration_predictor\.(.*?)proj\.", r"duration_predictor.\1conv_proj."),
        (r"^duration_predictor\.(.*?)convs\.", r"duration_predictor.\1conv_dds."),
        (r"convs_sep\.", "convs_dilated."), (r"convs_1x1\.", "convs_pointwise."),
        (r"flows\.0\.translation$", "flows.0.translate"),
        (r"^waveform_decoder\.ups\.", "decoder.upsampler."), (r"^waveform_decoder\.cond_layer\.", "decoder.cond."),
        (r"^waveform_decoder\.", "decoder."), (r"^emb_g\.", "embed_speaker."),
        (r"gamma$", "weight"), (r"beta$", "bias"),
    )  # fmt: skip
    renamed = {}
    for key, value in state.items():
        for pattern, name in names:
            key = re.sub(pattern, name, key)
        renamed[key] = value.squeeze(2) if key.endswith("_proj.weight") and ".attention." in key else value
    return renamed


def write_mms(folder, network, **tokenizer):
    from safetensors.torch import save_file

    state = {key: value.contiguous() for key, value in in_transformers_names(network.state_dict()).items()}
    save_file(state, folder / "model.safetensors")
    config = {
        "architectures": ["VitsModel"], "model_type": "vits", "vocab_size": 178, "ffn_dim": 64, "num_hidden_layers": 1,
        "num_speakers": 3, "speaker_embedding_size": 8, "upsample_initial_channel": 16, "upsample_rates": [8, 8, 4],
        "upsample_kernel_sizes": [16, 16, 8], "resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1, 3, 5]],
        "sampling_rate": 16000, "speaking_rate": 0.8,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    vocabulary = {symbol: row for row, symbol in enumerate(["<pad>", *map(chr, range(0x61, 0x61 + 177))])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "tokenizer_config.json").write_text(json.dumps({"language": "deu", "add_blank": True, **tokenizer}))


def test_a_voice_of_transformers_is_coqui_s_under_other_names(tmp_path, small_vits):
    from converters.families import vits

    args = {**MODEL, "resblock_type_decoder": "1", "resblock_dilation_sizes_decoder": [[1, 3, 5]],
            "use_speaker_embedding": True, "speaker_embedding_channels": 8, "num_chars": 178}  # fmt: skip
    torch.manual_seed(5)
    network = vits.Vits(vits.known_settings(vits.VitsSettings, args), 3, 0)
    write_mms(tmp_path, network)
    module = loaded(tmp_path, "vits")
    assert_same_parts(module, network)
    voice = family_of("vits").voice(module)
    assert (voice.sample_rate, voice.length_scale, voice.duration_noise_scale) == (16000, 1.25, 0.8)
    assert (voice.text.language, voice.text.phonemizer, voice.text.begin, voice.text.symbols["a"]) == (
        "de", "", (0,), (1,),
    )  # fmt: skip
    write_mms(tmp_path, network, is_uroman=True)
    warnings = []
    locate(CheckpointOptions(source=str(tmp_path)), "vits", "", warnings.append)
    assert "text that uroman has romanised" in warnings[0]
    (tmp_path / "vocab.json").write_text('{"a": 1, "b": 3}')
    with pytest.raises(CheckpointError, match="does not number its symbols from 0 on"):
        loaded(tmp_path, "vits")


# ------------------------------------------------------------------------------------------------ the whole job


def _kan_bayashi(folder):
    state = in_kan_bayashi_names(twins.redraw(twins.Generator()).state_dict())
    return twins.write_kan_bayashi(folder, state, "HiFiGANGenerator", HIFIGAN, 32)


def _melgan(folder):
    torch.manual_seed(0)
    settings = {"in_channels": twins.MELS, "upsample_scales": [4, 3], "stacks": 2}
    return twins.write_kan_bayashi(folder, twins.Melgan().eval().state_dict(), "MelGANGenerator", settings, 12)


def _nemo(folder):
    folder.mkdir()
    state = twins.old_norm(twins.redraw(twins.Generator()).state_dict())
    write_nemo(folder / "nemo.nemo", {f"generator.{key}": value for key, value in state.items()})
    return folder / "nemo.nemo"


def _speecht5(folder):
    folder.mkdir()
    write_speecht5(folder, twins.redraw(twins.Generator()))
    return folder


def _drawn_vits(**settings):
    """A voice of letters, drawn at the size of `MODEL` but for `settings`, under jaywalnut310's names."""
    from converters.families import vits

    torch.manual_seed(4)
    network = vits.Vits(vits.known_settings(vits.VitsSettings, {**MODEL, "num_chars": len(LETTERS), **settings}), 1, 0)
    for value in network.parameters():
        value.data = 0.05 * torch.randn_like(value)
    return in_jaywalnut_names(network.state_dict())


LETTERS = ["_", *"abcdefghijklmnopqrstuvwxyz ,.!?;:-'"]


def _jaywalnut(folder):
    folder.mkdir()
    torch.save({"model": _drawn_vits(), "iteration": 8}, folder / "G_800000.pth")
    data = {**JAYWALNUT["data"], "text_cleaners": ["basic_cleaners"], "n_speakers": 0}
    model = {key: value for key, value in JAYWALNUT["model"].items() if key != "gin_channels"}
    config = {**JAYWALNUT, "data": data, "model": model, "symbols": LETTERS}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _piper(folder):
    """Piper's `medium`, whose layers and kernels are fixed, with few channels."""
    folder.mkdir()
    state = _drawn_vits(
        num_chars=len(PHONEMES), num_layers_text_encoder=6, resblock_kernel_sizes_decoder=[3, 5, 7],
        resblock_dilation_sizes_decoder=[[1, 2], [2, 6], [3, 12]],
    )  # fmt: skip
    saved = {"state_dict": {f"model_g.{key}": value for key, value in state.items()}, "epoch": 2164}
    torch.save({**saved, "hyper_parameters": {"dataset": [Path("/data/dataset.jsonl")]}}, folder / "epoch=2164.ckpt")
    config = {"audio": {"sample_rate": 22050}, "phoneme_id_map": {symbol: [row] for row, symbol in enumerate(PHONEMES)}}
    (folder / "config.json").write_text(json.dumps({**config, "num_speakers": 1, "espeak": {"voice": "en-us"}}))
    return folder


PHONEMES = "_^$ abcdefghijklmnopqrstuvwxyzæɐɑɔəɛɪʃʊʌʒθðŋɹɡˈˌː.,?!-;:'"

WRITERS = {
    "jik876": lambda folder: twins.write_jik876(folder),
    "istftnet": lambda folder: twins.write_istftnet(folder, twins.redraw(twins.Generator(out=18))),
    "speechbrain": lambda folder: twins.write_speechbrain(folder, twins.redraw(twins.Generator(mode="reflect"))),
    "kan_bayashi": _kan_bayashi,
    "melgan": _melgan,
    "nemo": _nemo,
    "speecht5": _speecht5,
    "jaywalnut": _jaywalnut,
    "piper": _piper,
}
FAMILIES = {"melgan": "melgan", "jaywalnut": "vits", "piper": "vits"}


@pytest.mark.proof
@pytest.mark.parametrize("layout", WRITERS)
def test_a_layout_goes_through_the_whole_job(tmp_path, layout):
    path, family = WRITERS[layout](tmp_path / layout), FAMILIES.get(layout, "hifigan")
    command = [sys.executable, "-m", "convert", f"model={family}", f"checkpoint.source={path}", "format=onnx"]
    command += ["precision=fp32", "tracking=off", "measure.bench_seconds=0.1", "measure.bench_min_chunks=2"]
    result = subprocess.run([*command, f"output={tmp_path / 'out'}"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    (bundle,) = [path for path in (tmp_path / "out").glob(f"{layout}*-onnx-fp32-*") if path.suffix != ".measured"]
    assert (bundle / "manifest.json").is_file()
