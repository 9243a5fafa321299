"""RAVEs of a few channels with drawn weights, written as a training run and as a TorchScript export of upstream's."""

import dataclasses
import math

import torch
from torch import nn

from converters.families.rave import draw
from converters.upstream.rave.layers import AdaptiveNorm, Conv, PastConv, Residual
from converters.upstream.rave.network import Rave
from converters.upstream.rave.noise import NoiseGenerator
from converters.upstream.rave.pqmf import Analysis, Synthesis, filter_bank
from converters.upstream.rave.settings import HalfSettings, NoiseSettings, RaveSettings

RATE, BANDS = 16000, 4
HALF = HalfSettings(4, (2,), ((3,),))
SECOND = RaveSettings(HALF, HALF, RATE, bands=BANDS, attenuation=40, latent_size=4)
DECODER = HalfSettings(4, (2,), ((3, 1),))
FIRST = RaveSettings(
    HalfSettings(4, (2,), DECODER.dilations), DECODER, RATE, 1, bands=BANDS, attenuation=40, latent_size=4,
    amplitude=False, noise=NoiseSettings((2,), 3),
)  # fmt: skip
MODELS = {
    "first": FIRST,
    "brave": dataclasses.replace(
        FIRST, noise=None, causal=True, encoder=dataclasses.replace(FIRST.encoder, ratios=(2, 1)),
        decoder=dataclasses.replace(DECODER, ratios=(1, 2)),
    ),
    "second": SECOND,
    "causal": dataclasses.replace(SECOND, causal=True),
    "noise": dataclasses.replace(SECOND, noise=NoiseSettings((2,), 3)),
    "third": dataclasses.replace(SECOND, snake=True, adain=True),
    "wasserstein": dataclasses.replace(SECOND, encoding="wasserstein", augmentation=3),
}  # fmt: skip


def built(settings: RaveSettings) -> Rave:
    """As loud as a trained one, with statistics and principal axes that change what comes out."""
    torch.manual_seed(0)
    analysis, synthesis = filter_bank(settings.bands, settings.attenuation)
    module = Rave(settings, (analysis.shape[2], synthesis.shape[2]))
    draw(module)
    with torch.no_grad():
        module.pqmf.forward_conv.weight.copy_(analysis)
        module.pqmf.inverse_conv.weight.copy_(synthesis)
        size = settings.latent_size
        if settings.encoding == "variational":
            module.latent_pca.copy_(torch.linalg.qr(torch.randn(size, size))[0])
            module.latent_mean.copy_(torch.randn(size) / 10)
            module.fidelity.copy_(torch.tensor([0.7, 0.9, 0.97, 1.0]))
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm1d):
                layer.running_mean.normal_(0, 0.1)
                layer.running_var.uniform_(0.5, 2)
    module.settle()
    return module.eval().requires_grad_(False)


def state_of(module: Rave) -> dict[str, torch.Tensor]:
    """The state dict under upstream's names, statistics with a row for each of 64 items."""
    residuals = [name for name, layer in module.named_modules() if isinstance(layer, Residual)]
    state = {}
    for name, value in module.state_dict().items():
        around = next((path for path in residuals if name.startswith(f"{path}.net.")), None)
        if around is not None and module.settings.generation == 1:
            stack, _, inner = around.partition(".net.0.net.")
            rest = name.removeprefix(f"{around}.net.")
            name = f"{stack}.net.branches.0.net.{inner}.net.aligned.branches.0.{rest}"
        elif around is not None:
            name = name.replace(f"{around}.net.", f"{around}.aligned.branches.0.net.")
        name = name.replace("decoder.synth.", "decoder.synth.branches.")
        is_statistic = name.endswith(("mean_x", "mean_y", "std_x", "std_y"))
        state[name] = value.repeat(64, 1, 1) if is_statistic else value
    for name, layer in module.named_modules():
        if isinstance(layer, NoiseGenerator):
            where = name.replace("synth.", "synth.branches.")
            state[f"{where}.target_size"] = torch.tensor(layer.settings.block)
    return {**state, "encoder.warmed_up": torch.tensor(1), "decoder.warmed_up": torch.tensor(1)}


def gin_of(settings: RaveSettings) -> str:
    """What training writes of its settings, as far as they are read."""
    generator, encoder = ("Generator", "Encoder") if settings.generation == 1 else ("GeneratorV2", "EncoderV2")
    wrapper, inner = ("Variational", "encoder") if settings.encoding == "variational" else ("Wassertein", "encoder_cls")
    decoder_ratios = settings.decoder.ratios[:: -1 if settings.generation == 1 else 1]
    lines = [
        "from __gin__ import dynamic_registration",
        f"N_BAND = {settings.bands}",
        f"model.RAVE.encoder = @blocks.{wrapper}Encoder",
        f"blocks.{wrapper}Encoder.{inner} = @scope/blocks.{encoder}",
        f"model.RAVE.decoder = @blocks.{generator}",
        f"model.RAVE.sampling_rate = {settings.sampling_rate}",
        f"model.RAVE.latent_size = {settings.latent_size}",
        "pqmf.CachedPQMF.n_band = %N_BAND",
        f"pqmf.CachedPQMF.attenuation = {settings.attenuation}",
        f"core.get_augmented_latent_size.noise_augmentation = {settings.augmentation}",
        "cc.Conv1d.bias = False",
        f"convs.get_padding.mode = {'causal' if settings.causal else 'centered'!r}",
        f"scope/blocks.{encoder}.capacity = {settings.encoder.capacity}",
        f"scope/blocks.{encoder}.ratios = {list(settings.encoder.ratios)}",
        f"blocks.{generator}.capacity = {settings.decoder.capacity}",
        f"blocks.{generator}.ratios = {list(decoder_ratios)}",
    ]
    if settings.generation == 1:
        lines += [
            "blocks.ResidualStack.kernel_sizes = [3]",
            f"blocks.ResidualStack.dilations_list = {list(map(list, settings.decoder.dilations))}",
            f"blocks.Generator.use_noise = {settings.noise is not None}",
        ]
    else:
        lines += [f"blocks.GeneratorV2.amplitude_modulation = {settings.amplitude}"]
        for name, half in ((f"scope/blocks.{encoder}", settings.encoder), (f"blocks.{generator}", settings.decoder)):
            dilations = list(map(list, half.dilations))
            lines += [f"{name}.kernel_size = {half.kernel}", f"{name}.dilations = {dilations}"]
        lines += ["blocks.GeneratorV2.activation = @blocks.Snake"] * settings.snake
        lines += ["blocks.GeneratorV2.adain = @blocks.AdaptiveInstanceNormalization"] * settings.adain
    if settings.noise:
        name = "NoiseGenerator" if settings.generation == 1 else "NoiseGeneratorV2"
        lines += ["blocks.GeneratorV2.noise_module = @blocks.NoiseGeneratorV2"] * (settings.generation == 2)
        lines += [f"blocks.{name}.ratios = {list(settings.noise.ratios)}"]
        lines += [f"blocks.{name}.noise_bands = {settings.noise.bands}"]
        lines += [f"blocks.{name}.hidden_size = {settings.noise.hidden}"] * (settings.generation == 2)
    return "\n".join(lines) + "\n"


def write_run(folder, module: Rave) -> None:
    """`config.gin` and, where Lightning puts them, the weights."""
    (folder / "version_0" / "checkpoints").mkdir(parents=True)
    (folder / "config.gin").write_text(gin_of(module.settings))
    saved = {"epoch": 3, "global_step": 100, "state_dict": state_of(module), "callbacks": {}}
    torch.save(saved, folder / "version_0" / "checkpoints" / "best.ckpt")


class Part(nn.Module):
    """A module of an export, of which only what it holds is read."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def write_export(path, module: Rave, streaming: bool, **facts: object) -> None:
    """A TorchScript archive with the tensors and the plain attributes that upstream's has."""
    settings, root = module.settings, Part()
    for name, value in state_of(module).items():
        *place, last = name.split(".")
        _part(root, place).register_buffer(last, value)
    paths = dict(zip(module.state_dict(), state_of(module)))
    for name, layer in module.named_modules():
        if not isinstance(layer, Conv | PastConv | nn.ConvTranspose1d | Analysis | Synthesis):
            continue
        part = _part(root, paths[f"{name}.weight"].split(".")[:-1])
        if isinstance(layer, nn.ConvTranspose1d):
            part.transposed = True
        elif isinstance(layer, Conv | Analysis | Synthesis):
            left, right = layer.ends
            if streaming:
                part.cumulative_delay = math.ceil(right / (BANDS if isinstance(layer, Analysis) else 1))
                part.cache = Part()
                part.cache.padding = left + right
            else:
                part._pad = (left, right)
    if settings.encoding == "variational":
        _part(root, ["encoder"]).beta = 1.0
    if settings.adain:
        root.fake_adain = AdaptiveStatistics()
    stated = {"sr": settings.sampling_rate, "latent_size": module.kept, "n_channels": 1, "input_mode": "pqmf"}
    for name, value in {**stated, **facts}.items():
        setattr(root, name, value)
    torch.jit.script(root).save(str(path))


class AdaptiveStatistics(Part):
    """Upstream's exports have one of no channels beside the network."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean_x", torch.zeros(64, 0, 1))


def _part(root: nn.Module, path: list[str]) -> nn.Module:
    for name in path:
        if not hasattr(root, name):
            root.add_module(name, Part())
        root = getattr(root, name)
    return root


def learned(module: Rave) -> None:
    """Gives the first normalisation statistics of a source and a target."""
    layer = next(layer for layer in module.modules() if isinstance(layer, AdaptiveNorm))
    for side, mean, deviation in (("x", 0.25, 2.0), ("y", -1.0, 3.0)):
        layer.get_buffer(f"mean_{side}").fill_(mean)
        layer.get_buffer(f"std_{side}").fill_(deviation)
        layer.get_buffer(f"num_update_{side}").fill_(1)
    module.settle()
