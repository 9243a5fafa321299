"""A whole conversion under the bench: audio in, audio out, with the time that each stage takes of it."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from runtime.bundle.store import Bundle
from runtime.engines import Execution
from runtime.measuring.bench.budget import Budget, Part, judged_budget
from runtime.measuring.bench.closed import Latency
from runtime.measuring.bench.stress import SILENCE_SECONDS, Silence, silence_within
from runtime.playing.conversions import ConversionChain, conversion_of, open_main, parts_of
from runtime.playing.parts import FrameStream, Parts
from runtime.playing.player import Call, Constants, Feed, Player, Streaming
from runtime.playing.stages import Frontend
from runtime.playing.stream import Stream
from runtime.playing.targets import asks_for_own, target_of
from runtime.speech.clips import clip_paths
from runtime.speech.recordings import read_audio

MODE = "conversion"
_REPEATED_SECONDS = 2.0
Result = TypeVar("Result")


@dataclass(frozen=True)
class StageTime:
    """A component's calls in the closed loop: milliseconds of one, and its share of real time."""

    component: str
    calls: int
    p50_ms: float
    p99_ms: float
    rtf: float


class Stopwatch:
    """Times of calls, by component, in the order in which these run."""

    def __init__(self, components: Sequence[str]) -> None:
        self._components = components
        self.times: dict[str, list[float]] = {}

    def timed(self, component: str, call: Callable[[], Result]) -> Result:
        started = time.perf_counter()
        result = call()
        self.times.setdefault(component, []).append(time.perf_counter() - started)
        return result

    def stages(self, seconds: float) -> tuple[StageTime, ...]:
        """What each component took of so many seconds of audio."""
        stages = []
        for name in self._components:
            times = self.times.get(name) or [0.0]
            p50, p99 = (1e3 * float(np.percentile(times, share)) for share in (50, 99))
            stages.append(StageTime(name, len(self.times.get(name, ())), p50, p99, sum(times) / seconds))
        return tuple(stages)


class BenchedChain:
    """A bundle's conversion, live, at a device's rate: a call pushes what one step of its slowest stage takes.

    `target`: recordings of whom it is to sound like, by default the clips that ship, which also are what is converted.
    Raises as `open_conversion`.
    """

    def __init__(
        self,
        bundle: Bundle,
        execution: Execution,
        device_rate: int,
        block: int,
        target: Sequence[str] = (),
        mode: str | None = None,
    ) -> None:
        conversion, clips = conversion_of(bundle), clip_paths()
        self._rate, self._device_block, self._watch = device_rate, block, Stopwatch(conversion.components)
        paths = [] if conversion.target == "built_in" else [Path(path) for path in target] or clips
        whose = target_of(bundle, paths, execution, clips if asks_for_own(bundle) else []).target
        self.player: Player = open_main(bundle, execution, mode)
        if isinstance(self.player, Streaming):
            self.player = _WatchedPlayer(self.player, bundle.main.name, self._watch)
        parts = self._watched(parts_of(bundle, conversion, execution, whose, is_live=True))
        frontend = Frontend(conversion, parts, whose, device_rate, "live")
        self._chain = ConversionChain(frontend, self.player, whose.of(bundle.main))
        step = max(frontend.block_seconds, self._chain.chunk_seconds)
        self._step = max(round(step * device_rate), 1)
        self._speech = np.concatenate([read_audio(path, device_rate) for path in clips])

    def _watched(self, parts: Parts) -> Parts:
        def run(component: str, frames: np.ndarray) -> np.ndarray:
            return self._watch.timed(component, lambda: parts.run(component, frames))

        return Parts(
            run, lambda component: _WatchedStream(component, parts.stream(component), self._watch), parts.index
        )

    def feed(self) -> Feed:
        return self._fed(self._speech)

    def _fed(self, samples: np.ndarray) -> Feed:
        self._chain.reset()
        self._watch.times.clear()
        seconds = self._step / self._rate
        self._pushed = 0
        settles_in = 2 + int(sum(self._chain.latency.values()) / 1e3 / seconds)
        frames = round(seconds / self.player.time.frame_seconds)
        return Feed(MODE, frames, frames, seconds, self._calls(samples), settles_in)

    def _calls(self, samples: np.ndarray) -> Iterator[Call]:
        for start in itertools.count(0, self._step):
            block = np.take(samples, range(start, start + self._step), mode="wrap")
            self._pushed += self._step
            yield functools.partial(self._push, block)

    def _push(self, block: np.ndarray) -> dict[str, np.ndarray]:
        return {"audio": self._chain.push(block)}

    def stages(self) -> tuple[StageTime, ...]:
        """What each component took since calls began."""
        return self._watch.stages(self._pushed / self._rate)

    def silence(self) -> Silence:
        still = np.zeros(round(SILENCE_SECONDS * self._rate), np.float32)
        calls = self._fed(np.concatenate([self._speech, still, self._speech]))
        return silence_within(calls, self._step, len(self._speech), len(still))

    def is_repeatable(self) -> bool:
        """Whether blocks of other sizes, after a reset, give the same bits."""
        samples, made = self._speech[: round(_REPEATED_SECONDS * self._rate)], []
        for size in (len(samples), 480):
            self._chain.reset()
            pieces = [self._chain.push(samples[at : at + size]) for at in range(0, len(samples), size)]
            made.append(np.concatenate([*pieces, self._chain.flush()]))
        return np.array_equal(*made)

    def budget(self, closed: Latency, inference_ms: float) -> Budget:
        parts = (
            Part("block of the device", 1e3 * self._device_block / self._rate, True),
            *(Part(name, milliseconds, True) for name, milliseconds in self._chain.latency.items()),
            Part("inference, p99", inference_ms, False),
        )
        return judged_budget(parts, self._device_block, self._rate)


class _WatchedStream:
    def __init__(self, component: str, stream: FrameStream, watch: Stopwatch) -> None:
        self._component, self._stream, self._watch = component, stream, watch
        self.channels, self.chunk, self.lookahead = stream.channels, stream.chunk, stream.lookahead
        self.pace = stream.pace

    def push(self, frames: np.ndarray) -> np.ndarray:
        return self._watch.timed(self._component, lambda: self._stream.push(frames))

    def flush(self) -> np.ndarray:
        return self._stream.flush()

    def reset(self) -> None:
        self._stream.reset()


class _WatchedPlayer(Streaming):
    """What makes the audio, its pushes timed."""

    def __init__(self, player: Streaming, component: str, watch: Stopwatch) -> None:
        super().__init__(player.artefact, player.time)
        self._component, self._watch = component, watch

    def stream(self, constants: Constants = None) -> Stream:
        stream = super().stream(constants)
        push, component, watch = stream.push, self._component, self._watch
        stream.push = lambda inputs: watch.timed(component, lambda: push(inputs))  # type: ignore[method-assign]
        return stream
