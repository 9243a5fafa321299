"""Element-wise ops, unary and binary with NumPy broadcasting (coremltools: ops/defs/*/elementwise_*.py)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# ------------------------------------------------------------------------------------------------------- binary


def add(x: Tensor, y: Tensor) -> Tensor:
    return x + y


def sub(x: Tensor, y: Tensor) -> Tensor:
    return x - y


def mul(x: Tensor, y: Tensor) -> Tensor:
    return x * y


def real_div(x: Tensor, y: Tensor) -> Tensor:
    """The quotient; of integers it is cut to the program's integer type afterwards."""
    return x / y


def floor_div(x: Tensor, y: Tensor) -> Tensor:
    return torch.floor_divide(x, y)


def mod(x: Tensor, y: Tensor) -> Tensor:
    """Returns the remainder with the sign of y, as NumPy's."""
    return torch.remainder(x, y)


def pow_(x: Tensor, y: Tensor) -> Tensor:
    return torch.pow(x, y)


def maximum(x: Tensor, y: Tensor) -> Tensor:
    return torch.maximum(x, y)


def minimum(x: Tensor, y: Tensor) -> Tensor:
    return torch.minimum(x, y)


def equal(x: Tensor, y: Tensor) -> Tensor:
    return x == y


def not_equal(x: Tensor, y: Tensor) -> Tensor:
    return x != y


def greater(x: Tensor, y: Tensor) -> Tensor:
    return x > y


def greater_equal(x: Tensor, y: Tensor) -> Tensor:
    return x >= y


def less(x: Tensor, y: Tensor) -> Tensor:
    return x < y


def less_equal(x: Tensor, y: Tensor) -> Tensor:
    return x <= y


def logical_and(x: Tensor, y: Tensor) -> Tensor:
    return torch.logical_and(x, y)


def logical_or(x: Tensor, y: Tensor) -> Tensor:
    return torch.logical_or(x, y)


def logical_xor(x: Tensor, y: Tensor) -> Tensor:
    return torch.logical_xor(x, y)


# -------------------------------------------------------------------------------------------------------- unary


def abs_(x: Tensor) -> Tensor:
    return torch.abs(x)


def acos(x: Tensor) -> Tensor:
    return torch.acos(x)


def asin(x: Tensor) -> Tensor:
    return torch.asin(x)


def atan(x: Tensor) -> Tensor:
    return torch.atan(x)


def atanh(x: Tensor) -> Tensor:
    return torch.atanh(x)


def ceil(x: Tensor) -> Tensor:
    return torch.ceil(x)


def clip(x: Tensor, alpha: float, beta: float) -> Tensor:
    return torch.clamp(x, alpha, beta)


def cos(x: Tensor) -> Tensor:
    return torch.cos(x)


def cosh(x: Tensor) -> Tensor:
    return torch.cosh(x)


def erf(x: Tensor) -> Tensor:
    return torch.erf(x)


def exp(x: Tensor) -> Tensor:
    return torch.exp(x)


def exp2(x: Tensor) -> Tensor:
    return torch.exp2(x)


def floor(x: Tensor) -> Tensor:
    return torch.floor(x)


def inverse(x: Tensor, epsilon: float = 1e-4) -> Tensor:
    return 1 / (x + epsilon)


def log(x: Tensor, epsilon: float = 1e-45) -> Tensor:
    return torch.log(x + epsilon)


def logical_not(x: Tensor) -> Tensor:
    return torch.logical_not(x)


def round_(x: Tensor) -> Tensor:
    """Halves to even, as NumPy's."""
    return torch.round(x)


def rsqrt(x: Tensor, epsilon: float = 1e-12) -> Tensor:
    return torch.rsqrt(x + epsilon)


def sign(x: Tensor) -> Tensor:
    return torch.sign(x)


def sin(x: Tensor) -> Tensor:
    return torch.sin(x)


def sinh(x: Tensor) -> Tensor:
    return torch.sinh(x)


def sqrt(x: Tensor) -> Tensor:
    return torch.sqrt(x)


def square(x: Tensor) -> Tensor:
    return x * x


def tan(x: Tensor) -> Tensor:
    return torch.tan(x)


def threshold(x: Tensor, alpha: float) -> Tensor:
    return torch.clamp(x, min=alpha)


OPS: dict[str, Callable[..., Tensor]] = {
    "add": add,
    "sub": sub,
    "mul": mul,
    "real_div": real_div,
    "floor_div": floor_div,
    "mod": mod,
    "pow": pow_,
    "maximum": maximum,
    "minimum": minimum,
    "equal": equal,
    "not_equal": not_equal,
    "greater": greater,
    "greater_equal": greater_equal,
    "less": less,
    "less_equal": less_equal,
    "logical_and": logical_and,
    "logical_or": logical_or,
    "logical_xor": logical_xor,
    "abs": abs_,
    "acos": acos,
    "asin": asin,
    "atan": atan,
    "atanh": atanh,
    "ceil": ceil,
    "clip": clip,
    "cos": cos,
    "cosh": cosh,
    "erf": erf,
    "exp": exp,
    "exp2": exp2,
    "floor": floor,
    "inverse": inverse,
    "log": log,
    "logical_not": logical_not,
    "round": round_,
    "rsqrt": rsqrt,
    "sign": sign,
    "sin": sin,
    "sinh": sinh,
    "sqrt": sqrt,
    "square": square,
    "tan": tan,
    "threshold": threshold,
}
