"""An exported ONNX model made as small as the exporter's own optimiser would make it, in less time."""

from __future__ import annotations

from typing import Any

from runtime.mil.convolutions import rewrite_convolutions


def tidy(model: Any, *, widen: bool) -> None:
    """Folds constants, removes what is not used and merges what is there twice, in an onnx_ir model exported with
    `optimize=False`.

    It does what the exporter's optimiser does without its search for patterns, which takes up to half of an export and
    finds none here that matter: ONNX Runtime fuses what it can itself (benchmarks/lowering.py). `widen`: convolutions
    get the form that ONNX Runtime computes fastest, in float32; in half precision it has no kernels of its own for it.
    """
    from onnx_ir.passes import Sequential, common
    from onnxscript.optimizer import fold_constants

    common.InlinePass()(model)
    fold_constants(model)
    if widen:
        rewrite_convolutions(model)
    Sequential(
        common.RemoveUnusedNodesPass(),
        common.DeduplicateInitializersPass(),
        common.CommonSubexpressionEliminationPass(),
        common.OutputFixPass(),
        common.NameFixPass(),
    )(model)
