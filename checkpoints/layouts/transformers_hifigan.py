"""SpeechT5HifiGan of Hugging Face's transformers: `config.json` with `model_in_dim`, `model.safetensors` or
`pytorch_model.bin`.

Its mel is that of SpeechT5FeatureExtractor: centred, log10(max(., 1e-10)), 80 to 7,600 Hz, 64 ms windows, 16 ms hops;
`normalize_before` takes off `mean` and divides by `scale`, buffers of the network that are part of the mel here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from checkpoints import CheckpointError
from checkpoints.files import read_config
from checkpoints.layouts.reading import Place, Reading, hifigan_settings, hop_of, require

if TYPE_CHECKING:
    from torch import Tensor

TITLE = "SpeechT5HifiGan of transformers"
FILES = ("model.safetensors", "pytorch_model.bin")
_EXTRACTOR = {"hop_length": 16, "win_length": 64, "fmin": 80, "fmax": 7600, "mel_floor": 1e-10,
              "win_function": "hann_window"}  # fmt: skip


def recognise(place: Place) -> Reading | None:
    config = place.json
    if config.get("model_type") != "hifigan" and "SpeechT5HifiGan" not in (config.get("architectures") or []):
        return None
    weights = place.weights(*FILES)
    if not weights:
        raise CheckpointError(f"{place.folder} has a config of {TITLE}, and none of: {', '.join(FILES)}")
    if config.get("leaky_relu_slope", 0.1) != 0.1:
        raise CheckpointError(f"{place.folder}: leaky_relu_slope is {config['leaky_relu_slope']}; voxport has 0.1")
    require(
        config, ("model_in_dim", "upsample_rates", "upsample_kernel_sizes", "upsample_initial_channel",
                 "resblock_kernel_sizes", "resblock_dilation_sizes", "sampling_rate"), "its config.json"
    )  # fmt: skip
    ours = {
        "generator_model": "hifigan_generator",
        "generator_model_params": hifigan_settings(config, config["model_in_dim"]),
        "audio": _mel(place, config),
    }
    return Reading("transformers_hifigan", TITLE, "hifigan", weights[0], ours)


def _mel(place: Place, config: Mapping[str, Any]) -> dict[str, Any]:
    rate, hop = config["sampling_rate"], hop_of(config["upsample_rates"])
    given = place.folder / "preprocessor_config.json"
    extractor = {**_EXTRACTOR, **(read_config(given) if given.is_file() else {})}
    if extractor["win_function"] != "hann_window":
        raise CheckpointError(f"{given}: win_function is {extractor['win_function']!r}; voxport has hann_window")
    window = extractor["win_length"] * rate // 1000
    return {
        "sample_rate": rate,
        "fft_size": 1 << (window - 1).bit_length(),
        "win_length": window,
        "hop_length": extractor["hop_length"] * rate // 1000 if given.is_file() else hop,
        "num_mels": config["model_in_dim"],
        "mel_fmin": extractor["fmin"],
        "mel_fmax": extractor["fmax"],
        "log_func": "np.log10",
        "spec_gain": 1.0,
        "amplitude_floor": extractor["mel_floor"],
        "signal_norm": bool(config.get("normalize_before", True)),
        "statistics_in_weights": bool(config.get("normalize_before", True)),
    }


def renamed(weights: Mapping[str, Tensor], _: Mapping[str, Any]) -> dict[str, Tensor]:
    return {re.sub(r"^(vocoder\.)?upsampler\.", "ups.", key): value for key, value in weights.items()}


def statistics(weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Mean and scale of each band that lie among the weights."""
    if not config["audio"].get("statistics_in_weights"):
        return None
    if "mean" not in weights or "scale" not in weights:
        raise CheckpointError("the vocoder normalises its mel by `mean` and `scale`, which its file does not hold")
    return {"mel_mean": weights["mean"].double().numpy(), "mel_std": weights["scale"].double().numpy()}
