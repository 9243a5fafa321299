"""A whole utterance through an artefact, whatever its form."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import runtime
from runtime.bundle import open_bundle
from runtime.engines import Engine, is_bundle
from runtime.errors import StreamError
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
) -> np.ndarray:
    """The whole output of an utterance: streamed, in overlapping pieces, or in one call (`offline`).

    frames: in the shape of the component's input but for its length along time. Raises StreamError for a mode or chunk
    that the artefact does not have, or an utterance that does not fit it.
    """
    mode = mode_of(opened, mode)
    if isinstance(opened, StreamingArtefact):
        if chunk not in (None, opened.form.chunk):
            raise StreamError(
                f"the artefact takes chunks of {opened.form.chunk} frames: convert with stream.chunk={chunk}"
            )
        stream = Stream(opened)
        pieces = [stream.push({time.input: frames})[time.output], stream.flush()[time.output]]
        return np.concatenate(pieces, axis=time.output_axis)
    if mode == "overlap":
        return np.concatenate(list(overlap(opened, time, frames, chunk)), axis=time.output_axis)
    (window,) = (spec for spec in opened.inputs if spec.name == time.input)
    problem = window.misfit(frames.shape)
    if problem:
        raise StreamError(f"mode offline: the utterance {problem}; use mode overlap")
    return opened.run({time.input: frames})[time.output]
