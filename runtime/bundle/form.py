"""How a streaming artefact is called: what stands of it in the manifest."""

from __future__ import annotations

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
