"""Long audio through an offline artefact, in overlapping pieces, equal to the offline output on every sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from runtime.engines import Engine
from runtime.errors import StreamError
from runtime.spec import Dim, TensorSpec, TimeAxis


@dataclass(frozen=True)
class Piece:
    """One call: input frames [start, stop), of whose output frames [keep_from, keep_to) are kept."""

    start: int
    stop: int
    keep_from: int
    keep_to: int


def overlap_pieces(total: int, window: TensorSpec, time: TimeAxis, chunk: int) -> list[Piece]:
    """How to cover `total` frames in pieces of at most `chunk` new frames, each with its halo.

    An edge of a piece is either an edge of the utterance (where the network's own padding is the offline one)
    or lies a receptive field away from every sample that is kept: so kept samples equal the offline ones.
    A fixed window slides inwards at the end of the utterance instead of reading past it.
    Raises StreamError where the window cannot hold a chunk and its halo, or the utterance is too short for it.
    """
    axis = window.shape[time.input_axis]
    shortest, longest = (axis.lo, axis.hi) if isinstance(axis, Dim) else (axis, axis)
    if chunk < 1:
        raise StreamError(f"a chunk needs at least 1 frame, got {chunk}")
    if total < shortest:
        raise StreamError(
            f"{total} frames are fewer than the artefact takes ({axis}): its own padding would start too late; "
            "convert with a smaller shape.frames or with shape=flexible"
        )
    if total <= longest and (isinstance(axis, Dim) or total == axis) and chunk >= total:
        return [Piece(0, total, 0, total)]
    halo = time.left + time.right
    if chunk + halo > longest:
        raise StreamError(
            f"a chunk of {chunk} frames needs {time.left} + {chunk} + {time.right} frames at once, "
            f"the artefact takes {axis}: use chunk <= {longest - halo} or convert with more shape.frames"
        )
    pieces = []
    for keep_from in range(0, total, chunk):
        keep_to = min(keep_from + chunk, total)
        start, stop = max(keep_from - time.left, 0), min(keep_to + time.right, total)
        length = min(max(stop - start, shortest), total)
        start = min(start, total - length)  # slide inwards at the end, grow to the right before it
        pieces.append(Piece(start, start + length, keep_from, keep_to))
    return pieces


def default_chunk(window: TensorSpec, time: TimeAxis) -> int:
    """New frames per call where none are asked for: all that fit beside the halo in the window's default length.

    Raises StreamError where not even one does.
    """
    axis = window.shape[time.input_axis]
    halo = time.left + time.right
    lengths = (axis.default, axis.hi) if isinstance(axis, Dim) else (axis,)
    fitting = [length - halo for length in lengths if length > halo]
    if not fitting:
        raise StreamError(
            f"the artefact takes {axis} frames at once, its receptive field alone is {time.left} + {time.right}: "
            f"convert with shape.frames > {halo} to stream it"
        )
    return fitting[0]


def overlap(
    engine: Engine,
    time: TimeAxis,
    frames: np.ndarray,
    chunk: int | None = None,
    constants: Mapping[str, np.ndarray] | None = None,
) -> Iterator[np.ndarray]:
    """The output samples of each chunk in turn; concatenated they are the offline output.

    frames: the whole utterance in the shape of the engine's input but for its length along time.input_axis;
    `constants`: its inputs without time.
    """
    (window,) = (spec for spec in engine.inputs if spec.name == time.input)
    total = frames.shape[time.input_axis]
    for piece in overlap_pieces(total, window, time, chunk or default_chunk(window, time)):
        part = np.take(frames, range(piece.start, piece.stop), axis=time.input_axis)
        output = engine.run({time.input: part, **(constants or {})})[time.output]
        first = (piece.keep_from - piece.start) * time.samples_per_frame
        last = (piece.keep_to - piece.start) * time.samples_per_frame
        yield np.take(output, range(first, last), axis=time.output_axis)
