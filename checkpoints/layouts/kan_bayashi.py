"""kan-bayashi/ParallelWaveGAN: `checkpoint-…steps.pkl`, `config.yml` and the statistics `stats.h5` or `stats.npy`.

The mel is bin/preprocess.py's `logmelfilterbank`: librosa's STFT, centred with reflection, log10(max(., 1e-10)); then
bin/normalize.py takes off the mean of each band and divides by its scale, which is part of the mel here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from checkpoints import CheckpointError
from checkpoints.layouts.jik876 import which_of
from checkpoints.layouts.reading import Place, Reading, require, section

if TYPE_CHECKING:
    from torch import Tensor

TITLE = "of kan-bayashi/ParallelWaveGAN"
_MEL = ("sampling_rate", "fft_size", "hop_size", "num_mels")


def recognise(place: Place) -> Reading | None:
    config = place.yaml("config.yml", "config.yaml")
    if "generator_params" not in config or "sampling_rate" not in config:
        return None
    # the trainer's own default
    kind = str(config.get("generator_type") or "ParallelWaveGANGenerator")
    title = f"{kind} {TITLE}"
    weights = place.weights("checkpoint*.pkl", "*.pkl", "*.pth")
    if not weights:
        raise CheckpointError(f"{place.folder} has a config of {title}, and no checkpoint-…steps.pkl")
    if kind not in _SETTINGS:
        needs = f"its network is none that voxport has; of this trainer it has {', '.join(_SETTINGS)}"
        return Reading("kan_bayashi", title, weights=weights[-1], needs=needs)
    require(config, _MEL, "its config.yml")
    family, model, settings = _SETTINGS[kind]
    audio, notes = _mel(place.folder, config)
    ours = {"generator_model": model, "generator_model_params": settings(config), "audio": audio}
    return Reading("kan_bayashi", title, family, weights[-1], ours, notes=(*which_of(weights), *notes))


def _mel(folder: Path, config: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    if config.get("window", "hann") != "hann":
        raise CheckpointError(f"its mel is made with a window {config['window']!r}; voxport has Hann's")
    rate = config.get("sampling_rate_for_feats")
    if rate not in (None, config["sampling_rate"]):
        raise CheckpointError(
            f"its mel is made of audio at {rate} Hz for a generator at {config['sampling_rate']} Hz: voxport makes "
            "both at one rate"
        )
    mean, scale, notes = _statistics(folder)
    return {
        "sample_rate": config["sampling_rate"],
        "fft_size": config["fft_size"],
        "win_length": config.get("win_length") or config["fft_size"],
        "hop_length": config["hop_size"],
        "num_mels": config["num_mels"],
        "mel_fmin": config.get("fmin") or 0.0,
        "mel_fmax": config.get("fmax"),
        "log_func": "np.log10",
        "spec_gain": 1.0,
        "amplitude_floor": 1e-10,
        "signal_norm": True,
        "mel_mean": mean,
        "mel_std": scale,
    }, notes


def _statistics(folder: Path) -> tuple[list[float], list[float], list[str]]:
    """Mean and scale of each band. A scale of zero counts as one: so scikit-learn's StandardScaler, whose they are,
    keeps a band without variance."""
    arrays, compressed = folder / "stats.npy", folder / "stats.h5"
    if arrays.is_file():
        try:
            mean, scale = np.load(arrays, allow_pickle=False).astype(np.float64)
        except (ValueError, EOFError, TypeError, OSError) as error:
            raise CheckpointError(f"{arrays} does not hold mean and scale as two rows: {error}") from error
    elif compressed.is_file():
        mean, scale = _hdf5(compressed)
    else:
        raise CheckpointError(
            f"{folder}: the trainer normalises the mel by stats.h5 or stats.npy (mean and scale of each band), which "
            "is not beside the checkpoint. Without it the voice would be wrong: put it there"
        )
    if not (mean.ndim == scale.ndim == 1 and np.isfinite(mean).all() and np.isfinite(scale).all()):
        raise CheckpointError(f"{folder}: its statistics are no finite numbers, one for each band")
    notes = [] if scale.all() else ["a band's scale is 0 in the statistics: it counts as 1"]
    return mean.tolist(), np.where(scale == 0, 1.0, scale).tolist(), notes


def _hdf5(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        import h5py  # type: ignore[import-not-found]
    except ImportError:
        raise CheckpointError(
            f"{path} is HDF5, for which `pip install h5py` is needed; or save its `mean` and `scale` as the two rows "
            "of stats.npy beside it"
        ) from None
    try:
        with h5py.File(path, "r") as file:
            return tuple(np.asarray(file[name], np.float64).reshape(-1) for name in ("mean", "scale"))  # type: ignore[return-value]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} does not hold mean and scale: {error}") from error


# ------------------------------------------------------------------------------------------------------ networks


def _hifigan(config: Mapping[str, Any]) -> dict[str, Any]:
    given = section(config, "generator_params")
    kernels = "upsample_kernel_sizes" if "upsample_kernel_sizes" in given else "upsample_kernal_sizes"  # as it once was
    scales = given.get("upsample_scales", [8, 8, 2, 2])
    _only(given, {"kernel_size": 7, "bias": True, "out_channels": 1, "use_causal_conv": False})
    _only_slope(given, 0.1)
    return {
        "in_channels": given.get("in_channels", 80),
        "out_channels": 1,
        "resblock_type": "1" if given.get("use_additional_convs", True) else "2",
        "resblock_kernel_sizes": given.get("resblock_kernel_sizes", [3, 7, 11]),
        "resblock_dilation_sizes": given.get("resblock_dilations", [[1, 3, 5]] * 3),
        "upsample_factors": scales,
        "upsample_kernel_sizes": given.get(kernels, [16, 16, 4, 4]),
        "upsample_initial_channel": given.get("channels", 512),
        "upsample_paddings": [scale // 2 + scale % 2 for scale in scales],
        "upsample_output_paddings": [scale % 2 for scale in scales],
    }


def _melgan(config: Mapping[str, Any]) -> dict[str, Any]:
    given = section(config, "generator_params")
    _only(
        given,
        {"kernel_size": 7, "bias": True, "out_channels": 1, "use_causal_conv": False, "stack_kernel_size": 3,
         "channels": 512, "pad": "ReflectionPad1d", "use_final_nonlinear_activation": True},
    )  # fmt: skip
    _only_slope(given, 0.2)
    return {
        "upsample_factors": given.get("upsample_scales", [8, 8, 2, 2]),
        "num_res_blocks": given.get("stacks", 3),
    }


def _wavegan(config: Mapping[str, Any]) -> dict[str, Any]:
    given = section(config, "generator_params")
    _only(
        given,
        {"in_channels": 1, "out_channels": 1, "kernel_size": 3, "residual_channels": 64, "gate_channels": 128,
         "skip_channels": 64, "bias": True, "use_causal_conv": False, "upsample_net": "ConvInUpsampleNetwork"},
    )  # fmt: skip
    upsampling = section(given, "upsample_params")
    _only(upsampling, {"nonlinear_activation": None, "interpolate_mode": "nearest", "freq_axis_kernel_size": 1})
    return {
        "upsample_factors": upsampling.get("upsample_scales", [4, 4, 4, 4]),
        "num_res_blocks": given.get("layers", 30),
        "stacks": given.get("stacks", 3),
        "aux_context_window": given.get("aux_context_window", 2),
    }


_SETTINGS = {
    "HiFiGANGenerator": ("hifigan", "hifigan_generator", _hifigan),
    "MelGANGenerator": ("melgan", "melgan_generator", _melgan),
    "ParallelWaveGANGenerator": ("parallel_wavegan", "parallel_wavegan_generator", _wavegan),
}


def _only(given: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Raises CheckpointError for a setting of the network with another value than the one that is built."""
    for name, value in known.items():
        if given.get(name, value) != value:
            raise CheckpointError(f"its generator_params say {name}: {given[name]!r}; voxport has {value!r}")


def _only_slope(given: Mapping[str, Any], slope: float) -> None:
    _only(given, {"nonlinear_activation": "LeakyReLU"})
    _only(section(given, "nonlinear_activation_params"), {"negative_slope": slope})


def renamed(weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Under the names of jik876 and Coqui. Buffers of the statistics go: they are the mel's."""
    network = {key: value for key, value in weights.items() if key not in ("mean", "scale")}
    if config["generator_model"] == "melgan_generator":
        return _in_stacks(network, config["generator_model_params"]["num_res_blocks"])
    if config["generator_model"] == "parallel_wavegan_generator":
        return network
    paired = config["generator_model_params"]["resblock_type"] == "1"
    names: dict[str, Tensor] = {}
    for key, value in network.items():
        name = re.sub(r"^input_conv\.", "conv_pre.", re.sub(r"^output_conv\.1\.", "conv_post.", key))
        name = re.sub(r"^upsamples\.(\d+)\.1\.", r"ups.\1.", name)
        name = re.sub(r"^blocks\.(\d+)\.(convs\d)\.(\d+)\.1\.", r"resblocks.\1.\2.\3.", name)
        names[name if paired else name.replace(".convs1.", ".convs.")] = value
    return names


def _in_stacks(network: Mapping[str, Tensor], stacks: int) -> dict[str, Tensor]:
    """MelGAN's layers are one flat list, Coqui's have a ResidualStack of all stacks after an upsampling."""
    names: dict[str, Tensor] = {}
    for key, value in network.items():
        match = re.match(r"^melgan\.(\d+)\.(.*)$", key)
        if match is None:
            names[key] = value
            continue
        place, rest = int(match[1]), match[2]
        # two layers first, then activation, upsampling and stacks of each stage, at last activation, padding, layer
        stage, within = divmod(place - 2, 2 + stacks) if place > 1 else (0, place - 2)
        if rest.startswith("skip_layer."):
            names[f"layers.{4 + 3 * stage}.shortcuts.{within - 2}.{rest.removeprefix('skip_layer.')}"] = value
        elif rest.startswith("stack."):
            names[f"layers.{4 + 3 * stage}.blocks.{within - 2}.{rest.removeprefix('stack.')}"] = value
        else:
            names[f"layers.{2 + 3 * stage + within}.{rest}"] = value
    return names
