"""Core ML's older `neuralnetwork`: the one format of Core ML that takes custom layers. Saved as an `.mlmodel`.

With `upsampler=metal` every upsampling stage is a `custom` layer of class HiFiGANUpsample, whose Swift class and Metal
kernels are written beside the model. The network has four axes throughout (ops/planar.py).
"""

from __future__ import annotations

import functools
import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from converters.component import Artefact, Component
from converters.options import CUSTOM_LAYER_FOLDER, ConversionError, FormatOptions, PrecisionOptions
from ops.metal.fused import read_graph, stages
from ops.metal.layout import TEXTURE_WIDTH, fits_a_texture
from ops.metal.package import write_package
from ops.planar import Planar
from runtime.bundle.formats import FORMATS
from runtime.machine.coreml_tools import coremltools, quick_conversion
from runtime.neuralnetwork import CUSTOM_CLASS, CUSTOM_PARAMETERS, FP16_VERSION, problems
from runtime.neuralnetwork.weights import every_layer, values, weights_of

PRECISIONS = ("fp32", "fp16")


@quick_conversion()
def convert(component: Component, precision: PrecisionOptions, options: FormatOptions, folder: Path) -> Artefact:
    """Writes `folder/<component>.mlmodel`; with custom layers also `folder/custom_layer/`, which an app adds.

    Inputs and outputs are float32; `precision` is that of the weights: the device chooses that of the arithmetic.
    """
    if precision.name not in PRECISIONS:
        raise ConversionError(
            f"format neuralnetwork has no precision {precision.name!r}; it has: {', '.join(PRECISIONS)}"
        )
    if component.states:
        raise ConversionError("format neuralnetwork has no states: take stream.state=explicit")
    if any(component.dynamic_axes(spec) for spec in component.inputs):
        raise ConversionError("format neuralnetwork is converted at a fixed shape: leave out shape=flexible")
    ct = coremltools()
    example = component.example()
    arguments = tuple(example[spec.name] for spec in component.inputs)
    graph = read_graph(component.module, arguments)
    fused = stages(graph)
    for stage in fused:
        if not fits_a_texture(stage):
            raise ConversionError(
                f"a custom layer of {stage.samples} samples is wider than a texture ({TEXTURE_WIDTH}): "
                "take fewer frames (shape.frames=64 at hop 256)"
            )
    if fused:
        _register_custom_op()
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(Planar(graph).eval(), arguments, check_trace=False)
        model = ct.convert(
            traced,
            inputs=[ct.TensorType(spec.name, spec.default_shape, np.dtype(spec.dtype)) for spec in component.inputs],
            outputs=[ct.TensorType(name=spec.name) for spec in component.outputs],
            convert_to="neuralnetwork",
            skip_model_load=True,
        )
    spec = model.get_spec()
    for tensor, description in zip(component.inputs, spec.description.input):
        description.shortDescription = tensor.unit
    for tensor, description in zip(component.outputs, spec.description.output):
        description.shortDescription = tensor.unit
        description.type.multiArrayType.shape[:] = tensor.default_shape
    share_weights(spec)
    if precision.name == "fp16":
        halve_weights(spec)
    faults = problems(spec)
    if faults:
        raise ConversionError(f"coremltools wrote a network that Core ML would not take: {'; '.join(faults)}")
    path = folder / f"{component.name}.mlmodel"
    ct.utils.save_spec(spec, str(path))
    if fused:
        write_package(folder / CUSTOM_LAYER_FOLDER)
    return Artefact(path)


free_axes = False


def target(options: FormatOptions) -> str:
    return FORMATS["neuralnetwork"].target


def notes(folder: Path) -> list[str]:
    has_layers = (folder / CUSTOM_LAYER_FOLDER).exists()
    return [f"an app that loads it adds the Swift package in {CUSTOM_LAYER_FOLDER}/"] if has_layers else []


def holds_functions(options: FormatOptions) -> bool:
    return False


def convert_functions(
    functions: Mapping[str, Component], precision: PrecisionOptions, options: FormatOptions, folder: Path
) -> Artefact:
    raise ConversionError(f"format neuralnetwork holds one function, got {', '.join(functions)}")


def share_weights(spec: Any) -> None:
    """Stores once what several inner products multiply by, as the steps of a WaveRNN's block do.

    The format has no weights that layers share: a constant is loaded, and the inner products become products with it.
    """
    network = spec.neuralNetwork
    readers: dict[bytes, list[Any]] = {}
    for layer in network.layers:
        if layer.WhichOneof("layer") == "innerProduct":
            weights = layer.innerProduct.SerializeToString(deterministic=True)
            readers.setdefault(hashlib.sha256(weights).digest(), []).append(layer)
    shared = {layer.name: same[0] for same in readers.values() if len(same) > 1 for layer in same}
    if not shared:
        return
    layers = list(network.layers)
    network.ClearField("layers")
    for layer in layers:
        if layer.name not in shared:
            network.layers.append(layer)
            continue
        first, dense = shared[layer.name], layer.innerProduct
        if layer.name == first.name:
            _load(network, f"{first.name}_weights", dense.weights, (dense.outputChannels, dense.inputChannels))
            if dense.hasBias:
                _load(network, f"{first.name}_bias", dense.bias, (dense.outputChannels,))
        product = network.layers.add(
            name=layer.name, input=[*layer.input, f"{first.name}_weights"], output=layer.output
        )
        product.batchedMatmul.transposeB = True
        if dense.hasBias:
            product.name = product.output[0] = f"{layer.name}_product"
            inputs = [product.name, f"{first.name}_bias"]
            network.layers.add(name=layer.name, input=inputs, output=layer.output).addBroadcastable.SetInParent()


def _load(network: Any, name: str, held: Any, shape: tuple[int, ...]) -> None:
    constant = network.layers.add(name=name, output=[name]).loadConstantND
    constant.data.CopyFrom(held)
    constant.shape.extend(shape)


def halve_weights(spec: Any) -> None:
    """Stores weights in half precision, those of custom layers and of what loops hold included.

    coremltools' own pass leaves those of custom layers in single (quantization_utils.py says "converted manually").
    Constants stay where half precision would not hold what they say: indices, and the -1e9 of a mask.
    Raises ConversionError for a weight beyond half precision.
    """
    for layer in every_layer(spec.neuralNetwork.layers):
        for _, held, _ in weights_of(layer):
            if not held.floatValue:
                continue
            numbers = values(held)
            fits = np.abs(numbers).max() <= np.finfo(np.float16).max
            if layer.WhichOneof("layer") == "loadConstantND" and (not fits or (numbers == np.round(numbers)).all()):
                continue
            if not fits:
                raise ConversionError(
                    f"layer {layer.name} has a weight of {np.abs(numbers).max():g}: use precision=fp32"
                )
            held.float16Value = numbers.astype(np.float16).tobytes()
            held.ClearField("floatValue")
    spec.specificationVersion = max(spec.specificationVersion, FP16_VERSION)


@functools.cache
def _register_custom_op() -> None:
    """Tells coremltools the op `voxport::upsample`, once: MIL's custom op and its translation from PyTorch."""
    coremltools()
    from coremltools.converters.mil import register_torch_op
    from coremltools.converters.mil.frontend.torch.ops import _get_inputs
    from coremltools.converters.mil.mil import Builder, Operation, types
    from coremltools.converters.mil.mil.input_type import InputSpec, TensorInputType
    from coremltools.converters.mil.mil.ops.defs._op_reqs import register_op

    integer, number = types.int32, types.fp32

    class voxport_upsample(Operation):
        input_spec = InputSpec(
            x=TensorInputType(type_domain="T"),
            condition=TensorInputType(optional=True, type_domain="T"),
            weight=TensorInputType(const=True, type_domain="T"),
            bias=TensorInputType(const=True, type_domain="T"),
            **{name: TensorInputType(const=True, type_domain=integer) for name in CUSTOM_PARAMETERS if name != "slope"},
            slope=TensorInputType(const=True, type_domain=number),
        )
        type_domains = {"T": (types.fp16, types.fp32)}  # noqa: RUF012
        bindings: dict[str, Any] = {"class_name": CUSTOM_CLASS}  # noqa: RUF012

        def __init__(self, **arguments: Any) -> None:
            super().__init__(**arguments)
            # Of the instance: coremltools' examples write into the class, where all layers would share their weights.
            self.bindings = {
                "class_name": CUSTOM_CLASS,
                "input_order": ["x"] if self.condition is None else ["x", "condition"],
                "parameters": list(CUSTOM_PARAMETERS),
                "weights": [self.weight.val.ravel(), self.bias.val.ravel()],
                "description": "leaky ReLU and transposed convolution in one (voxport)",
            }

        def type_inference(self) -> Any:
            samples = (self.x.shape[-1] - 1) * self.stride.val - 2 * self.padding.val + self.kernel_size.val
            samples += self.output_padding.val
            return types.tensor(self.x.dtype, (self.x.shape[0], int(self.channels_out.val), 1, int(samples)))

    register_op(is_custom_op=True)(voxport_upsample)

    def translate(context: Any, node: Any) -> None:
        x, weight, bias, condition, stride, padding, output_padding, slope = _get_inputs(context, node, expected=8)
        channels_in, channels_out, *_, kernel_size = weight.shape
        zeros = np.zeros(channels_out, np.float32)
        sizes = {"channels_in": channels_in, "channels_out": channels_out, "kernel_size": kernel_size}
        sizes |= {"stride": stride.val, "padding": padding.val, "output_padding": output_padding.val}
        arguments = {name: np.int32(size) for name, size in sizes.items()}
        if condition is not None:
            arguments["condition"] = condition
        result = Builder.voxport_upsample(
            x=x,
            weight=weight,
            bias=zeros if bias is None else bias,
            slope=np.float32(slope.val),
            name=node.name,
            **arguments,
        )
        context.add(result)

    register_torch_op(translate, torch_alias=["voxport::upsample"], override=True)
