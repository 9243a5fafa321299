"""The player of streaming artefacts: input frames in, output samples out, chunk by chunk.

    artefact = open_stream(bundle)
    stream = Stream(artefact)
    samples = stream.push({"mel": frames})  # of whatever chunks are complete
    samples = stream.flush()                # the rest: the utterance ends here

What comes out is the offline output of the same artefact, every sample of it, delayed; `reset` makes a stream new.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np

from runtime.bundle.form import StreamForm, StreamPort
from runtime.bundle.sampler import Sampler
from runtime.bundle.spec import TensorSpec
from runtime.bundle.store import Bundle, ComponentRecord, open_bundle
from runtime.engines import AUTO, Engine, Execution
from runtime.engines.load import open_component
from runtime.errors import ArtefactError, StreamError
from runtime.playing.sampling import Block, Sampling
from runtime.playing.sizes import open_sized


@dataclass(frozen=True)
class StreamingArtefact:
    """An artefact opened in an engine: function `edge`, and `steady` for calls away from the utterance's ends.

    `sampled`: what makes samples of its output (runtime/playing/sampling.py), how, and what those are called.
    """

    form: StreamForm
    edge: Engine
    steady: Engine | None = None
    sampled: tuple[Block, Sampler, str] | None = None


def open_stream(
    bundle: str | Path | Bundle, execution: Execution = AUTO, component: str | None = None
) -> StreamingArtefact:
    """The streaming artefact of a bundle, with what samples from it; arguments and errors as `voxport.load`.

    Raises StreamError where the bundle was converted without a stream mode.
    """
    bundle = open_bundle(bundle)
    name, record = bundle.path.name, bundle.main if component is None else bundle.component(component)
    form = record.stream
    if form is None:
        raise StreamError(f"{name} was converted to be called offline: convert it with stream=stateful")
    if execution.threads is None and execution.engine in (AUTO.engine, "onnx"):
        execution = replace(execution, threads=_threads_of(record))
    edge = open_component(bundle, record, execution, form.edge)
    steady = None if form.steady is None else open_component(bundle, record, execution, form.steady)
    states = form.states if form.state == "explicit" else ()
    inputs = {port.name for port in form.inputs} | {state.name for state in states}
    unknown = inputs - {spec.name for spec in edge.inputs}
    unknown |= {port.name for port in form.outputs} - {spec.name for spec in edge.outputs}
    if unknown:
        raise ArtefactError(f"{name}: its manifest names {min(unknown)!r}, which its artefact does not have")
    sampled = None
    if record.sampler is not None and record.time is not None:
        block = open_sized(bundle, execution, record.sampler.component).run
        sampled = (block, record.sampler, record.time.output)
    return StreamingArtefact(form, edge, steady, sampled)


_SHORT = 0.03  # seconds


def _threads_of(record: ComponentRecord) -> int | None:
    """One for short chunks: their layers take some 50 us, in which a second thread gains nothing, and on a busy machine
    each of them would wait for it (docs/live.md). None is the engine's own choice."""
    time, form = record.time, record.stream
    return 1 if time is not None and form is not None and form.chunk * time.frame_seconds < _SHORT else None


class Stream:
    """One utterance through a streaming artefact. Streams of one artefact are independent of each other.

    `constants`: the inputs that do not vary in time, by name, such as a speaker embedding.
    """

    def __init__(self, artefact: StreamingArtefact, constants: Mapping[str, np.ndarray] | None = None) -> None:
        self.form = artefact.form
        self._artefact, self._constants = artefact, dict(constants or {})
        names, expected = set(self._constants), set(self.form.constants)
        if names != expected:
            raise StreamError(f"the inputs that are constant in time are {sorted(expected)}, got {sorted(names)}")
        specs = {spec.name: spec for spec in artefact.edge.inputs}
        self._queues = {port.name: FrameQueue(specs[port.name], port) for port in self.form.inputs}
        self._ends = {name: np.zeros(1, np.int32) for name in ("before", "after")}
        explicit = self.form.states if self.form.state == "explicit" else ()
        self._sampling = Sampling(*artefact.sampled[:2]) if artefact.sampled else None
        self._zeros = {state.name: np.zeros(state.shape, specs[state.name].dtype) for state in explicit}
        self.reset()

    def reset(self) -> None:
        """Starts anew: the next frame is the first of an utterance."""
        for queue in self._queues.values():
            queue.clear()
        if self._sampling is not None:
            self._sampling.reset()
        self._explicit = dict(self._zeros)
        self._held = self._artefact.edge.new_state() if self.form.state == "mlstate" else None
        self._start = 0  # of the next chunk, in frames
        self._total: int | None = None

    @property
    def frames(self) -> int:
        """Input frames taken so far."""
        return min(queue.end // queue.port.rate for queue in self._queues.values())

    def push(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Takes the next frames, any number of them, and gives the samples that they complete, by output.

        Raises StreamError for a missing, unknown or misshapen input, and after `flush`.
        """
        if self._total is not None:
            raise StreamError("the stream has ended: reset() begins a new one")
        if set(inputs) != set(self._queues):
            raise StreamError(f"the inputs along time are {sorted(self._queues)}, got {sorted(inputs)}")
        arrays = {name: np.asarray(value) for name, value in inputs.items()}
        for name, array in arrays.items():
            self._queues[name].check(array)
        counts = {array.shape[queue.port.axis] / queue.port.rate for name, array in arrays.items()
                  for queue in [self._queues[name]]}  # fmt: skip
        if len(counts) > 1:
            raise StreamError(f"the inputs hold different numbers of frames: {sorted(counts)}")
        for name, array in arrays.items():
            self._queues[name].append(array)
        return self._advance()

    def flush(self) -> dict[str, np.ndarray]:
        """Ends the utterance and gives all that is left of it; once more gives nothing."""
        if self._total is None:
            self._total = self.frames
        return self._advance()

    def _advance(self) -> dict[str, np.ndarray]:
        pieces: dict[str, list[np.ndarray]] = {port.name: [] for port in self.form.outputs}
        while self._is_ready():
            for name, piece in self._call().items():
                pieces[name].append(piece)
        outputs = {port.name: self._joined(port, pieces[port.name]) for port in self.form.outputs}
        if self._sampling is None:
            return outputs
        assert self._artefact.sampled is not None
        _, how, name = self._artefact.sampled
        samples = self._sampling.push(outputs[how.input])
        if self._total is not None:
            samples = np.concatenate([samples, self._sampling.flush()], axis=2)
        return {name: samples}

    def _is_ready(self) -> bool:
        if self._total is None:
            return self.frames - self._start >= self.form.ahead
        return (
            any(self._start * port.rate + port.lo < self._total * port.rate + port.extra for port in self.form.outputs)
            and self._total > 0
        )

    def _call(self) -> dict[str, np.ndarray]:
        """One chunk: the part of each output that lies in the utterance."""
        form, start = self.form, self._start
        before = min(start, form.horizon)
        after = form.horizon if self._total is None else min(self._total - start, form.horizon)
        engine = self._artefact.edge
        inputs: dict[str, np.ndarray] = {
            name: queue.interval(start * queue.port.rate) for name, queue in self._queues.items()
        }
        inputs |= self._constants
        if self._artefact.steady is not None and before == after == form.horizon:
            engine = self._artefact.steady
        else:
            self._ends["before"][0], self._ends["after"][0] = before, after
            inputs |= self._ends
        results = engine.run(inputs | self._explicit, self._held)
        for state in form.states:
            if state.given_as in results:
                self._explicit[state.name] = _without_denormals(results[state.given_as])
        self._start += form.chunk
        for queue in self._queues.values():
            queue.forget(self._start * queue.port.rate + queue.port.lo)
        return {port.name: self._inside(port, start, results[port.name]) for port in form.outputs}

    def _inside(self, port: StreamPort, start: int, output: np.ndarray) -> np.ndarray:
        first = start * port.rate + port.lo
        end = first + len(port)
        if self._total is not None:
            end = min(end, self._total * port.rate + port.extra)
        return _cut(output, port.axis, max(-first, 0), max(end - first, 0))

    def _joined(self, port: StreamPort, pieces: Sequence[np.ndarray]) -> np.ndarray:
        if len(pieces) == 1:
            return pieces[0]
        if pieces:
            return np.concatenate(pieces, port.axis)
        (spec,) = (spec for spec in self._artefact.edge.outputs if spec.name == port.name)
        return np.zeros([0 if axis == port.axis else size for axis, size in enumerate(spec.default_shape)], spec.dtype)


class FrameQueue:
    """The positions of one input that calls still need, in a buffer that grows only when a push does not fit.

    `spec`: one call's input. `end` counts the positions appended. Before position 0 and after the end are zeros.
    """

    def __init__(self, spec: TensorSpec, port: StreamPort) -> None:
        self.port, self._spec = port, spec
        self._block = np.zeros(spec.default_shape, spec.dtype)  # what a call gets: contiguous, always the same memory
        self._buffer = np.zeros(self._sized(4 * len(port) + 64), spec.dtype)
        self.clear()

    def clear(self) -> None:
        self.end = 0
        self._head = self._tail = 0  # columns of the buffer in use; the last of them holds position end - 1

    def check(self, array: np.ndarray) -> None:
        """Raises StreamError unless the array continues this input."""
        shape = list(self._spec.default_shape)
        fits = array.ndim == len(shape) and all(
            axis == self.port.axis or size == array.shape[axis] for axis, size in enumerate(shape)
        )
        if not fits:
            raise StreamError(f"input {self._spec.name!r} has shape {array.shape}, wants {self._spec} of any length")
        if array.shape[self.port.axis] % self.port.rate:
            raise StreamError(
                f"input {self._spec.name!r} takes whole frames of {self.port.rate}, "
                f"got {array.shape[self.port.axis]} positions"
            )

    def append(self, array: np.ndarray) -> None:
        axis, count, used = self.port.axis, array.shape[self.port.axis], self._tail - self._head
        if self._tail + count > self._buffer.shape[axis]:
            kept, buffer = _cut(self._buffer, axis, self._head, self._tail), self._buffer
            if used + count > buffer.shape[axis]:
                buffer = np.zeros(self._sized(2 * (used + count)), buffer.dtype)
            _cut(buffer, axis, 0, used)[...] = kept
            self._buffer, self._head, self._tail = buffer, 0, used
        _cut(self._buffer, axis, self._tail, self._tail + count)[...] = array
        self._tail += count
        self.end += count

    def interval(self, start: int) -> np.ndarray:
        """Returns what a call gets whose chunk starts at position `start`."""
        lo, hi = start + self.port.lo, start + self.port.hi
        known = self.end - (self._tail - self._head)  # the first position that is still here
        first, last = max(lo, known), min(hi, self.end)
        if first > lo or last < hi:
            self._block.fill(0)
        if first < last:
            column = self._head + first - known
            part = _cut(self._buffer, self.port.axis, column, column + last - first)
            _cut(self._block, self.port.axis, first - lo, last - lo)[...] = part
        return self._block

    def forget(self, before: int) -> None:
        """Drops the positions before `before`."""
        known = self.end - (self._tail - self._head)
        self._head = min(self._head + max(before - known, 0), self._tail)

    def _sized(self, length: int) -> list[int]:
        return [length if axis == self.port.axis else size for axis, size in enumerate(self._spec.default_shape)]


def _without_denormals(state: np.ndarray) -> np.ndarray:
    """Sets to zero the denormal numbers that fading values of a recurrent state end as. A processor computes with them
    many times slower.

    ONNX Runtime's own switch flushes them in the whole calling thread for good, numpy included: not here.
    """
    state[np.abs(state) < np.finfo(state.dtype).tiny] = 0
    return state


def prefill(device_block: int, model_block: int) -> int:
    """The fewest samples of silence that an output queue starts with, so that a device which takes blocks of
    `device_block` never waits for a model that gives blocks of `model_block` in time: m - gcd(io, m)."""
    return model_block - gcd(device_block, model_block)


def _cut(array: np.ndarray, axis: int, lo: int, hi: int) -> Any:
    return array[(slice(None),) * axis + (slice(lo, hi),)]
