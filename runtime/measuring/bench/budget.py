"""Where the delay of live audio comes from, and whether a target can be met at all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from runtime.speech.features import LocalFeatures
from runtime.speech.resampling import PROMPT, Resampler

TARGET_MS = 100.0  # of a delay in a call


@dataclass(frozen=True)
class Part:
    """`structural`: no faster machine makes it shorter."""

    name: str
    milliseconds: float
    structural: bool


@dataclass(frozen=True)
class Budget:
    """The delay from a sample at the microphone to its sound at the speaker, without the device's own conversion times.

    `verdict` on the target: `met`, `missed`, or `not reachable by structure`.
    """

    block: int
    device_rate: int
    parts: tuple[Part, ...]
    total_ms: float
    structural_ms: float
    target_ms: float
    verdict: str


def budget(
    features: LocalFeatures,
    chunk: int,
    lookahead: int,
    inference_ms: float,
    block: int = 256,
    device_rate: int = 48000,
    target_ms: float = TARGET_MS,
) -> Budget:
    """The parts for a copy-synthesis: a device with blocks of `block` samples, chunks and lookahead in mel frames.

    A sample waits for its block to be full, then for its chunk: in all the block and m - gcd(block, m) samples, with
    chunks of m samples at the device's rate (the fewest that keep the device from starving).
    """
    rate = features.sample_rate
    frame_ms = 1e3 * features.hop_length / rate
    resampling = sum(Resampler(*rates, PROMPT).delay(block) for rates in ((device_rate, rate), (rate, device_rate)))
    parts = (
        Part("block of the device", 1e3 * block / device_rate, True),
        Part("resampling", 1e3 * resampling, True),
        Part("rest of the STFT window", 1e3 * features.latency / rate, True),
        Part("chunk", 1e3 * float(_waiting(chunk * features.hop_length, rate, block, device_rate)), True),
        Part("lookahead", lookahead * frame_ms, True),
        Part("inference, p99", inference_ms, False),
    )
    return judged_budget(parts, block, device_rate, target_ms)


def judged_budget(parts: tuple[Part, ...], block: int, device_rate: int, target_ms: float = TARGET_MS) -> Budget:
    """Sums up the parts of a delay and judges it."""
    total = sum(part.milliseconds for part in parts)
    structural = sum(part.milliseconds for part in parts if part.structural)
    verdict = "met" if total <= target_ms else "missed"
    if structural > target_ms:
        verdict = "not reachable by structure"
    return Budget(block, device_rate, parts, total, structural, target_ms, verdict)


def _waiting(samples: int, rate: int, block: int, device_rate: int) -> Fraction:
    """Seconds of m - gcd(io, m), both measured in the finest steps that the two rates share."""
    chunk, io = Fraction(samples, rate), Fraction(block, device_rate)
    scale = math.lcm(chunk.denominator, io.denominator)
    step = Fraction(math.gcd(int(chunk * scale), int(io * scale)), scale)
    return chunk - step
