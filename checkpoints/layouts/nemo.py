"""A `.nemo` archive of NVIDIA NeMo with HiFi-GAN in it: model_config.yaml and model_weights.ckpt in a tar file.

The mel is FilterbankFeatures' as its hifigan recipe sets it: reflected by (n_fft - hop) / 2 (`exact_pad`), magnitudes,
Slaney bands, ln(max(., 1e-5)).
"""

from __future__ import annotations

import re
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from checkpoints import CheckpointError
from checkpoints.download import extract
from checkpoints.layouts.reading import Place, Reading, hifigan_settings, read_yaml, require, section

if TYPE_CHECKING:
    from torch import Tensor

TITLE = "HiFi-GAN of NVIDIA NeMo"
_CONFIG, _WEIGHTS = "model_config.yaml", "model_weights.ckpt"
# What examples/tts/conf/hifigan sets where FilterbankFeatures has other defaults.
_RECIPE = {"log": True, "log_zero_guard_type": "clamp", "log_zero_guard_value": 1e-5, "mag_power": 1.0,
           "normalize": None, "preemph": None, "exact_pad": True, "window": "hann", "mel_norm": "slaney",
           "frame_splicing": 1, "lowfreq": 0}  # fmt: skip
_ONLY = ("log", "log_zero_guard_type", "normalize", "window", "mel_norm", "frame_splicing")
# Measured on the three bundled clips: 0.0010 to 0.0012 in natural log, 0.028 at most.
_WINDOW = "NeMo's Hann window is symmetric, here it is periodic: their mels differ by 0.001 on average"


def recognise(place: Place) -> Reading | None:
    archives = [path for path in place.weights("*.nemo") if path.suffix == ".nemo"]
    if not archives:
        return None
    path = archives[-1]
    config = read_yaml(_member(path, _CONFIG), f"{path}: {_CONFIG}")
    target = str(config.get("target") or "")
    if not target.endswith("HifiGanModel"):
        what = target.rpartition(".")[2] or "something"
        needs = "of NeMo's models voxport has HiFi-GAN (HifiGanModel); a family for this one would be needed"
        return Reading("nemo", f"{what} of NVIDIA NeMo", weights=path, needs=needs)
    generator, given = section(config, "generator"), section(config, "preprocessor")
    require(
        generator, ("upsample_rates", "upsample_kernel_sizes", "upsample_initial_channel", "resblock_kernel_sizes",
                    "resblock_dilation_sizes"), f"{path}: the generator of {_CONFIG}"
    )  # fmt: skip
    require(given, ("sample_rate", "nfilt", "n_window_stride", "n_window_size"), f"{path}: its preprocessor")
    audio, notes = _mel(path, given)
    ours = {
        "generator_model": "hifigan_generator",
        "generator_model_params": hifigan_settings(generator, given["nfilt"]),
        "audio": audio,
    }
    return Reading("nemo", TITLE, "hifigan", path, ours, notes=notes)


def _mel(path: Path, given: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    settings = {**_RECIPE, **given}
    for name in _ONLY:
        if settings[name] != _RECIPE[name]:
            raise CheckpointError(
                f"{path}: its preprocessor says {name}: {settings[name]!r}; voxport makes mels with {_RECIPE[name]!r}"
            )
    if settings["mag_power"] != 1.0:
        raise CheckpointError(f"{path}: its mel is of powers (mag_power {settings['mag_power']}), here of magnitudes")
    silent = [name for name in ("log_zero_guard_type", "mag_power", "normalize", "exact_pad") if name not in given]
    notes = [_WINDOW]
    if silent:
        notes.append(f"its preprocessor does not say {', '.join(silent)}: taken as NeMo's hifigan recipe has them")
    centred = not settings["exact_pad"]
    return {
        "sample_rate": settings["sample_rate"],
        "fft_size": settings.get("n_fft") or 1 << (settings["n_window_size"] - 1).bit_length(),
        "win_length": settings["n_window_size"],
        "hop_length": settings["n_window_stride"],
        "num_mels": settings["nfilt"],
        "mel_fmin": settings["lowfreq"] or 0.0,
        "mel_fmax": settings.get("highfreq"),
        "framing": "centered" if centred else "hifigan",
        "magnitude_floor": 0.0,
        "amplitude_floor": settings["log_zero_guard_value"],
        "preemphasis": settings["preemph"] or 0.0,
        "log_func": "np.log",
        "spec_gain": 1.0,
        "signal_norm": False,
    }, tuple(notes)


def _member(path: Path, name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        extract(path, Path(folder), {_inside(path, name): name})
        return (Path(folder) / name).read_bytes()


def _inside(path: Path, name: str) -> str:
    """The member's name as this archive writes it: with or without `./`."""
    try:
        with tarfile.open(path) as archive:
            return next((one.name for one in archive if one.name.removeprefix("./") == name), name)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise CheckpointError(f"{path} cannot be read as a .nemo archive: {error}") from error


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Its file of weights, apart, while it is read."""
    with tempfile.TemporaryDirectory() as folder:
        extract(path, Path(folder), {_inside(path, _WEIGHTS): _WEIGHTS})
        yield Path(folder) / _WEIGHTS


def renamed(weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Later versions have a list of blocks for each upsampling."""
    kernels = len(config["generator_model_params"]["resblock_kernel_sizes"])

    def flat(match: re.Match[str]) -> str:
        return f"resblocks.{int(match[1]) * kernels + int(match[2])}."

    names = {key.removeprefix("generator."): value for key, value in weights.items() if key.startswith("generator.")}
    return {re.sub(r"^resblocks\.(\d+)\.(\d+)\.", flat, key): value for key, value in names.items()}
