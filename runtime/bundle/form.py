"""How a streaming artefact is called: what stands of it in the manifest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from runtime.machine.checked import Axis, Count, Position, Size

StreamMode = Literal["window", "stateful", "lowlat"]
StateKind = Literal["none", "explicit", "mlstate"]


@dataclass(frozen=True)
class StreamPort:
    """A tensor along time of a streaming artefact.

    A call whose chunk starts at frame n takes or gives the positions n * rate + lo <= q < n * rate + hi on `axis`; an
    utterance of T frames has the positions 0 <= q < T * rate + extra.
    """

    name: str
    axis: Axis
    rate: Count
    lo: Position
    hi: Position
    extra: Position = 0

    def __len__(self) -> int:
        return self.hi - self.lo


@dataclass(frozen=True)
class StreamState:
    """A packed state: zeros at first, then what the call before gave as `given_as`."""

    name: str
    given_as: str
    shape: tuple[Size, ...]


@dataclass(frozen=True)
class StreamForm:
    """How a streaming artefact is called: chunk after chunk of `chunk` input frames.

    `delay`: output positions by which a call's output lies before its chunk (its first output port); `lookahead`: input
    frames after an output's own that it waits for. `ahead`: frames from the chunk's first on that a call needs unless
    the utterance ends before. `exact`: streamed equals offline on every sample; else frames beyond the lookahead are
    repetitions of the last known one, and `truncation_db` is the SNR that this costs on speech, by lookahead: repeated
    (as here), and with the layers' own zeros there.
    `edges`: the inputs before and after (int32, shape (1,)) say how many frames of the utterance lie before the chunk
    and from its first frame on, both capped at `horizon`; beyond it function `steady`, without them, gives the same.
    `state`: `none`, `explicit` (inputs and outputs) or `mlstate` (Core ML's own).
    `costs`: multiply-adds per input frame in every mode, by chunk; `overlap` is the offline artefact in pieces.
    """

    mode: StreamMode
    exact: bool
    chunk: Count
    lookahead: Size
    delay: Position
    ahead: Count
    horizon: Size
    inputs: tuple[StreamPort, ...]
    outputs: tuple[StreamPort, ...]
    states: tuple[StreamState, ...] = ()
    state: StateKind = "none"
    constants: tuple[str, ...] = ()
    steady: str | None = None
    edge: str | None = None
    repeated: Size = 0
    truncation_db: dict[int, tuple[float, float]] = field(default_factory=dict)
    costs: dict[str, dict[int, float]] = field(default_factory=dict)

    @property
    def pace(self) -> Pace:
        """When frames go in and out."""
        first = self.outputs[0]
        return Pace(self.chunk, max(self.ahead, self.inputs[0].hi // self.inputs[0].rate), first.hi // first.rate)


@dataclass(frozen=True)
class Pace:
    """When frames pass a component: its call k comes as soon as k * chunk + ahead of them are there, and gives all
    before frame k * chunk + gives."""

    chunk: Count
    ahead: Size
    gives: Position

    def wanted(self, frame: int) -> int:
        """How many frames must be there until it has given this one."""
        return -(-(frame + 1 - self.gives) // self.chunk) * self.chunk + self.ahead


def waited(paces: Sequence[Pace]) -> int:
    """Frames from the beginning of one until components in a row have given it, at most: 1 for none of them.

    Two of the same chunk that tick together wait for it once.
    """
    return max(wanted - frame for frame, wanted in _period(paces))


def burst(paces: Sequence[Pace]) -> int:
    """The most frames that come at once of components in a row."""
    moments = [wanted for _, wanted in _period(paces, 3)]  # those of a burst may lie in two periods
    return max(moments.count(moment) for moment in moments)


def _period(paces: Sequence[Pace], times: int = 1) -> list[tuple[int, int]]:
    """Pairs of a frame and how many must be there for it, until these begin again, so many times."""
    pairs = []
    for frame in range(times * math.lcm(*(pace.chunk for pace in paces))):
        wanted = frame + 1
        for pace in reversed(paces):
            wanted = pace.wanted(wanted - 1)
        pairs.append((frame, wanted))
    return pairs
