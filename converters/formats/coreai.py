"""Apple's Core AI (macOS 27): through torch.export and coreai-torch, saved as an `.aimodel`.

With `upsampler=metal` every upsampling stage is an inline Metal kernel over the same arithmetic core as the custom
layer's. Nothing off a Mac executes such a kernel: the same network with PyTorch's operations in the kernels' places is
written to `twin/`, and that is what is executed here (the manifest's `validated_by`).
"""

from __future__ import annotations

import copy
import functools
import importlib
import io
import warnings
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from converters.component import Artefact, Component
from converters.options import TWIN_FOLDER, ConversionError, FormatOptions, PrecisionOptions
from converters.precision.cast import DTYPES, InPrecision
from converters.precision.coreai import compressed, excluded_layers
from ops.metal.fused import OPERATOR, read_graph, stage_of, stages
from ops.metal.layout import COREAI, UpsampleShape, packed_bias, packed_weights, text
from runtime.bundle.formats import FORMATS
from runtime.machine.extras import how_to_install
from runtime.rounding.cases import fitted_inputs

_THREADS_PER_GROUP = (64, 4, 1)


def convert(component: Component, precision: PrecisionOptions, options: FormatOptions, folder: Path) -> Artefact:
    """Writes `folder/<component>.aimodel`; with Metal kernels also `folder/twin/<component>.aimodel`, without them.

    Inputs and outputs stay float32; `precision` is that of weights and ops.
    """
    return convert_functions({"main": component}, precision, options, folder)


free_axes = False


def target(options: FormatOptions) -> str:
    return FORMATS["coreai"].target


def notes(folder: Path) -> list[str]:
    has_kernels = (folder / TWIN_FOLDER).exists()
    note = "its Metal kernels run on a Mac only: executed here was the same network with PyTorch's operations"
    return [note] if has_kernels else []


def holds_functions(options: FormatOptions) -> bool:
    return True


def convert_functions(
    functions: Mapping[str, Component], precision: PrecisionOptions, options: FormatOptions, folder: Path
) -> Artefact:
    """Converts as `convert`, an entry point a function. Apple's packages store weights equal in several once."""
    coreai_torch = _coreai_torch()
    if precision.compute not in DTYPES:
        raise ConversionError(
            f"format coreai has no precision {precision.compute!r}; it has: {', '.join(DTYPES)}, and of compressed "
            "weights int8, palette6 and palette4"
        )
    if any(component.states for component in functions.values()):
        raise ConversionError("stream.state=mlstate is Core ML's: format coreai takes stream.state=explicit")
    if any(component.dynamic_axes(spec) for component in functions.values() for spec in component.inputs):
        raise ConversionError("format coreai is converted at a fixed shape: leave out shape=flexible")
    graphs = {name: read_graph(component.module, _arguments(component)) for name, component in functions.items()}
    has_kernels = any(stages(graph) for graph in graphs.values())
    if precision.weights and has_kernels:
        raise ConversionError(
            f"upsampler=metal keeps its weights in a kernel: precision={precision.name} takes polyphase"
        )
    (name,) = {component.name for component in functions.values()}
    path = folder / f"{name}.aimodel"
    if not has_kernels:
        return _written(coreai_torch, functions, precision, path)
    twin = folder / TWIN_FOLDER / path.name
    twin.parent.mkdir()
    for form, place in ((Reference, twin), (Kernel, path)):
        formed = {name: replace(one, module=_with_stages(graphs[name], form)) for name, one in functions.items()}
        _written(coreai_torch, formed, precision, place)
    return Artefact(path)


def _arguments(component: Component) -> tuple[Tensor, ...]:
    example = component.example()
    return tuple(example[spec.name] for spec in component.inputs)


def _written(
    coreai_torch: ModuleType, functions: Mapping[str, Component], precision: PrecisionOptions, path: Path
) -> Artefact:
    from coreai.runtime import AIModelAssetMetadata

    first = next(iter(functions.values()))
    modules: dict[nn.Module, nn.Module] = {}  # what several functions share is made once, and so stored once
    excluded: set[str] = set()
    for component in functions.values():
        if component.module not in modules:
            modules[component.module], names = _in_precision(component, precision)
            excluded.update(names)
    # coreai-torch writes its progress to stdout
    with torch.inference_mode(), warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        converter = coreai_torch.TorchConverter()
        kernels = [
            kernel_of(part.shape) for one in modules.values() for part in one.modules() if isinstance(part, Kernel)
        ]
        converter.register_custom_kernels(list(dict.fromkeys(kernels)))
        for name, component in functions.items():
            exported = torch.export.export(modules[component.module].eval(), _arguments(component), strict=False)
            converter.add_exported_program(
                exported.run_decompositions(coreai_torch.get_decomp_table()),
                input_names=[spec.name for spec in component.inputs],
                output_names=[spec.name for spec in component.outputs],
                entrypoint_name=name,
            )
        metadata = AIModelAssetMetadata()
        metadata.model_description = first.computes
        metadata.set_custom("voxport.precision", precision.name)
        for spec in (*first.inputs, *first.outputs):
            metadata.set_custom(f"voxport.unit.{spec.name}", spec.unit)
        converter.to_coreai().save_asset(path, metadata)
    return Artefact(path, excluded=tuple(sorted(excluded)) if precision.weights else None)


def _in_precision(component: Component, precision: PrecisionOptions) -> tuple[nn.Module, list[str]]:
    """The module in its precision, and the tensors that compression excludes."""
    module, arguments = component.module, _arguments(component)
    excluded: list[str] = []
    if precision.weights:
        excluded = excluded_layers(module.eval(), precision, _cases(component, arguments))
    if precision.compute != "fp32":
        module = InPrecision(module, DTYPES[precision.compute])
        within = [f"module.{name}" for name in excluded]
    else:
        within = excluded
    if precision.weights:
        module = compressed(module.eval(), precision, arguments, within)
    return module, excluded


def _cases(component: Component, arguments: tuple[Tensor, ...]) -> list[tuple[Tensor, ...]]:
    """Real inputs, by which layers are excluded, or the example's."""
    fitted = [fitted_inputs(component.inputs, case) for case in component.cases]
    return [tuple(torch.from_numpy(case[spec.name]) for spec in component.inputs) for case in fitted] or [arguments]


def _with_stages(graph: fx.GraphModule, form: type[Reference | Kernel]) -> fx.GraphModule:
    """A copy of a network whose fused stages are modules of one form."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch about its own copying
        changed = fx.GraphModule(graph, copy.deepcopy(graph.graph))
    for index, node in enumerate([node for node in changed.graph.nodes if node.target is OPERATOR]):
        x, weight, bias, condition = node.args[:4]
        name = f"upsample_{index}"
        held = _attribute(changed, weight), None if bias is None else _attribute(changed, bias)
        changed.add_submodule(name, form(stage_of(node), *held))
        with changed.graph.inserting_before(node):
            called = changed.graph.call_module(name, (x,) if condition is None else (x, condition))
        node.replace_all_uses_with(called)
        changed.graph.erase_node(node)
    changed.graph.eliminate_dead_code()
    changed.delete_all_unused_submodules()
    changed.recompile()
    return changed


def _attribute(module: fx.GraphModule, node: Any) -> Tensor:
    owner, _, name = node.target.rpartition(".")
    return getattr(module.get_submodule(owner), name).detach()


class Reference(nn.Module):
    """A fused stage by PyTorch's own operations."""

    def __init__(self, shape: UpsampleShape, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.shape = shape
        self.weight, self.bias = nn.Parameter(weight, False), None if bias is None else nn.Parameter(bias, False)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        shape = self.shape
        x = F.leaky_relu(x if condition is None else x + condition, shape.slope)
        sizes = (shape.stride, shape.padding, shape.output_padding)
        return F.conv_transpose1d(x, self.weight, self.bias, *sizes)


class Kernel(nn.Module):
    """A fused stage as an inline Metal kernel, with its weights as that reads them."""

    def __init__(self, shape: UpsampleShape, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.shape = shape
        packed = torch.from_numpy(packed_weights(weight.numpy(), "float32")).reshape(-1, 4)
        padded = torch.from_numpy(packed_bias(None if bias is None else bias.numpy(), shape.channels_out))
        self.weights, self.bias = nn.Parameter(packed, False), nn.Parameter(padded, False)
        self.register_buffer("unconditioned", torch.zeros(1, shape.channels_in, 1))

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        shape = self.shape
        conditioning = self.get_buffer("unconditioned") if condition is None else condition
        return kernel_of(shape)(
            *(x, conditioning, self.weights, self.bias),
            threads_per_grid=(shape.samples, -(-shape.channels_out // 4), 1),
            threads_per_thread_group=_THREADS_PER_GROUP,
            result_shapes=[[1, shape.channels_out, shape.samples]],
        )


@functools.cache
def kernel_of(shape: UpsampleShape) -> Any:
    """The `TorchMetalKernel` of a stage; once, because its name becomes a PyTorch operator's."""
    coreai_torch = _coreai_torch()

    def reference(x: Tensor, condition: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
        quads = weights.reshape(-1, shape.kernel_size, shape.channels_in, 4)  # (quads, K, C, 4) -> (C, D, K)
        weight = quads.permute(2, 0, 3, 1).reshape(shape.channels_in, -1, shape.kernel_size)[:, : shape.channels_out]
        x = F.leaky_relu(x + condition, shape.slope)
        sizes = (shape.stride, shape.padding, shape.output_padding)
        return F.conv_transpose1d(x, weight, bias[: shape.channels_out], *sizes)

    numbers = (
        *(shape.channels_in, shape.channels_out, shape.frames, shape.samples, shape.kernel_size, shape.stride),
        *(shape.padding, shape.taps, int(shape.has_condition), f"{shape.slope!r}f", 0),
    )
    shape_text = f"UpsampleShape{{{', '.join(map(str, numbers))}}}"
    call = f"upsample_coreai<ELEMENT>(x, condition, y, weights, bias, {shape_text}, at);"
    name = "_".join(str(number).replace(".", "p").replace("-", "m") for number in numbers)
    return coreai_torch.TorchMetalKernel(
        f"voxport_upsample_{name}",
        ["x", "condition", "weights", "bias"],
        ["y"],
        call,
        reference,
        metal_params=[coreai_torch.MetalParameter("at", "uint2", "thread_position_in_grid")],
        helper_src=text(COREAI),
        template_dtypes={"x": "ELEMENT"},
    )


def _coreai_torch() -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says that it was not validated with torch 2.13.0+cpu, only 2.13.0
            return importlib.import_module("coreai_torch")
    except ImportError as error:
        raise ConversionError(f"format coreai needs Apple's packages: {how_to_install('coreai')}") from error
