"""Live audio through a chain of artefacts: what lies between a sound card's callback and the models.

The callback copies blocks to and from two rings and counts; a worker takes input out, runs the chain and puts its
output in. The model never runs in the callback. Over `VirtualDevice` the same session runs on a clock that is only
moved by blocks and by inference times, measured or scripted: so dropouts are deterministic and a test can name them.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from runtime.playing.conversions import LiveChain
from runtime.speech.recordings import in_blocks

FADE_SECONDS = 0.005  # where audio was dropped or ran out


class Ring:
    """Samples between one writer and one reader, preallocated. Safe for two threads: each moves an end of its own."""

    def __init__(self, capacity: int) -> None:
        self._samples = np.zeros(capacity, np.float32)
        self.written = self.taken = 0  # samples in all

    def __len__(self) -> int:
        return self.written - self.taken

    @property
    def room(self) -> int:
        """Samples that could be written now."""
        return len(self._samples) - len(self)

    def write(self, samples: np.ndarray) -> int:
        """Writes the samples that find room; returns how many did."""
        count = min(len(samples), self.room)
        at = self.written % len(self._samples)
        first = min(count, len(self._samples) - at)
        self._samples[at : at + first] = samples[:first]
        self._samples[: count - first] = samples[first:count]
        self.written += count
        return count

    def read(self, into: np.ndarray) -> int:
        """Fills the beginning of `into`; how many samples there were."""
        count = min(len(into), len(self))
        at = self.taken % len(self._samples)
        first = min(count, len(self._samples) - at)
        into[:first] = self._samples[at : at + first]
        into[first:count] = self._samples[: count - first]
        self.taken += count
        return count

    def drop(self, count: int) -> None:
        """Drops the oldest samples; the reader calls it."""
        self.taken += min(count, len(self))


@dataclass
class Counters:
    """What a session has seen. An underrun is a block for which the device found too little output."""

    blocks: int = 0
    device_xruns: int = 0  # blocks for which the device itself says that it lost or lacked samples
    device_losses: int = 0  # times that the device went away
    underruns: int = 0
    missing_samples: int = 0
    input_overruns: int = 0
    drops: int = 0
    dropped_samples: int = 0
    late_samples: int = 0  # of output: computed, and left out because their time had passed


class Session:
    """One run of a chain on a device that gives and takes `block` samples at a time.

    The delay from input to output is constant: what the first output has, and `prefill` samples more, to bridge what
    later ones take longer. Output that is later than that is left out, not played late. `max_age`: seconds that input
    may wait: what is older is dropped and the chain reset, so that one stall leaves no lasting delay. After every gap
    the output fades in.
    """

    def __init__(self, chain: LiveChain, block: int, prefill: int = 0, max_age: float = 0.5) -> None:
        self.chain, self.block, self.counters = chain, block, Counters()
        room = 2 * math.ceil((max_age + 2.0) * chain.sample_rate) + prefill
        self._input, self._output = Ring(room), Ring(room)
        self._most = max(math.ceil(max_age * chain.sample_rate), 2 * block)
        self._taken = np.zeros(block, np.float32)
        self._silence = np.zeros(room, np.float32)
        self._ramp = np.linspace(0, 1, max(2, round(FADE_SECONDS * chain.sample_rate)), dtype=np.float32)
        self._prefill = prefill
        self.delay: int | None = None  # in samples, once there was output
        self._next = 0  # the input sample that the chain's next output belongs to
        self._silent = 0  # samples that the device played without having any from here
        self._lost = 0  # input samples that found no room
        self._faded_in = len(self._ramp)

    def exchange(self, indata: np.ndarray, outdata: np.ndarray) -> None:
        """The device's callback: fills a block of output, takes a block of input. Copies and counts, no more.

        Output first: input that is there already might be answered within the same block, by a worker that is quicker
        than this thread for once, and the delay would be taken for so short from then on.
        """
        counters = self.counters
        counters.blocks += 1
        count = self._output.read(outdata)
        if count < len(outdata):
            outdata[count:] = 0
            self._silent += len(outdata) - count
            if self.delay is not None:
                counters.underruns += 1
                counters.missing_samples += len(outdata) - count
        kept = self._input.write(indata)
        if kept < len(indata):
            counters.input_overruns += 1
            self._lost += len(indata) - kept

    @property
    def waiting(self) -> bool:
        """Whether there is a block of input."""
        return len(self._input) >= self.block

    def process(self) -> np.ndarray:
        """The chain's output for the oldest block of input; it is not heard before `publish`."""
        if len(self._input) > self._most:
            surplus = (len(self._input) - self.block) // self.block * self.block
            self._input.drop(surplus)
            self.counters.drops += 1
            self.counters.dropped_samples += surplus
            self.chain.reset()
            self._next = self._input.taken + self._lost
        count = self._input.read(self._taken)
        return self.chain.push(self._taken[:count])

    def publish(self, samples: np.ndarray) -> None:
        """Makes output audible, at its time."""
        if not len(samples):
            return
        now = self._output.written + self._silent  # when the next sample that is written will be played
        is_first = self.delay is None
        if self.delay is None:  # the next output comes a chunk later and follows this one, which may be short
            self.delay = now + self._prefill - self._next + max(self.chain.chunk - len(samples), 0)
        early = self._next + self.delay - now
        self._next += len(samples)
        if early > 0:
            self._output.write(self._silence[: min(early, len(self._silence))])
        elif early < 0:
            late = min(-early, len(samples))
            self.counters.late_samples += late
            samples = samples[late:]
        if early and not is_first:
            self._faded_in = 0
        self._output.write(self._with_fade(samples))

    def _with_fade(self, samples: np.ndarray) -> np.ndarray:
        count = min(len(self._ramp) - self._faded_in, len(samples))
        if count <= 0:
            return samples
        samples = samples.copy()
        samples[:count] *= self._ramp[self._faded_in : self._faded_in + count]
        self._faded_in += count
        return samples


class VirtualDevice:
    """A sound card on a clock of its own: blocks come at their times, output takes as long as `cost` says.

    `cost`: seconds that each output takes, by its index; None measures them. One worker, as in the real thing.
    """

    def __init__(self, cost: Callable[[int], float] | None = None) -> None:
        self._cost, self._outputs = cost, 0
        self.costs = recent_costs()

    def play(self, session: Session, samples: np.ndarray, tail: float = 1.0) -> np.ndarray:
        """Returns all that `played` yields for samples (N,), as (N + tail,)."""
        return np.concatenate(list(self.played(session, (samples,), tail)))

    def played(self, session: Session, blocks: Iterable[np.ndarray], tail: float = 1.0) -> Iterator[np.ndarray]:
        """Feeds the samples of the blocks and then `tail` seconds of silence; yields what the device played,
        (session.block,) at a time."""
        block = session.block
        free_at, pending = 0, None  # when the worker is done with what is pending; times count samples
        for index, indata in enumerate(_with_tail(blocks, block, math.ceil(tail * session.chain.sample_rate))):
            now = index * block
            while pending is not None and free_at <= now:
                session.publish(pending)
                pending, free_at = self._next(session, free_at)
            outdata = np.zeros(block, np.float32)
            session.exchange(indata, outdata)
            yield outdata
            if pending is None:
                pending, free_at = self._next(session, now)

    def _next(self, session: Session, now: int) -> tuple[np.ndarray | None, int]:
        """The worker takes blocks until output comes of them: (that, when it is there)."""
        while session.waiting:
            started = time.perf_counter()
            output = session.process()
            measured = time.perf_counter() - started
            if len(output):
                self.costs.append(measured if self._cost is None else self._cost(self._outputs))
                self._outputs += 1
                return output, now + math.ceil(self.costs[-1] * session.chain.sample_rate - 1e-6)
        return None, now


def recent_costs() -> deque[float]:
    """Seconds of the last inferences: 65,536 of them, an hour and a half of chunks of 93 ms."""
    return deque(maxlen=1 << 16)


def _with_tail(blocks: Iterable[np.ndarray], size: int, tail: int) -> Iterator[np.ndarray]:
    """The samples in whole blocks of `size`: the last is filled up with silence, then comes `tail` of it, cut to whole
    blocks."""
    for block in in_blocks(blocks, size):
        yield np.pad(block.astype(np.float32), (0, size - len(block)))
    for _ in range(tail // size):
        yield np.zeros(size, np.float32)
