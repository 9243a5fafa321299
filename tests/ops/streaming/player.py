"""A plain player of streamed modules, for the proofs: every position of the output, none cropped."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ops.streaming import Input, Streamed


def stream(form: Streamed, inputs: dict[str, Tensor], frames: int) -> list[Tensor]:
    """The outputs of a whole utterance, fed chunk by chunk until the last position came out."""
    states = [state.initial for state in form.states]
    pieces: list[list[Tensor]] = [[] for _ in form.outputs]
    start = 0
    while any(start * port.rate + port.span.lo < port.rate * frames + port.extra for port in form.outputs):
        given = [
            _part(inputs[port.name], port.axis, start * port.rate, port.span, form.repeated) for port in form.inputs
        ]
        given += [inputs[item.name] for item in form.fixed_inputs]
        if form.edges:
            ends = (start, frames - start)
            given += [torch.tensor([min(end, form.horizon)], dtype=torch.int32) for end in ends]
        results = form(*given, *states)
        states = list(results[len(form.outputs) :])
        for port, output, taken in zip(form.outputs, results, pieces):
            first = start * port.rate + port.span.lo
            end = min(first + len(port.span), port.rate * frames + port.extra)
            if end > max(first, 0):
                taken.append(output.narrow(port.axis, max(first, 0) - first, end - max(first, 0)))
        start += form.chunk
    return [torch.cat(taken, port.axis) for taken, port in zip(pieces, form.outputs)]


def _part(whole: Tensor, axis: int, start: int, span, repeated: int) -> Tensor:
    """Positions start + span of an input; zeros where it has none."""
    lo, hi, length = start + span.lo, start + span.hi - repeated, whole.shape[axis]
    first, last = min(max(lo, 0), length), min(max(hi, 0), length)
    part = whole.narrow(axis, first, max(last - first, 0))
    pads = [0, 0] * (whole.dim() - 1 - axis) + [first - lo if first < length or lo < 0 else 0, 0]
    pads[-1] = (hi - lo) - part.shape[axis] - pads[-2]
    return F.pad(part, pads)


def example(inputs: list[Input], frames: int) -> dict[str, Tensor]:
    """Random inputs for an utterance."""
    return {item.name: torch.randn_like(item.example(frames)) for item in inputs}


def lively(module: nn.Module, gain: float = 1.3) -> nn.Module:
    """Random weights whose biases show at the edges and whose outputs are of the size of speech; float64."""
    generator = torch.Generator().manual_seed(0)
    for layer in module.modules():
        if not isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d)):
            continue
        weight = layer.weight
        transposed = isinstance(layer, nn.ConvTranspose1d)
        fan_in = weight.shape[0] * weight.shape[2] / layer.stride[0] if transposed else weight[0].numel()
        weight.data = torch.randn(weight.shape, generator=generator) * (gain / fan_in) ** 0.5
        if layer.bias is not None:
            layer.bias.data = 0.1 * torch.randn(layer.bias.shape, generator=generator)
    return module.double().eval()
