"""Arithmetic, element by element: relations of tensors, functions of one, activations."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from runtime.errors import EngineError
from runtime.neuralnetwork.layers.parameters import Function, Layer, plain, weights


def _folded(relation: Callable[[Tensor, Any], Tensor], *, has_alpha: bool = True) -> Layer:
    """Folds any number of tensors by the relation; a single one with `alpha`, where the layer has one."""

    def prepared(layer: Any) -> Function:
        def compute(first: Tensor, *others: Tensor) -> Tensor:
            for other in others or ([layer.alpha] if has_alpha else []):
                first = relation(first, other)
            return first

        return compute

    return prepared


def _average(*inputs: Tensor) -> Tensor:
    return sum(inputs[1:], inputs[0]) / len(inputs)


def _compared(relation: Callable[[Tensor, Any], Tensor]) -> Layer:
    def prepared(layer: Any) -> Function:
        return lambda a, b=None: relation(a, layer.alpha if b is None else b).float()

    return prepared


def _logical(relation: Callable[..., Tensor]) -> Layer:
    return lambda layer: lambda *inputs: relation(*(x != 0 for x in inputs)).float()


def _unary(layer: Any) -> Function:
    """Applies the function to scale x + shift."""
    function, scale = UNARY[type(layer).Operation.Name(layer.type)](layer), layer.scale or 1.0
    return lambda x: function(x * scale + layer.shift)


def _gelu(layer: Any) -> Function:
    mode = type(layer).GeluMode.Name(layer.mode)
    if mode == "SIGMOID_APPROXIMATION":
        return lambda x: x * torch.sigmoid(1.702 * x)
    return lambda x: F.gelu(x, approximate="tanh" if mode == "TANH_APPROXIMATION" else "none")


def _clamped_relu(layer: Any) -> Function:
    """min(x, beta) from zero up, min(alpha x, beta) below."""
    return lambda x: F.leaky_relu(x, layer.alpha).clamp(max=layer.beta)


def activation(layer: Any) -> Callable[[Tensor], Tensor]:
    """Returns the function of an ActivationParams. Raises EngineError for none that is known."""
    kind = layer.WhichOneof("NonlinearityType")
    if kind not in ACTIVATIONS:
        raise EngineError(f"it is an activation {kind}, which the neuralnetwork engine does not know")
    return ACTIVATIONS[kind](getattr(layer, kind))


def _per_channel(held: Any) -> Tensor:
    """(C, 1, 1), or one for all."""
    return weights(held, -1, 1, 1)


def _prelu(layer: Any) -> Callable[[Tensor], Tensor]:
    alpha = _per_channel(layer.alpha)
    return lambda x: torch.where(x >= 0, x, alpha * x)


def _parametric_softplus(layer: Any) -> Callable[[Tensor], Tensor]:
    alpha, beta = _per_channel(layer.alpha), _per_channel(layer.beta)
    return lambda x: alpha * F.softplus(beta * x)


UNARY: dict[str, Callable[[Any], Callable[[Tensor], Tensor]]] = {
    "SQRT": lambda layer: torch.sqrt,
    "RSQRT": lambda layer: lambda x: torch.rsqrt(x + layer.epsilon),
    "INVERSE": lambda layer: lambda x: 1 / (x + layer.epsilon),
    "POWER": lambda layer: lambda x: x**layer.alpha,
    "EXP": lambda layer: torch.exp,
    "LOG": lambda layer: lambda x: torch.log(x + layer.epsilon),
    "ABS": lambda layer: torch.abs,
    "THRESHOLD": lambda layer: lambda x: x.clamp(min=layer.alpha),
}
ACTIVATIONS: dict[str, Callable[[Any], Callable[[Tensor], Tensor]]] = {
    "ELU": lambda layer: lambda x: F.elu(x, layer.alpha),
    "PReLU": _prelu,
    "ReLU": lambda layer: F.relu,
    "leakyReLU": lambda layer: lambda x: F.leaky_relu(x, layer.alpha),
    "linear": lambda layer: lambda x: layer.alpha * x + layer.beta,
    "parametricSoftplus": _parametric_softplus,
    "scaledTanh": lambda layer: lambda x: layer.alpha * torch.tanh(layer.beta * x),
    "sigmoid": lambda layer: torch.sigmoid,
    "sigmoidHard": lambda layer: lambda x: (layer.alpha * x + layer.beta).clamp(0, 1),
    "softplus": lambda layer: F.softplus,
    "softsign": lambda layer: F.softsign,
    "tanh": lambda layer: torch.tanh,
    "thresholdedReLU": lambda layer: lambda x: torch.where(x >= layer.alpha, x, torch.zeros(())),
}
_PLAIN: dict[str, Callable[..., Tensor]] = {
    "acos": torch.acos,
    "acosh": torch.acosh,
    "addBroadcastable": operator.add,
    "asin": torch.asin,
    "asinh": torch.asinh,
    "atan": torch.atan,
    "atanh": torch.atanh,
    "average": _average,
    "ceil": torch.ceil,
    "cos": torch.cos,
    "cosh": torch.cosh,
    "divideBroadcastable": operator.truediv,
    "erf": torch.erf,
    "exp2": torch.exp2,
    "floor": torch.floor,
    "floorDivBroadcastable": torch.floor_divide,
    "maxBroadcastable": torch.maximum,
    "minBroadcastable": torch.minimum,
    "modBroadcastable": torch.remainder,
    "multiplyBroadcastable": operator.mul,
    "powBroadcastable": torch.pow,
    "round": torch.round,
    "sign": torch.sign,
    "sin": torch.sin,
    "sinh": torch.sinh,
    "subtractBroadcastable": operator.sub,
    "tan": torch.tan,
    "tanh": torch.tanh,
}
TABLE: dict[str, Layer] = {
    **{name: plain(function) for name, function in _PLAIN.items()},
    "activation": activation,
    "add": _folded(operator.add),
    "clampedReLU": _clamped_relu,
    "clip": lambda layer: lambda x: x.clamp(layer.minVal, layer.maxVal),
    "equal": _compared(torch.eq),
    "gelu": _gelu,
    "greaterEqual": _compared(torch.ge),
    "greaterThan": _compared(torch.gt),
    "lessEqual": _compared(torch.le),
    "lessThan": _compared(torch.lt),
    "logicalAnd": _logical(torch.logical_and),
    "logicalNot": _logical(torch.logical_not),
    "logicalOr": _logical(torch.logical_or),
    "logicalXor": _logical(torch.logical_xor),
    "max": _folded(torch.maximum, has_alpha=False),
    "min": _folded(torch.minimum, has_alpha=False),
    "multiply": _folded(operator.mul),
    "notEqual": _compared(torch.ne),
    "unary": _unary,
}
