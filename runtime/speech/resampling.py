"""Another sample rate, block by block, without a seam."""

from __future__ import annotations

import numpy as np


class Resampler:
    """Another sample rate, block by block, without a seam (soxr). Equal rates pass through.

    `quality`: soxr's; HQ (20 bits) keeps samples for about 40 ms, VHQ up to 80, see `delay`.
    """

    def __init__(self, rate_in: int, rate_out: int, quality: str = "HQ") -> None:
        self.rate_in, self.rate_out, self.quality = rate_in, rate_out, quality
        self.reset()

    def reset(self) -> None:
        if self.rate_in != self.rate_out:
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
