"""MIL op name -> the function that computes it. One table per topic; an op's file is found from its name.

An op is a pure function on torch tensors: no `.item()`, no data-dependent Python. Parameters annotated
`Tensor` arrive as tensors (floats as float32), all others as plain Python values read from the program's
constants. Rounding to the program's declared dtype is the interpreter's business, not the op's.
Semantics: the op classes in coremltools.converters.mil.mil.ops.defs.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from runtime.mil.ops import activation, conv, elementwise, tensor

Op = Callable[..., Tensor]

OPS: dict[str, Op] = {**activation.OPS, **conv.OPS, **elementwise.OPS, **tensor.OPS}
