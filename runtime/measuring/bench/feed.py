"""What a bench calls: the chunks of one utterance, round and round, each call ready to be timed."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from runtime.bundle.spec import TimeAxis
from runtime.engines import Engine
from runtime.errors import StreamError
from runtime.playing.overlap import default_chunk, overlap_pieces
from runtime.playing.stream import Stream, StreamingArtefact
from runtime.playing.synthesis import mode_of

Call = Callable[[], dict[str, np.ndarray]]


@dataclass
class Feed:
    """An iterator without end. A call gives `chunk` new frames, `seconds` of audio, and takes `window` frames.

    `settles_in`: calls after which an utterance's beginning is behind a stream.
    """

    mode: str
    chunk: int
    window: int
    seconds: float
    calls: Iterator[Call]
    settles_in: int = 0

    def __iter__(self) -> Iterator[Call]:
        return self.calls

    def __next__(self) -> Call:
        return next(self.calls)


def feed(
    opened: Engine | StreamingArtefact,
    time_axis: TimeAxis,
    frames: np.ndarray,
    chunk: int | None = None,
    mode: str | None = None,
    constants: Mapping[str, np.ndarray] | None = None,
) -> Feed:
    """frames: an utterance in the shape of the component's input; `constants`: inputs without time.

    Raises StreamError for a mode, chunk or utterance that the artefact cannot stream.
    """
    mode, settles_in = mode_of(opened, mode), 0
    if mode == "fold":
        raise StreamError("mode fold makes a whole utterance at once: there are no chunks to time")
    if isinstance(opened, StreamingArtefact):
        if chunk not in (None, opened.form.chunk):
            raise StreamError(f"the artefact takes chunks of {opened.form.chunk} frames, not of {chunk}")
        chunk, window = opened.form.chunk, len(opened.form.inputs[0])
        settles_in = 2 + opened.form.horizon // chunk
        calls = _pushes(opened, time_axis, frames, constants)
    else:
        chunk, window, calls = _pieces(opened, time_axis, frames, chunk, mode, constants or {})
    seconds = chunk * time_axis.samples_per_frame / time_axis.sample_rate
    return Feed(mode, chunk, window, seconds, calls, settles_in)


def _pushes(
    artefact: StreamingArtefact, time_axis: TimeAxis, frames: np.ndarray, constants: Mapping[str, np.ndarray] | None
) -> Iterator[Call]:
    """One utterance without end: each call pushes the frames of one chunk."""
    form, axis, total = artefact.form, time_axis.input_axis, frames.shape[time_axis.input_axis]
    stream = Stream(artefact, constants)
    position = form.ahead - form.chunk
    stream.push({time_axis.input: np.take(frames, np.arange(position) % total, axis)})
    while True:
        part = np.take(frames, np.arange(position, position + form.chunk) % total, axis)
        yield functools.partial(stream.push, {time_axis.input: part})
        position += form.chunk


def _pieces(
    engine: Engine,
    time_axis: TimeAxis,
    frames: np.ndarray,
    chunk: int | None,
    mode: str,
    constants: Mapping[str, np.ndarray],
) -> tuple[int, int, Iterator[Call]]:
    """(chunk, frames of the longest call, the calls round and round) of an offline artefact."""
    (window,) = (spec for spec in engine.inputs if spec.name == time_axis.input)
    if mode == "offline":
        chunk = min(window.default_shape[time_axis.input_axis], frames.shape[time_axis.input_axis])
        spans = [(0, chunk)]
    else:
        chunk = chunk or default_chunk(window, time_axis)
        pieces = overlap_pieces(frames.shape[time_axis.input_axis], window, time_axis, chunk)
        whole = [piece for piece in pieces if piece.keep_to - piece.keep_from == chunk]
        if not whole:
            raise StreamError(f"the utterance is shorter than one chunk of {chunk} frames: bench a longer one")
        spans = [(piece.start, piece.stop) for piece in whole]
    inputs = [
        {time_axis.input: np.take(frames, range(*span), axis=time_axis.input_axis), **constants} for span in spans
    ]
    calls = itertools.cycle([functools.partial(engine.run, given) for given in inputs])
    return chunk, max(stop - start for start, stop in spans), calls
