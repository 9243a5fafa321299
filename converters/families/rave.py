"""RAVE (Caillon and Esling 2021, arXiv 2111.05011): any sound to few latents a block, and those to the sound that it
was trained on; `v1`, `v2`, `v2_small`, `v3` and BRAVE's sizes, causal or not.

Components `encode` and `decode` are local in time and exact, block by block. Between them stand the latents, each
scaled and moved as a user asks. What upstream draws anew at each call is rows of noise that a block has by its number.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from checkpoints import CheckpointError
from checkpoints.load import LoadedCheckpoint
from converters.component import Component
from converters.options import ConversionError, Shape
from converters.parts import along_time, known_settings, time_axis
from converters.upstream.rave.from_gin import settings_of_gin
from converters.upstream.rave.from_script import settings_of_script
from converters.upstream.rave.layers import AdaptiveNorm
from converters.upstream.rave.network import Rave, renamed
from converters.upstream.rave.pqmf import filter_bank
from converters.upstream.rave.settings import RaveSettings
from runtime.bundle.conversion import Conversion, FeatureStage, LatentStage, LocalStage
from runtime.bundle.spec import TensorSpec
from runtime.speech.features import Samples, Sound
from runtime.speech.mel import Mel

_LARGEST_RATIO = 1 << 16  # samples of a block


def load(checkpoint: LoadedCheckpoint) -> nn.Module:
    """The networks with their weights in eval mode.

    Raises CheckpointError for a model of another architecture, and where config and weights do not fit.
    """
    try:
        settings = _settings(checkpoint)
    except CheckpointError as error:
        raise CheckpointError(f"checkpoint {checkpoint.name}: {error}") from error
    _check(checkpoint.name, settings)
    weights = {renamed(name): _first_row(name, weight) for name, weight in checkpoint.weights.items()}
    if settings.generation == 1 and not int(weights.get("decoder.warmed_up", torch.ones(()))):
        settings = dataclasses.replace(
            settings, noise=None
        )  # upstream adds it once the first phase of training is over
    if checkpoint.located.is_random:
        analysis, synthesis = filter_bank(settings.bands, settings.attenuation)
        module = Rave(settings, (analysis.shape[2], synthesis.shape[2]))
        draw(module)
        with torch.no_grad():
            module.pqmf.forward_conv.weight.copy_(analysis)
            module.pqmf.inverse_conv.weight.copy_(synthesis)
    else:
        names = [f"pqmf.{name}_conv.weight" for name in ("forward", "inverse")]
        taps = [weights[name].shape[-1] for name in names if name in weights]
        if len(taps) != 2:
            raise CheckpointError(f"checkpoint {checkpoint.name} is no RAVE of acids-rave 2: it lacks {names[0]}")
        module = Rave(settings, (taps[0], taps[1]))
    module.load_state_dict(dataclasses.replace(checkpoint, weights=weights).weights_for(module, ("",)))
    module.settle()
    return module.eval().requires_grad_(False)


def components(module: nn.Module, checkpoint: LoadedCheckpoint, shape: Shape) -> list[Component]:
    """`encode`: audio (1, 1, ratio · T) -> latents (1, kept, T); `decode`: latents and rows of noise (1, rows, T) ->
    audio (1, 1, ratio · T)."""
    assert isinstance(module, Rave)
    rate, ratio, frames = module.settings.sampling_rate, module.settings.ratio, time_axis(shape)
    samples = time_axis(shape, ratio)
    amplitude = "amplitude, full scale 1.0"
    rows = TensorSpec("latents", (1, module.kept + noise_rows(module), frames), "float32", "latents, then noise")
    return [
        along_time(
            Encode(module), "encode", (TensorSpec("audio", (1, 1, samples), "float32", amplitude),),
            TensorSpec("latents", (1, module.kept, frames), "float32", "latents"),
            "ScriptedRAVE.encode of acids-rave, the mean in place of a sample", rate, hop_length=ratio, positions=ratio,
        ),
        along_time(
            Decode(module), "decode", (rows,), TensorSpec("audio", (1, 1, samples), "float32", amplitude),
            "ScriptedRAVE.decode of acids-rave", rate, samples_per_frame=ratio,
            sound=Sound(rate, Mel(sample_rate=rate, n_fft=2048, win_length=2048, hop_length=512)),
        ),
    ]  # fmt: skip


def conversion(module: nn.Module, parts: Mapping[str, Component]) -> Conversion:
    """Audio, its latents, these as a user controls them, audio. Raises ConversionError for other parts."""
    assert isinstance(module, Rave)
    if parts:
        raise ConversionError(f"family rave has networks of its own: leave out model.parts.{min(parts)}")
    return Conversion(
        (
            FeatureStage("audio", Samples(module.settings.sampling_rate, module.settings.ratio)),
            LocalStage("encode", "encode", ("audio",)),
            LatentStage("latents", "encode"),
            LocalStage("decode", "decode", ("latents",), noise_rows(module)),
        )
    )


def notes(module: nn.Module, checkpoint: LoadedCheckpoint) -> list[str]:
    """What a user is to know of a model: what its normalisation does, and that an export streams whatever it was made
    for."""
    assert isinstance(module, Rave)
    norms = [layer for layer in module.modules() if isinstance(layer, AdaptiveNorm)]
    said = []
    if norms:
        is_learned = any(layer.is_learned for layer in norms)
        does = (
            "keeps the statistics that it had learned" if is_learned else "has learned no statistics, and does nothing"
        )
        said.append(f"its adaptive instance normalisation {does}: it does not learn while it plays")
    if "_pad" in checkpoint.layers.get("pqmf.forward_conv", {}):
        said.append("it was exported without --streaming, and would click in nn~: its network streams exactly here")
    return said


def noise_rows(module: Rave) -> int:
    """Rows of standard normal noise below the latents: those in place of latents, then those of the noise generator."""
    return module.completing + (module.settings.ratio if module.settings.noise else 0)


class Encode(nn.Module):
    def __init__(self, module: Rave) -> None:
        super().__init__()
        self.module = module

    def forward(self, audio: Tensor) -> Tensor:
        return self.module.encode(audio)


class Decode(nn.Module):
    """The decoder, which takes noise as rows below the latents; that of the noise generator becomes uniform."""

    def __init__(self, module: Rave) -> None:
        super().__init__()
        self.module = module
        self.taken = module.kept + module.completing

    def forward(self, latents: Tensor) -> Tensor:
        if self.module.settings.noise is None:
            return self.module.decode(latents, None)
        uniform = torch.erf(latents[:, self.taken :] * math.sqrt(0.5))
        return self.module.decode(latents[:, : self.taken], uniform)


def draw(module: Rave) -> None:
    """Scales drawn weights to a gain of one, which PyTorch's are below: through that many layers nothing would be left
    of a sound."""
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d):
                layer.weight *= math.sqrt(3)


# ---------------------------------------------------------------------------------------------------- the config


def _settings(checkpoint: LoadedCheckpoint) -> RaveSettings:
    """From the config's own section, from gin, or from the export itself."""
    config = checkpoint.config
    if "rave" in config:
        return known_settings(RaveSettings, config["rave"])
    if "gin" in config:
        settings = settings_of_gin(config["gin"])
    elif checkpoint.layers:
        settings = settings_of_script(checkpoint.weights, checkpoint.layers)
    else:
        raise CheckpointError("it is no RAVE: what it is built of is in the config.gin that training wrote beside it")
    return known_settings(RaveSettings, dataclasses.asdict(settings))


def _first_row(name: str, weight: Tensor) -> Tensor:
    """Of the statistics that upstream keeps for each item of a batch, those of the first."""
    is_statistic = name.endswith((".mean_x", ".mean_y", ".std_x", ".std_y"))
    return weight[:1] if is_statistic else weight


def _check(name: str, settings: RaveSettings) -> None:
    """Raises CheckpointError for settings of which no network comes that streams on a grid of whole blocks."""
    encoder, decoder = settings.encoder, settings.decoder
    if math.prod(encoder.ratios) != math.prod(decoder.ratios) or not encoder.ratios:
        raise CheckpointError(
            f"checkpoint {name}: its encoder's ratios {encoder.ratios} and its decoder's {decoder.ratios} differ"
        )
    odd = [ratio for ratio in decoder.ratios if ratio % 2 and not (ratio == 1 and settings.generation == 1)]
    if odd or math.prod(encoder.ratios) % 2 or settings.ratio > _LARGEST_RATIO:
        raise CheckpointError(
            f"checkpoint {name}: ratios {decoder.ratios} make blocks that do not follow each other evenly; upstream's "
            f"layers need even ones, and blocks of at most {_LARGEST_RATIO} samples"
        )
    if settings.noise and math.prod(encoder.ratios) % settings.noise.block:
        raise CheckpointError(
            f"checkpoint {name}: its noise has blocks of {settings.noise.block} positions, which do not fill "
            f"{math.prod(encoder.ratios)}"
        )
