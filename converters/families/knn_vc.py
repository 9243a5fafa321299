"""kNN-VC (Baas, van Niekerk and Kamper 2023, arXiv 2305.18975): the target's own content, matched and played.

One component, `content`: WavLM up to its sixth layer, in windows. Each of its frames is replaced by the mean of the
four of the target that are nearest to it, and a HiFi-GAN that reads content plays that (`model.parts.vocoder`). Nothing
is trained for a voice. As upstream, audio is not normalised, though WavLM-Large was trained on audio that was. Upstream
cuts silence from both ends of a target by a detector of voices; here it stays in the pool, so that a source's silence
finds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from checkpoints import CheckpointError
from checkpoints.load import LoadedCheckpoint
from converters.component import Component
from converters.options import ConversionError, Shape
from converters.parts import known_settings
from converters.upstream.wavlm import CONTEXTS, HOP, SAMPLE_RATE, SAMPLES, WavLM, content_component, load_wavlm
from runtime.bundle.conversion import Conversion, FeatureStage, LocalStage, MatchStage, WindowedStage


@dataclass(frozen=True)
class KNNVCSettings:
    """What a config says beyond WavLM's own; defaults of coqui-tts's KNNVCConfig."""

    wavlm_layer: int = 6
    topk: int = 4


class KNNVC(nn.Module):
    def __init__(self, wavlm: WavLM, settings: KNNVCSettings) -> None:
        super().__init__()
        self.wavlm, self.settings = wavlm, settings


def load(checkpoint: LoadedCheckpoint) -> KNNVC:
    """WavLM up to the layer that is matched. Raises CheckpointError where config and weights do not fit."""
    try:
        settings = known_settings(KNNVCSettings, checkpoint.config)
    except ValueError as error:
        raise CheckpointError(f"checkpoint {checkpoint.name}: its config does not fit: {error}") from error
    return KNNVC(load_wavlm(checkpoint, layers=settings.wavlm_layer), settings).eval()


def components(module: KNNVC, checkpoint: LoadedCheckpoint, shape: Shape) -> list[Component]:
    """The one component of the family, `content`; its vocoder is a model of its own."""
    return [content_component(module.wavlm)]


def conversion(module: KNNVC, parts: Mapping[str, Component]) -> Conversion:
    """How a bundle of WavLM and a vocoder converts. Raises ConversionError without a vocoder of WavLM's content."""
    vocoder = parts.get("vocoder")
    if vocoder is None or vocoder.time is None:
        raise ConversionError("family knn_vc gives content: choose what plays it with model.parts.vocoder.family")
    channels = vocoder.inputs[0].default_shape[1]
    if vocoder.features is not None or channels != module.wavlm.channels:
        raise ConversionError(
            f"family knn_vc gives content of {module.wavlm.channels} channels: take a vocoder of that, such as "
            "prematched_wavlm_hifigan"
        )
    if vocoder.time.frame_seconds != HOP / SAMPLE_RATE:
        raise ConversionError(f"family knn_vc gives frames of {1e3 * HOP / SAMPLE_RATE:g} ms, the vocoder takes others")
    return Conversion(
        (
            FeatureStage("samples", SAMPLES),
            WindowedStage("content", "content", ("samples",), CONTEXTS),
            MatchStage("matched", "content", neighbours=module.settings.topk, centred=False),
            LocalStage("vocoder", vocoder.name, ("matched",)),
        ),
        target="pool",
    )
