"""Whisper's encoder (Radford et al. 2022, arXiv 2212.04356) as a reader of content, and conversion without training.

One component, `content`: a window's log-mel in, the residual stream after one of the middle layers out: there words are
plain and the speaker is not. A vocoder's mel is matched by it among a target's frames (k nearest neighbours, arXiv
2305.18975), so that anybody's recordings are a voice.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from checkpoints import CheckpointError
from checkpoints.load import LoadedCheckpoint
from converters.component import Component
from converters.options import ConversionError, Shape
from converters.parts import pitch_stages
from converters.upstream.whisper import HEAD_CHANNELS, ContentEncoder
from runtime.bundle.conversion import (
    Context,
    ContextName,
    Conversion,
    FeatureStage,
    LocalStage,
    MatchStage,
    WindowedStage,
)
from runtime.bundle.spec import TensorSpec
from runtime.speech.bark import Bark
from runtime.speech.mel import Mel
from runtime.speech.spectrum import Level, Pitch

# log_mel_spectrogram of whisper/audio.py, before the maximum over the audio
MEL = Mel(
    sample_rate=16000, n_fft=400, win_length=400, hop_length=160, fmax=8000.0, power=2, gain=1.0, amplitude_floor=1e-10,
    signal_norm=False,
)  # fmt: skip
EVERY = 2  # of a target's frames, which overlap by three quarters: as many words, half of the time and memory
PITCH_THRESHOLD = 0.3  # YIN's, higher than its authors': at 0.15 it misses 40 % of what is voiced (benchmarks.pitch)
BARK_WINDOW = 640  # samples at 16 kHz, of the pitch and the level beside Bark cepstra
WINDOW = 200  # mel frames, two seconds
CONTEXTS: dict[ContextName, Context] = {
    "offline": Context(past=50, chunk=100, future=50),
    "live": Context(past=150, chunk=20, future=30),
}


def load(checkpoint: LoadedCheckpoint) -> ContentEncoder:
    """The encoder with its weights up to two thirds of its layers. Raises CheckpointError for what is no Whisper."""
    weights = checkpoint.weights
    if "encoder/conv1/weight" not in weights:
        raise CheckpointError(
            f"checkpoint {checkpoint.name} holds no encoder of Whisper in the format of CTranslate2 (model.bin)"
        )
    channels, bands, _ = weights["encoder/conv1/weight"].shape
    count = sum(name.endswith("/self_attention/linear_0/weight") and name.startswith("encoder/") for name in weights)
    if channels % HEAD_CHANNELS or bands != MEL.n_mels:
        raise CheckpointError(f"checkpoint {checkpoint.name}: {channels} channels and {bands} bands are no Whisper's")
    module = ContentEncoder(bands, channels, round(2 * count / 3), WINDOW // 2)
    try:
        module.load_state_dict(named_as_ours(weights, module))
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(f"checkpoint {checkpoint.name} does not hold a whole encoder: {error}") from error
    return module.eval().requires_grad_(False)


def components(module: ContentEncoder, checkpoint: LoadedCheckpoint, shape: Shape) -> list[Component]:
    """The one component of the family: `mel (1, 80, 200)` -> `content (1, channels, 100)`."""
    if shape.flexible:
        raise ConversionError("a content encoder takes windows of a fixed length: leave out shape=flexible")
    positions, channels = module.positions.shape
    mel = TensorSpec("mel", (1, MEL.n_mels, 2 * positions), "float32", "log10 of power")
    return [
        Component(
            name="content",
            module=module,
            inputs=(mel,),
            outputs=(TensorSpec("content", (1, channels, positions), "float32", "residual stream"),),
            example=lambda: {"mel": torch.randn(mel.default_shape, generator=torch.Generator().manual_seed(0))},
            computes=f"AudioEncoder.forward of whisper up to layer {len(module.layers)}, over a window",
        )
    ]


def conversion(module: ContentEncoder, parts: Mapping[str, Component]) -> Conversion:
    """How a bundle of the encoder and a vocoder converts; `parts.pitch` detects the pitch instead of YIN.

    Raises ConversionError without a vocoder of a mel, or of Bark cepstra.
    """
    vocoder = parts.get("vocoder")
    if vocoder is None or not isinstance(vocoder.features, Mel | Bark):
        raise ConversionError("family whisper gives a mel: choose what plays it with model.parts.vocoder.family")
    mel = vocoder.features
    if isinstance(mel, Mel):
        _require_plain(mel)
    window = mel.n_fft if isinstance(mel, Mel) else BARK_WINDOW
    pitch = Pitch(mel.sample_rate, window, mel.hop_length, threshold=PITCH_THRESHOLD)
    return Conversion(
        (
            FeatureStage("speech_mel", MEL),
            WindowedStage("content", "content", ("speech_mel",), CONTEXTS, frames_per_output=2, fill=-10.0),
            *pitch_stages(pitch, parts.get("pitch")),
            FeatureStage("level", Level(mel.sample_rate, window, mel.hop_length)),
            MatchStage("matched", "content", mel, "pitch", "level", every=EVERY),
            LocalStage("vocoder", vocoder.name, ("matched",)),
        ),
        target="pool",
    )


def _require_plain(mel: Mel) -> None:
    """Raises ConversionError for a mel whose frames are not matched and made softer one by one."""
    if mel.noise_rows:
        raise ConversionError("family whisper gives a mel without noise: take a vocoder that needs none")
    if mel.signal_norm:
        raise ConversionError(
            "family whisper takes a vocoder whose mel is not normalised, so that it can be made softer"
        )
    if mel.framing != "inset":
        raise ConversionError("family whisper takes a vocoder whose mel is framed as HiFi-GAN's own training does")


def named_as_ours(weights: Mapping[str, Tensor], module: ContentEncoder) -> dict[str, Tensor]:
    """CTranslate2's names as ours; positions beyond the window are left out."""

    def layer(index: int, theirs: str, ours: str) -> dict[str, Tensor]:
        names = {"weight": "gamma", "bias": "beta"} if theirs.endswith("norm") else {"weight": "weight", "bias": "bias"}
        return {f"layers.{index}.{ours}.{name}": weights[f"encoder/layer_{index}/{theirs}/{their}"]
                for name, their in names.items()}  # fmt: skip

    state = {f"{ours}.{kind}": weights[f"encoder/{theirs}/{kind}"]
             for theirs, ours in (("conv1", "into"), ("conv2", "down")) for kind in ("weight", "bias")}  # fmt: skip
    state["positions"] = weights["encoder/position_encodings/encodings"][: len(module.positions)]
    for index in range(len(module.layers)):
        for theirs, ours in _LAYER.items():
            state |= layer(index, theirs, ours)
    return state


_LAYER = {
    "self_attention/layer_norm": "attention_norm",
    "self_attention/linear_0": "query_key_value",
    "self_attention/linear_1": "out",
    "ffn/layer_norm": "norm",
    "ffn/linear_0": "wide",
    "ffn/linear_1": "narrow",
}
