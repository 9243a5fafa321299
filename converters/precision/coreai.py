"""Weights of a PyTorch module stored in fewer bits, by coreai-opt, for Core AI.

The same choices as converters/precision/compression.py makes for ML programs, with the same words: what each layer's
compression costs at the outputs is carried there by PyTorch's own gradients.
"""

from __future__ import annotations

import bisect
import contextlib
import copy
import importlib
import io
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from converters.options import ConversionError, PrecisionOptions
from runtime.machine.extras import how_to_install
from runtime.rounding.effects import DIRECTIONS, agreement_db, floats, random_projection

_KINDS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.Linear)


def excluded_layers(module: nn.Module, precision: PrecisionOptions, cases: Sequence[tuple[Tensor, ...]]) -> list[str]:
    """Layers of a float32 module to leave as they are: the fewest of those that cost most per element with which the
    outputs are within `least_db` of the module's. Raises as `compressed`."""
    if precision.least_db is None or not any(_is_stored(layer, precision) for layer in module.modules()):
        return []
    folded = dict(_stored(module, precision, cases[0], (), "Torch").named_modules())
    layers = {name: layer for name, layer in module.named_modules() if _is_stored(layer, precision)}
    originals = {name: layer.weight.detach().clone() for name, layer in layers.items()}
    changes = {name: (folded[name].weight - weight).detach() for name, weight in originals.items()}
    order = _by_cost(module, layers, changes, cases)

    def outputs() -> list[list[Tensor]]:
        with torch.no_grad():
            return [_outputs(module, case) for case in cases]

    references = outputs()

    def is_enough(count: int) -> bool:
        for rank, name in enumerate(order):
            layers[name].weight.data = originals[name] if rank < count else originals[name] + changes[name]
        return agreement_db(references, outputs()) >= (precision.least_db or 0.0)

    count = bisect.bisect_left(range(len(order)), True, key=is_enough)
    for name, layer in layers.items():
        layer.weight.data = originals[name]
    return order[:count]


def compressed(
    module: nn.Module, precision: PrecisionOptions, arguments: tuple[Tensor, ...], excluded: Collection[str]
) -> nn.Module:
    """A copy for export whose weights are compressed, but for the layers `excluded`.

    Raises ConversionError for what coreai-opt has not, or where it is not installed.
    """
    return _stored(module, precision, arguments, excluded, "CoreAI")


def _is_stored(layer: nn.Module, precision: PrecisionOptions) -> bool:
    return isinstance(layer, _KINDS) and layer.weight.numel() >= precision.min_elements


def _stored(
    module: nn.Module,
    precision: PrecisionOptions,
    arguments: tuple[Tensor, ...],
    excluded: Collection[str],
    backend: str,
) -> nn.Module:
    """Compresses the weights by coreai-opt; `backend` Torch has the compressed weights as dense ones."""
    if precision.sparsity or precision.table_int8 or precision.granularity == "per_block":
        raise ConversionError(f"format coreai has no precision {precision.name!r}: it has int8, palette4 and palette6")
    opt = _coreai_opt()
    small = [
        name for name, layer in module.named_modules() if isinstance(layer, _KINDS) and not _is_stored(layer, precision)
    ]
    excluded = [*excluded, *small]
    copied = copy.deepcopy(module).eval()
    with _without_messages():
        if precision.weights == "palette":
            spec = opt.palettization.PalettizationSpec(n_bits=precision.bits, granularity=_palette_groups(precision))
            part: Any = opt.palettization.ModuleKMeansPalettizerConfig(op_state_spec={"weight": spec})
            config = opt.palettization.KMeansPalettizerConfig(
                global_config=part, module_name_configs=dict.fromkeys(excluded)
            )
            compressor: Any = opt.palettization.KMeansPalettizer(copied, config)
        else:
            grains = opt.quantization.spec
            grain = grains.PerTensorGranularity() if precision.granularity == "per_tensor" else None
            weights = grains.QuantizationSpec(
                dtype="int4" if precision.bits == 4 else "int8",
                qscheme=grains.QuantizationScheme.SYMMETRIC,
                granularity=grain or grains.PerChannelGranularity(axis=None),
            )
            part = opt.quantization.ModuleQuantizerConfig(
                op_input_spec=None, op_output_spec=None, op_state_spec={"weight": weights}
            )
            config = opt.quantization.QuantizerConfig(
                global_config=part,
                module_name_configs=dict.fromkeys(excluded),
                execution_mode=opt.quantization.config.ExecutionMode.EAGER,
            )
            compressor = opt.quantization.Quantizer(copied, config)
        compressor.prepare(arguments)
        finished: nn.Module = compressor.finalize(backend=getattr(opt.ExportBackend, backend))
    return finished


def _palette_groups(precision: PrecisionOptions) -> Any:
    granularity = importlib.import_module("coreai_opt.palettization.spec")
    if precision.granularity == "per_grouped_channel":
        return granularity.PerGroupedChannelGranularity(axis=0, group_size=precision.group_size)
    return granularity.PerTensorGranularity()


def _by_cost(
    module: nn.Module, layers: Mapping[str, Any], changes: Mapping[str, Tensor], cases: Sequence[tuple[Tensor, ...]]
) -> list[str]:
    """Layers, those first whose changed weights move the outputs most per element, to first order."""
    weights = [layer.weight.requires_grad_() for layer in layers.values()]
    energies = dict.fromkeys(layers, 0.0)
    generator = torch.Generator().manual_seed(0)
    for case in cases:
        with torch.enable_grad():
            outputs = _outputs(module, case)
            for _ in range(DIRECTIONS):
                total = random_projection(outputs, generator)
                slopes = torch.autograd.grad(total, weights, retain_graph=True, allow_unused=True)
                for name, slope in zip(layers, slopes):
                    energies[name] += 0.0 if slope is None else float((slope * changes[name]).sum()) ** 2
    return sorted(layers, key=lambda name: energies[name] / changes[name].numel(), reverse=True)


def _outputs(module: nn.Module, case: tuple[Tensor, ...]) -> list[Tensor]:
    results = module(*case)
    return floats(results if isinstance(results, tuple) else (results,))


def _coreai_opt() -> Any:
    try:
        with _without_messages():
            opt = importlib.import_module("coreai_opt")
            for part in ("palettization", "quantization", "quantization.spec", "quantization.config"):
                importlib.import_module(f"coreai_opt.{part}")
    except ImportError as error:
        raise ConversionError(f"compressed weights need Apple's packages: {how_to_install('coreai')}") from error
    return opt


@contextlib.contextmanager
def _without_messages() -> Iterator[None]:
    """It draws progress bars, and says of every layer that it leaves out that it does."""
    loggers = [logging.getLogger(name) for name in ("coreai_opt", "torch.utils._pytree")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
