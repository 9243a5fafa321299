"""How the components of a conversion are run: as artefacts, or as the originals that goldens are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from runtime.bundle.form import Pace
from runtime.bundle.store import BundleError
from runtime.errors import StreamError

Run = Callable[[str, np.ndarray], np.ndarray]  # a component by name, its input -> its output


class FrameStream(Protocol):
    """A component that is local in time, frames (1, channels, n) in and out, in blocks of any size.

    `channels` of a frame that it gives; `chunk`: frames that it takes at once, after the `lookahead` it waits for;
    `pace`: when they go in and out, None of what takes all at once.
    """

    channels: int
    chunk: int
    lookahead: int

    @property
    def pace(self) -> Pace | None: ...

    def push(self, frames: np.ndarray) -> np.ndarray: ...

    def flush(self) -> np.ndarray: ...

    def reset(self) -> None: ...


class Collected:
    """A `FrameStream` of what takes an utterance at once: all of it comes at the end."""

    chunk = lookahead = 0
    pace = None

    def __init__(self, play: Callable[[np.ndarray], np.ndarray], channels: int) -> None:
        self._play, self.channels = play, channels
        self.reset()

    def reset(self) -> None:
        self._blocks: list[np.ndarray] = []

    def push(self, frames: np.ndarray) -> np.ndarray:
        self._blocks.append(frames)
        return np.zeros((1, self.channels, 0), np.float32)

    def flush(self) -> np.ndarray:
        frames = np.concatenate(self._blocks, axis=2)
        return self._play(frames) if frames.shape[2] else self.push(frames)


INDEX = ("vectors", "centroids", "ends")  # arrays of a retrieval index: (N, D), (L, D), (L,)


def checked_index(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of a retrieval index. Raises BundleError where one is missing or does not fit the others."""
    try:
        vectors, centroids, ends = (arrays[f"index_{name}"] for name in INDEX)
        fits = vectors.ndim == centroids.ndim == 2 and vectors.shape[1] == centroids.shape[1]
        rises = ends.shape == (len(centroids),) and bool((np.diff(ends, prepend=0) >= 0).all())
        if not fits or not rises or ends[-1] != len(vectors):
            raise ValueError("its arrays do not fit each other")
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise BundleError(f"the bundle's retrieval index is damaged: {error}") from error
    return dict(zip(INDEX, (vectors, centroids, ends)))


def _streams_nothing(component: str) -> FrameStream:
    raise StreamError(f"component {component} is not streamed here")


@dataclass(frozen=True)
class Parts:
    """How a conversion's components are run: `run` those that take windows, `stream` those that are local in time.

    `index`: arrays of the retrieval index, where there is one (`retrieval_index`).
    """

    run: Run
    stream: Callable[[str], FrameStream] = _streams_nothing
    index: Mapping[str, np.ndarray] = field(default_factory=dict)
