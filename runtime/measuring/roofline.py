"""What upsampling costs in each of its forms: arithmetic, bytes moved, kernel launches; and a roofline estimate of it.

The roofline (Williams et al. 2009, doi 10.1145/1498765.1498785): a launch takes at least as long as its arithmetic at
the peak rate and as its bytes at the memory's. An estimate from data sheets, never a measurement: caches, the Neural
Engine and Core ML's own fusion are not in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ops.metal.layout import UpsampleShape

BYTES = {"fp32": 4, "fp16": 2}


@dataclass(frozen=True)
class Machine:
    """`flops`: peak operations a second (a multiply-add is two); `bandwidth`: bytes a second."""

    name: str
    flops: float
    bandwidth: float


# 5120 ALUs at about 1.4 GHz, half precision no faster than single; 512-bit LPDDR5-6400. The part with 40 GPU cores.
M3_MAX = Machine("M3 Max, 40-core GPU", 14.2e12, 400e9)


@dataclass(frozen=True)
class Launch:
    """One kernel: multiply-adds, and bytes read and written."""

    macs: float
    bytes: float

    def seconds(self, machine: Machine) -> float:
        return max(2 * self.macs / machine.flops, self.bytes / machine.bandwidth)


@dataclass(frozen=True)
class Cost:
    """The cost of all upsampling stages of one call; `seconds` is the roofline's estimate."""

    macs: float
    bytes: float
    launches: int
    seconds: float


def cost(stages: Sequence[UpsampleShape], upsampler: str, precision: str, machine: Machine = M3_MAX) -> Cost:
    """`upsampler`: native, polyphase or metal; `precision` that of tensors and weights (below fp16 as fp16)."""
    launches = [launch for stage in stages for launch in _LAUNCHES[upsampler](stage, BYTES.get(precision, 2))]
    return Cost(
        sum(launch.macs for launch in launches),
        sum(launch.bytes for launch in launches),
        len(launches),
        sum(launch.seconds(machine) for launch in launches),
    )


def _sizes(stage: UpsampleShape) -> tuple[int, int, int]:
    """Numbers in input, output and weights."""
    inputs, outputs = stage.channels_in * stage.frames, stage.channels_out * stage.samples
    return inputs, outputs, stage.channels_in * stage.channels_out * stage.kernel_size


def _native(stage: UpsampleShape, width: int) -> list[Launch]:
    """Leaky ReLU, then a transposed convolution."""
    inputs, outputs, weights = _sizes(stage)
    return [Launch(0, 2 * inputs * width), Launch(weights * stage.frames, (inputs + outputs + weights) * width)]


def _polyphase(stage: UpsampleShape, width: int) -> list[Launch]:
    """Leaky ReLU, a convolution of all phases over all taps that any of them has, and the pixel shuffle."""
    inputs, outputs, _ = _sizes(stage)
    taps = stage.taps + (stage.stride - 1 + stage.padding) // stage.stride
    weights = stage.channels_in * stage.channels_out * stage.stride * taps
    positions = -(-stage.samples // stage.stride)
    return [
        Launch(0, 2 * inputs * width),
        Launch(weights * positions, (inputs + outputs + weights) * width),
        Launch(0, 2 * outputs * width),
    ]


def _metal(stage: UpsampleShape, width: int) -> list[Launch]:
    """One kernel."""
    inputs, outputs, weights = _sizes(stage)
    return [Launch(weights * stage.frames, (inputs + outputs + weights) * width)]


_LAUNCHES = {"native": _native, "polyphase": _polyphase, "metal": _metal}
