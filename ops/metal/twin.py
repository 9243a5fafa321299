"""Computes in numpy what the Swift layer computes on the CPU: functions of the same names, which are tested here."""

from __future__ import annotations

import numpy as np

from ops.metal.layout import UpsampleShape


def evaluate(
    shape: UpsampleShape,
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    condition: np.ndarray | None = None,
) -> np.ndarray:
    """x (C, T), weight (C, D, K), bias (D,), condition (C,) -> (D, samples), in float32.

    One matrix product per kernel tap k: all positions i of (w[:, :, k])^T x, added to the samples i * S + k - P.
    """
    x = x.astype(np.float32) + (0 if condition is None else condition.astype(np.float32)[:, None])
    x = np.where(x >= 0, x, x * np.float32(shape.slope))
    y = np.repeat(bias.astype(np.float32)[:, None], shape.samples, axis=1)
    for tap in range(shape.kernel_size):
        reached = positions(tap, shape)
        if len(reached):
            product = weight[:, :, tap].T.astype(np.float32) @ x[:, reached.start : reached.stop]
            first = reached.start * shape.stride + tap - shape.padding
            y[:, first : first + len(reached) * shape.stride : shape.stride] += product
    return y


def positions(tap: int, shape: UpsampleShape) -> range:
    """The input positions i whose sample i * S + k - P lies within the output."""
    shift = tap - shape.padding
    first = 0 if shift >= 0 else -(shift // shape.stride)
    last = min(shape.frames, -((shift - shape.samples) // shape.stride)) if shape.samples > shift else 0
    return range(first, max(first, last))
