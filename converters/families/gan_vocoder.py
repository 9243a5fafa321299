"""Vocoders of coqui-tts beside HiFi-GAN: MelGAN (Kumar et al. 2019, arXiv 1910.06711), multi-band and full-band MelGAN
(Yang et al. 2020, arXiv 2005.05106), Parallel WaveGAN (Yamamoto et al. 2019, arXiv 1910.11480), UnivNet (Jang et al.
2021, arXiv 2106.07889).

One component, `generator`: log-mel in, waveform out, upstream's `forward` without the frames that its `inference()`
repeats at both ends. Upstream draws noise within the last two; here it comes with the mel, in rows below its bands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from checkpoints import CheckpointError
from checkpoints.coqui_audio import mel_settings
from checkpoints.load import LoadedCheckpoint
from converters.component import Component
from converters.options import Shape
from converters.parts import shortest_input, vocoder_component
from converters.upstream.coqui import import_coqui
from converters.upstream.layers import remove_weight_norm
from ops.location_variable import location_variable_conv


@dataclass(frozen=True)
class _Kind:
    """`fixed`: what coqui-tts's setup_generator gives, whatever the config says; `parameters`: of the config."""

    family: str
    class_name: str
    wrap: Callable[[Any], nn.Module]
    fixed: Mapping[str, Any]
    parameters: tuple[str, ...]


class Melgan(nn.Module):
    noise_rows = 0

    def __init__(self, generator: Any) -> None:
        super().__init__()
        self.layers, self.bands = generator.layers, getattr(generator, "pqmf_layer", None)

    def forward(self, mel: Tensor) -> Tensor:
        """mel (1, n_mels, T) -> audio (1, 1, hop_length * T)."""
        audio = self.layers(mel)
        return audio if self.bands is None else self.bands.synthesis(audio)


class ParallelWavegan(nn.Module):
    """Coqui's generator, or with `context` kan-bayashi's: it sees so many frames more on both sides, the ends repeated,
    and scales what a layer passes on by the root of a half, where Coqui's takes a quarter."""

    def __init__(self, generator: Any, context: int | None = None) -> None:
        super().__init__()
        self.generator, self.bands, self.context = generator, generator.aux_channels, context or 0
        self.rescale = 1.0 if context is None else math.sqrt(0.5) / 0.5**2
        self.noise_rows: int = int(generator.upsample_scale)

    def forward(self, mel: Tensor) -> Tensor:
        """mel (1, n_mels + hop_length, T), below its bands a row of noise for each sample of a frame -> audio."""
        network = self.generator
        bands = mel[:, : self.bands]
        if self.context:
            bands = F.pad(bands, (self.context, self.context), mode="replicate")
        conditioning = network.upsample_net(bands)
        x = network.first_conv(mel[:, self.bands :].transpose(1, 2).reshape(1, 1, -1))
        skips: Tensor | None = None
        for layer in network.conv_layers:
            x, skip = layer(x, conditioning)
            x = x * self.rescale if self.rescale != 1.0 else x
            skips = skip if skips is None else skips + skip
        assert skips is not None
        x = skips * math.sqrt(1.0 / len(network.conv_layers))
        for layer in network.last_conv_layers:
            x = F.relu(x) if isinstance(layer, nn.ReLU) else layer(x)  # upstream's works in place
        return x


class Univnet(nn.Module):
    def __init__(self, generator: Any) -> None:
        super().__init__()
        self.generator, self.bands = generator, generator.cond_channels
        self.noise_rows: int = generator.in_channels

    def forward(self, mel: Tensor) -> Tensor:
        """mel (1, n_mels + in_channels, T), below its bands the noise that it starts from -> audio."""
        network, condition = self.generator, mel[:, : self.bands]
        x = network.first_conv(mel[:, self.bands :])
        for block in network.lvc_blocks:
            x = _location_variable_block(block, x, condition)
        for layer in network.last_conv_layers:
            x = layer(F.leaky_relu(x, _UNIVNET_SLOPE))
        return torch.tanh(x)


_UNIVNET_SLOPE = 0.1  # LRELU_SLOPE of coqui-tts's univnet_generator


def _location_variable_block(block: Any, x: Tensor, condition: Tensor) -> Tensor:
    """LVCBlock.forward."""
    predictor = block.kernel_predictor
    hidden = predictor.input_conv(condition)
    hidden = hidden + predictor.residual_conv(hidden)
    sizes = (predictor.conv_in_channels, predictor.conv_out_channels, predictor.conv_kernel_size)
    kernels, biases = predictor.kernel_conv(hidden), predictor.bias_conv(hidden)
    channels, each = sizes[0], math.prod(sizes)
    x = block.upsample(F.leaky_relu(x, 0.2))
    for index, conv in enumerate(block.convs):
        y = F.leaky_relu(conv(F.leaky_relu(x, 0.2)), 0.2)
        kernel = kernels[:, index * each : (index + 1) * each].reshape(*sizes, -1)
        bias = biases[:, index * sizes[1] : (index + 1) * sizes[1]].reshape(sizes[1], -1)
        y = location_variable_conv(y, kernel, bias, block.cond_hop_length)
        x = x + torch.sigmoid(y[:, :channels]) * torch.tanh(y[:, channels:])
    return x


_MELGAN = ("upsample_factors", "num_res_blocks")
_WAVEGAN = {"in_channels": 1, "out_channels": 1, "kernel_size": 3, "res_channels": 64, "gate_channels": 128,
            "skip_channels": 64}  # fmt: skip
_KINDS = {
    "melgan_generator": _Kind("melgan", "MelganGenerator", Melgan, {"out_channels": 1, "base_channels": 512}, _MELGAN),
    "multiband_melgan_generator": _Kind(
        "melgan", "MultibandMelganGenerator", Melgan, {"out_channels": 4, "base_channels": 384}, _MELGAN
    ),
    "fullband_melgan_generator": _Kind(
        "melgan", "FullbandMelganGenerator", Melgan, {"out_channels": 1, "base_channels": 512}, _MELGAN
    ),
    "parallel_wavegan_generator": _Kind(
        "parallel_wavegan", "ParallelWaveganGenerator", ParallelWavegan, _WAVEGAN, (*_MELGAN, "stacks")
    ),
    "univnet_generator": _Kind("univnet", "UnivnetGenerator", Univnet, {}, ()),
}


def load(checkpoint: LoadedCheckpoint) -> nn.Module:
    """The generator with its weights, weight norm folded, in eval mode.

    Raises CheckpointError where config and weights do not fit together.
    """
    kind, settings = _kind(checkpoint), dict(checkpoint.config.get("generator_model_params") or {})
    n_mels = mel_settings(checkpoint.audio, checkpoint.stats).n_mels
    if kind.parameters:
        settings = {name: settings[name] for name in kind.parameters if name in settings} | dict(kind.fixed)
        settings["aux_channels" if kind.wrap is ParallelWavegan else "in_channels"] = n_mels
    else:
        settings["cond_channels"] = n_mels
    module_name = str(checkpoint.config["generator_model"])
    try:
        generator: Any = getattr(import_coqui(f"TTS.vocoder.models.{module_name}"), kind.class_name)(**settings)
    except (TypeError, ValueError, AssertionError) as error:
        raise CheckpointError(f"checkpoint {checkpoint.name}: generator_model_params do not fit: {error}") from error
    remove_weight_norm(generator)
    context = (checkpoint.config.get("generator_model_params") or {}).get("aux_context_window")
    if context is not None and kind.wrap is ParallelWavegan:
        generator.upsample_net.conv_in = nn.Conv1d(n_mels, n_mels, 2 * context + 1, bias=False)
    generator.load_state_dict(checkpoint.weights_for(generator, ("", "model_g.", "generator.")))
    wrapped = ParallelWavegan(generator, context) if kind.wrap is ParallelWavegan else kind.wrap(generator)
    return wrapped.eval().requires_grad_(False)


def components(module: nn.Module, checkpoint: LoadedCheckpoint, shape: Shape) -> list[Component]:
    """The one component of the family: `mel (1, n_mels + noise_rows, T)` -> `audio (1, 1, hop_length * T)`."""
    kind, features = _kind(checkpoint), mel_settings(checkpoint.audio, checkpoint.stats)
    assert isinstance(module, (Melgan, ParallelWavegan, Univnet))
    features = replace(features, noise_rows=module.noise_rows)
    with torch.inference_mode():
        samples = module(torch.zeros(1, features.n_mels + features.noise_rows, shape.frames)).shape[2]
    if samples != shape.frames * features.hop_length:
        raise CheckpointError(
            f"checkpoint {checkpoint.name}: the generator makes {samples} samples of {shape.frames} frames, its audio "
            f"config says hop_length {features.hop_length}"
        )
    computes = f"{kind.class_name}.forward of coqui-tts (without the replicate padding of its inference())"
    component = vocoder_component(module, computes, features, shape)
    return [replace(component, shortest=shortest_input(component))]


def _kind(checkpoint: LoadedCheckpoint) -> _Kind:
    name, family = checkpoint.config.get("generator_model"), checkpoint.located.family
    fitting = [known for known, kind in _KINDS.items() if kind.family == family]
    if name not in fitting:
        raise CheckpointError(
            f"checkpoint {checkpoint.name}: its config is of generator {name!r}, the family {family} reads "
            f"generator_model: {', '.join(fitting)}"
        )
    return _KINDS[name]
