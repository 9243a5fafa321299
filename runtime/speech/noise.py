"""Noise of a frame's own: the same in whatever pieces an utterance comes."""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np

_BLOCK = 64  # frames that are drawn at once


def noise_of(rows: int, start: int, stop: int, kind: Literal["normal", "logistic"] = "normal") -> np.ndarray:
    """Standard noise of the frames [start, stop) of an utterance: (rows, stop - start) float32."""
    first, last = start // _BLOCK, (stop - 1) // _BLOCK
    blocks = [_noise_block(number, rows, kind) for number in range(first, last + 1)]
    return np.concatenate([np.zeros((0, rows), np.float32), *blocks])[start - first * _BLOCK :][: stop - start].T


@functools.lru_cache(maxsize=16)
def _noise_block(number: int, rows: int, kind: str) -> np.ndarray:
    random = np.random.default_rng([rows, number])
    if kind == "logistic":
        return random.logistic(size=(_BLOCK, rows)).astype(np.float32)
    return random.standard_normal((_BLOCK, rows), np.float32)
