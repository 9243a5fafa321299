"""What stands between a live conversion and its listener: a gate, the speaker's own voice at a key, meters.

A chain's sample k belongs to its input's sample k, however late it comes: so a gate that looks at the input fades the
very output that belongs to it, and the input itself can take the output's place without a jump in time.
"""

from __future__ import annotations

import math

import numpy as np

from runtime.errors import StreamError
from runtime.playing.conversions import LiveChain
from runtime.speech.frames import HeldFrames

HOP_SECONDS = 0.01  # of the gate's levels, and of every fade
LEAD_HOPS = 3  # that open before the level does: a soft consonant begins a word
HOLD_HOPS = 30  # that stay open after it
HYSTERESIS_DB = 6.0
FLOOR_DB = -120.0


class Gate:
    """Open where the input is at least `open_db` loud, until it was 6 dB softer for 0.3 s; open 30 ms ahead.

    Levels are those of steps of 10 ms, full scale 0 dB. Raises StreamError for a threshold that no level reaches.
    """

    def __init__(self, sample_rate: int, open_db: float) -> None:
        if not FLOOR_DB < open_db < 0:
            raise StreamError(f"a gate opens between {FLOOR_DB:g} and 0 dB, got {open_db:g}")
        self._open_db, self.hop = open_db, max(1, round(HOP_SECONDS * sample_rate))
        self.reset()

    def reset(self) -> None:
        self._rest, self._states, self._held = np.zeros(0, np.float32), HeldFrames(), 0
        self.is_open = False

    def push(self, samples: np.ndarray) -> None:
        """Takes the input's next samples (n,)."""
        samples = np.concatenate([self._rest, samples])
        complete = len(samples) // self.hop * self.hop
        for level in levels_db(samples[:complete], self.hop):
            if level >= self._open_db:
                self.is_open, self._held = True, HOLD_HOPS
            elif level >= self._open_db - HYSTERESIS_DB and self.is_open:
                self._held = HOLD_HOPS
            elif self._held:
                self._held -= 1
                self.is_open = self._held > 0
            self._states.append(np.array([self.is_open]))
        self._rest = samples[complete:]

    def gains(self, start: int, stop: int) -> np.ndarray:
        """The gains (n,) of the samples [start, stop), 0 to 1; those before `start` are forgotten."""
        first, last = start // self.hop - 1, -(-stop // self.hop)
        gains = np.array([self._gain(hop) for hop in range(first, last)], np.float32)
        self._states.forget(max(first, 0))
        hops, share = np.divmod(np.arange(start, stop), self.hop)
        before, here = gains[hops - 1 - first], gains[hops - first]
        return before + (here - before) * (share.astype(np.float32) / self.hop)

    def _gain(self, hop: int) -> float:
        """Of a step; of one that has not come yet, what the last one was."""
        end = self._states.end
        if hop < 0 or not end:
            return 0.0
        first = min(hop, end - 1)
        return float(self._states.taken(first, min(hop + LEAD_HOPS + 1, end)).any())


class Mixer:
    """A chain with a gate, in whose place the input can be heard, as late: `passes_through` may change at any time.

    `level_db`: of the last 10 ms of input. Attributes and calls are the chain's.
    """

    def __init__(self, chain: LiveChain, gate: Gate | None = None) -> None:
        self._chain, self._gate, self.passes_through = chain, gate, False
        self.sample_rate, self.chunk = chain.sample_rate, chain.chunk
        self._hop = max(1, round(HOP_SECONDS * chain.sample_rate))
        self.reset()

    @property
    def latency(self) -> dict[str, float]:
        return self._chain.latency

    @property
    def is_open(self) -> bool:
        """Whether the gate lets the voice through."""
        return self._gate is None or self._gate.is_open

    def reset(self) -> None:
        self._chain.reset()
        self._input, self._given, self.level_db = HeldFrames(), 0, FLOOR_DB
        self._share = float(self.passes_through)  # of the input in the output
        if self._gate is not None:
            self._gate.reset()

    def push(self, samples: np.ndarray) -> np.ndarray:
        if len(samples):
            self.level_db = float(levels_db(samples[-self._hop :], min(self._hop, len(samples)))[-1])
            self._input.append(samples)
        if self._gate is not None:
            self._gate.push(samples)
        return self._mixed(self._chain.push(samples))

    def flush(self) -> np.ndarray:
        return self._mixed(self._chain.flush())

    def _mixed(self, converted: np.ndarray) -> np.ndarray:
        """What is heard of the chain's next samples (n,)."""
        start, stop = self._given, self._given + len(converted)
        if not len(converted):
            return converted
        if self._gate is not None:
            converted = converted * self._gate.gains(start, stop)
        target_share = float(self.passes_through)
        if self._share or target_share:
            ramp = np.arange(1, len(converted) + 1, dtype=np.float32) / self._hop
            shares = np.clip(self._share + (ramp if target_share else -ramp), 0, 1)
            known = min(stop, self._input.end)
            dry = np.zeros(len(converted), np.float32)
            if known > start:
                dry[: known - start] = self._input.taken(start, known)
            converted = converted + shares * (dry - converted)
            self._share = float(shares[-1])
        self._input.forget(min(stop, self._input.end))
        self._given = stop
        return converted.astype(np.float32)


def levels_db(samples: np.ndarray, hop: int) -> np.ndarray:
    """The level of each whole step of `hop` samples, 20 log10 of its root mean square: (n // hop,)."""
    steps = samples[: len(samples) // hop * hop].reshape(-1, hop).astype(np.float64)
    return 10 * np.log10(np.maximum((steps**2).mean(axis=1), 10 ** (FLOOR_DB / 10)))


def meter(level_db: float, steps: int = 10, lowest_db: float = -60.0) -> str:
    """A level as a bar of so many steps, the last one 0 dB."""
    filled = round(steps * (1 - max(min(level_db, 0.0), lowest_db) / lowest_db)) if math.isfinite(level_db) else 0
    return "|" * filled + "." * (steps - filled)
