"""PyTorch functions that torch.export would take apart or its exporter does not know, and that ONNX has whole.

Recurrent layers would be unrolled over time, which fixes the length; a reshape would put conditions on the sizes that
it cannot always prove. While `Opaque` is active each is one node of the exported program; `TRANSLATIONS` says what
ONNX has for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import onnxscript.function_libs.torch_lib.ops.core as torch_to_onnx
import torch
from onnxscript import opset20
from torch import SymInt, Tensor
from torch.overrides import TorchFunctionMode

_LAYER = "(Tensor x, {states}, Tensor[] parameters, bool has_biases, int layers, float dropout, bool train, " + (
    "bool bidirectional, bool batch_first) -> (Tensor, {results})"
)
_library = torch.library.Library("voxport", "DEF")
_library.define("reshape(Tensor x, SymInt[] shape) -> Tensor")
_library.define("lstm" + _LAYER.format(states="Tensor[] states", results="Tensor, Tensor"))
_library.define("gru" + _LAYER.format(states="Tensor state", results="Tensor"))


@torch.library.register_fake("voxport::reshape")
def _reshape_shape(x: Tensor, shape: Sequence[int]) -> Tensor:
    return x.new_empty(shape)


@torch.library.register_fake("voxport::lstm")
def _lstm_shapes(x: Tensor, states: Sequence[Tensor], *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    """x: (S, B, I), each state: (directions, B, H). Gives (S, B, directions * H) and the last states."""
    directions, _batch, hidden = states[0].shape
    sequence = x.new_empty(x.shape[0], x.shape[1], directions * hidden)
    return sequence, torch.empty_like(states[0]), torch.empty_like(states[1])


@torch.library.register_fake("voxport::gru")
def _gru_shapes(x: Tensor, state: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    directions, _batch, hidden = state.shape
    return x.new_empty(x.shape[0], x.shape[1], directions * hidden), torch.empty_like(state)


def _reshape_to_onnx(x: Any, shape: Any) -> Any:
    return opset20.Reshape(x, shape)


def _stable_sort_to_onnx(x: Any, stable: bool = True, dim: int = -1, descending: bool = False) -> Any:
    return torch_to_onnx.aten_sort(x, dim, descending)  # a TopK of all, which leaves equal values in their order


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.voxport.reshape.default: _reshape_to_onnx,
    torch.ops.voxport.lstm.default: torch_to_onnx.aten_lstm,
    torch.ops.voxport.gru.default: torch_to_onnx.aten_gru,
    torch.ops.aten.sort.stable: _stable_sort_to_onnx,
}


class Opaque(TorchFunctionMode):
    """Active during an export; of no use in eager execution."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.lstm:
            return torch.ops.voxport.lstm(*args)
        if func is torch.gru:
            return torch.ops.voxport.gru(*args)
        if func is Tensor.reshape:
            x, *sizes = args
            sizes = sizes[0] if isinstance(sizes[0], (list, tuple, torch.Size)) else sizes
            if any(isinstance(size, SymInt) for size in [*x.shape, *sizes]):
                return torch.ops.voxport.reshape(x, _without_unknown(x, sizes))
        return func(*args, **(kwargs or {}))


def _without_unknown(x: Tensor, sizes: Sequence[int]) -> list[int]:
    """The -1 among the sizes computed."""
    known = [size for size in sizes if isinstance(size, SymInt) or size != -1]
    return [size if isinstance(size, SymInt) or size != -1 else x.numel() // math.prod(known) for size in sizes]
