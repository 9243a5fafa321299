"""A vocoder that samples: conditioning in, samples out, each depending on the one before.

A component of the bundle makes a block of them at a time; what it hands on goes from call to call here. Streamed, the
samples are those of one long call. In folds they are made side by side and crossfaded, which is faster by as much as
calls with more rows are, and no longer exact: `folded` says where.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from runtime.bundle.sampler import Sampler

Block = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]

# As Real-Time-Voice-Cloning folds: seconds of a fold's own audio, and of what two share (8000 and 800 at 16 kHz).
FOLD_SECONDS, SEAM_SECONDS = 0.5, 0.05


class Sampling:
    """One utterance."""

    def __init__(self, block: Block, how: Sampler) -> None:
        self._block, self._how = block, how
        self.reset()

    def reset(self) -> None:
        """Starts anew: what comes next is the beginning of an utterance."""
        self._carried = np.zeros((1, self._how.carried), np.float32)
        self._waiting: np.ndarray | None = None

    def push(self, conditioning: np.ndarray) -> np.ndarray:
        """conditioning (1, C, n) -> (1, 1, m): the samples of every block that is complete."""
        size = self._how.columns
        if self._waiting is not None:
            conditioning = np.concatenate([self._waiting, conditioning], axis=2)
        complete = conditioning.shape[2] // size * size
        blocks = [self._called(conditioning[..., at : at + size]) for at in range(0, complete, size)]
        self._waiting = conditioning[..., complete:]
        return np.concatenate([np.zeros((1, 0), np.float32), *blocks], axis=1)[None]

    def flush(self) -> np.ndarray:
        """The samples that are left, (1, 1, m): the last block is filled up with zeros."""
        if self._waiting is None or not self._waiting.size:
            return np.zeros((1, 1, 0), np.float32)
        left = self._waiting.shape[2]
        filled = self.push(np.zeros_like(self._waiting[..., :1]).repeat(self._how.columns - left, axis=2))
        return filled[..., : left * self._how.hop_length]

    def _called(self, conditioning: np.ndarray) -> np.ndarray:
        results = self._block({self._how.input: np.ascontiguousarray(conditioning), "carried": self._carried})
        self._carried = results["next_carried"]
        return results["samples"]


def folded(block: Block, how: Sampler, conditioning: np.ndarray, fold: int, seam: int) -> np.ndarray:
    """conditioning (1, C, N) -> (1, 1, N), in folds that share `seam` samples with their neighbours and are made side
    by side (`fold_with_overlap` of fatchord's WaveRNN), each of `fold` samples of its own or fewer.

    Every fold begins from nothing. Over a seam one fades linearly into the next, and both hear the same noise: so where
    the network has forgotten how it began by then, the result is that of one long call. Upstream's folds hear different
    noise and fade at equal power.
    """
    total = conditioning.shape[2]
    starts, length = fold_spans(total, fold, seam, how.rows)
    calls = -(-length // how.samples)
    padded = np.pad(conditioning[0], ((0, 0), (0, max(starts[-1] + calls * how.samples - total, 0))))
    rows = np.stack([padded[:, start : start + calls * how.samples] for start in starts])
    carried = np.zeros((len(rows), how.carried), np.float32)
    blocks = []
    for part in np.split(rows, calls, axis=2):
        results = block({how.input: np.ascontiguousarray(part), "carried": carried})
        carried = results["next_carried"]
        blocks.append(results["samples"])
    audio = np.zeros(starts[-1] + length, np.float32)
    rising = (np.arange(seam, dtype=np.float32) + 0.5) / max(seam, 1)
    for number, (start, row) in enumerate(zip(starts, np.concatenate(blocks, axis=1))):
        gain = np.ones(length, np.float32)
        if number:
            gain[:seam] = rising
        if number < len(starts) - 1:
            gain[length - seam :] = rising[::-1]
        audio[start : start + length] += gain * row[:length]
    return audio[None, None, :total]


def fold_spans(total: int, fold: int, seam: int, rows: int) -> tuple[list[int], int]:
    """Returns where folds begin and how long all of them are. They are as many as fill `rows`, unless they would be
    hardly longer than their seams."""
    count = -(-max(total - seam, 1) // (fold + seam))
    count = min(-(-count // rows) * rows, max(total // (4 * seam), 1) if seam else total)
    stride = -(-max(total - seam, 1) // count)
    return [index * stride for index in range(count)], stride + seam
