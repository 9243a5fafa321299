"""jik876/hifi-gan (V1 to V3, UNIVERSAL), and every repository that kept its config.json: `g_02500000` or
`generator.pth`, the state dict under `generator`.

The mel is meldataset.py's `mel_spectrogram`: reflected by (n_fft - hop_size) / 2, no centring, sqrt(|X|^2 + 1e-9),
librosa's Slaney bands, ln(max(., 1e-5)).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from checkpoints import CheckpointError
from checkpoints.layouts.reading import Place, Reading, hifigan_settings, require

if TYPE_CHECKING:
    from torch import Tensor

TITLE = "HiFi-GAN of jik876/hifi-gan"
NAMES = ("g_*", "generator*", "*_generator.*", "*.pth", "*.pt", "*.bin", "*.safetensors", "*.ckpt", "*.pth.tar")
OTHERS = ("do_*", "*discriminator*", "*optimizer*", "*.json", "*.index.json", "*.txt", "*.md")
NSF_NEEDS = (
    "it takes a pitch beside the mel, from which it draws a sine and eight overtones. voxport has that source with one "
    "sine (model=rvc); a family with nine, and a way to give a vocoder its pitch, would be needed"
)
_NETWORK = ("resblock_kernel_sizes", "resblock_dilation_sizes", "upsample_rates", "upsample_kernel_sizes",
            "upsample_initial_channel")  # fmt: skip
_MEL = ("sampling_rate", "n_fft", "hop_size", "win_size", "num_mels")


def recognise(place: Place) -> Reading | None:
    config = place.json
    if not is_its_config(config):
        return None
    weights = place.weights(*NAMES, but=OTHERS)
    if not weights:
        raise CheckpointError(f"{place.folder} has a config of {TITLE}, and no file with its generator (g_…)")
    return Reading("jik876", TITLE, "hifigan", weights[-1], hifigan_config(config), notes=which_of(weights))


def is_its_config(config: Mapping[str, Any]) -> bool:
    return "upsample_rates" in config and "resblock" in config and "num_mels" in config


def which_of(weights: list[Any]) -> tuple[str, ...]:
    """Says which of several files was taken."""
    if len(weights) < 2:
        return ()
    return (f"of {', '.join(path.name for path in weights)} it is {weights[-1].name}; for another, give its path",)


def hifigan_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Its config in ours. Raises CheckpointError that names what it does not say."""
    require(config, (*_NETWORK, *_MEL), "its config.json")
    return {
        "generator_model": "hifigan_generator",
        "generator_model_params": hifigan_settings(config, config["num_mels"]),
        "audio": mel(config),
    }


def mel(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "sample_rate": config["sampling_rate"],
        "fft_size": config["n_fft"],
        "win_length": config["win_size"],
        "hop_length": config["hop_size"],
        "num_mels": config["num_mels"],
        "mel_fmin": config.get("fmin") or 0.0,
        "mel_fmax": config.get("fmax"),
        "framing": "hifigan",
        "log_func": "np.log",
        "spec_gain": 1.0,
        "signal_norm": False,
    }


def renamed(weights: Mapping[str, Tensor], _: Mapping[str, Any]) -> dict[str, Tensor]:
    """As they are. Raises CheckpointError for relatives that a config does not tell apart."""
    if any(key.startswith("m_source.") for key in weights):
        raise CheckpointError(f"it is no plain HiFi-GAN: its generator has a harmonic source. {NSF_NEEDS}")
    return dict(weights)
