"""Recurrent layers over (S, B, I) sequences (coremltools: ops/defs/*/recurrent.py)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

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
    """Gates in the order input, forget, output, cell. Gives (sequence or last step, last h, last c)."""
    functions = tuple(_ACTIVATIONS[name] for name in (recurrent_activation, cell_activation, activation))
    hidden = weight_hh.shape[1]
    if direction != "bidirectional":
        weights = (weight_ih, weight_hh, bias, peephole)
        steps, h, c = _lstm(x, initial_h, initial_c, weights, functions, clip, direction == "reverse")
        return (steps if output_sequence else h[None]), h, c
    assert weight_ih_back is not None
    assert weight_hh_back is not None
    front = (weight_ih, weight_hh, bias, peephole)
    back = (weight_ih_back, weight_hh_back, bias_back, peephole_back)
    first = _lstm(x, initial_h[:, :hidden], initial_c[:, :hidden], front, functions, clip, False)
    second = _lstm(x, initial_h[:, hidden:], initial_c[:, hidden:], back, functions, clip, True)
    steps, h, c = (torch.cat(pair, -1) for pair in zip(first, second))
    return (steps if output_sequence else h[None]), h, c


def _lstm(
    x: Tensor,
    h: Tensor,
    c: Tensor,
    weights: tuple[Tensor, Tensor, Tensor | None, Tensor | None],
    functions: tuple[Callable[[Tensor], Tensor], ...],
    clip: float | None,
    backwards: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    weight_ih, weight_hh, bias, peephole = weights
    gate, cell, output = functions
    projected = x @ weight_ih.T if bias is None else x @ weight_ih.T + bias
    h, c = h[: x.shape[1]], c[: x.shape[1]]  # coremltools' packed sequences come with states of the padded batch
    peep = (None, None, None) if peephole is None else peephole.chunk(3)
    steps = []
    for step in reversed(range(x.shape[0])) if backwards else range(x.shape[0]):
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
    return torch.stack(steps[::-1] if backwards else steps), h, c


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
    """Gates in the order reset, output, update. Gives (sequence or last step, last h)."""
    gate, output = _ACTIVATIONS[recurrent_activation], _ACTIVATIONS[activation]
    hidden = weight_hh.shape[1]
    bias = x.new_zeros(3 * hidden) if bias is None else bias
    inputs = x @ weight_ih.T if input_bias is None else x @ weight_ih.T + input_bias
    w_r, w_o, w_z = weight_hh.chunk(3)
    b_r, b_o, b_z = bias.chunk(3)
    h, steps = initial_h, []
    for step in reversed(range(x.shape[0])) if direction == "reverse" else range(x.shape[0]):
        i_r, i_o, i_z = inputs[step].chunk(3, -1)
        r, z = gate(i_r + h @ w_r.T + b_r), gate(i_z + h @ w_z.T + b_z)
        o = output(i_o + r * (h @ w_o.T + b_o)) if reset_after else output(i_o + (r * h) @ w_o.T + b_o)
        h = (1 - z) * o + z * h
        steps.append(h)
    sequence = torch.stack(steps[::-1] if direction == "reverse" else steps)
    return (sequence if output_sequence else h[None]), h


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
    """Gives (sequence or last step, last h); a reverse sequence stays in the order in which it was computed."""
    function = _ACTIVATIONS[activation]
    inputs = x @ weight_ih.T if bias is None else x @ weight_ih.T + bias
    h, steps = initial_h, []
    for step in reversed(range(x.shape[0])) if direction == "reverse" else range(x.shape[0]):
        h = function(inputs[step] + h @ weight_hh.T)
        steps.append(h)
    return (torch.stack(steps) if output_sequence else h[None]), h


OPS: dict[str, Callable[..., tuple[Tensor, ...]]] = {"lstm": lstm, "gru": gru, "rnn": rnn}
