"""HiFi-GAN of SpeechBrain: `generator.ckpt` and `hyperparams.yaml`. Its convolutions reflect what lies beyond the ends,
where jik876's see zeros.

The mel is lobes/models/HifiGAN.py's `mel_spectrogram`: centred with reflection, magnitudes, Slaney bands,
ln(max(., 1e-5)).
The published hyperparams.yaml of a vocoder does not say of what audio: add it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from checkpoints import CheckpointError
from checkpoints.layouts.reading import Place, Reading, hop_of

if TYPE_CHECKING:
    from torch import Tensor

TITLE = "HiFi-GAN of SpeechBrain"
_NETWORK = {"resblock_dilation_sizes": [[1, 3, 5]] * 3, "resblock_kernel_sizes": [3, 7, 11]}
_MEL = {"sample_rate": "sample_rate", "hop_length": "hop_length", "win_length": "win_length", "fft_size": "n_fft",
        "mel_fmin": "mel_fmin", "mel_fmax": "mel_fmax"}  # fmt: skip
_LJSPEECH = "sample_rate: 22050, hop_length: 256, win_length: 1024, n_fft: 1024, mel_fmin: 0.0, mel_fmax: 8000.0"


def recognise(place: Place) -> Reading | None:
    config = place.yaml("hyperparams.yaml")
    if "upsample_factors" not in config or "generator" not in config:
        return None
    weights = place.weights("generator.ckpt", "*.ckpt")
    if not weights:
        raise CheckpointError(f"{place.folder} has a hyperparams.yaml of {TITLE}, and no generator.ckpt")
    if config.get("cond_channels"):
        return Reading("speechbrain", TITLE, weights=weights[-1], needs="it is conditioned on a speaker or a code")
    network = ("in_channels", "resblock_type", "upsample_kernel_sizes", "upsample_initial_channel", *_NETWORK)
    silent = [name for name in network if config.get(name) is None]
    needs = [f"{', '.join(silent)} as it was trained"] if silent else []
    # names of the recipe's train.yaml, which a copy may have kept
    audio = {ours: config.get(theirs, config.get(theirs.removeprefix("mel_"))) for ours, theirs in _MEL.items()}
    if any(value is None for value in audio.values()):
        needs.append(
            f"the audio it was trained on, of which its mel is made: {_LJSPEECH} is what the LJSpeech recipe has"
        )
    if needs:
        return Reading(
            "speechbrain", TITLE, weights=weights[-1],
            needs=f"its hyperparams.yaml does not say enough. Add there {'; and '.join(needs)}",
        )  # fmt: skip
    if hop_of(config["upsample_factors"]) != audio["hop_length"]:
        raise CheckpointError(f"{place.folder}: its upsample_factors do not make hop_length {audio['hop_length']}")
    settings = {name: config[name] for name in (*network, "upsample_factors")}
    settings |= {"resblock_type": str(settings["resblock_type"]), "out_channels": 1, "padding_mode": "reflect",
                 "conv_post_bias": bool(config.get("conv_post_bias", True))}  # fmt: skip
    ours = {
        "generator_model": "hifigan_generator",
        "generator_model_params": settings,
        "audio": {**audio, "num_mels": config["in_channels"], "log_func": "np.log", "spec_gain": 1.0,
                  "amplitude_floor": 1e-5, "signal_norm": False},
    }  # fmt: skip
    return Reading("speechbrain", TITLE, "hifigan", weights[-1], ours)


def renamed(weights: Mapping[str, Tensor], _: Mapping[str, Any]) -> dict[str, Tensor]:
    """A convolution is a module in a module there."""
    return {key.replace(".conv.", "."): value for key, value in weights.items()}
