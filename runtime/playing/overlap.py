"""Long audio through an offline artefact, in overlapping pieces, equal to the offline output on every sample."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from runtime.bundle.spec import Dim, TensorSpec, TimeAxis
from runtime.engines import Engine
from runtime.errors import StreamError
from runtime.speech.frames import HeldFrames

NO_END = 1 << 62  # frames of an utterance whose end is not known yet


def _told(taken: Dim) -> str:
    return str(taken.lo) if taken.lo == taken.hi else str(taken)


@dataclass(frozen=True)
class Piece:
    """One call: input frames [start, stop), of whose output frames [keep_from, keep_to) are kept."""

    start: int
    stop: int
    keep_from: int
    keep_to: int


def overlap_pieces(total: int, window: TensorSpec, time: TimeAxis, chunk: int) -> list[Piece]:
    """Covers `total` frames in pieces of at most `chunk` new frames, each with its halo.

    An edge of a piece is either an edge of the utterance (where the network's own padding is the offline one)
    or lies a receptive field away from every sample that is kept: so kept samples equal the offline ones.
    A fixed window slides inwards at the end of the utterance instead of reading past it.
    Raises StreamError where the window cannot hold a chunk and its halo, or the utterance is too short for it.
    """
    taken = time.window(window)
    shortest, longest = taken.lo, taken.hi
    if total < shortest:
        raise StreamError(
            f"{total} frames are fewer than the artefact takes ({_told(taken)}): its own padding would start too late; "
            "convert with a smaller shape.frames or with shape=flexible"
        )
    if chunk >= total and total <= longest:
        return [Piece(0, total, 0, total)]
    _check_fits(window, time, chunk)
    return [_piece(keep_from, total, shortest, time, chunk) for keep_from in range(0, total, chunk)]


def _check_fits(window: TensorSpec, time: TimeAxis, chunk: int) -> None:
    taken = time.window(window)
    longest, halo = taken.hi, time.left + time.right
    if chunk < 1:
        raise StreamError(f"a chunk needs at least 1 frame, got {chunk}")
    if chunk + halo > longest:
        raise StreamError(
            f"a chunk of {chunk} frames needs {time.left} + {chunk} + {time.right} frames at once, "
            f"the artefact takes {_told(taken)}: use chunk <= {longest - halo} or convert with more shape.frames"
        )


def _piece(keep_from: int, total: int, shortest: int, time: TimeAxis, chunk: int) -> Piece:
    """The piece of an utterance of `total` frames whose output is kept from frame `keep_from` on."""
    keep_to = min(keep_from + chunk, total)
    start, stop = max(keep_from - time.left, 0), min(keep_to + time.right, total)
    length = min(max(stop - start, shortest), total)
    start = min(start, total - length)  # slide inwards at the end, grow to the right before it
    return Piece(start, start + length, keep_from, keep_to)


def default_chunk(window: TensorSpec, time: TimeAxis) -> int:
    """New frames per call where none are asked for: all that fit beside the halo in the window's default length.

    Raises StreamError where not even one does.
    """
    taken = time.window(window)
    halo = time.left + time.right
    fitting = [length - halo for length in (taken.default, taken.hi) if length > halo]
    if not fitting:
        raise StreamError(
            f"the artefact takes {_told(taken)} frames at once, its receptive field alone is "
            f"{time.left} + {time.right}: convert with shape.frames > {halo} to stream it"
        )
    return fitting[0]


def overlap(
    engine: Engine,
    time: TimeAxis,
    blocks: Iterable[np.ndarray],
    chunk: int | None = None,
    constants: Mapping[str, np.ndarray] | None = None,
) -> Iterator[np.ndarray]:
    """The output samples of each chunk in turn; concatenated they are the offline output.

    blocks: the utterance's frames one after another, in the shape of the engine's input but for their lengths along
    time.input_axis; of what has passed only a window and its halo are kept. `constants`: its inputs without time.
    Raises as `overlap_pieces`.
    """
    (window,) = (spec for spec in engine.inputs if spec.name == time.input)
    shortest, longest = time.window(window).lo, time.window(window).hi
    chunk = default_chunk(window, time) if chunk is None else chunk
    held, first = HeldFrames(time.input_axis, time.positions), 0

    def output(piece: Piece, *, is_last: bool = False) -> np.ndarray:
        results = engine.run({time.input: held.taken(piece.start, piece.stop), **(constants or {})})
        begin, end = ((frame - piece.start) * time.samples_per_frame for frame in (piece.keep_from, piece.keep_to))
        kept = range(begin, end + time.extra * is_last)
        return np.take(results[time.output], kept, axis=time.output_axis)

    for block in blocks:
        held.append(block)
        if held.end <= min(longest, chunk):  # all of it may fit in one call
            continue
        _check_fits(window, time, chunk)
        # With this piece's frames here, what follows cannot change it: it is that of an utterance of any length.
        while (piece := _piece(first, NO_END, shortest, time, chunk)).stop <= held.end:
            yield output(piece)
            first = piece.keep_to
            held.forget(min(first - time.left, held.end - shortest))
    if not first:
        for piece in overlap_pieces(held.end, window, time, chunk):
            yield output(piece, is_last=piece.keep_to == held.end)
        return
    last = [held.end] if first == held.end and time.extra else []  # what follows the frames that have passed
    for keep_from in [*range(first, held.end, chunk), *last]:
        piece = _piece(keep_from, held.end, shortest, time, chunk)
        yield output(piece, is_last=piece.keep_to == held.end)
