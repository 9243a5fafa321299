"""Small voices with random weights, in the layouts of those who publish real ones."""

import json

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper

from converters.families.ge2e import RTVCEncoder
from converters.formats import mlprogram
from converters.goldens import run_original
from converters.options import FormatOptions, PrecisionOptions
from converters.upstream.coqui import import_coqui
from runtime.engines.mil import MilEngine
from runtime.speech.metrics import snr_db

LETTERS = {
    "characters_class": "TTS.tts.models.vits.VitsCharacters",
    "pad": "<PAD>", "eos": None, "bos": None, "blank": "<BLNK>", "punctuations": "!'(),-.:;? ",
    "characters": "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", "phonemes": "ˈˌːˑpbtdɪɛæ",
}  # fmt: skip
SMALL = {
    "num_chars": 80, "hidden_channels": 16, "hidden_channels_ffn_text_encoder": 32, "num_layers_text_encoder": 2,
    "num_layers_flow": 2, "resblock_type_decoder": "2", "resblock_kernel_sizes_decoder": [3, 5],
    "resblock_dilation_sizes_decoder": [[1, 2], [2, 6]], "upsample_rates_decoder": [8, 8, 4],
    "upsample_initial_channel_decoder": 32, "upsample_kernel_sizes_decoder": [16, 16, 8], "init_discriminator": False,
}  # fmt: skip


def coqui_vits(speakers=(), languages=(), **model_args):
    """coqui-tts's own Vits and its config as a plain mapping; random weights that make durations of some frames."""
    models, configs = import_coqui("TTS.tts.models.vits"), import_coqui("TTS.tts.configs.vits_config")
    letters = import_coqui("TTS.tts.configs.shared_configs").CharactersConfig(**LETTERS)
    config = configs.VitsConfig(model_args=models.VitsArgs(**{**SMALL, **model_args}), characters=letters)
    config.speakers = list(speakers)
    dataset = import_coqui("TTS.config.shared_configs").BaseDatasetConfig
    config.datasets = [dataset(language=language) for language in languages]
    torch.manual_seed(0)
    model = models.Vits(config)
    for name, parameter in model.named_parameters():
        if "proj" in name or "post" in name:  # initialised with zeros: nothing would happen
            torch.nn.init.normal_(parameter, std=0.1)
    return model.eval(), json.loads(config.to_json())


ATTENTION = {"hidden_channels_ffn": 24, "num_heads": 2, "num_layers": 2, "dropout_p": 0.1}
SMALL_FORWARD = {
    "num_chars": 140, "hidden_channels": 16, "encoder_params": ATTENTION, "decoder_params": ATTENTION,
    **{f"{kind}_predictor_hidden_channels": 8 for kind in ("pitch", "energy", "duration")},
}  # fmt: skip
# As coqui-tts's recipes for LJSpeech have it; the bundled vocoder's but for the first window's place.
LJSPEECH_MEL = {
    "sample_rate": 22050, "fft_size": 1024, "win_length": 1024, "hop_length": 256, "num_mels": 80, "mel_fmin": 0.0,
    "mel_fmax": 8000.0, "log_func": "np.log", "spec_gain": 1.0, "signal_norm": False, "preemphasis": 0.0,
}  # fmt: skip


def coqui_forward(**model_args):
    """coqui-tts's own ForwardTTS and its config; random weights whose durations are of some frames."""
    configs = import_coqui("TTS.tts.configs.forward_tts_config")
    fast_pitch = import_coqui("TTS.tts.configs.fast_pitch_config")
    args = configs.ForwardTTSArgs(**{**SMALL_FORWARD, **model_args, "use_aligner": False})
    config = fast_pitch.FastPitchConfig(model_args=args)
    for name, value in LJSPEECH_MEL.items():
        setattr(config.audio, name, value)
    if model_args.get("use_speaker_embedding"):
        config.speakers = config.model_args.speakers = ["ann", "bob", "cy"]
        config.num_speakers = config.model_args.num_speakers = 3
    if model_args.get("use_d_vector_file"):
        config.use_d_vector_file, config.d_vector_dim = True, model_args["d_vector_dim"]
    torch.manual_seed(0)
    model = import_coqui("TTS.tts.models.forward_tts").ForwardTTS(config)
    with torch.no_grad():
        model.duration_predictor.proj.weight.mul_(8)
        model.duration_predictor.proj.bias.fill_(2.5)
        for layer in model.modules():
            if isinstance(layer, torch.nn.BatchNorm1d):  # as trained: not mean 0 and variance 1
                layer.running_mean.normal_(std=0.3)
                layer.running_var.uniform_(0.5, 2.0)
    return model.eval(), json.loads(config.to_json())


def write_coqui(folder, model, config):
    """As coqui-tts's trainer leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    torch.save({"model": model.state_dict()}, folder / "model_file.pth")
    return folder


def write_encoder(factory):
    """Real-Time-Voice-Cloning's speaker encoder with drawn weights, as anyone's own checkpoint."""
    folder = factory.mktemp("encoder") / "rtvc_random"
    folder.mkdir()
    torch.manual_seed(0)
    torch.save({"model_state": RTVCEncoder(40).state_dict(), "step": 1}, folder / "encoder.pt")
    (folder / "config.json").write_text(json.dumps({"audio": {"sample_rate": 16000, "num_mels": 40}}))
    return folder


def encoder_outcome(source, own_job):
    """The same bundle for all that ask for it: the first converts."""
    return own_job("model=ge2e", f"checkpoint.source={source}", "measure.bench_seconds=0.2")


def write_onnx_voice(path, model):
    """An ONNX file with the names and foldings of Piper's exports: no more of a graph than an import needs."""
    nodes, initialisers = [], []

    def keep(name, tensor):
        initialisers.append(numpy_helper.from_array(np.ascontiguousarray(tensor.detach().numpy()), name))
        return name

    def layer(module_path, convolution):
        normed = hasattr(convolution, "parametrizations")
        weight = keep(f"onnx::Conv_{len(nodes)}" if normed else f"{module_path}.weight", convolution.weight)
        inputs = ["x", weight] + (
            [keep(f"{module_path}.bias", convolution.bias)] if convolution.bias is not None else []
        )
        is_transposed = isinstance(convolution, torch.nn.ConvTranspose1d)
        node = helper.make_node(
            "ConvTranspose" if is_transposed else "Conv", inputs, [f"y{len(nodes)}"],
            name=f"/{'/'.join(_parts(module_path))}/Conv", dilations=convolution.dilation,
            kernel_shape=convolution.kernel_size, strides=convolution.stride,
        )  # fmt: skip
        nodes.append(node)

    for ours, theirs in {
        "text_encoder": "enc_p",
        "waveform_decoder": "dec",
        "flow": "flow",
        "duration_predictor": "dp",
    }.items():
        part = getattr(model, ours)
        for name, module in part.named_modules():
            if theirs == "dp" and name.startswith(("post_", "flows.1.")):
                continue
            path_there = f"{theirs}.{_numbered(theirs, name)}"
            if isinstance(module, (torch.nn.Conv1d, torch.nn.ConvTranspose1d)):
                layer(path_there, module)
        for name, parameter in part.named_parameters():
            is_kept = name.endswith((".gamma", ".beta", "emb_rel_k", "emb_rel_v"))
            if is_kept and not (theirs == "dp" and name.startswith(("post_", "flows.1."))):
                keep(f"{theirs}.{_numbered(theirs, name)}", parameter)
    keep("sid", model.text_encoder.emb.weight)  # deduplicated under another name, as Piper's exporter does
    nodes.append(helper.make_node("Gather", ["sid", "input"], ["emb"], name="/enc_p/emb/Gather"))
    if hasattr(model, "emb_g"):
        keep("emb_g.weight", model.emb_g.weight)
    first = model.duration_predictor.flows[0]
    keep("dp.flows.0.m", first.translation)
    keep("/dp/flows.0/Exp_output_0", torch.exp(-first.log_scale))
    graph = helper.make_graph(nodes, "voice", [], [], initialisers)
    onnx.save(helper.make_model(graph), path)
    return path


def _parts(module_path):
    """Path of a node's name: numbers stay with the list that they count."""
    parts = []
    for part in module_path.split("."):
        if part.isdigit():
            parts[-1] += f".{part}"
        else:
            parts.append(part)
    return parts


def _numbered(part, name):
    """Flows alternate with flips there and are numbered with them."""
    if not name.startswith("flows."):
        return name
    _, number, *rest = name.split(".")
    there = 2 * int(number) if part == "flow" else max(2 * int(number) - 1, 0)
    return ".".join(["flows", str(there), *rest])


def padded_equals_unpadded(component, length, padded_length, known=None):
    """A component of flexible length on an input, and on the same followed by zeros. `known`: by name, inputs of a
    length that are not drawn."""
    generator = torch.Generator().manual_seed(0)
    short, padded = component.at_size(length).example(), component.at_size(padded_length).example()
    for spec in component.inputs:
        flexible = [index for index, axis in enumerate(spec.shape) if not isinstance(axis, int)]
        if spec.name in (known or {}):
            short[spec.name] = torch.from_numpy(np.ascontiguousarray(known[spec.name](length))).to(
                short[spec.name].dtype
            )
            short[spec.name] = short[spec.name].reshape(
                [length if i in flexible else n for i, n in enumerate(spec.shape)]
            )
        elif flexible and spec.dtype == "float32" and not spec.name.endswith("mask"):
            short[spec.name] = torch.randn(short[spec.name].shape, generator=generator)
        widths = [(0, padded_length - length if axis in flexible else 0) for axis in range(len(spec.shape))]
        padded[spec.name] = torch.from_numpy(np.pad(short[spec.name].numpy(), widths))
    results = [run_original(component, {k: v.numpy() for k, v in given.items()}) for given in (short, padded)]
    for spec in component.outputs:
        kept = tuple(slice(None) if isinstance(axis, int) else slice(length) for axis in spec.shape)
        wanted, got = results[0][spec.name], results[1][spec.name][kept]
        np.testing.assert_allclose(got, wanted, atol=3e-5, rtol=1e-4, err_msg=f"{component.name} {spec.name}")


def core_ml_computes_the_same(component, length, folder):
    """A component of flexible length as an ML program in the reference engine."""
    sized = component.at_size(length)
    path = mlprogram.convert(sized, PrecisionOptions("fp32"), FormatOptions(), folder).path
    generator = torch.Generator().manual_seed(0)
    given = {
        name: torch.randn(value.shape, generator=generator)
        if value.is_floating_point() and "mask" not in name
        else value
        for name, value in sized.example().items()
    }
    wanted = run_original(sized, {name: value.numpy() for name, value in given.items()})
    got = MilEngine(path).run({name: value.numpy() for name, value in given.items()})
    for name, value in wanted.items():
        assert snr_db(value.ravel(), got[name].ravel()) > 90, f"{component.name} {name}"
