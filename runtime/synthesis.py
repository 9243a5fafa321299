"""A whole utterance through an artefact, whatever its form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

import runtime
from runtime.bundle import open_bundle
from runtime.engines import Engine, is_bundle
from runtime.errors import StreamError
from runtime.form import StreamForm
from runtime.overlap import overlap
from runtime.spec import TimeAxis
from runtime.stream import Stream, StreamingArtefact, open_stream

# What an artefact that was converted without a stream mode can be asked for.
OFFLINE_MODES = ("offline", "overlap")


def open_artefact(
    path: Path,
    engine: str = "auto",
    component: str | None = None,
    threads: int | None = None,
    compute_unit: str | None = None,
) -> Engine | StreamingArtefact:
    """What a bundle (or bare artefact) holds, opened; arguments and errors as `runtime.load`."""
    if is_bundle(path) and engine != "torch":
        record = open_bundle(path, verify=False).component(component)
        if record.stream is not None:
            return open_stream(path, engine, component, threads, compute_unit)
    return runtime.load(path, engine, component, threads, compute_unit)


def mode_of(opened: Engine | StreamingArtefact, asked: str | None = None) -> str:
    """The mode to run in: `overlap` for an offline artefact, a streaming one has only its own.

    Raises StreamError for a mode that the artefact does not have.
    """
    modes = (opened.form.mode,) if isinstance(opened, StreamingArtefact) else OFFLINE_MODES
    mode = asked or modes[-1]
    if mode not in modes:
        raise StreamError(f"there is no mode {mode!r} of this artefact; there is: {', '.join(modes)}")
    return mode


def synthesise(
    opened: Engine | StreamingArtefact,
    time: TimeAxis,
    frames: np.ndarray,
    mode: str | None = None,
    chunk: int | None = None,
    constants: Mapping[str, np.ndarray] | None = None,
) -> np.ndarray:
    """The whole output of an utterance: streamed, in overlapping pieces, or in one call (`offline`).

    frames: in the shape of the component's input but for its length along time; `constants`: inputs without time.
    Raises StreamError for a mode or chunk that the artefact does not have, or an utterance that does not fit it.
    """
    return np.concatenate(list(pieces(opened, time, frames, mode, chunk, constants)), axis=time.output_axis)


def pieces(
    opened: Engine | StreamingArtefact,
    time: TimeAxis,
    frames: np.ndarray,
    mode: str | None = None,
    chunk: int | None = None,
    constants: Mapping[str, np.ndarray] | None = None,
) -> Iterator[np.ndarray]:
    """As `synthesise`, piece by piece as they become ready."""
    mode = mode_of(opened, mode)
    if isinstance(opened, StreamingArtefact):
        if chunk not in (None, opened.form.chunk):
            raise StreamError(
                f"the artefact takes chunks of {opened.form.chunk} frames: convert with stream.chunk={chunk}"
            )
        yield from _streamed(Stream(opened, constants), opened.form, time, frames)
        return
    if mode == "overlap":
        yield from overlap(opened, time, frames, chunk, constants)
        return
    (window,) = (spec for spec in opened.inputs if spec.name == time.input)
    problem = window.misfit(frames.shape)
    if problem:
        raise StreamError(f"mode offline: the utterance {problem}; use mode overlap")
    yield opened.run({time.input: frames, **(constants or {})})[time.output]


def _streamed(stream: Stream, form: StreamForm, time: TimeAxis, frames: np.ndarray) -> Iterator[np.ndarray]:
    """A push per call of the artefact, so that each piece comes as soon as it can."""
    total, start = frames.shape[time.input_axis], 0
    while start < total:
        stop = min(start + (form.chunk if start else form.ahead), total)
        yield stream.push({time.input: np.take(frames, range(start, stop), time.input_axis)})[time.output]
        start = stop
    yield stream.flush()[time.output]
