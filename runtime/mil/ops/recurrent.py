"""Recurrent layers over (S, B, I) sequences (coremltools: ops/defs/*/recurrent.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Weights = tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]  # input, recurrent, bias, peephole

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "linear": lambda x: x,
    "hard_sigmoid": lambda x: torch.clamp(0.2 * x + 0.5, 0, 1),
    "sigmoid_hard": lambda x: torch.clamp(0.2 * x + 0.5, 0, 1),
    "scaled_tanh": torch.tanh,  # alpha = beta = 1, the op's defaults
}


def lstm(
    x: Tensor,
    initial_h: Tensor,
    initial_c: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    peephole: Tensor | None = None,
    weight_ih_back: Tensor | None = None,
    weight_hh_back: Tensor | None = None,
    bias_back: Tensor | None = None,
    peephole_back: Tensor | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    recurrent_activation: str = "sigmoid",
    cell_activation: str = "tanh",
    activation: str = "tanh",
    clip: float | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gates in the order input, forget, output, cell. Gives (sequence or last step, last h, last c).

    A `reverse` sequence stays in the order in which it was computed; a bidirectional one is in the order of time.
    """
    functions = tuple(_ACTIVATIONS[name] for name in (recurrent_activation, cell_activation, activation))
    hidden = weight_hh.shape[1]
    ordered = x.flip(0) if direction == "reverse" else x
    front: Weights = (weight_ih, weight_hh, bias, peephole)
    back: Weights = (weight_ih_back, weight_hh_back, bias_back, peephole_back)
    both = direction == "bidirectional"
    if (recurrent_activation, cell_activation, activation, peephole, clip) == ("sigmoid", "tanh", "tanh", None, None):
        steps, h, c = _plain_lstm(ordered, initial_h, initial_c, [front, back] if both else [front])
    elif not both:
        steps, h, c = _lstm(ordered, initial_h, initial_c, front, functions, clip)
    else:
        first = _lstm(x, initial_h[:, :hidden], initial_c[:, :hidden], front, functions, clip)
        steps, h, c = _lstm(x.flip(0), initial_h[:, hidden:], initial_c[:, hidden:], back, functions, clip)
        steps, h, c = (torch.cat(pair, -1) for pair in zip(first, (steps.flip(0), h, c)))
    return (steps if output_sequence else h[None]), h, c


def _plain_lstm(x: Tensor, h: Tensor, c: Tensor, directions: Sequence[Weights]) -> tuple[Tensor, Tensor, Tensor]:
    """Runs PyTorch's own layer, which ONNX has too. States: (B, H), both directions side by side."""
    count, batch = len(directions), x.shape[1]
    has_bias = directions[0][2] is not None
    parameters = [parameter for weights in directions for parameter in _torch_parameters(weights[:3], (0, 1, 3, 2))]
    # coremltools' packed sequences come with states of the padded batch
    states = [state[:batch].reshape(batch, count, -1).transpose(0, 1).contiguous() for state in (h, c)]
    steps, h, c = torch.lstm(x, states, parameters, has_bias, 1, 0.0, False, count == 2, False)
    return steps, h.transpose(0, 1).reshape(batch, -1), c.transpose(0, 1).reshape(batch, -1)


def _torch_parameters(weights: Sequence[Tensor | None], order: Sequence[int]) -> list[Tensor]:
    """Input weights, recurrent weights and both biases (MIL has one), their gates in PyTorch's order."""
    tensors = [weight for weight in weights if weight is not None]
    size = len(tensors[0]) // len(order)
    reordered = [torch.cat([weight[gate * size : (gate + 1) * size] for gate in order]) for weight in tensors]
    return [*reordered, torch.zeros_like(reordered[2])] if len(reordered) == 3 else reordered


def _lstm(
    x: Tensor,
    h: Tensor,
    c: Tensor,
    weights: Weights,
    functions: tuple[Callable[[Tensor], Tensor], ...],
    clip: float | None,
) -> tuple[Tensor, Tensor, Tensor]:
    weight_ih, weight_hh, bias, peephole = weights
    assert weight_ih is not None
    assert weight_hh is not None
    gate, cell, output = functions
    projected = x @ weight_ih.T if bias is None else x @ weight_ih.T + bias
    h, c = h[: x.shape[1]], c[: x.shape[1]]
    peep = (None, None, None) if peephole is None else peephole.chunk(3)
    steps = []
    for step in range(x.shape[0]):
        i, f, o, z = (projected[step] + h @ weight_hh.T).chunk(4, -1)
        if peep[0] is not None and peep[1] is not None:
            i, f = i + peep[0] * c, f + peep[1] * c
        i, f, z = gate(i), gate(f), cell(z)
        c = f * c + i * z
        if clip is not None:
            c = torch.clamp(c, -clip, clip)
        o = gate(o if peep[2] is None else o + peep[2] * c)
        h = o * output(c)
        steps.append(h)
    return torch.stack(steps), h, c


def gru(
    x: Tensor,
    initial_h: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    recurrent_activation: str = "sigmoid",
    activation: str = "tanh",
    reset_after: bool = False,
    input_bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Gates in the order reset, output, update. Gives (sequence in the order of computation or last step, last h)."""
    gate, output = _ACTIVATIONS[recurrent_activation], _ACTIVATIONS[activation]
    x = x.flip(0) if direction == "reverse" else x
    bias = x.new_zeros(len(weight_hh)) if bias is None else bias
    if (recurrent_activation, activation, reset_after) == ("sigmoid", "tanh", True):
        input_bias = torch.zeros_like(bias) if input_bias is None else input_bias
        parameters = _torch_parameters((weight_ih, weight_hh, input_bias), (0, 2, 1))[:3]
        parameters += _torch_parameters((bias,), (0, 2, 1))
        sequence, last = torch.gru(x, initial_h[None], parameters, True, 1, 0.0, False, False, False)
        return (sequence if output_sequence else last), last[0]
    inputs = x @ weight_ih.T if input_bias is None else x @ weight_ih.T + input_bias
    w_r, w_o, w_z = weight_hh.chunk(3)
    b_r, b_o, b_z = bias.chunk(3)
    h, steps = initial_h, []
    for step in range(x.shape[0]):
        i_r, i_o, i_z = inputs[step].chunk(3, -1)
        r, z = gate(i_r + h @ w_r.T + b_r), gate(i_z + h @ w_z.T + b_z)
        o = output(i_o + r * (h @ w_o.T + b_o)) if reset_after else output(i_o + (r * h) @ w_o.T + b_o)
        h = (1 - z) * o + z * h
        steps.append(h)
    return (torch.stack(steps) if output_sequence else h[None]), h


def rnn(
    x: Tensor,
    initial_h: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    activation: str = "tanh",
) -> tuple[Tensor, Tensor]:
    """Gives (sequence in the order of computation or last step, last h)."""
    x = x.flip(0) if direction == "reverse" else x
    if activation in ("tanh", "relu"):
        layer = torch.rnn_tanh if activation == "tanh" else torch.rnn_relu
        parameters = [weight_ih, weight_hh] + ([] if bias is None else [bias, torch.zeros_like(bias)])
        sequence, last = layer(x, initial_h[None], parameters, bias is not None, 1, 0.0, False, False, False)
        return (sequence if output_sequence else last), last[0]
    function = _ACTIVATIONS[activation]
    inputs = x @ weight_ih.T if bias is None else x @ weight_ih.T + bias
    h, steps = initial_h, []
    for step in range(x.shape[0]):
        h = function(inputs[step] + h @ weight_hh.T)
        steps.append(h)
    return (torch.stack(steps) if output_sequence else h[None]), h


OPS: dict[str, Callable[..., tuple[Tensor, ...]]] = {"lstm": lstm, "gru": gru, "rnn": rnn}
