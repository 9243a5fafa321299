"""What FARGAN and LPCNet read of audio, as opus extracts it: 18 cepstra of Bark bands, pitch and correlation."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from runtime.errors import AudioError, StreamError
from runtime.speech.excitation import LONGEST, Excitation, analysed
from runtime.speech.frames import emphasised, one_channel

# The detector of pitch that is in opus's extractor (dnn/pitchdnn_data.c, BSD-3: see the licence beside it), under the
# names of a PyTorch module.
WEIGHTS = Path(__file__).parent / "opus" / "pitch.npz"
_BANDS = 18
_PHASES, _LAGS = 88, 224  # rows of `Excitation`: of phases, of a correlation
_BINS, _PER_OCTAVE = 180, 60  # of the detector, from 62.5 Hz on
_BESIDE = 2  # bins on both sides of the highest that are averaged (compute_pitchdnn)
_STEEP = 5.0  # of opus's curve from a correlation to how voiced a frame is (compute_frame_features)
_FLOOR = -2.0  # of a band's energy, log10
_ANALYSIS = Excitation()
_AHEAD = 80  # samples after its hop that a frame's window reaches
_BEFORE = _ANALYSIS.n_fft - _ANALYSIS.hop_length - _AHEAD  # and all that it depends on, before its hop


@dataclass(frozen=True)
class Bark:
    """The 20 features of `lpcnet_compute_single_frame_features` of opus 1.5.2, and the period in samples.

    Rows: the cosine transform of log10 energies in 18 Bark bands of 20 ms (the first less 4); the pitch, log2 of 256 /
    period, less 1.5; how alike the excitation is to itself a period before, 0 to 1 less 0.5; and the period rounded, as
    `fargan_synthesize` does. The pitch is PitchDNN's, causal and recurrent (`PitchTracker`). floor(N / 160) frames, the
    middle of whose windows is that of their hops: those of opus, one later, of the same audio 80 samples later. The
    correlation at a period of 32 samples is that at 33.
    """

    sample_rate: int = _ANALYSIS.sample_rate
    hop_length: int = _ANALYSIS.hop_length
    kind: Literal["bark"] = "bark"

    def __post_init__(self) -> None:
        if (self.sample_rate, self.hop_length) != (_ANALYSIS.sample_rate, _ANALYSIS.hop_length):
            raise AudioError(f"the cepstra are read at {_ANALYSIS.sample_rate} Hz every {_ANALYSIS.hop_length} samples")

    @property
    def rows(self) -> int:
        """Features as opus counts them, without the period."""
        return _BANDS + 2

    @property
    def channels(self) -> int:
        return self.rows + 1

    @property
    def n_fft(self) -> int:
        """Samples of the window that a frame's cepstra are of."""
        return 2 * self.hop_length

    @property
    def middle(self) -> float:
        """The sample of its window that a frame stands for."""
        return self.n_fft / 2

    @property
    def border(self) -> int:
        """Samples by which the first window reaches before the audio, and the last one after it."""
        return _AHEAD

    @property
    def latency(self) -> int:
        """Samples after the end of its hop that a frame waits for."""
        return _AHEAD

    @property
    def unit(self) -> str:
        return "18 cepstra of log10 energies; log2 pitch; correlation; period in samples"

    def of(self, samples: np.ndarray) -> np.ndarray:
        """samples (N,) at 16 kHz, full scale 1.0 -> (21, floor(N / 160)) float32. Raises AudioError for several
        channels."""
        stream = self.stream()
        return np.concatenate([stream.push(samples), stream.flush()], axis=1)

    def stream(self) -> StreamingBark:
        """Begins audio that arrives in blocks, bit for bit that of `of`."""
        return StreamingBark(self)


def shifted_bark(frames: np.ndarray, decibels: np.ndarray, log_pitch: np.ndarray) -> np.ndarray:
    """Frames (21, T) so many dB (T,) louder, as far as the floor of their energies reaches, with the pitch of log_pitch
    (T,), ln Hz, within what opus detects; where that is not a number with their own. The period follows from it."""
    shifted = frames.copy()
    loudness = math.sqrt(_BANDS)  # of a cepstrum, how much 1 in all bands is in its first value
    shifted[0] = np.maximum(frames[0] + loudness / 10 * decibels, loudness * _FLOOR - 4)
    octaves = (log_pitch - math.log(_ANALYSIS.sample_rate / LONGEST)) / math.log(2)
    octaves = np.clip(octaves, 0, (_BINS - 1) / _PER_OCTAVE)
    shifted[_BANDS] = np.where(np.isnan(log_pitch), frames[_BANDS], octaves - 1.5)
    shifted[-1] = np.floor(0.5 + LONGEST / 2 ** (shifted[_BANDS] + 1.5))
    return shifted


class StreamingBark:
    """Frames of audio that arrives in blocks of any size, with the calls of `StreamingFrames`."""

    def __init__(self, features: Bark) -> None:
        self.features = features
        self.reset()

    def reset(self) -> None:
        """Begins anew: the next sample is the first."""
        hop = self.features.hop_length
        self._held = np.zeros(_BEFORE + hop)  # emphasised; opus has a frame before the first, which is not given
        self._last, self._ended, self._taken = np.float32(0), False, 0
        self._pitch = PitchTracker(_weights())
        self.frames = -1

    def push(self, samples: np.ndarray) -> np.ndarray:
        """samples (N,) -> (21, frames), the frames that they complete.

        Raises AudioError for several channels, StreamError after `flush`.
        """
        if self._ended:
            raise StreamError("the audio has ended: reset() begins anew")
        samples = one_channel(samples)
        if len(samples):
            incoming = emphasised(samples, self._last, _ANALYSIS.preemphasis)
            self._held = np.concatenate([self._held, incoming])
            self._last, self._taken = samples[-1], self._taken + len(samples)
        return self._complete()

    def flush(self) -> np.ndarray:
        """The last frames, whose windows reach over the end; once more gives none."""
        hop, missing = self.features.hop_length, 0
        if not self._ended:
            self._ended = True
            missing = max(self._taken // hop * hop + _AHEAD - self._taken, 0)
        silence = emphasised(np.zeros(missing, np.float32), self._last, _ANALYSIS.preemphasis)
        self._held = np.concatenate([self._held, silence])
        return self._complete()

    def _complete(self) -> np.ndarray:
        size, hop = _ANALYSIS.n_fft, self.features.hop_length
        count = max(0, (len(self._held) - size) // hop + 1)
        if not count:
            return np.zeros((self.features.channels, 0), np.float32)
        levels, excitation = analysed(self._held[: (count - 1) * hop + size])
        self._held = self._held[count * hop :]
        # not a matrix product, which sums in another order for few frames than for many
        cepstra = (levels[:, :, None] * _cosines()).sum(axis=1)
        cepstra[:, 0] -= 4
        pitch = np.array([self._pitch.push(column) for column in excitation.T])
        rows = np.concatenate([cepstra, pitch], axis=1).T.astype(np.float32)
        first = 1 if self.frames < 0 else 0
        self.frames += count
        return np.ascontiguousarray(rows[:, first:])


class PitchTracker:
    """PitchDNN frame by frame, in float64: compute_pitchdnn and the end of compute_frame_features of opus 1.5.2.

    opus also rounds to 8 bits what layers of integers take; here that stays as it is.
    """

    def __init__(self, weights: Mapping[str, np.ndarray]) -> None:
        self._weights = weights
        self._state = np.zeros(weights["recurrent.weight_hh_l0"].shape[1])
        self._before = [np.zeros((2, len(weights["periods_1.weight"][0]), _LAGS)),
                        np.zeros((2, len(weights["periods_2.weight"][0]), _LAGS))]  # fmt: skip

    def push(self, excitation: np.ndarray) -> tuple[float, float, float]:
        """excitation (536,), a frame of `Excitation` -> pitch, correlation and period as `Bark` has them."""
        hidden = np.tanh(self._dense("phases_2", np.tanh(self._dense("phases_1", excitation[:_PHASES]))))
        maps = excitation[None, _PHASES : _PHASES + _LAGS].astype(np.float64)
        for number in range(2):
            maps = np.tanh(self._convolved(number, maps))
        joined = np.tanh(self._dense("joined", np.concatenate([maps[0], hidden])))
        logits = self._dense("salience", self._recurred(joined))[:_BINS]
        peak = int(logits.argmax())
        near = np.arange(max(peak - _BESIDE, 0), min(peak + _BESIDE + 1, _BINS))
        shares = np.exp(logits[near] - logits[peak])
        octaves = float((shares * near).sum() / shares.sum()) / _PER_OCTAVE
        period = math.floor(0.5 + LONGEST / 2**octaves)
        correlation = float(excitation[_PHASES + _LAGS + min(LONGEST - period, _LAGS - 1)])
        voiced = math.log1p(math.exp(_STEEP * correlation)) / math.log1p(math.exp(_STEEP))
        return octaves - 1.5, voiced - 0.5, float(period)

    def _dense(self, layer: str, given: np.ndarray) -> np.ndarray:
        return self._weights[f"{layer}.weight"] @ given + self._weights[f"{layer}.bias"]

    def _convolved(self, number: int, maps: np.ndarray) -> np.ndarray:
        """maps (inputs, lags) of this frame -> (outputs, lags), from the two frames before as well."""
        weight = self._weights[f"periods_{number + 1}.weight"]  # (outputs, inputs, lags, frames)
        frames = np.concatenate([self._before[number], maps[None]])
        self._before[number] = frames[1:]
        around = np.lib.stride_tricks.sliding_window_view(np.pad(frames, ((0, 0), (0, 0), (1, 1))), 3, axis=2)
        patches = around.transpose(1, 3, 0, 2).reshape(-1, _LAGS)  # inputs, lags and frames of a place
        return weight.reshape(len(weight), -1) @ patches + self._weights[f"periods_{number + 1}.bias"][:, None]

    def _recurred(self, joined: np.ndarray) -> np.ndarray:
        given, kept = (
            self._weights[f"recurrent.weight_{kind}_l0"] @ value + self._weights[f"recurrent.bias_{kind}_l0"]
            for kind, value in (("ih", joined), ("hh", self._state))
        )
        width = len(self._state)
        reset, update = np.split(1 / (1 + np.exp(-(given + kept)[: 2 * width])), 2)
        new = np.tanh(given[2 * width :] + reset * kept[2 * width :])
        self._state = update * self._state + (1 - update) * new
        return self._state


@functools.cache
def _weights() -> Mapping[str, np.ndarray]:
    with np.load(WEIGHTS, allow_pickle=False) as file:
        return {name: file[name].astype(np.float64) for name in file.files}


@functools.cache
def _cosines() -> np.ndarray:
    """(18, 18): the orthonormal transform of type II, bands to cepstra."""
    bands = np.arange(_BANDS)
    table = np.cos((bands[:, None] + 0.5) * bands * np.pi / _BANDS) * math.sqrt(2 / _BANDS)
    table[:, 0] *= math.sqrt(0.5)
    return table
