"""Shapes, weight layouts and the choice of kernel; what a host must know to call one."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent
CORE, TEXTURE, BUFFER = "upsample_core.h", "upsample_texture.metal", "upsample_buffer.metal"
COREAI = "upsample_coreai.metal"

# As in upsample_buffer.metal; a test reads them there.
TILE_POSITIONS, TILE_QUADS, TILE_CHANNELS, TILE_TAPS, TILE_PHASES = 32, 4, 32, 4, 4
THREADGROUP_BYTES = 32768  # of every Apple GPU
TEXTURE_WIDTH = 16384  # of textures on Apple GPUs up to M3


@dataclass(frozen=True)
class UpsampleShape:
    """One stage: y = conv_transpose1d(leaky_relu(x + c, slope), w, stride, padding) + b.

    x (C, frames), optional c (C,), w (C, D, kernel_size), b (D,), y (D, samples).
    """

    channels_in: int
    channels_out: int
    kernel_size: int
    stride: int
    padding: int
    frames: int
    output_padding: int = 0
    slope: float = 0.1
    has_condition: bool = False

    def __post_init__(self) -> None:
        sizes = (self.channels_in, self.channels_out, self.kernel_size, self.stride, self.frames)
        if min(sizes) < 1 or self.padding < 0 or not 0 <= self.output_padding < max(self.stride, 1):
            raise ValueError(f"no transposed convolution has the shape {self}")
        if self.samples < 1:
            raise ValueError(f"{self.frames} frames give no output: {self}")

    @property
    def samples(self) -> int:
        return (self.frames - 1) * self.stride - 2 * self.padding + self.kernel_size + self.output_padding

    @property
    def taps(self) -> int:
        """Inputs that an output reads."""
        return -(-self.kernel_size // self.stride)

    def packed(self) -> bytes:
        """The struct UpsampleShape of the kernels."""
        sizes = (self.channels_in, self.channels_out, self.frames, self.samples, self.kernel_size, self.stride)
        return struct.pack("<9ifi", *sizes, self.padding, self.taps, self.has_condition, self.slope, 0)


def packed_weights(weight: np.ndarray, dtype: str = "float16") -> np.ndarray:
    """w (C, D, K) -> (ceil(D / 4), K, C, 4): the four output channels of a quad side by side, zeros beyond the last."""
    channels_in, channels_out, kernel_size = weight.shape
    quads = math.ceil(channels_out / 4)
    padded = np.zeros((4 * quads, kernel_size, channels_in), dtype)
    padded[:channels_out] = weight.transpose(1, 2, 0)
    return np.ascontiguousarray(padded.reshape(quads, 4, kernel_size, channels_in).transpose(0, 2, 3, 1))


def packed_bias(bias: np.ndarray | None, channels_out: int) -> np.ndarray:
    """b (D,) -> float32 (4 * ceil(D / 4),)."""
    padded = np.zeros(4 * math.ceil(channels_out / 4), np.float32)
    if bias is not None:
        padded[:channels_out] = bias
    return padded


def kernel_for(shape: UpsampleShape) -> str:
    """`tiled` or `plain`.

    Every thread of a tile reads all inputs that its positions need: sharing them pays where an output channel is one of
    many (a tile has 16) and the sum over inputs is long. The late stages of HiFi-GAN have too few channels, and short
    utterances too few positions for one tile.
    """
    if shape.taps > TILE_TAPS or tile_bytes(shape) > THREADGROUP_BYTES:
        return "plain"
    fills_a_tile = shape.channels_out >= 4 * TILE_QUADS and shape.frames >= TILE_POSITIONS // 2
    return "tiled" if fills_a_tile and shape.channels_in >= TILE_CHANNELS else "plain"


def tile_bytes(shape: UpsampleShape) -> int:
    """Threadgroup memory of the tiled kernel."""
    return 4 * TILE_CHANNELS * (TILE_POSITIONS + shape.taps - 1)


def tiled_groups(shape: UpsampleShape) -> tuple[int, int, int]:
    """Threadgroups of TILE_POSITIONS x TILE_QUADS threads: coarse positions, quads of output channels, phases."""
    last = (shape.samples - 1 + shape.padding) // shape.stride  # the newest input that an output may read
    return (
        math.ceil((last + 1) / TILE_POSITIONS),
        math.ceil(math.ceil(shape.channels_out / 4) / TILE_QUADS),
        math.ceil(shape.stride / TILE_PHASES),
    )


def fits_a_texture(shape: UpsampleShape) -> bool:
    """Whether Core ML can give the layer's input and output as textures."""
    return max(shape.frames, shape.samples) <= TEXTURE_WIDTH


def text(name: str) -> str:
    """A kernel file with the core header in its place, as it is compiled at run time on a Mac."""
    return (
        (FOLDER / name)
        .read_text()
        .replace(f'#include "{CORE}"', (FOLDER / CORE).read_text().replace("#pragma once", ""))
    )
