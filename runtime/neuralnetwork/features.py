"""Between what a network is described to take and give, and the tensors of its layers.

Networks of specification 3 and older have five axes throughout: sequence, batch, channels, height, width
(NeuralNetwork.proto, NeuralNetworkMultiArrayShapeMapping).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from runtime.bundle.spec import Dim, TensorSpec
from runtime.errors import ArtefactError
from runtime.mil.interface import Interface, colour_of, kind_of
from runtime.neuralnetwork import network_of

Entry = Callable[[Tensor], Tensor]
_ANY = Dim(1, 2**31 - 1, 1)


def entries(spec: Any) -> dict[str, Entry]:
    """Returns for each input what makes the tensor of the layers from its array."""
    network = network_of(spec)
    prepared = {one.featureName: one for one in network.preprocessing}
    made: dict[str, Entry] = {}
    for feature in spec.description.input:
        if kind_of(feature) == "imageType":
            # What names no input is meant for the only image.
            steps = prepared.get(feature.name) or prepared.get("")
            made[feature.name] = _image(feature, steps, is_rank_5=network.imageInputShapeMapping == 0)
        else:
            made[feature.name] = _rank_5 if network.arrayInputShapeMapping == 0 else torch.Tensor.float
    return made


def specs_for(interface: Interface, arrays: Mapping[str, np.ndarray], *, is_rank_5: bool) -> tuple[TensorSpec, ...]:
    """Returns the inputs' specifications, where five axes allow it with the sequence and the batch that an array
    has."""

    def spec_for(spec: TensorSpec) -> TensorSpec:
        rank, axes = np.ndim(arrays.get(spec.name, ())), len(spec.shape)
        if not is_rank_5 or spec.name in interface.colours or (axes, rank) not in ((1, 3), (1, 5), (3, 5)):
            return spec
        return replace(spec, shape=(_ANY, _ANY, *spec.shape, *[1] * (rank - axes - 2)))

    return tuple(map(spec_for, interface.inputs))


def _rank_5(x: Tensor) -> Tensor:
    """(C,), (C, H, W), (T, B, C) or (T, B, C, H, W) as (T, B, C, H, W)."""
    shapes = {1: (1, 1, *x.shape, 1, 1), 3: (1, 1, *x.shape), 5: tuple(x.shape)}
    return x.float().reshape(shapes[x.dim()])


def _image(feature: Any, preprocessing: Any, *, is_rank_5: bool) -> Entry:
    """(1, C, H, W) of 0 to 255, scaled and shifted or less a mean image: NeuralNetwork.proto, Preprocessing."""
    colour = colour_of(feature)
    scale, shift = 1.0, torch.zeros(1)
    if preprocessing is not None and preprocessing.WhichOneof("preprocessor") == "scaler":
        scaler = preprocessing.scaler
        channels = {"RGB": ("red", "green", "blue"), "BGR": ("blue", "green", "red")}.get(colour, ("gray",))
        scale = scaler.channelScale
        shift = torch.tensor([getattr(scaler, f"{channel}Bias") for channel in channels]).reshape(-1, 1, 1)
    elif preprocessing is not None:
        size = (feature.type.imageType.height, feature.type.imageType.width)
        mean = torch.tensor(preprocessing.meanImage.meanImage)
        if mean.numel() % max(size[0] * size[1], 1) or not mean.numel():
            raise ArtefactError(f"the mean image of {feature.name!r} is not of its size, {size[0]} x {size[1]}")
        shift = -mean.reshape(-1, *size)

    def prepared(x: Tensor) -> Tensor:
        y = x.float() * scale + shift
        return y[None] if is_rank_5 else y

    return prepared


def result(y: Tensor, spec: TensorSpec, *, is_rank_5: bool) -> np.ndarray:
    """Returns an output's array, without those first axes of length one that the description does not have."""
    rank = len(spec.shape)
    if is_rank_5 and rank == 1 and y.shape[3:] == (1, 1):
        y = y.flatten(2)
    before = y.dim() - rank
    if rank and before > 0 and set(y.shape[:before]) == {1}:
        y = y.reshape(y.shape[before:])
    return np.atleast_1d(y.numpy().astype(spec.dtype))
