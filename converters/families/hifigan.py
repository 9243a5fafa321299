"""HiFi-GAN (Kong et al. 2020, arXiv 2010.05646) as coqui-tts builds it: V1, V2, V3 and any Coqui config.

One component, `generator`: log-mel in, waveform out; with `pre_linear` frames of another model's content, as kNN-VC's
plays them. It computes `HifiganGenerator.forward`; Coqui's `inference()` first repeats the outermost mel frames
`inference_padding` (5) times on both sides, so its output is 10 frames longer and its edges differ.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from checkpoints import CheckpointError
from checkpoints.coqui_audio import mel_settings
from checkpoints.load import LoadedCheckpoint
from converters.component import Component
from converters.options import Shape
from converters.parts import content_vocoder_component, shortest_input, vocoder_component
from converters.upstream.coqui import import_coqui
from converters.upstream.hifigan_variants import SnakeGenerator, TransformGenerator, reflect_at_the_ends
from runtime.speech.mel import Mel


def load(checkpoint: LoadedCheckpoint) -> nn.Module:
    """The generator with its weights, weight norm folded, in eval mode.

    Raises CheckpointError where config and weights do not fit together.
    """
    settings = dict(checkpoint.config.get("generator_model_params") or {})
    generator_name = checkpoint.config.get("generator_model", "hifigan_generator")
    if generator_name != "hifigan_generator":
        raise CheckpointError(
            f"checkpoint {checkpoint.name}: its config is of generator {generator_name!r}, which the family hifigan "
            "does not read"
        )
    if not settings:
        raise CheckpointError(
            f"checkpoint {checkpoint.name}: its config has no generator_model_params, which say how large a HiFi-GAN "
            "it is. See: python -m checkpoints inspect PATH"
        )
    settings["resblock_type"] = str(settings.get("resblock_type", "1"))
    settings.setdefault("in_channels", _mel_settings(checkpoint).n_mels)
    settings.setdefault("out_channels", 1)
    _check(checkpoint, settings)
    paddings = Padding.of(settings)
    variant = {name: settings.pop(name) for name in _VARIANTS if name in settings}
    settings = {name: value for name, value in settings.items() if name not in _PADDINGS}
    if "istft" in variant:
        settings["out_channels"] = variant["istft"]["n_fft"] + 2
    generator_class = import_coqui("TTS.vocoder.models.hifigan_generator").HifiganGenerator
    try:
        module: Any = generator_class(**settings)
    except TypeError as error:
        raise CheckpointError(f"checkpoint {checkpoint.name}: generator_model_params do not fit: {error}") from error
    for layer, padding in zip(module.ups, paddings):
        layer.padding, layer.output_padding = (padding.both,), (padding.output,)
    module.remove_weight_norm()  # the loader has folded the norm into the weights
    if "activation" in variant:
        module = SnakeGenerator(module, variant["activation"], variant["activation_logscale"], variant["final_tanh"])
    weights = checkpoint.weights_for(module, ("", "model_g.", "generator.", "waveform_decoder."))
    _refuse_more_layers(checkpoint, set(weights))
    module.load_state_dict(weights)
    if isinstance(module, SnakeGenerator):
        module.prepare()
    if variant.get("padding_mode") == "reflect":
        reflect_at_the_ends(module)
    if "istft" in variant:
        module = TransformGenerator(module, **variant["istft"])
    return module.eval().requires_grad_(False)


# In `generator_model_params`, beside coqui-tts's: what makes a network a relative of HiFi-GAN (checkpoints/layouts).
_VARIANTS = ("activation", "activation_logscale", "final_tanh", "istft", "padding_mode")


_SIZES = ("resblock_kernel_sizes", "resblock_dilation_sizes", "upsample_factors", "upsample_kernel_sizes",
          "upsample_initial_channel")  # fmt: skip


def _check(checkpoint: LoadedCheckpoint, settings: Mapping[str, Any]) -> None:
    """Raises CheckpointError for sizes that are missing, or that PyTorch takes as they are and fails on when the
    network is called."""
    missing = [name for name in _SIZES if settings.get(name) is None]
    if missing:
        raise CheckpointError(
            f"checkpoint {checkpoint.name}: its generator_model_params do not say {', '.join(missing)}, which nothing "
            "else tells"
        )
    bands = _mel_settings(checkpoint).n_mels
    if not settings.get("pre_linear") and settings["in_channels"] != bands:
        raise CheckpointError(
            f"checkpoint {checkpoint.name}: the generator takes {settings['in_channels']} bands (in_channels), its "
            f"audio config says num_mels {bands}"
        )
    strides, kernels = settings.get("upsample_factors", ()), settings.get("upsample_kernel_sizes", ())
    for stride, kernel in zip(strides, kernels):
        if kernel < stride:
            raise CheckpointError(
                f"checkpoint {checkpoint.name}: a transposed convolution of kernel {kernel} (upsample_kernel_sizes) "
                f"leaves gaps at stride {stride} (upsample_factors): no HiFi-GAN has one"
            )


def _refuse_more_layers(checkpoint: LoadedCheckpoint, built: set[str]) -> None:
    """Raises CheckpointError where residual blocks have more convolutions than are built: jik876's have three pairs, or
    two layers, whatever a config lists."""
    for key in checkpoint.weights:
        name = key[key.find("resblocks.") :]
        if _BLOCK_LAYER.fullmatch(name) and name not in built:
            raise CheckpointError(
                f"checkpoint {checkpoint.name} has {key}: residual blocks of three pairs of convolutions, or of two "
                "convolutions, are what HiFi-GAN has"
            )


_BLOCK_LAYER = re.compile(r"resblocks\.\d+\.convs\d?\.\d+\.weight")


def components(module: nn.Module, checkpoint: LoadedCheckpoint, shape: Shape) -> list[Component]:
    """The one component of the family: `mel (1, n_mels, T)` -> `audio (1, 1, hop_length * T)`, and a few samples more
    where an odd number is left of a kernel beyond its stride."""
    settings = checkpoint.config["generator_model_params"]
    geometry = Geometry.of({**settings, "resblock_type": str(settings.get("resblock_type", "1"))})
    audio = _mel_settings(checkpoint)
    hop_length = geometry.hop_length * settings.get("istft", {}).get("hop_length", 1)
    if hop_length != audio.hop_length:
        raise CheckpointError(
            f"checkpoint {checkpoint.name}: the generator upsamples by {hop_length}, "
            f"its audio config says hop_length {audio.hop_length}"
        )
    extra = geometry.extra
    if any(name in settings for name in _VARIANTS):
        return [_variant(module, settings, audio, shape)]
    computes = "HifiganGenerator.forward of coqui-tts (without the replicate padding of its inference())"
    reach = (geometry.left_frames, geometry.right_frames)
    content = checkpoint.config["generator_model_params"].get("pre_linear")
    if content:
        return [content_vocoder_component(ContentGenerator(module), computes, audio, content, shape, reach, extra)]
    return [vocoder_component(Generator(module), computes, audio, shape, reach, extra)]


def _variant(module: nn.Module, settings: Mapping[str, Any], audio: Mel, shape: Shape) -> Component:
    """A relative of HiFi-GAN, whose receptive field is read from the network."""
    computes = next(text for name, text in _COMPUTES.items() if name in settings)
    component = vocoder_component(Generator(module), computes, audio, shape)
    return replace(component, shortest=shortest_input(component))


_COMPUTES = {
    "activation": "BigVGAN.forward of NVIDIA/BigVGAN",
    "istft": "Generator.forward and TorchSTFT.inverse of rishikksh20/iSTFTNet-pytorch",
    "padding_mode": "HifiganGenerator.forward of SpeechBrain",
}


class Generator(nn.Module):
    """Coqui's generator with one tensor in and one out."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, mel: Tensor) -> Tensor:
        return self.generator(mel)


class ContentGenerator(nn.Module):
    """Coqui's generator behind its first linear layer; upstream takes frames as rows, here time is the last axis."""

    def __init__(self, generator: Any) -> None:
        super().__init__()
        self.into = _along_time(generator.lin_pre)
        del generator.lin_pre
        self.generator = generator

    def forward(self, content: Tensor) -> Tensor:
        """content (1, channels, T) -> samples (1, 1, hop_length * T)."""
        return self.generator(self.into(content))


def _along_time(linear: nn.Linear) -> nn.Conv1d:
    """A linear layer of rows as the convolution of kernel 1 that it is along time."""
    convolution = nn.Conv1d(linear.in_features, linear.out_features, 1)
    convolution.weight, convolution.bias = nn.Parameter(linear.weight.detach().unsqueeze(2)), linear.bias
    return convolution


# In `generator_model_params`, beside coqui-tts's: what other trainers give PyTorch's layers in place of its padding.
_PADDINGS = ("upsample_paddings", "upsample_output_paddings")


@dataclass(frozen=True)
class Padding:
    """A transposed convolution's `padding`, on both sides, and `output_padding`; coqui-tts has (kernel - stride) // 2
    and none."""

    both: int
    output: int

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> list[Padding]:
        """Of each upsampling layer. Raises CheckpointError where there are not as many, or PyTorch takes none such."""
        layers = list(zip(settings.get("upsample_factors", ()), settings.get("upsample_kernel_sizes", ())))
        both = settings.get(_PADDINGS[0]) or [(kernel - stride) // 2 for stride, kernel in layers]
        output = settings.get(_PADDINGS[1]) or [0] * len(layers)
        for name, values in zip(_PADDINGS, (both, output)):
            if len(values) != len(layers):
                raise CheckpointError(f"{name} has {len(values)} values for {len(layers)} upsampling layers")
        for (stride, kernel), padding, added in zip(layers, both, output):
            if added >= stride or kernel - stride - 2 * padding + added < 0:
                raise CheckpointError(
                    f"an upsampling layer of kernel {kernel}, stride {stride}, padding {padding} and output padding "
                    f"{added} gives fewer samples than its stride says, or PyTorch takes no such layer"
                )
        return [cls(*values) for values in zip(both, output)]


@dataclass(frozen=True)
class Geometry:
    """How far the generator sees, from its layer sizes alone (all counts in output samples).

    conv_pre and conv_post have kernel 7; a residual block adds (k-1)/2 * d per dilated convolution, and
    (k-1)/2 more for the second convolution of each pair in blocks of type 1; a transposed convolution of
    kernel k, stride s and padding p reads inputs ceil((t+p-k+1)/s) .. floor((t+p)/s) for its output t, and gives
    k - s - 2p samples, and its output padding, beyond T * s: `extra` of them are the generator's.
    """

    hop_length: int
    left_reach: int
    right_reach: int
    extra: int = 0

    @classmethod
    def of(cls, settings: dict[str, Any]) -> Geometry:
        second = 1 if settings["resblock_type"] == "1" else 0
        block = max(
            sum((kernel - 1) // 2 * (dilation + second) for dilation in dilations)
            for kernel, dilations in zip(settings["resblock_kernel_sizes"], settings["resblock_dilation_sizes"])
        )
        hop_length, left, right, extra = 1, 3, 3, 0
        layers = zip(settings["upsample_factors"], settings["upsample_kernel_sizes"], Padding.of(settings))
        for stride, kernel, padding in layers:
            left = left * stride + kernel - 1 - padding.both + block
            right = right * stride + padding.both + block
            extra = extra * stride + kernel - stride - 2 * padding.both + padding.output
            hop_length *= stride
        return cls(hop_length, left + 3, right + 3, extra)

    @property
    def left_frames(self) -> int:
        """Input frames before its own that a frame's first sample can depend on."""
        return self.left_reach // self.hop_length

    @property
    def right_frames(self) -> int:
        """Input frames after its own that a frame's last sample can depend on."""
        return (self.hop_length - 1 + self.right_reach) // self.hop_length


def _mel_settings(checkpoint: LoadedCheckpoint) -> Mel:
    return mel_settings(checkpoint.audio, checkpoint.stats)
