"""What PyTorch 2.13 does again and again while it exports, done once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any
from unittest.mock import patch

from torch import Tensor
from torch._subclasses import FakeTensor


@contextmanager
def recurrent_layers_at_once() -> Iterator[None]:
    """Lets torch.export take seconds less for a layer of LSTM or GRU, which becomes one operation of its program.

    To know the shapes of the layer's results, PyTorch 2.13 runs it step by step on tensors that have no values. Here a
    single step is repeated in place of all of them. Not for exporters that take the layer apart.
    """
    from torch._decomp import decompositions

    lstm, others = decompositions.one_layer_lstm, decompositions.one_layer_rnn
    with patch.multiple(decompositions, one_layer_lstm=_of_one_step(lstm), one_layer_rnn=_of_one_step(others)):
        yield


def _of_one_step(layer: Callable[..., tuple[Tensor, Any]]) -> Callable[..., tuple[Tensor, Any]]:
    """layer: takes the sequence, [steps, batch, features], and more; gives the outputs of all steps and the state."""

    def run(sequence: Tensor, *rest: Any, **named: Any) -> tuple[Tensor, Any]:
        if not isinstance(sequence, FakeTensor):
            return layer(sequence, *rest, **named)
        outputs, state = layer(sequence[:1], *rest, **named)
        return outputs.repeat(sequence.shape[0], 1, 1), state

    return run


@contextmanager
def translations_read_once() -> Iterator[None]:
    """Lets torch.onnx.export take a second less from its second time on.

    It asks onnxscript for the translations of all operations, which reads each one's source anew; the answer is kept.
    """
    asked = import_module("torch.onnx._internal._lazy_import").onnxscript_apis
    with patch.object(asked, "get_torchlib_ops", _answering_once(asked.get_torchlib_ops)):
        yield


@cache
def _answering_once(ask: Callable[[], Any]) -> Callable[[], Any]:
    return cache(ask)
