"""A checkpoint in memory: weights as plain tensors, config as plain data."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from checkpoints import CheckpointError, layouts
from checkpoints.c_arrays import read_c_arrays
from checkpoints.companions import WEIGHTS, read_companions
from checkpoints.ctranslate2 import is_ctranslate2, read_ctranslate2
from checkpoints.faiss_index import RetrievalIndex, read_index
from checkpoints.files import refuse_pointer
from checkpoints.locate import LocatedCheckpoint
from checkpoints.pickle_values import StandIn
from checkpoints.pickles import load_npy_object, load_pickle
from checkpoints.rvc import settings_inside
from checkpoints.torchscript import read_torchscript

# Where training programs put the state dict: Coqui, RTVC and fairseq; jik876's HiFi-GAN; others; RTVC's encoder; RVC.
_STATE_KEYS = ("model", "generator", "state_dict", "model_state", "weight")


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A located checkpoint with its tensors. `stats`: mean and variance of its features, where it has them.
    `layers`: of an ONNX file, the attributes of its convolutions by module path; of a TorchScript archive, of all.
    `numbers`: whole ones that a training program kept beside the tensors, such as its step; `settings`: what one
    kept of its own (`cfg`). `index`: of a voice that retrieves."""

    located: LocatedCheckpoint
    weights: dict[str, Tensor] = field(repr=False)
    stats: Mapping[str, Any] | None = field(default=None, repr=False)
    layers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    numbers: Mapping[str, int] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    index: RetrievalIndex | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        return self.located.name

    @property
    def config(self) -> dict[str, Any]:
        return self.located.config

    @property
    def audio(self) -> dict[str, Any]:
        """Coqui's audio section, plus what the catalogue adds."""
        return self.config.get("audio") or {}

    def weights_for(self, module: nn.Module, prefixes: Sequence[str]) -> dict[str, Tensor]:
        """The state dict of `module`, its keys found under the first prefix that has them all; its own, as it was
        built, where weights are drawn.

        Raises CheckpointError that names what is missing or misshapen.
        """
        state = module.state_dict()
        if self.located.is_random:
            return state
        best: set[str] = set(state)
        for prefix in prefixes:
            weights = {key[len(prefix) :]: value for key, value in self.weights.items() if key.startswith(prefix)}
            missing = set(state) - set(weights)
            if not missing:
                for key, value in state.items():
                    if weights[key].shape != value.shape:
                        raise CheckpointError(
                            f"checkpoint {self.name}: {prefix}{key} has shape {tuple(weights[key].shape)}, "
                            f"its config asks for {tuple(value.shape)}"
                        )
                return {key: weights[key].to(value.dtype) for key, value in state.items()}
            best = min(best, missing, key=len)
        names = ", ".join(sorted(best)[:3])
        if len(best) == len(state):
            raise CheckpointError(
                f"checkpoint {self.name} is another network than its config says, or of another trainer: it has none "
                f"of {names}, …; what it has begins with {', '.join(sorted(self.weights)[:3])}. See: python -m "
                "checkpoints inspect PATH"
            )
        raise CheckpointError(
            f"checkpoint {self.name} does not hold the weights its config asks for: {len(best)} of {len(state)} are "
            f"missing, such as {names}"
        )


def load(located: LocatedCheckpoint) -> LoadedCheckpoint:
    """Reads a located checkpoint. Raises CheckpointError where its files cannot be read safely."""
    weights = located.weights
    if weights is None:
        return LoadedCheckpoint(located, {})
    if located.layout:
        return _of_layout(located, weights)
    located = dataclasses.replace(located, config={**located.config, **read_companions(weights.parent)})
    if weights.suffix == ".onnx":
        from checkpoints.onnx_weights import read_onnx

        voice = read_onnx(weights)
        return LoadedCheckpoint(located, dict(voice.weights), None, voice.layers)
    if weights.suffix == ".ts":
        tensors, layers = read_torchscript(weights)
        return LoadedCheckpoint(located, tensors, None, layers)
    if weights.suffix == ".c":
        return LoadedCheckpoint(located, read_c_arrays(weights))
    saved = _with_companions(_read(weights), weights)
    if saved.inside:
        located = dataclasses.replace(located, config={**saved.inside, **located.config})
    index = None if located.index is None else read_index(located.index)
    return LoadedCheckpoint(
        located, saved.tensors, _stats(located), numbers=saved.numbers, settings=saved.settings, index=index
    )


def _of_layout(located: LocatedCheckpoint, path: Path) -> LoadedCheckpoint:
    """The weights of another trainer's layout under our names."""
    with layouts.weight_file(located.layout, path) as file:
        tensors = _read(file).tensors
    config = copy.deepcopy(located.config)
    try:
        weights = layouts.renamed(located.layout, tensors, config)
        statistics = layouts.statistics(located.layout, tensors, config)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return LoadedCheckpoint(dataclasses.replace(located, config=config), weights, statistics)


def _stats(located: LocatedCheckpoint) -> dict[str, Any] | None:
    if located.stats is None:
        return None
    stats = load_npy_object(located.stats)
    if not isinstance(stats, dict) or not {"mel_mean", "mel_std"} <= set(stats):
        raise CheckpointError(f"{located.stats} does not hold mel_mean and mel_std")
    for name in ("mel_mean", "mel_std"):
        values = stats[name]
        if not isinstance(values, np.ndarray) or values.ndim != 1 or not np.isfinite(values).all():
            raise CheckpointError(f"{located.stats}: {name} is no list of finite numbers")
    return stats


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` file or a PyTorch pickle, weight norm folded.

    Raises CheckpointError for a file that is damaged, unsafe, or holds no tensors.
    """
    return _read(path).tensors


@dataclass(frozen=True)
class _Saved:
    """What a file of weights holds: tensors; beside them whole numbers, settings (`cfg`), and RVC's as `inside`."""

    tensors: dict[str, Tensor]
    numbers: Mapping[str, int] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    inside: Mapping[str, Any] = field(default_factory=dict)


def _with_companions(saved: _Saved, path: Path) -> _Saved:
    """Adds the tensors of other files beside `path` that belong to the model, and the settings that one keeps."""
    for name, prefix in WEIGHTS.items():
        beside = path.parent / name
        if beside != path and beside.is_file():
            part = _read(beside)
            tensors = {f"{prefix}{key}": value for key, value in part.tensors.items()}
            settings = part.settings or saved.settings
            saved = dataclasses.replace(saved, tensors=tensors | saved.tensors, settings=settings)
    return saved


def _read(path: Path) -> _Saved:
    if is_ctranslate2(path):
        return _Saved(read_ctranslate2(path))
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        refuse_pointer(path)
        try:
            tensors = load_file(path)
        except Exception as error:  # its own error, and PyTorch's for a type that it lacks
            raise CheckpointError(f"{path} cannot be read as safetensors: {error}") from error
        return _Saved(fold_weight_norm(tensors))
    saved = load_pickle(path)
    state = _state_dict(saved)
    if not isinstance(state, Mapping):
        kind = "whole object" if isinstance(saved, StandIn) else type(saved).__name__
        raise CheckpointError(f"{path} holds a {kind}, not a state dict")
    tensors = {str(key): value.detach() for key, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(f"{path} holds no tensors; its keys are: {', '.join(map(str, list(saved)[:8]))}")
    numbers = {str(key): value for key, value in saved.items() if isinstance(value, int)}
    settings = saved.get("cfg")
    return _Saved(
        fold_weight_norm(tensors), numbers, settings if isinstance(settings, Mapping) else {}, settings_inside(saved)
    )


def _state_dict(saved: Any) -> Any:
    """What holds the tensors: the file's own object, or what it keeps under one of the usual keys, at most two deep
    (kan-bayashi's `model` has a `generator`)."""
    outer = _under_a_usual_key(saved)
    if isinstance(outer, Mapping) and any(isinstance(value, Tensor) for value in outer.values()):
        return outer
    return _under_a_usual_key(outer)


def _under_a_usual_key(saved: Any) -> Any:
    if not isinstance(saved, Mapping):
        return saved
    return next((saved[key] for key in _STATE_KEYS if isinstance(saved.get(key), Mapping)), saved)


def _single(value: Tensor) -> Tensor:
    """Half precision as single: a norm is a sum of many squares."""
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value


def fold_weight_norm(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replaces (`weight_g`, `weight_v`) and (`parametrizations.weight.original0/1`) by the weight they stand for.

    w = g * v / |v|, the norm over all axes but the one that g keeps (Salimans & Kingma 2016, arXiv 1602.07868).
    """
    folded: dict[str, Tensor] = {}
    for key, value in weights.items():
        parent, _, name = key.rpartition(".")
        if name == "weight_v":
            gain, folded_key = weights.get(key[:-1] + "g"), key.removesuffix("_v")
        elif name == "original1" and parent.endswith("parametrizations.weight"):
            gain = weights.get(f"{parent}.original0")
            folded_key = parent.removesuffix("parametrizations.weight") + "weight"
        elif name == "weight_g" or (name == "original0" and parent.endswith("parametrizations.weight")):
            continue
        else:
            folded[key] = value
            continue
        if gain is None:
            raise CheckpointError(f"{key} has no gain beside it: the checkpoint's weight norm is incomplete")
        kept = next((axis for axis, sizes in enumerate(zip(gain.shape, value.shape)) if sizes[0] == sizes[1]), 0)
        try:
            folded[folded_key] = torch._weight_norm(_single(value), _single(gain), kept)
        except (RuntimeError, IndexError) as error:
            raise CheckpointError(
                f"{key} of shape {tuple(value.shape)} and type {value.dtype} does not fit its gain of shape "
                f"{tuple(gain.shape)}: the checkpoint's weight norm is damaged"
            ) from error
    return folded
