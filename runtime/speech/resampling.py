"""Another sample rate, block by block, without a seam."""

from __future__ import annotations

import functools
import math

import numpy as np

PROMPT = "prompt"  # for live audio: what soxr holds back, in and out, is more than a live voice waits for otherwise


class Resampler:
    """Another sample rate, block by block, without a seam (soxr). Equal rates pass through.

    `quality`: soxr's; HQ (20 bits) keeps samples for about 40 ms, VHQ up to 80, see `delay`. Or `PROMPT`, which keeps
    them for little more than a millisecond (`PromptStream`).
    """

    def __init__(self, rate_in: int, rate_out: int, quality: str = "HQ") -> None:
        self.rate_in, self.rate_out, self.quality = rate_in, rate_out, quality
        self.reset()

    def reset(self) -> None:
        if self.rate_in == self.rate_out:
            return
        if self.quality == PROMPT:
            self._stream = PromptStream(self.rate_in, self.rate_out)
            return
        import soxr

        self._stream = soxr.ResampleStream(self.rate_in, self.rate_out, 1, dtype="float32", quality=self.quality)

    def delay(self, block: int = 256) -> float:
        """Seconds that output lags behind input at most, fed in blocks: found by trying."""
        trial, lag, samples_in = Resampler(self.rate_in, self.rate_out, self.quality), 0.0, 0
        silence, got = np.zeros(block, np.float32), 0
        while samples_in < 2 * self.rate_in and self.rate_in != self.rate_out:
            samples_in += block
            got += len(trial.push(silence))
            lag = max(lag, samples_in / self.rate_in - got / self.rate_out)
        return lag

    def push(self, samples: np.ndarray, last: bool = False) -> np.ndarray:
        """samples: (N,) at rate_in -> (M,) at rate_out; with `last` the rest comes out, and a reset is due."""
        samples = np.asarray(samples, dtype=np.float32)
        return samples if self.rate_in == self.rate_out else self._stream.resample_chunk(samples, last=last)

    def flush(self) -> np.ndarray:
        return self.push(np.zeros(0, np.float32), last=True)


def resampled(samples: np.ndarray, rate_in: int, rate_out: int, quality: str = "HQ") -> np.ndarray:
    """samples (N,) at rate_in -> (M,) at rate_out, all at once."""
    return Resampler(rate_in, rate_out, quality).push(samples, last=True)


_REJECTED_DB = 80.0
_TRANSITION = 0.1  # of the lower rate: flat to 0.45 of it, rejected from 0.55 on
_AT_ONCE = 4096  # outputs


class PromptStream:
    """A short windowed sinc (Kaiser's window; Oppenheim and Schafer, Discrete-Time Signal Processing, 7.6), 80 dB.

    Between 22.05 and 48 kHz it is flat to 9.9 kHz and waits for 1.2 ms of input; what lies above 12.1 kHz is rejected.
    Between these, aliases come down to 9.9 kHz: above the mel of a voice at 22.05 kHz. Output n stands for the moment
    n / rate_out, and is the same however the input was cut.
    """

    def __init__(self, rate_in: int, rate_out: int) -> None:
        common = math.gcd(rate_in, rate_out)
        self._up, self._down = rate_out // common, rate_in // common
        self._phases = _phases(rate_in, rate_out)
        self._half = self._phases.shape[1] // 2
        self._held = np.zeros(self._half - 1, np.float32)  # input from position `_first` on
        self._first, self._came, self._given = 1 - self._half, 0, 0

    def resample_chunk(self, samples: np.ndarray, last: bool = False) -> np.ndarray:
        """samples (n,) float32 -> (m,) float32; with `last` as many in all as the input's length says."""
        if not len(samples) and not last:
            return samples
        self._came += len(samples)
        self._held = np.concatenate([self._held, samples, np.zeros(self._half if last else 0, np.float32)])
        known = self._came - self._half
        stop = -(-known * self._up // self._down)
        if last:
            stop = (2 * self._came * self._up + self._down) // (2 * self._down)  # rounded, as soxr does
        pieces = [self._outputs(at, min(at + _AT_ONCE, stop)) for at in range(self._given, stop, _AT_ONCE)]
        self._given = max(stop, self._given)
        needed = self._given * self._down // self._up - self._half + 1
        self._held, self._first = self._held[needed - self._first :], needed
        return np.concatenate([np.zeros(0, np.float32), *pieces])

    def _outputs(self, start: int, stop: int) -> np.ndarray:
        at, phase = np.divmod(np.arange(start, stop, dtype=np.int64) * self._down, self._up)
        held, taps = self._held, self._phases.shape[1]
        # as numpy's sliding_window_view, whose checks take as long as the sum
        windows = np.ndarray((len(held) - taps + 1, taps), np.float32, held, 0, 2 * held.strides)
        return np.einsum("ij,ij->i", windows[at - self._half + 1 - self._first], self._phases[phase])


@functools.lru_cache(maxsize=8)
def _phases(rate_in: int, rate_out: int) -> np.ndarray:
    """The filter at each place that an output can have between two inputs: (places, taps) float32."""
    lower = min(rate_in, rate_out)
    width = 2 * math.pi * _TRANSITION * lower / rate_in  # radians per sample
    half = math.ceil((_REJECTED_DB - 7.95) / (2.285 * width) / 2)
    beta = 0.1102 * (_REJECTED_DB - 8.7)
    places = rate_out // math.gcd(rate_in, rate_out)
    distance = np.arange(places)[:, None] / places - np.arange(1 - half, half + 1)
    window = np.i0(beta * np.sqrt(np.maximum(1 - (distance / half) ** 2, 0.0)))
    taps = np.sinc(distance * lower / rate_in) * window
    return (taps / taps.sum(axis=1, keepdims=True)).astype(np.float32)
