"""Binary element-wise ops with NumPy broadcasting (coremltools: ops/defs/iOS15/elementwise_binary.py)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def add(x: Tensor, y: Tensor) -> Tensor:
    return x + y


def sub(x: Tensor, y: Tensor) -> Tensor:
    return x - y


def mul(x: Tensor, y: Tensor) -> Tensor:
    return x * y


def real_div(x: Tensor, y: Tensor) -> Tensor:
    return x / y


OPS: dict[str, Callable[..., Tensor]] = {"add": add, "sub": sub, "mul": mul, "real_div": real_div}
