"""Which symbol is said in which frame: learned from the pairs alone (Badlani et al. 2021, arXiv 2108.10447)."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from checkpoints.training.forward import SYMBOLS
from checkpoints.training.mel import N_MELS

WIDTH = 192
SHARPNESS = 0.0005  # what a squared distance weighs
BLANK = -1.0  # log score of saying nothing, in the sum over all alignments
_LEAST = -1e4


class Aligner(nn.Module):
    """How well each symbol goes with each frame, by the distance of what convolutions make of either."""

    def __init__(self) -> None:
        super().__init__()
        self.symbols = nn.Embedding(SYMBOLS, WIDTH)
        self.keys = nn.Sequential(nn.Conv1d(WIDTH, 2 * WIDTH, 3, padding=1), nn.ReLU(), nn.Conv1d(2 * WIDTH, N_MELS, 1))
        self.queries = nn.Sequential(
            nn.Conv1d(N_MELS, 2 * N_MELS, 3, padding=1), nn.ReLU(), nn.Conv1d(2 * N_MELS, N_MELS, 1), nn.ReLU(),
            nn.Conv1d(N_MELS, N_MELS, 1),
        )  # fmt: skip

    def forward(self, ids: Tensor, text_mask: Tensor, mel: Tensor, prior: Tensor) -> Tensor:
        """ids, text_mask (B, T), mel (B, n_mels, F), prior (B, F, T) in logarithms -> log scores (B, F, T)."""
        keys, queries = self.keys(self.symbols(ids).transpose(1, 2)), self.queries(mel)
        apart = (queries.square().sum(1)[:, :, None] + keys.square().sum(1)[:, None]
                 - 2 * queries.transpose(1, 2) @ keys)  # fmt: skip
        scores = F.log_softmax(-SHARPNESS * apart, 2) + prior
        return scores.masked_fill(text_mask[:, None] == 0, _LEAST)


def forward_sum(scores: Tensor, symbols: Tensor, frames: Tensor) -> Tensor:
    """Minus the log probability of all alignments that go through the symbols in order; scores (B, F, T), counts of
    symbols and frames (B,)."""
    padded = F.log_softmax(F.pad(scores, (1, 0), value=BLANK), 2).transpose(0, 1)
    targets = torch.arange(1, scores.shape[2] + 1, device=scores.device).expand(len(scores), -1)
    losses = F.ctc_loss(padded, targets, frames, symbols, reduction="none", zero_infinity=True)
    return (losses / symbols).mean()


def diagonal_prior(symbols: int, frames: int) -> np.ndarray:
    """(frames, symbols) in logarithms: speech runs at an even pace (beta-binomial, as in the paper)."""
    from math import lgamma

    log_gamma = np.vectorize(lgamma)
    k, n, at = np.arange(symbols), symbols - 1, np.arange(1, frames + 1)[:, None]
    a, b = at, frames + 1 - at
    choose = log_gamma(n + 1) - log_gamma(k + 1) - log_gamma(n - k + 1)
    return (
        choose
        + log_gamma(k + a)
        + log_gamma(n - k + b)
        - log_gamma(n + a + b)
        + log_gamma(a + b)
        - (log_gamma(a) + log_gamma(b))
    )


def best_durations(scores: Tensor, symbols: Tensor, frames: Tensor) -> Tensor:
    """scores (B, F, T) -> durations (B, T) of the best path on which every symbol lasts a frame at least (Viterbi)."""
    batch, length, width = scores.shape
    best = scores.new_full((batch, width), -torch.inf)
    best[:, 0] = scores[:, 0, 0]
    stays = torch.ones(batch, length, width, dtype=torch.bool, device=scores.device)
    for frame in range(1, length):
        moved = F.pad(best[:, :-1], (1, 0), value=-torch.inf)
        stays[:, frame] = best >= moved
        best = torch.maximum(best, moved) + scores[:, frame]
        best = torch.where((frame < frames)[:, None], best, -torch.inf)
    at, rows = symbols - 1, torch.arange(batch, device=scores.device)
    durations = torch.zeros(batch, width, dtype=torch.long, device=scores.device)
    for frame in range(length - 1, -1, -1):
        sounds = frame < frames
        durations[rows, at] += sounds.long()
        at = torch.where(sounds & ~stays[rows, frame, at] & (at > 0), at - 1, at)
    return durations
