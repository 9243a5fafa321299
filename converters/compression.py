"""Weights stored in fewer bits, by coremltools.optimize: the arithmetic stays as it was."""

from __future__ import annotations

import warnings
from typing import Any

from converters.options import ConversionError, PrecisionOptions
from runtime.coreml_tools import coremltools, optimizer


def check_compression(precision: PrecisionOptions, target: str) -> None:
    """Raises ConversionError for what a target does not hold."""
    ct = coremltools()
    fine = precision.granularity in ("per_block", "per_grouped_channel")
    is_new = fine or precision.table_int8 or (precision.weights == "linear" and precision.bits == 4)
    is_joint = bool(precision.weights and precision.sparsity)
    if (is_new or is_joint) and ct.target.__members__[target] < ct.target.macOS15:
        what = (
            precision.granularity if fine else "a joint form" if is_joint or precision.table_int8 else "4-bit integers"
        )
        raise ConversionError(f"{what} needs format.target=macOS15 or later, not {target}")


def compressed(model: Any, precision: PrecisionOptions) -> Any:
    """model: an `MLModel` of an ML program. Raises ConversionError where coremltools cannot, with its words."""
    if not precision.weights and not precision.sparsity:
        return model
    optimize = optimizer()

    least = precision.min_elements
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if precision.sparsity:
                pruner = optimize.OpMagnitudePrunerConfig(target_sparsity=precision.sparsity, weight_threshold=least)
                model = optimize.prune_weights(model, optimize.OptimizationConfig(global_config=pruner))
            is_joint = bool(precision.sparsity)
            if precision.weights == "palette":
                palettizer = optimize.OpPalettizerConfig(
                    mode="kmeans",
                    nbits=precision.bits,
                    granularity=precision.granularity,
                    group_size=precision.group_size,
                    weight_threshold=least,
                )
                config = optimize.OptimizationConfig(global_config=palettizer)
                model = optimize.palettize_weights(model, config, joint_compression=is_joint)
            if precision.weights == "linear" or precision.table_int8:
                quantizer = optimize.OpLinearQuantizerConfig(
                    mode="linear_symmetric",
                    dtype="int4" if precision.weights == "linear" and precision.bits == 4 else "int8",
                    granularity="per_tensor" if precision.table_int8 else precision.granularity,
                    block_size=precision.group_size,
                    weight_threshold=least,
                )
                config = optimize.OptimizationConfig(global_config=quantizer)
                joint = is_joint or precision.table_int8
                model = optimize.linear_quantize_weights(model, config, joint_compression=joint)
    except (RuntimeError, ValueError, AssertionError, NotImplementedError) as error:
        raise ConversionError(f"coremltools cannot store weights as {precision.name}: {error}") from error
    return model
