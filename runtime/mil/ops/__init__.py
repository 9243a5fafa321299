"""MIL op name -> the function that computes it. One table per topic; an op's file is found from its name.

An op is a pure function on torch tensors. Parameters annotated `Tensor` arrive as tensors (floats as float32), all
others as plain Python values: read from the program's constants, or from a tensor that the program computes.
Rounding to the program's declared dtype is the interpreter's business, not the op's.
Semantics: the op classes in coremltools.converters.mil.mil.ops.defs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from runtime.mil.ops import (
    activation,
    control_flow,
    conv,
    elementwise,
    image,
    linear,
    normalization,
    pool,
    quantization,
    random,
    recurrent,
    reduction,
    scatter_gather,
    tensor,
    transformation,
)

Op = Callable[..., Any]

OPS: dict[str, Op] = {
    **activation.OPS,
    **control_flow.OPS,
    **conv.OPS,
    **elementwise.OPS,
    **image.OPS,
    **linear.OPS,
    **normalization.OPS,
    **pool.OPS,
    **quantization.OPS,
    **random.OPS,
    **recurrent.OPS,
    **reduction.OPS,
    **scatter_gather.OPS,
    **tensor.OPS,
    **transformation.OPS,
}
