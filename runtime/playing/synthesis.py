"""A whole utterance through an artefact, whatever its form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from runtime.bundle.form import StreamForm
from runtime.bundle.spec import Dim, TimeAxis
from runtime.bundle.store import open_bundle
from runtime.engines import Engine, is_bundle
from runtime.engines.load import load
from runtime.errors import StreamError
from runtime.playing.overlap import overlap
from runtime.playing.sampling import FOLD_SECONDS, SEAM_SECONDS, SampledEngine, folded
from runtime.playing.sizes import open_sized
from runtime.playing.stream import Stream, StreamingArtefact, open_stream

# What an artefact that was converted without a stream mode can be asked for.
OFFLINE_MODES = ("offline", "overlap")

Frames = np.ndarray | Iterable[np.ndarray]  # of an utterance: all of them, or in blocks


def open_artefact(
    path: Path,
    engine: str = "auto",
    component: str | None = None,
    threads: int | None = None,
    compute_unit: str | None = None,
) -> Engine | StreamingArtefact:
    """What a bundle (or bare artefact) holds, opened, with what samples from it; arguments and errors as
    `voxport.load`."""
    if not is_bundle(path):
        return load(path, engine, component, threads, compute_unit)
    record = open_bundle(path, verify=False).component(component)
    opened: Engine | StreamingArtefact
    if record.stream is not None and engine != "torch":
        opened = open_stream(path, engine, component, threads, compute_unit)
    else:
        opened = load(path, engine, component, threads, compute_unit)
    if record.sampler is None or record.time is None:
        return opened
    block = open_sized(path, engine, record.sampler.component, threads, compute_unit).run
    if isinstance(opened, StreamingArtefact):
        return replace(opened, sampled=(block, record.sampler, record.time.output))
    return SampledEngine(opened, block, record.sampler, record.time.output)


def mode_of(opened: Engine | StreamingArtefact, asked: str | None = None) -> str:
    """The mode to run in: `overlap` for an offline artefact, a streaming one has only its own; `fold` of either that
    samples.

    Raises StreamError for a mode that the artefact does not have.
    """
    modes: tuple[str, ...] = (opened.form.mode,) if isinstance(opened, StreamingArtefact) else OFFLINE_MODES
    mode = asked or modes[-1]
    sampled = opened.sampled is not None if isinstance(opened, StreamingArtefact) else isinstance(opened, SampledEngine)
    modes += ("fold",) if sampled else ()
    if mode not in modes:
        raise StreamError(f"there is no mode {mode!r} of this artefact; there is: {', '.join(modes)}")
    return mode


def synthesise(
    opened: Engine | StreamingArtefact,
    time: TimeAxis,
    frames: Frames,
    mode: str | None = None,
    chunk: int | None = None,
    constants: Mapping[str, np.ndarray] | None = None,
) -> np.ndarray:
    """The whole output of an utterance: streamed, in overlapping pieces, or in one call (`offline`).

    frames: in the shape of the component's input but for its length along time, or blocks of them one after another;
    `constants`: inputs without time.
    Raises StreamError for a mode or chunk that the artefact does not have, or an utterance that does not fit it.
    """
    return np.concatenate(list(pieces(opened, time, frames, mode, chunk, constants)), axis=time.output_axis)


def pieces(
    opened: Engine | StreamingArtefact,
    time: TimeAxis,
    frames: Frames,
    mode: str | None = None,
    chunk: int | None = None,
    constants: Mapping[str, np.ndarray] | None = None,
) -> Iterator[np.ndarray]:
    """As `synthesise`, piece by piece as they become ready.

    Of frames that come in blocks no more is kept than a piece takes; modes `offline` and `fold` need them all.
    """
    mode = mode_of(opened, mode)
    blocks = (frames,) if isinstance(frames, np.ndarray) else frames
    if mode == "fold":
        yield _folded(opened, time, blocks, chunk, constants)
        return
    if isinstance(opened, SampledEngine):
        sampling = opened.start()
        own = replace(time, output=opened.how.input)
        for piece in pieces(opened.inner, own, blocks, mode, chunk, constants):
            yield sampling.push(piece)
        yield sampling.flush()
        return
    if isinstance(opened, StreamingArtefact):
        if chunk not in (None, opened.form.chunk):
            raise StreamError(
                f"the artefact takes chunks of {opened.form.chunk} frames: convert with stream.chunk={chunk}"
            )
        yield from _streamed(Stream(opened, constants), opened.form, time, blocks)
        return
    if mode == "overlap":
        yield from overlap(opened, time, blocks, chunk, constants)
        return
    yield opened.run({time.input: _at_once(opened, time, blocks), **(constants or {})})[time.output]


def _at_once(engine: Engine, time: TimeAxis, blocks: Iterable[np.ndarray]) -> np.ndarray:
    """All frames, for one call. Raises StreamError as soon as they are more than it takes."""
    (window,) = (spec for spec in engine.inputs if spec.name == time.input)
    axis = window.shape[time.input_axis]
    longest, count, held = axis.hi if isinstance(axis, Dim) else axis, 0, []
    for block in blocks:
        held.append(block)
        count += block.shape[time.input_axis]
        if count > longest:
            break
    frames = np.concatenate(held, axis=time.input_axis)
    problem = window.misfit(frames.shape)
    if problem:
        raise StreamError(f"mode offline: the utterance {problem}; use mode overlap")
    return frames


def _folded(
    opened: Engine | StreamingArtefact,
    time: TimeAxis,
    blocks: Iterable[np.ndarray],
    chunk: int | None,
    constants: Mapping[str, np.ndarray] | None,
) -> np.ndarray:
    """All samples, (1, 1, N), made side by side."""
    inner: Engine | StreamingArtefact
    if isinstance(opened, SampledEngine):
        inner, block, how = opened.inner, opened.block, opened.how
    else:
        assert isinstance(opened, StreamingArtefact) and opened.sampled is not None
        inner, (block, how, _) = replace(opened, sampled=None), opened.sampled
    own = replace(time, output=how.input)
    conditioning = np.concatenate(list(pieces(inner, own, blocks, None, chunk, constants)), axis=2)
    fold, seam = (round(seconds * time.sample_rate) for seconds in (FOLD_SECONDS, SEAM_SECONDS))
    return folded(block, how, conditioning, fold, seam)


def _streamed(stream: Stream, form: StreamForm, time: TimeAxis, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """A push per call of the artefact, so that each piece comes as soon as it can."""
    taken, axis = 0, time.input_axis
    for block in blocks:
        start, total = 0, block.shape[axis]
        while start < total:
            missing = form.ahead - taken if taken < form.ahead else form.chunk - (taken - form.ahead) % form.chunk
            part = np.take(block, range(start, min(start + missing, total)), axis)
            yield stream.push({time.input: part})[time.output]
            start += part.shape[axis]
            taken += part.shape[axis]
    yield stream.flush()[time.output]
