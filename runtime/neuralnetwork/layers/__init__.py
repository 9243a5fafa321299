"""The layers of Core ML's `neuralnetwork`, in torch, by the names that its specification (NeuralNetwork.proto) has.

An entry of a table takes a layer's parameters, a protobuf message, and gives the function of its inputs: weights become
tensors once. Tensors are float32, conditions 0 and 1, indices whole numbers; images are the last three axes, channels,
height, width. What an op of MIL computes is computed by that op's function. What an entry does not do, it refuses.
"""

from __future__ import annotations

from runtime.neuralnetwork.layers import (
    arithmetic,
    convolution,
    image,
    making,
    normalization,
    product,
    recurrent,
    reduction,
    selection,
    shape,
)
from runtime.neuralnetwork.layers.parameters import Layer

TOPICS = (
    arithmetic,
    convolution,
    image,
    making,
    normalization,
    product,
    recurrent,
    reduction,
    selection,
    shape,
)
LAYERS: dict[str, Layer] = {name: layer for topic in TOPICS for name, layer in topic.TABLE.items()}
