"""Weights out of an ONNX file that PyTorch exported, under the names of the modules they came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from checkpoints import CheckpointError
from checkpoints.files import refuse_pointer

_LAYERS = ("Conv", "ConvTranspose")


@dataclass(frozen=True)
class OnnxWeights:
    """`weights` by state dict key; `layers`: module path -> attributes of its convolution (strides, dilations, …)."""

    weights: Mapping[str, Tensor]
    layers: Mapping[str, Mapping[str, Any]]


def read_onnx(path: Path) -> OnnxWeights:
    """The initialisers of a single-file ONNX model. Nothing of it is executed, and no other file is opened.

    An exporter folds weight norm and then names the result after itself; the node that uses it still carries the path
    of its module, which gives the key back. What was computed beforehand keeps the name of its node's output. Of a
    graph without names the convolutions are `convolutions.N`, in the order in which they run.
    Raises CheckpointError for a file that is damaged or keeps its weights elsewhere.
    """
    import onnx

    refuse_pointer(path)
    try:
        return _weights(onnx.load(path, load_external_data=False).graph)
    except CheckpointError as error:
        raise CheckpointError(f"{path} {error}") from error.__cause__
    except Exception as error:  # what a message says of itself can be wrong in many ways, its text no text
        raise CheckpointError(f"{path} cannot be read as ONNX: {error}") from error


def _weights(graph: Any) -> OnnxWeights:
    import onnx
    from onnx import numpy_helper

    if not graph.node:
        raise CheckpointError("holds no ONNX graph")
    tensors = {}
    for tensor in graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise CheckpointError(f"keeps {tensor.name} in another file: voxport reads single-file ONNX voices")
        try:
            tensors[tensor.name] = torch.from_numpy(numpy_helper.to_array(tensor).copy())
        except Exception as error:  # its dimensions, its type and its bytes disagree
            raise CheckpointError(f"is damaged: {tensor.name}: {error}") from error
    weights = {name.strip("/"): value for name, value in tensors.items() if not name.startswith("onnx::")}
    layers: dict[str, dict[str, Any]] = {}
    unnamed = 0
    for node in graph.node:
        module = ".".join(node.name.strip("/").split("/")[:-1])
        if node.op_type in _LAYERS and len(node.input) > 1 and node.input[1] in tensors:
            # a second use of the layer has a counter at the end of its node's name and another path, or the same
            bias = node.input[2] if len(node.input) > 2 else ""
            module = bias.removesuffix(".bias") if bias.endswith(".bias") else module
            if not module:
                module, unnamed = f"convolutions.{unnamed}", unnamed + 1
            weights[f"{module}.weight"] = tensors[node.input[1]]
            if bias in tensors:
                weights[f"{module}.bias"] = tensors[bias]
            layers[module] = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        elif node.op_type == "Gather" and module and node.input and node.input[0] in tensors:
            weights.setdefault(f"{module}.weight", tensors[node.input[0]])
    return OnnxWeights(weights, layers)
