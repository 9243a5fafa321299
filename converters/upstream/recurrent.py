"""Recurrent layers in forms that a mask makes exact at any padded length, and cells in plain operations."""

from __future__ import annotations

from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Layer = TypeVar("Layer", nn.LSTM, nn.GRU)


def one_way(layer: Layer, suffix: str) -> Layer:
    """One direction of a bidirectional layer, `suffix` being that of its weights: "" or "_reverse"."""
    single = type(layer)(layer.input_size, layer.hidden_size, batch_first=True)
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    single.load_state_dict({name: getattr(layer, name + suffix).detach() for name in names})
    return single.requires_grad_(False)


def both_ways(ahead: nn.Module, back: nn.Module, x: Tensor, backward: Tensor) -> Tensor:
    """A bidirectional layer of x (1, T, C) -> (1, T, 2 H); backward (1, T): T - 1 .. 0.

    What reads backward reads the turned sequence forward: so zeros after the sequence do not come first.
    """
    order = backward.squeeze(0)
    return torch.cat([ahead(x)[0], back(x.index_select(1, order))[0].index_select(1, order)], 2)


def lstm_cell(cell: nn.LSTMCell, x: Tensor, hidden: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """nn.LSTMCell. All (N, C)."""
    gates = F.linear(x, cell.weight_ih, cell.bias_ih) + F.linear(hidden, cell.weight_hh, cell.bias_hh)
    take, keep, new, give = gates.chunk(4, 1)
    memory = torch.sigmoid(keep) * memory + torch.sigmoid(take) * torch.tanh(new)
    return torch.sigmoid(give) * torch.tanh(memory), memory


def gru_cell(from_input: Tensor, from_hidden: Tensor, hidden: Tensor) -> Tensor:
    """nn.GRUCell behind its two linear layers: from_input, from_hidden (N, 3 H) of its input and of hidden (N, H)."""
    width = hidden.shape[1]
    gates = torch.sigmoid(from_input[:, : 2 * width] + from_hidden[:, : 2 * width])
    new = torch.tanh(from_input[:, 2 * width :] + gates[:, :width] * from_hidden[:, 2 * width :])
    return new + gates[:, width:] * (hidden - new)
