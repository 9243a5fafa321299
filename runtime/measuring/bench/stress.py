"""Stress tests of an artefact: memory over many calls, silence in between, busy cores."""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import psutil

from runtime.machine.tether import tethered
from runtime.playing.player import Constants, Feed, Player
from runtime.speech.features import LocalFeatures

SILENCE_SECONDS = 10.0


@dataclass(frozen=True)
class Resources:
    """What this process used while `chunks` chunks were called. `blocks_grown`: Python objects that were there after
    them and not before, garbage collected; `rss_slope_mb_per_h`: a line through resident memory, meaningful from
    minutes on."""

    seconds: float
    chunks: int
    rss_mb: float
    peak_rss_mb: float
    rss_slope_mb_per_h: float
    blocks_grown: int
    collections: int
    python_threads: int
    threads: int


@dataclass(frozen=True)
class Silence:
    """Median milliseconds per chunk in speech, in the digital silence after it, and in speech again, one stream.
    Denormal numbers would show as a slow silence. The counts are of output samples."""

    speech_ms: float
    silence_ms: float
    speech_again_ms: float
    not_finite: int
    clipped: int


def resources(calls: Feed, chunks: int) -> Resources:
    process = psutil.Process()
    for call in islice(calls, calls.settles_in + 10):
        call()
    times, sizes = np.zeros(100), np.zeros(100)  # there before anything is counted
    part = max(chunks // 100, 1)
    gc.collect()
    collected, before = _collections(), sys.getallocatedblocks()
    began = time.perf_counter()
    for index in range(100):
        for call in islice(calls, part):
            call()
        times[index], sizes[index] = time.perf_counter() - began, process.memory_info().rss
    collections = _collections() - collected
    gc.collect()
    return Resources(
        seconds=float(times[-1]),
        chunks=100 * part,
        rss_mb=float(sizes[-1]) / 1e6,
        peak_rss_mb=float(sizes.max()) / 1e6,
        rss_slope_mb_per_h=float(np.polyfit(times / 3600, sizes / 1e6, 1)[0]),
        blocks_grown=sys.getallocatedblocks() - before,
        collections=collections,
        python_threads=threading.active_count(),
        threads=process.num_threads(),
    )


def silence(player: Player, features: LocalFeatures, speech: np.ndarray, constants: Constants = None) -> Silence:
    """speech: frames in the shape of the component's input."""
    axis = player.time.input_axis
    samples = np.zeros(round(SILENCE_SECONDS * features.sample_rate), np.float32)
    still = features.of(samples).reshape([-1 if i == axis else n for i, n in enumerate(speech.shape)])
    frames = np.concatenate([speech, still, speech], axis)
    calls = player.feed(frames, constants)
    return silence_within(calls, calls.chunk, speech.shape[axis], still.shape[axis])


def silence_within(calls: Feed, step: int, speech: int, still: int) -> Silence:
    """Times calls of `step` positions each through so many of speech, silence, and speech again."""
    sections: list[list[float]] = [[], [], []]
    borders = np.cumsum([speech, still])
    not_finite = clipped = 0
    for index, call in enumerate(islice(calls, (2 * speech + still) // step)):
        started = time.perf_counter()
        (output, *_) = call().values()
        elapsed = (time.perf_counter() - started) * 1e3
        sections[int(np.searchsorted(borders, index * step, "right"))].append(elapsed)
        not_finite += int((~np.isfinite(output)).sum())
        clipped += int((np.abs(output) >= 1.0).sum())
    medians = [float(np.median(section)) if section else float("nan") for section in sections]
    return Silence(medians[0], medians[1], medians[2], not_finite, clipped)


@contextlib.contextmanager
def busy_cores(processes: int | None = None) -> Iterator[None]:
    """Twice as many spinning processes as there are cores, or `processes`."""
    count = 2 * (os.cpu_count() or 1) if processes is None else processes
    spinning = [subprocess.Popen(tethered([sys.executable, "-c", "while True: pass"])) for _ in range(count)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
        for process in spinning:
            process.wait()


def _collections() -> int:
    return sum(generation["collections"] for generation in gc.get_stats())
