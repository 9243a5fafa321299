"""Weights stored in fewer bits, by coremltools.optimize: the arithmetic stays as it was.

Not every tensor takes it alike. Where a precision asks for a `least_db`, everything is compressed once, the change of
each tensor is carried to the outputs to first order (runtime/rounding/effects.py), and those that cost most per
element stay as they were: as few as the outputs, computed with the changed weights, allow.
"""

from __future__ import annotations

import bisect
import hashlib
import tempfile
import warnings
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from converters.options import ConversionError, PrecisionOptions
from runtime.engines.mil import MilEngine
from runtime.machine.coreml_tools import coremltools, optimizer
from runtime.rounding.audit import plain_name
from runtime.rounding.effects import agreement_db, effects, floats, run_exact


def check_compression(precision: PrecisionOptions, target: str) -> None:
    """Raises ConversionError for what a target does not hold."""
    ct = coremltools()
    fine = precision.granularity in ("per_block", "per_grouped_channel")
    is_new = fine or precision.table_int8 or (precision.weights == "linear" and precision.bits == 4)
    is_joint = bool(precision.weights and precision.sparsity)
    if (is_new or is_joint) and ct.target.__members__[target] < ct.target.macOS15:
        coarse = "a joint form" if is_joint or precision.table_int8 else "4-bit integers"
        what = precision.granularity if fine else coarse
        raise ConversionError(f"{what} needs format.target=macOS15 or later, not {target}")


def compressed(model: Any, precision: PrecisionOptions, excluded: Container[str] = ()) -> Any:
    """model: an `MLModel` of an ML program; excluded: `digest` of tensors that stay as they are.

    Raises ConversionError where coremltools cannot, with its words.
    """
    if not precision.weights and not precision.sparsity:
        return model
    optimize, least = optimizer(), precision.min_elements
    names = [
        op.name
        for function in model._mil_program.functions.values()
        for op in function.operations
        if op.op_type == "const" and isinstance(op.val.val, np.ndarray) and digest(op.val.val) in excluded
    ]

    def config(chosen: Any) -> Any:
        return optimize.OptimizationConfig(global_config=chosen, op_name_configs=dict.fromkeys(names))

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if precision.sparsity:
                pruner = optimize.OpMagnitudePrunerConfig(target_sparsity=precision.sparsity, weight_threshold=least)
                model = optimize.prune_weights(model, config(pruner))
            is_joint = bool(precision.sparsity)
            if precision.weights == "palette":
                palettizer = optimize.OpPalettizerConfig(
                    mode="kmeans",
                    nbits=precision.bits,
                    granularity=precision.granularity,
                    group_size=precision.group_size,
                    weight_threshold=least,
                )
                model = optimize.palettize_weights(model, config(palettizer), joint_compression=is_joint)
            if precision.weights == "linear" or precision.table_int8:
                quantizer = optimize.OpLinearQuantizerConfig(
                    mode="linear_symmetric",
                    dtype="int4" if precision.weights == "linear" and precision.bits == 4 else "int8",
                    granularity="per_tensor" if precision.table_int8 else precision.granularity,
                    block_size=precision.group_size,
                    weight_threshold=least,
                )
                joint = is_joint or precision.table_int8
                model = optimize.linear_quantize_weights(model, config(quantizer), joint_compression=joint)
    except (RuntimeError, ValueError, AssertionError, NotImplementedError) as error:
        raise ConversionError(f"coremltools cannot store weights as {precision.name}: {error}") from error
    return model


def digest(tensor: np.ndarray) -> str:
    """A tensor by what it holds: its name differs between functions over the same weights."""
    return hashlib.sha256(np.ascontiguousarray(tensor, np.float32).tobytes()).hexdigest()


def excluded_tensors(
    model: Any, precision: PrecisionOptions, cases: Sequence[Mapping[str, np.ndarray]]
) -> dict[str, str]:
    """Tensors to leave as they are, name by `digest`: the fewest of those that cost most per element with which the
    outputs are within `least_db` of those of the model, executed with the changed weights in place."""
    with tempfile.TemporaryDirectory(prefix="voxport-weights-") as folder:
        paths = [Path(folder, name) for name in ("before.mlpackage", "after.mlpackage")]
        for program, path in zip((model, compressed(model, precision)), paths):
            program.save(str(path))
        before, after = map(MilEngine, paths)
    changed = _changes(before.graph, after.graph)
    energies = dict.fromkeys(changed, 0.0)
    for case in cases:
        exact = run_exact(before.graph, before.tensors(case, before.new_state()))
        (case_energies,) = effects(exact, {node: [change] for node, change in changed.items()})
        for node, energy in case_energies.items():
            energies[node] += energy
    order = sorted(changed, key=lambda node: energies[node] / changed[node].numel(), reverse=True)
    stored = {node: before.graph.get_buffer(str(node.target)) for node in order}
    originals = {node: value.clone() for node, value in stored.items()}

    def outputs() -> list[list[Tensor]]:
        return [floats(map(torch.from_numpy, before.run(case).values())) for case in cases]

    references = outputs()

    def is_enough(count: int) -> bool:
        for rank, node in enumerate(order):
            stored[node].copy_(originals[node] if rank < count else originals[node] + changed[node])
        return agreement_db(references, outputs()) >= (precision.least_db or 0.0)

    count = bisect.bisect_left(range(len(order)), True, key=is_enough)
    return {digest(originals[node].numpy()): plain_name(node.meta["mil"].outputs[0]) for node in order[:count]}


def _changes(before: fx.GraphModule, after: fx.GraphModule) -> dict[fx.Node, Tensor]:
    """Constant -> what compression does to it. The same ops, by the names of their outputs, read other constants."""
    theirs = {
        (node.meta["mil"].outputs[0], name): value
        for node in after.graph.nodes
        if node.op == "call_function" and "mil" in node.meta
        for name, value in node.kwargs.items()
        if _is_constant(value)
    }
    changes: dict[fx.Node, Tensor] = {}
    for node in before.graph.nodes:
        if node.op != "call_function" or "mil" not in node.meta:
            continue
        for name, value in node.kwargs.items():
            other = theirs.get((node.meta["mil"].outputs[0], name))
            if not _is_constant(value) or other is None:
                continue
            old, new = getattr(before, value.target), getattr(after, other.target)
            if old.is_floating_point() and old.shape == new.shape and not torch.equal(old, new):
                changes[value] = new - old
    return changes


def _is_constant(value: Any) -> bool:
    return isinstance(value, fx.Node) and value.op == "get_attr" and "mil" in value.meta
