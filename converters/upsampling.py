"""The upsampling stages of a component, for the comparison of their forms."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from converters.component import Component
from ops.metal.layout import UpsampleShape


def upsampling_stages(component: Component) -> tuple[UpsampleShape, ...]:
    """Lists its `nn.ConvTranspose1d` layers in the order of their run, at the default shape; groups are left out."""
    stages: list[UpsampleShape] = []
    if not any(isinstance(layer, nn.ConvTranspose1d) for layer in component.module.modules()):
        return ()

    def note(layer: nn.ConvTranspose1d, inputs: tuple[Any, ...], _: Any) -> None:
        if layer.groups == 1 and layer.dilation == (1,):
            sizes = (layer.in_channels, layer.out_channels, layer.kernel_size[0], layer.stride[0])
            padding = layer.padding[0]
            assert isinstance(padding, int)
            stages.append(UpsampleShape(*sizes, padding, inputs[0].shape[-1], layer.output_padding[0]))

    example = component.example()
    module = copy.deepcopy(component.module).to("meta")
    for layer in module.modules():
        if isinstance(layer, nn.ConvTranspose1d):
            layer.register_forward_hook(note)
    with torch.inference_mode():
        module(*(example[spec.name].to("meta") for spec in component.inputs))
    return tuple(stages)
