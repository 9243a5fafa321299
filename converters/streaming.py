"""Makes the streaming form of a component: the module of one chunk, and how a runtime is to call it.

The rewrite itself is in `ops/streaming`; here its modules get names, specifications and an entry in the manifest.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from converters.component import Component
from converters.options import ConversionError, StreamOptions
from ops.streaming import Input, Keep, Network, NotLocal, Port, Streamed, low_latency, read, stateful, window
from runtime.bundle.form import StateKind, StreamForm, StreamMode, StreamPort, StreamState
from runtime.bundle.spec import TensorSpec
from runtime.speech.metrics import snr_db

LOOKAHEADS = range(3, 14)
COSTED_CHUNKS = (1, 2, 4, 8, 16, 32)
_CHUNKS_PER_CLIP = 16  # of each clip, for the SNR that a bounded lookahead costs


@dataclass(frozen=True)
class StreamingComponent:
    """A component for one chunk at a time, as one or two functions over the same weights: `edge`, `steady`."""

    functions: Mapping[str, Component]
    form: StreamForm


def streaming_component(
    component: Component, options: StreamOptions, upsampler: str, with_steady: bool
) -> StreamingComponent:
    """The form that the options name. `upsampler`: native or polyphase; `with_steady`: also the function without the
    utterance's ends, where the format holds several functions.

    Raises ConversionError where the component is not local in time (naming the layer) or the chunk does not fit it.
    """
    network = network_of(component, upsampler)
    streaming = emit(component, network, options, with_steady)
    return replace(streaming, form=replace(streaming.form, costs=costs(component, network)))


def emit(component: Component, network: Network, options: StreamOptions, with_steady: bool) -> StreamingComponent:
    """Does as `streaming_component`, with a component that was read already."""
    try:
        edge = _emit(network, options)
        steady = edge.without_ends() if with_steady and options.state == "explicit" else None
    except ValueError as error:
        raise ConversionError(f"stream={options.mode}: {error}") from error
    if any(state.initial.any() for state in edge.states):
        raise ConversionError(f"stream={options.mode}: a recurrent layer of {component.name} does not start from zeros")
    kept = options.state == "mlstate"
    functions = {"edge": chunk_component(component, edge, kept)}
    if steady is not None:
        functions["steady"] = chunk_component(component, steady, kept)
    return StreamingComponent(functions, _form(component, options, edge, len(functions) > 1))


def network_of(component: Component, upsampler: str = "native") -> Network:
    """Reads a component's network for streaming. Raises ConversionError where it is not local in time."""
    time = component.time
    if time is None:
        raise ConversionError(f"component {component.name} has no axis of time: it cannot be streamed")
    inputs = [
        Input(
            spec.name,
            spec.default_shape,
            time.input_axis if spec.name == time.input else None,
            time.positions,
            dtype=getattr(torch, spec.dtype),
        )
        for spec in component.inputs
    ]
    try:
        return read(component.module, inputs, polyphase=upsampler == "polyphase")
    except NotLocal as error:
        raise ConversionError(f"component {component.name} cannot be streamed exactly: {error}") from error


def _emit(network: Network, options: StreamOptions) -> Streamed:
    if options.mode == "window":
        return window(network, options.chunk)
    if options.mode == "stateful":
        return stateful(network, options.chunk, cast(Keep, options.keep))
    return low_latency(network, options.chunk, options.lookahead)


def _form(component: Component, options: StreamOptions, edge: Streamed, has_steady: bool) -> StreamForm:
    inputs = [StreamPort(port.name, port.axis, port.rate, port.span.lo, port.span.hi) for port in edge.inputs]
    outputs = [
        StreamPort(spec.name, port.axis, port.rate, port.span.lo, port.span.hi, port.extra)
        for spec, port in zip(component.outputs, edge.outputs)
    ]
    states = [StreamState(state.name, f"next_{state.name}", tuple(state.initial.shape)) for state in edge.states]
    delay = -outputs[0].lo
    waits = max(port.hi / port.rate for port in inputs) + delay / outputs[0].rate - options.chunk
    return StreamForm(
        mode=cast(StreamMode, options.mode),
        exact=not edge.repeated,
        chunk=options.chunk,
        lookahead=int(np.ceil(waits)),
        delay=delay,
        ahead=edge.ahead,
        horizon=edge.horizon,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        states=tuple(states),
        state=cast(StateKind, options.state) if states else "none",
        constants=tuple(item.name for item in edge.fixed_inputs),
        edge="edge" if has_steady else None,
        steady="steady" if has_steady else None,
        repeated=edge.repeated,
    )


def chunk_component(component: Component, form: Streamed, kept: bool = False) -> Component:
    """The component that converts as any other; with `kept` the states are Core ML's and no inputs."""
    offline = {spec.name: spec for spec in component.inputs}
    inputs = [_sized(offline[port.name], port.axis, len(port.span)) for port in form.inputs]
    inputs += [offline[item.name] for item in form.fixed_inputs]
    if form.edges:
        inputs += [TensorSpec(name, (1,), "int32", "frames") for name in ("before", "after")]
    outputs = [_sized(spec, port.axis, len(port.span)) for spec, port in zip(component.outputs, form.outputs)]
    states = [TensorSpec(state.name, tuple(state.initial.shape), _dtype(state.initial)) for state in form.states]
    if not kept:
        inputs += states
        outputs += [replace(spec, name=f"next_{spec.name}") for spec in states]
    return replace(
        component,
        module=_Kept(form).eval() if kept else form.eval(),
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        states=tuple(states) if kept else (),
        example=lambda: _example(inputs, form),
        time=None,
    )


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _sized(spec: TensorSpec, axis: int, length: int) -> TensorSpec:
    return replace(spec, shape=tuple(length if i == axis else size for i, size in enumerate(spec.default_shape)))


def _example(inputs: Sequence[TensorSpec], form: Streamed) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    floats = {spec.name: torch.randn(spec.default_shape, generator=generator) for spec in inputs}
    ends = {name: torch.tensor([form.horizon], dtype=torch.int32) for name in ("before", "after")}
    return {spec.name: ends.get(spec.name, floats[spec.name]) for spec in inputs}


class _Kept(nn.Module):
    """A streamed module that keeps its states as buffers, which coremltools makes Core ML states of."""

    def __init__(self, form: Streamed) -> None:
        super().__init__()
        self.form = form
        self.names = [state.name for state in form.states]
        for state in form.states:
            self.register_buffer(state.name, state.initial.clone())

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        states = [self.get_buffer(name) for name in self.names]
        results = self.form(*inputs, *states)
        count = len(results) - len(states)
        for state, value in zip(states, results[count:]):
            state[:] = value
        return results[:count]


def costs(component: Component, network: Network) -> dict[str, dict[int, float]]:
    """Mode -> chunk -> multiply-adds per input frame, counted away from the utterance's ends.

    `overlap` is what calling the offline component on the chunk and its receptive field costs. A chunk that does not
    fit the network's strides, or a mode that the network does not have, is left out. `lowlat` costs what `window` does.
    `stateful` is counted with state after every layer: with less of it some are done again.
    """
    table: dict[str, dict[int, float]] = {}
    offline = offline_multiply_adds(component)
    assert component.time is not None
    halo = component.time.left + component.time.right
    for chunk in COSTED_CHUNKS:
        for mode, form in (("stateful", functools.partial(stateful, keep="layer")), ("window", window)):
            try:
                streamed = form(network, chunk).without_ends().to("meta")
            except ValueError:
                continue
            sizes = [
                _sized(spec, port.axis, len(port.span)).default_shape for spec, port in _ports(component, streamed)
            ]
            sizes += [item.shape for item in streamed.fixed_inputs]
            sizes += [tuple(state.initial.shape) for state in streamed.states]
            table.setdefault(mode, {})[chunk] = _multiply_adds(streamed, sizes) / chunk
        table.setdefault("overlap", {})[chunk] = offline(chunk + halo) / chunk
    return table


def offline_multiply_adds(component: Component) -> Callable[[int], float]:
    """Returns the multiply-adds of a call of so many frames: those of two short ones and the straight line through
    them, since every frame more costs the same. A recurrent layer takes a second to count step by step."""
    time, module = component.time, copy.deepcopy(component.module).to("meta")
    assert time is not None

    def counted(frames: int) -> float:
        sizes = [
            _sized(spec, time.input_axis, frames * time.positions).default_shape
            if spec.name == time.input
            else spec.default_shape
            for spec in component.inputs
        ]
        return _multiply_adds(module, sizes)

    fewest = component.shortest
    first, second = counted(fewest), counted(2 * fewest)
    return lambda frames: first + (second - first) * (frames / fewest - 1)


def _ports(component: Component, streamed: Streamed) -> list[tuple[TensorSpec, Port]]:
    offline = {spec.name: spec for spec in component.inputs}
    return [(offline[port.name], port) for port in streamed.inputs]


def _multiply_adds(module: nn.Module, sizes: Sequence[tuple[int, ...]]) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(*(torch.empty(size, device="meta") for size in sizes))
    return counter.get_total_flops() / 2


def truncation_db(
    component: Component, options: StreamOptions, cases: Sequence[Mapping[str, Tensor]]
) -> dict[int, tuple[float, float]]:
    """Measures the cost of a bounded lookahead, in float32, on chunks spread over the clips: lookahead in frames -> SNR
    in dB to the offline output, with the last known frame repeated beyond it, and with the layers' own padding there.

    cases: the component's inputs, of a clip each.
    """
    network = network_of(component)
    exact = window(network, options.chunk)
    table = {}
    with torch.inference_mode():
        offline = [component.module(*(case[spec.name] for spec in component.inputs)) for case in cases]
        for lookahead in LOOKAHEADS:
            repeated = low_latency(network, options.chunk, lookahead)
            table[lookahead] = (
                _snr(repeated, cases, offline, None),
                _snr(exact, cases, offline, options.chunk + lookahead),
            )
    return table


def _snr(form: Streamed, cases: Sequence[Mapping[str, Tensor]], offline: Sequence[Tensor], known: int | None) -> float:
    """`known`: the utterance pretends to end so many frames after the chunk's first."""
    (source,), (output,) = form.inputs, form.outputs
    reference, got = [], []
    for case, made in zip(cases, offline):
        clip, constants = case[source.name], [case[item.name] for item in form.fixed_inputs]
        frames = clip.shape[source.axis]
        last = (frames - form.chunk) // form.chunk
        for index in np.linspace(0, last, _CHUNKS_PER_CLIP).astype(int):
            start = int(index) * form.chunk
            after = frames - start if known is None else min(known, frames - start)
            lo, hi = start + source.span.lo, start + source.span.hi
            part = clip.narrow(source.axis, max(lo, 0), min(hi, start + after) - max(lo, 0))
            shape = list(part.shape)
            shape[source.axis] = max(-lo, 0)
            head = part.new_zeros(shape)
            shape[source.axis] = max(hi - start - after, 0)
            piece = torch.cat([head, part, part.new_zeros(shape)], source.axis)
            ends = [torch.tensor([min(end, form.horizon)], dtype=torch.int32) for end in (start, after)]
            got.append(form(piece, *constants, *ends)[0].flatten().numpy())
            first = start * output.rate
            reference.append(made.narrow(output.axis, first, len(output.span)).flatten().numpy())
    return snr_db(np.concatenate(reference), np.concatenate(got))
