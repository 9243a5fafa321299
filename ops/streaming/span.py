"""Intervals along time, and which inputs an output needs."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Span:
    """Positions lo <= q < hi of a tensor, relative to the chunk's start in that tensor's own samples."""

    lo: int
    hi: int

    def __len__(self) -> int:
        return self.hi - self.lo

    def covers(self, other: Span) -> bool:
        return self.lo <= other.lo and other.hi <= self.hi

    def union(self, other: Span) -> Span:
        return Span(min(self.lo, other.lo), max(self.hi, other.hi))


@dataclass(frozen=True)
class Axis:
    """The time axis of a tensor: T input frames give it rate * T + extra positions along `dim`."""

    dim: int
    rate: Fraction
    extra: int

    def length(self, frames: int) -> int:
        """Positions of a whole utterance."""
        return int(self.rate * frames) + self.extra

    def per_chunk(self, chunk: int) -> int:
        """Positions that a chunk of input frames adds. Raises ValueError where that is no whole number."""
        count = self.rate * chunk
        if count.denominator != 1:
            raise ValueError(
                f"a chunk of {chunk} frames gives a tensor inside the network {count} positions: "
                f"take a multiple of {self.rate.denominator} frames"
            )
        return int(count)


@dataclass(frozen=True)
class Reach:
    """Output position q reads the input positions ceil((q * down + first) / up) .. floor((q * down + last) / up).

    Of a convolution up is 1 and down the stride; of an upsampling by S up is S and down is 1.
    """

    up: int = 1
    down: int = 1
    first: int = 0
    last: int = 0

    def needs(self, out: Span) -> Span:
        """The inputs that the outputs of an interval read."""
        lo = -(-(out.lo * self.down + self.first) // self.up)
        hi = ((out.hi - 1) * self.down + self.last) // self.up + 1
        return Span(lo, hi)

    def gives(self, hi: int) -> int:
        """The end of the outputs that can be computed from the inputs before `hi`."""
        # the largest q with floor((q * down + last) / up) <= hi - 1, and one more
        return (hi * self.up - 1 - self.last) // self.down + 1
