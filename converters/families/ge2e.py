"""Speaker encoders: Real-Time-Voice-Cloning's GE2E (Wan et al. 2018, arXiv 1710.10467), Coqui's LSTM and ResNet ones.

One component, `encoder`: mel windows in, an embedding of length 1 for each out. What stands around it (level, silence,
windows, the mean over them) is the runtime's (runtime/speech/speaker.py).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from checkpoints import CheckpointError
from checkpoints.coqui_audio import mel_settings
from checkpoints.load import LoadedCheckpoint
from converters.component import Component
from converters.options import ConversionError, Shape
from converters.upstream.coqui import import_coqui
from runtime.bundle.spec import Dim, TensorSpec
from runtime.speech.speaker import SpeakerMel

# Real-Time-Voice-Cloning's encoder/params_model.py; the checkpoint itself has no config.
RTVC_HIDDEN, RTVC_LAYERS, RTVC_EMBEDDING = 256, 3, 256
RTVC_NORM_FLOOR = 1e-5  # its forward adds it to the norm; Resemblyzer, which shares the weights, does not
BATCHES = (1, 3, 9)


class RTVCEncoder(nn.Module):
    """LSTM over a window's frames, the last hidden state through a linear layer and ReLU."""

    def __init__(self, n_mels: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(n_mels, RTVC_HIDDEN, RTVC_LAYERS, batch_first=True)
        self.linear = nn.Linear(RTVC_HIDDEN, RTVC_EMBEDDING)

    def forward(self, mels: Tensor) -> Tensor:
        """mels (N, T, n_mels) -> (N, 256), each of length 1."""
        _, (hidden, _) = self.lstm(mels)
        embedding = F.relu(self.linear(hidden[-1]))
        return embedding / (torch.linalg.vector_norm(embedding, dim=1, keepdim=True) + RTVC_NORM_FLOOR)


class CoquiEncoder(nn.Module):
    """Coqui's encoder behind its mel spectrogram; it normalises each window over time itself."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, mels: Tensor) -> Tensor:
        """mels (N, T, n_mels) -> (N, D), each of length 1."""
        return self.encoder(mels.transpose(1, 2), l2_norm=True)


def load(checkpoint: LoadedCheckpoint) -> nn.Module:
    """The encoder with its weights, in eval mode: with a Coqui config Coqui's, else Real-Time-Voice-Cloning's.

    Raises CheckpointError where config and weights do not fit together.
    """
    settings = checkpoint.config.get("model_params")
    if settings:
        return _coqui(checkpoint, dict(settings))
    module = RTVCEncoder(_speaker_settings(checkpoint).n_mels)
    module.load_state_dict(checkpoint.weights_for(module, ("",)))
    return module.eval().requires_grad_(False)


def components(module: nn.Module, checkpoint: LoadedCheckpoint, shape: Shape) -> list[Component]:
    """The one component of the family: `mels (N, 160, n_mels)` -> `embeddings (N, D)`."""
    if shape.flexible:
        raise ConversionError("a speaker encoder takes windows of a fixed length: leave out shape=flexible")
    settings = _speaker_settings(checkpoint)
    size = (settings.partial_frames, settings.n_mels)
    windows = Dim(1, 4096, 2)
    with torch.inference_mode():
        dimensions = module(torch.zeros(1, *size)).shape[1]
    return [
        Component(
            name="encoder",
            module=module,
            inputs=(TensorSpec("mels", (windows, *size), "float32", settings.unit),),
            outputs=(TensorSpec("embeddings", (windows, dimensions), "float32", "of length 1"),),
            example=lambda: {"mels": torch.rand(2, *size, generator=torch.Generator().manual_seed(0))},
            computes=(
                "LSTMSpeakerEncoder or ResNetSpeakerEncoder.forward of coqui-tts, l2_norm=True"
                if isinstance(module, CoquiEncoder)
                else "SpeakerEncoder.forward of Real-Time-Voice-Cloning"
            ),
            features=settings,
            sizes=BATCHES,
        )
    ]


def _coqui(checkpoint: LoadedCheckpoint, settings: dict[str, Any]) -> nn.Module:
    name = str(settings.pop("model_name", "lstm")).lower()
    models = {"lstm": ("lstm", "LSTMSpeakerEncoder"), "resnet": ("resnet", "ResNetSpeakerEncoder")}
    if name not in models:
        raise CheckpointError(f"checkpoint {checkpoint.name}: no speaker encoder {name!r}; there is: lstm, resnet")
    file, class_name = models[name]
    # The spectrogram is the runtime's; with torchaudio's in front the module would take samples.
    settings["use_torch_spec"] = False
    try:
        encoder = getattr(import_coqui(f"TTS.encoder.models.{file}"), class_name)(**settings)
    except TypeError as error:
        raise CheckpointError(f"checkpoint {checkpoint.name}: model_params do not fit: {error}") from error
    encoder.load_state_dict(checkpoint.weights_for(encoder, ("",)))
    return CoquiEncoder(encoder).eval().requires_grad_(False)


def _speaker_settings(checkpoint: LoadedCheckpoint) -> SpeakerMel:
    audio, settings = checkpoint.audio, checkpoint.config.get("model_params")
    if not settings:
        return SpeakerMel()
    # compute_embedding of coqui-tts: ten windows of 250 frames, evenly; no level, no silence cut
    common: dict[str, Any] = {"partial_frames": 250, "spread": 10, "level_dbfs": None, "trims_silence": False}
    mel = mel_settings(audio, checkpoint.stats)
    common |= {"sample_rate": mel.sample_rate, "n_mels": mel.n_mels, "hop_length": mel.hop_length}
    if not settings.get("use_torch_spec"):
        return SpeakerMel(**common, mel=mel)
    spectrum: dict[str, Any] = {"n_fft": mel.n_fft, "win_length": mel.win_length, "window": "hamming", "htk": True}
    return SpeakerMel(**common, **spectrum, preemphasis=mel.preemphasis)
