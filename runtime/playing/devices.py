"""Sound cards, through PortAudio (python-sounddevice): they drive a session in real time.

PortAudio calls back on a thread of its own; the callback only copies and counts (`Session.exchange`). The thread that
called `run` computes. Not run on a Mac yet; on Linux it was, against PulseAudio.
"""

from __future__ import annotations

import gc
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from runtime.errors import AudioError
from runtime.machine.extras import how_to_install
from runtime.playing.live import Ring, Session, recent_costs
from runtime.speech.recordings import Write, in_blocks, wav_file

Tick = Callable[["SoundCard"], None]


@dataclass(frozen=True)
class Device:
    """A sound card as PortAudio lists it; latencies in milliseconds, those of its smallest blocks."""

    index: int
    name: str
    host: str
    inputs: int
    outputs: int
    sample_rate: float
    input_latency_ms: float
    output_latency_ms: float
    default: str


def devices() -> list[Device]:
    """Raises AudioError where there is no PortAudio."""
    sd = _sounddevice()
    hosts = [host["name"] for host in sd.query_hostapis()]
    default_input, default_output = sd.default.device
    entries = []
    for index, row in enumerate(sd.query_devices()):
        uses = [name for name, at in (("input", default_input), ("output", default_output)) if at == index]
        entries.append(
            Device(
                index,
                row["name"],
                hosts[row["hostapi"]],
                row["max_input_channels"],
                row["max_output_channels"],
                row["default_samplerate"],
                1e3 * row["default_low_input_latency"],
                1e3 * row["default_low_output_latency"],
                " and ".join(uses),
            )
        )
    return entries


SILENT_SECONDS = 1.0  # without a block: the device went away
RETRY_SECONDS = 0.5


@dataclass
class SoundCard:
    """Runs a session on real devices, until `stop`, the end of `source` or `seconds`. A device that goes away, as a
    microphone that is unplugged, is waited for; the session goes on when it is back.

    `source`: blocks of samples (n,) that stand for the microphone, taken as they are needed; `record`: a WAV file that
    stands for the speakers.
    `microphone`, `speakers`: PortAudio's names or numbers, None for its defaults.
    """

    session: Session
    source: Iterable[np.ndarray] | None = None
    record: Path | None = None
    microphone: str | int | None = None
    speakers: str | int | None = None
    seconds: float | None = None
    tail: float = 1.0  # seconds of silence after `source`
    costs: deque[float] = field(default_factory=recent_costs)  # seconds of each inference
    device_latency: tuple[float, float] = (0.0, 0.0)  # seconds that PortAudio reports for input and output

    def run(self, tick: Tick = lambda _: None, every: float = 0.5) -> None:
        """Blocks; `tick` is called every so many seconds. An interrupt ends it as `stop` does, with all files closed.

        Raises AudioError where the devices cannot be opened so or `source` cannot be read, OSError where the recording
        cannot be written: then there is none.
        """
        session, rate = self.session, self.session.chain.sample_rate
        self._done = threading.Event()
        self._coming = in_blocks(self.source if self.source is not None else (), session.block)
        self._waiting, self._is_read, self._silent = Ring(8 * rate + session.block), False, 0
        self._refill()
        self._scratch = np.zeros(session.block, np.float32)
        self._given = np.zeros(session.block, np.float32)
        self._recorded = Ring(4 * rate)
        stream = self._opened()
        latency = stream.latency
        self.device_latency = latency if isinstance(latency, tuple) else (0.0, float(latency))
        if self.source is None and self.record is not None:
            self.device_latency = (float(stream.latency), 0.0)
        gc.collect()
        gc.disable()  # a collection in the middle of a block is a dropout
        try:
            with nullcontext(lambda _: None) if self.record is None else wav_file(self.record, rate) as write:
                try:
                    began = time.monotonic()
                    while self._worked(stream, began, tick, every, write):
                        session.counters.device_losses += 1
                        stream = self._reopened(began, tick)
                except KeyboardInterrupt:
                    pass  # the end of the recording
        finally:
            gc.enable()

    def stop(self) -> None:
        self._done.set()

    def _opened(self) -> Any:
        sd, rate = _sounddevice(), self.session.chain.sample_rate
        settings = {
            "samplerate": rate, "blocksize": self.session.block, "channels": 1, "dtype": "float32", "latency": "low"
        }  # fmt: skip
        try:
            if self.source is not None:
                return sd.OutputStream(device=self.speakers, callback=self._speak, **settings)
            if self.record is not None:
                return sd.InputStream(device=self.microphone, callback=self._listen, **settings)
            return sd.Stream(device=(self.microphone, self.speakers), callback=self._both, **settings)
        except (sd.PortAudioError, ValueError) as error:
            raise AudioError(f"the sound card cannot be opened at {rate} Hz: {error}") from error

    def _reopened(self, began: float, tick: Tick) -> Any:
        """Waits until the device is back, or the time is up: then the stream is None."""
        while not self._is_over(began):
            tick(self)
            time.sleep(RETRY_SECONDS)
            _forget_devices()
            with suppress(AudioError):
                return self._opened()
        return None

    def _is_over(self, began: float) -> bool:
        return self._done.is_set() or (self.seconds is not None and time.monotonic() - began >= self.seconds)

    def _worked(self, stream: Any, began: float, tick: Tick, every: float, write: Write) -> bool:
        """Runs the session on an open stream. Returns whether its device went away before the end."""
        if stream is None:
            return False
        is_lost, has_begun = True, False
        try:
            with stream:
                has_begun = True
                is_lost = self._work(began, tick, every, write)
        except _sounddevice().PortAudioError as error:  # a device that went away cannot be closed either
            if not has_begun and not self.session.counters.device_losses:
                raise AudioError(f"the sound card cannot be started: {error}") from error
        return is_lost

    def _work(self, began: float, tick: Tick, every: float, write: Write) -> bool:
        """Returns whether the device fell silent: no block came for a second, where a hundred are due."""
        session, rate = self.session, self.session.chain.sample_rate
        wait, longest = session.block / rate / 2, max(SILENT_SECONDS, 8 * session.block / rate)
        next_tick, out = time.monotonic() + every, np.zeros(4 * rate, np.float32)
        blocks, heard_at, is_lost = session.counters.blocks, time.monotonic(), False
        while not self._is_over(began) and not is_lost:
            while session.waiting and not self._done.is_set():
                started = time.perf_counter()
                samples = session.process()
                if len(samples):
                    self.costs.append(time.perf_counter() - started)
                session.publish(samples)
                write(out[: self._recorded.read(out)])
                self._refill()
            self._refill()
            now = time.monotonic()
            if now >= next_tick:
                tick(self)
                next_tick = now + every
            if session.counters.blocks != blocks:
                blocks, heard_at = session.counters.blocks, now
            is_lost = now - heard_at > longest
            time.sleep(wait)
        write(out[: self._recorded.read(out)])
        return is_lost

    def _both(self, indata: np.ndarray, outdata: np.ndarray, frames: int, clock: Any, status: Any) -> None:
        self._count(status)
        self.session.exchange(indata[:, 0], outdata[:, 0])

    def _listen(self, indata: np.ndarray, frames: int, clock: Any, status: Any) -> None:
        self._count(status)
        self.session.exchange(indata[:, 0], self._scratch)
        self._recorded.write(self._scratch)

    def _speak(self, outdata: np.ndarray, frames: int, clock: Any, status: Any) -> None:
        self._count(status)
        is_read = self._is_read  # before the ring is: what the other thread adds last is still taken
        count = self._waiting.read(self._given[:frames])
        self._given[count:] = 0
        self.session.exchange(self._given[:frames], outdata[:, 0])
        if is_read:
            self._silent += frames - count
            if self._silent >= self.tail * self.session.chain.sample_rate:
                self._done.set()

    def _refill(self) -> None:
        """Takes of the source what there is room for: some seconds, so that no step is too long for it."""
        while not self._is_read and self._waiting.room >= self.session.block:
            block = next(self._coming, None)
            if block is None:
                self._is_read = True
            else:
                self._waiting.write(block)

    def _count(self, status: Any) -> None:
        if status:
            self.session.counters.device_xruns += 1


@dataclass(frozen=True)
class Loopback:
    """Times from playing a sample to recording it, in milliseconds; `detected` of `sent` sounds came back.

    `reported_ms` is what PortAudio itself says of input and output together.
    """

    block: int
    sample_rate: int
    sent: int
    detected: int
    median_ms: float | None
    least_ms: float | None
    most_ms: float | None
    reported_ms: float
    device_xruns: int


def loopback(
    block: int = 128,
    sample_rate: int = 48000,
    sounds: int = 10,
    microphone: str | int | None = None,
    speakers: str | int | None = None,
) -> Loopback:
    """Plays short noises and listens for them: the whole way out and in again, without any model between.

    It needs a cable, a speaker near a microphone, or a virtual device that gives back what it plays. Raises AudioError
    where the devices cannot be opened.
    """
    sd = _sounddevice()
    played, starts = probe(sounds, sample_rate)
    recorded = np.zeros_like(played)
    position, xruns, done = 0, 0, threading.Event()

    def exchange(indata: np.ndarray, outdata: np.ndarray, frames: int, clock: Any, status: Any) -> None:
        nonlocal position, xruns
        xruns += bool(status)
        count = min(frames, len(played) - position)
        recorded[position : position + count] = indata[:count, 0]
        outdata[:count, 0] = played[position : position + count]
        outdata[count:] = 0
        position += count
        if position >= len(played):
            done.set()

    try:
        stream = sd.Stream(
            samplerate=sample_rate,
            blocksize=block,
            device=(microphone, speakers),
            channels=1,
            dtype="float32",
            latency="low",
            callback=exchange,
        )
    except (sd.PortAudioError, ValueError) as error:
        raise AudioError(f"the sound card cannot be opened at {sample_rate} Hz: {error}") from error
    with stream:
        done.wait(len(played) / sample_rate + 10)
        reported = 1e3 * sum(stream.latency)
    delays = [1e3 * delay / sample_rate for delay in probe_delays(played, recorded, starts)]
    if not delays:
        return Loopback(block, sample_rate, sounds, 0, None, None, None, reported, xruns)
    median = float(np.median(delays))
    return Loopback(block, sample_rate, sounds, len(delays), median, min(delays), max(delays), reported, xruns)


PROBE_SECONDS, PROBE_GAP_SECONDS = 0.02, 1.0


def probe(sounds: int, sample_rate: int) -> tuple[np.ndarray, list[int]]:
    """(signal, first sample of each sound): bursts of noise, every one another, so that none is taken for another."""
    rng, gap = np.random.default_rng(0), round(PROBE_GAP_SECONDS * sample_rate)
    signal = np.zeros(gap * (sounds + 1), np.float32)
    starts = [gap // 2 + index * gap for index in range(sounds)]
    for start in starts:
        size = round(PROBE_SECONDS * sample_rate)
        signal[start : start + size] = rng.uniform(-0.5, 0.5, size)
    return signal, starts


def probe_delays(played: np.ndarray, recorded: np.ndarray, starts: list[int]) -> list[int]:
    """Samples by which each recognised sound came later: where the normalised correlation is at least 0.5."""
    size, delays = len(played) // (len(starts) + 1), []
    for start in starts:
        length = np.flatnonzero(played[start : start + size])[-1] + 1
        burst, window = played[start : start + length], recorded[start : start + size // 2 + length]
        if len(window) <= length:
            continue
        dots = np.correlate(window, burst, "valid")
        energy = np.convolve(window.astype(np.float64) ** 2, np.ones(length), "valid")
        match = np.abs(dots) / np.sqrt(np.maximum(energy, 1e-12) * float((burst.astype(np.float64) ** 2).sum()))
        if match.max() >= 0.5:
            delays.append(int(match.argmax()))
    return delays


def _forget_devices() -> None:
    """Has PortAudio look for devices anew: it knows those of its start."""
    sd = _sounddevice()
    with suppress(sd.PortAudioError):
        sd._terminate()
        sd._initialize()


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ModuleNotFoundError as error:
        raise AudioError(f"sound cards need python-sounddevice: {how_to_install('live')}") from error
    except OSError as error:  # it is there, the library under it is not
        raise AudioError(f"sound cards need PortAudio ({error}): apt install libportaudio2") from error
    return sounddevice
