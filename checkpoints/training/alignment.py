"""Which symbol is said in which frame, by hidden Markov models of a voice's sounds that learn from clips and texts.

    python -m checkpoints.training.alignment DATA

DATA is what recordings.py and texts.py packed; `durations.npz` is put beside it. Every sound is two states in a row of
a few Gaussians each; training begins with sounds that are equally long, and takes turns between the best path through
every clip (Viterbi) and the Gaussians of the frames that each state was given (Juang and Rabiner 1990, IEEE Trans. ASSP
38(9)). Wants scikit-learn (`pip install -e '.[training]'`).
"""

from __future__ import annotations

import argparse
import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import torch
import torch.nn.functional as F
from scipy.fft import dct
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from checkpoints.front_ends import coqui_text
from checkpoints.training.forward import TEXT
from checkpoints.training.mel import HOP, LogMel
from checkpoints.training.recordings import clips_of

CEPSTRA = 13
GAUSSIANS = (1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 4)  # of a state, turn by turn
LEAST_VARIANCE = 0.01  # of features whose variance is 1
MOST_FRAMES = 20_000
SILENT, STRESSES, LENGTH = " .,;:!?-", "ˈˌ", "ː"
_SILENCE = 0


class Sounds:
    """The states that a text goes through. Pauses, punctuation and both ends are one state of silence each; a stress
    mark sounds like the beginning of what it is before, a length mark like the end of what it is behind."""

    def __init__(self, symbols: Mapping[str, int], ends: Sequence[int]) -> None:
        self._silent = {symbols[char] for char in SILENT if char in symbols} | set(ends)
        self._stress, self._length = {symbols[char] for char in STRESSES}, symbols[LENGTH]
        self.count = 1 + 2 * (1 + max(symbols.values()))

    def states(self, ids: Sequence[int]) -> tuple[list[int], list[int]]:
        """Symbols -> states, and the place of the symbol that each belongs to."""
        states: list[int] = []
        owners: list[int] = []
        for place, symbol in enumerate(ids):
            if symbol in self._silent:
                symbol_states = [_SILENCE]
            elif symbol in self._stress:
                after = next((other for other in ids[place + 1 :] if other not in self._stress), ids[-1])
                symbol_states = [_SILENCE if after in self._silent else 1 + 2 * after]
            elif symbol == self._length:
                symbol_states = [states[-1]]
            else:
                symbol_states = [1 + 2 * symbol, 2 + 2 * symbol]
            states += symbol_states
            owners += [place] * len(symbol_states)
        return states, owners


def features(mel: Tensor) -> np.ndarray:
    """Log-mel (n_mels, F) -> (F, 3 * CEPSTRA): cepstra, and their first and second differences over five frames."""
    cepstra = dct(mel.numpy(), axis=0, norm="ortho")[:CEPSTRA]
    parts = [cepstra, *(librosa.feature.delta(cepstra, width=5, order=order, mode="nearest") for order in (1, 2))]
    return np.concatenate(parts).T


def aligned(
    ids: Sequence[Sequence[int]], mels: Sequence[Tensor], sounds: Sounds, progress: Callable[[str], None] = print
) -> list[np.ndarray]:
    """Symbols and log-mels (n_mels, F) of clips -> how many frames each symbol lasts, one at least.

    Raises:
        ValueError: a clip has fewer frames than its text has states.
    """
    lengths = torch.tensor([mel.shape[1] for mel in mels])
    paths = [sounds.states(one) for one in ids]
    counts = torch.tensor([len(states) for states, _ in paths])
    if (counts > lengths).any():
        clip = int(torch.nonzero(counts > lengths)[0])
        raise ValueError(f"clip {clip}: {int(lengths[clip])} frames are too few for {int(counts[clip])} states")
    frames = np.concatenate([features(mel) for mel in mels])
    frames = ((frames - frames.mean(0)) / frames.std(0)).astype(np.float32)
    states = pad_sequence([torch.tensor(path) for path, _ in paths], batch_first=True)
    alignments = [_evenly(int(count), int(length)) for count, length in zip(counts, lengths)]
    scores = np.zeros((len(frames), sounds.count), np.float32)
    for turn, gaussians in enumerate(GAUSSIANS, start=1):
        labels = np.concatenate([np.repeat(path, durations) for (path, _), durations in zip(paths, alignments)])
        for state in np.unique(labels):
            scores[:, state] = _fitted(frames[labels == state], gaussians).score_samples(frames)
        likelihood = float(scores[np.arange(len(frames)), labels].mean())
        alignments = _best(torch.from_numpy(scores), states, counts, lengths)
        progress(f"turn {turn} of {len(GAUSSIANS)}: log likelihood of a frame {likelihood:.3f}")
    return [
        np.bincount(owners, durations, len(one)).astype(np.int64)
        for (_, owners), durations, one in zip(paths, alignments, ids)
    ]


def _evenly(states: int, frames: int) -> np.ndarray:
    return np.diff(np.round(np.linspace(0, frames, states + 1)).astype(int))


def _fitted(frames: np.ndarray, gaussians: int) -> GaussianMixture:
    """Fits the mixture of a state to at most MOST_FRAMES of its frames (N, features)."""
    some = frames[:: len(frames) // MOST_FRAMES + 1]
    some = some if len(some) > 1 else np.repeat(some, 2, 0)
    mixture = GaussianMixture(
        max(1, min(gaussians, len(some) // 50)), covariance_type="diag", reg_covar=LEAST_VARIANCE, max_iter=10,
        tol=1e-2, random_state=0,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # ten rounds do: the paths change anyhow
        return mixture.fit(some)


def _best(scores: Tensor, states: Tensor, counts: Tensor, lengths: Tensor, batch: int = 128) -> list[np.ndarray]:
    """scores (sum of F, classes), states (N, S) -> frames of each state on each clip's best path."""
    clips = scores.split(lengths.tolist())
    alignments: list[np.ndarray] = []
    for rows in torch.arange(len(lengths)).split(batch):
        clip_scores = [clips[row][:, states[row]] for row in rows.tolist()]
        padded = pad_sequence(clip_scores, batch_first=True)
        durations = best_durations(padded, counts[rows], lengths[rows])
        alignments += [one[: int(counts[row])].numpy() for one, row in zip(durations, rows.tolist())]
    return alignments


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


def main() -> None:
    parser = argparse.ArgumentParser(prog="checkpoints.training.alignment", description=__doc__)
    parser.add_argument("data", type=Path, metavar="DATA", help="what recordings and texts packed")
    options = parser.parse_args()
    texts: dict[str, dict[str, Any]] = json.loads((options.data / "texts.json").read_text())
    settings, spectrum = coqui_text(TEXT), LogMel()
    clips = {name: torch.from_numpy(samples[: len(samples) // HOP * HOP]) for name, samples in clips_of(options.data)}
    mels = [spectrum(samples[None].float() / 32768)[0] for samples in clips.values()]
    symbols = {symbol: ids[0] for symbol, ids in settings.symbols.items()}
    sounds = Sounds(symbols, (*settings.begin, *settings.end))
    durations = aligned([texts[name]["ids"] for name in clips], mels, sounds)
    aside = options.data / ".durations.partial.npz"
    np.savez_compressed(aside, **dict(zip(clips, durations)))  # type: ignore[arg-type]  # its stub takes options
    os.replace(aside, options.data / "durations.npz")
    print(f"{len(durations)} clips: a symbol lasts {np.concatenate(durations).mean():.1f} frames in the mean")


if __name__ == "__main__":
    main()
