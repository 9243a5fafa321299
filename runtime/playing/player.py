"""Players: whatever an artefact's form, frames of an utterance in, what it makes of them out.

    player = open_player(bundle)
    audio = player.play(frames)             # at once
    for piece in player.pieces(frames): …   # as it becomes ready

`Offline` calls it once, `Overlapping` in overlapping pieces, `Streaming` chunk by chunk; `Sampled` and `Folded` make
samples of what another player gives.
"""

from __future__ import annotations

import functools
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from runtime.bundle.form import StreamForm
from runtime.bundle.sampler import Sampler
from runtime.bundle.spec import TimeAxis
from runtime.bundle.store import Bundle, BundleError, open_bundle
from runtime.engines import AUTO, Engine, Execution
from runtime.engines.load import open_component
from runtime.errors import StreamError
from runtime.playing.overlap import default_chunk, overlap, overlap_pieces
from runtime.playing.sampling import FOLD_SECONDS, SEAM_SECONDS, Block, Sampling, folded
from runtime.playing.sizes import open_sized
from runtime.playing.stream import Stream, StreamingArtefact, open_stream

# What an artefact that was converted without a stream mode can be asked for.
OFFLINE_MODES = ("offline", "overlap")

Frames = np.ndarray | Iterable[np.ndarray]  # of an utterance: all of them, or in blocks
Constants = Mapping[str, np.ndarray] | None  # inputs without time, by name
Call = Callable[[], dict[str, np.ndarray]]


@dataclass
class Feed:
    """The calls of an utterance, round and round without end, each ready to be timed.

    A call gives `chunk` new frames, `seconds` of audio, and takes `window` frames. `settles_in`: calls after which an
    utterance's beginning is behind a stream.
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


class Player(ABC):
    """A component that runs along time, opened.

    `form`: of what streams, None of all else; `engine`: what executes it, of a stream its function `edge`.
    """

    mode: str
    engine: Engine
    time: TimeAxis
    form: StreamForm | None = None

    @abstractmethod
    def pieces(self, frames: Frames, constants: Constants = None) -> Iterator[np.ndarray]:
        """The output of an utterance, piece by piece.

        frames: in the shape of the component's input but for its length along time, or blocks of them one after
        another, of which no more is kept than a piece takes (`Offline` and `Folded` need them all).
        Raises StreamError for an utterance that does not fit.
        """

    @abstractmethod
    def feed(self, frames: np.ndarray, constants: Constants = None) -> Feed:
        """Returns the calls that a bench times. Raises StreamError where there are no chunks, or the utterance is
        shorter than one."""

    @property
    def chunk(self) -> int | None:
        """New frames per call; None where all of them come at once."""
        return None

    @property
    def shortest(self) -> int:
        """Frames of the shortest utterance that it takes."""
        return 1

    def play(self, frames: Frames, constants: Constants = None) -> np.ndarray:
        """The whole output of an utterance; as `pieces`."""
        return np.concatenate(list(self.pieces(frames, constants)), axis=self.time.output_axis)

    def stream(self, constants: Constants = None) -> Stream:
        """An utterance whose frames come as they will. Raises StreamError for what does not stream."""
        raise StreamError(f"mode {self.mode} does not stream: convert it with stream=stateful")

    def _fed(self, chunk: int, window: int, calls: Iterator[Call], settles_in: int = 0) -> Feed:
        return Feed(self.mode, chunk, window, chunk * self.time.frame_seconds, calls, settles_in)


class _Windowed(Player):
    """An artefact that is called with a window of frames."""

    def __init__(self, engine: Engine, time: TimeAxis) -> None:
        self.engine, self.time = engine, time
        (self.window,) = (spec for spec in engine.inputs if spec.name == time.input)

    @property
    def shortest(self) -> int:
        return self.time.window(self.window).lo

    def _calls(self, frames: np.ndarray, spans: Iterable[tuple[int, int]], constants: Constants) -> Iterator[Call]:
        inputs = [{self.time.input: self.time.cut(frames, *span), **(constants or {})} for span in spans]
        return itertools.cycle([functools.partial(self.engine.run, feeds) for feeds in inputs])


class Offline(_Windowed):
    """One call for all of an utterance."""

    mode = "offline"

    def pieces(self, frames: Frames, constants: Constants = None) -> Iterator[np.ndarray]:
        inputs = {self.time.input: self._at_once(_blocks(frames)), **(constants or {})}
        yield self.engine.run(inputs)[self.time.output]

    def feed(self, frames: np.ndarray, constants: Constants = None) -> Feed:
        """Calls of the artefact's default length."""
        chunk = min(self.time.window(self.window).default, self.time.frames(frames.shape))
        return self._fed(chunk, chunk, self._calls(frames, [(0, chunk)], constants))

    def _at_once(self, blocks: Iterable[np.ndarray]) -> np.ndarray:
        """Joins all frames, for one call. Raises StreamError as soon as they are more than it takes."""
        axis = self.time.input_axis
        longest, count, held = self.time.window(self.window).hi * self.time.positions, 0, []
        for block in blocks:
            held.append(block)
            count += block.shape[axis]
            if count > longest:
                break
        frames = np.concatenate(held, axis=axis)
        problem = self.window.misfit(frames.shape)
        if problem:
            raise StreamError(f"mode offline: the utterance {problem}; use mode overlap")
        return frames


class Overlapping(_Windowed):
    """Pieces of `chunk` new frames with their halos (runtime/playing/overlap.py), by default all that fit."""

    mode = "overlap"

    def __init__(self, engine: Engine, time: TimeAxis, chunk: int | None = None) -> None:
        super().__init__(engine, time)
        self._asked = chunk

    @property
    def chunk(self) -> int:
        return self._asked or default_chunk(self.window, self.time)

    def pieces(self, frames: Frames, constants: Constants = None) -> Iterator[np.ndarray]:
        yield from overlap(self.engine, self.time, _blocks(frames), self._asked, constants)

    def feed(self, frames: np.ndarray, constants: Constants = None) -> Feed:
        planned = overlap_pieces(self.time.frames(frames.shape), self.window, self.time, self.chunk)
        spans = [(piece.start, piece.stop) for piece in planned if piece.keep_to - piece.keep_from == self.chunk]
        if not spans:
            raise StreamError(f"the utterance is shorter than one chunk of {self.chunk} frames: bench a longer one")
        longest = max(stop - start for start, stop in spans)
        return self._fed(self.chunk, longest, self._calls(frames, spans, constants))


class Streaming(Player):
    """A streaming artefact; it has one mode and one chunk."""

    form: StreamForm

    def __init__(self, artefact: StreamingArtefact, time: TimeAxis) -> None:
        self.artefact, self.time = artefact, time
        self.form, self.engine, self.mode = artefact.form, artefact.edge, artefact.form.mode

    @property
    def chunk(self) -> int:
        return self.form.chunk

    def stream(self, constants: Constants = None) -> Stream:
        return Stream(self.artefact, constants)

    def pieces(self, frames: Frames, constants: Constants = None) -> Iterator[np.ndarray]:
        """A push per call of the artefact, so that each piece comes as soon as it can."""
        stream, taken = self.stream(constants), 0
        ahead, chunk = self.form.ahead, self.form.chunk
        for block in _blocks(frames):
            start, total = 0, self.time.frames(block.shape)
            while start < total:
                missing = ahead - taken if taken < ahead else chunk - (taken - ahead) % chunk
                stop = min(start + missing, total)
                yield stream.push({self.time.input: self.time.cut(block, start, stop)})[self.time.output]
                start, taken = stop, taken + stop - start
        yield stream.flush()[self.time.output]

    def feed(self, frames: np.ndarray, constants: Constants = None) -> Feed:
        """One utterance without end: each call pushes the frames of one chunk."""
        settles_in = 2 + self.form.horizon // self.form.chunk
        return self._fed(self.form.chunk, len(self.form.inputs[0]), self._pushes(frames, constants), settles_in)

    def _pushes(self, frames: np.ndarray, constants: Constants) -> Iterator[Call]:
        stream, position = self.stream(constants), self.form.ahead - self.form.chunk
        stream.push({self.time.input: self.time.looped(frames, 0, position)})
        while True:
            part = self.time.looped(frames, position, position + self.form.chunk)
            yield functools.partial(stream.push, {self.time.input: part})
            position += self.form.chunk


class Sampled(Player):
    """Samples of what an offline artefact gives, `inner`, by the name `output`, each depending on the one before."""

    def __init__(self, inner: Player, block: Block, how: Sampler, output: str) -> None:
        self._inner, self._block, self._how = inner, block, how
        self.mode, self.engine, self.time = inner.mode, inner.engine, replace(inner.time, output=output)

    @property
    def chunk(self) -> int | None:
        return self._inner.chunk

    @property
    def shortest(self) -> int:
        return self._inner.shortest

    def pieces(self, frames: Frames, constants: Constants = None) -> Iterator[np.ndarray]:
        sampling = Sampling(self._block, self._how)
        for conditioning in self._inner.pieces(frames, constants):
            yield sampling.push(conditioning)
        yield sampling.flush()

    def feed(self, frames: np.ndarray, constants: Constants = None) -> Feed:
        """Returns the calls that a bench times, each of which samples from nothing."""
        inner = self._inner.feed(frames, constants)
        return replace(inner, calls=(functools.partial(self._called, call) for call in inner.calls))

    def _called(self, call: Call) -> dict[str, np.ndarray]:
        sampling = Sampling(self._block, self._how)
        conditioning = call()[self._how.input]
        return {self.time.output: np.concatenate([sampling.push(conditioning), sampling.flush()], axis=2)}


class Folded(Player):
    """Stretches of an utterance side by side, each sampled from nothing and crossfaded (`sampling.folded`)."""

    mode = "fold"

    def __init__(self, inner: Player, block: Block, how: Sampler, output: str) -> None:
        self._inner, self._block, self._how = inner, block, how
        self.engine, self.time = inner.engine, replace(inner.time, output=output)

    @property
    def shortest(self) -> int:
        return self._inner.shortest

    def pieces(self, frames: Frames, constants: Constants = None) -> Iterator[np.ndarray]:
        """Yields all samples at once, (1, 1, N)."""
        conditioning = np.concatenate(list(self._inner.pieces(frames, constants)), axis=2)
        fold, seam = (round(seconds * self.time.sample_rate) for seconds in (FOLD_SECONDS, SEAM_SECONDS))
        yield folded(self._block, self._how, conditioning, fold, seam)

    def feed(self, frames: np.ndarray, constants: Constants = None) -> Feed:
        raise StreamError("mode fold makes a whole utterance at once: there are no chunks to time")


def open_player(
    bundle: str | Path | Bundle,
    execution: Execution = AUTO,
    component: str | None = None,
    mode: str | None = None,
    chunk: int | None = None,
) -> Player:
    """The player of a bundle's component, by default of the one that makes its audio.

    `mode`: `offline` or `overlap` of what was converted without a stream mode, which has only its own otherwise; `fold`
    of what samples. `chunk`: new frames per call of `overlap`.
    Raises as `voxport.load`, BundleError for a component without time, StreamError for a mode or chunk that it lacks.
    """
    bundle = open_bundle(bundle)
    record = bundle.main if component is None else bundle.component(component)
    if record.time is None:
        raise BundleError(f"{bundle.path.name}: its component {record.name} has no time")
    form = None if execution.engine == "torch" else record.stream
    modes: tuple[str, ...] = OFFLINE_MODES if form is None else (form.mode,)
    asked = mode or modes[-1]
    modes += ("fold",) if record.sampler is not None and record.sampler.rows > 1 else ()
    if asked not in modes:
        raise StreamError(f"there is no mode {asked!r} of this artefact; there is: {', '.join(modes)}")
    if chunk is not None and chunk < 1:
        raise StreamError(f"a chunk needs at least 1 frame, got {chunk}")
    if form is not None and chunk not in (None, form.chunk):
        raise StreamError(f"the artefact takes chunks of {form.chunk} frames: convert with stream.chunk={chunk}")
    if form is not None and asked != "fold":
        return Streaming(open_stream(bundle, execution, record.name), record.time)
    time = record.time if record.sampler is None else record.sampler.conditioning(record.time)
    inner: Player
    if form is not None:
        inner = Streaming(replace(open_stream(bundle, execution, record.name), sampled=None), time)
    elif asked == "offline":
        inner = Offline(open_component(bundle, record, execution), time)
    else:
        inner = Overlapping(open_component(bundle, record, execution), time, chunk)
    if record.sampler is None:
        return inner
    block = open_sized(bundle, execution, record.sampler.component).run
    sampled = Folded if asked == "fold" else Sampled
    return sampled(inner, block, record.sampler, record.time.output)


def _blocks(frames: Frames) -> Iterable[np.ndarray]:
    return (frames,) if isinstance(frames, np.ndarray) else frames
