"""Audio as it comes in: mel frames and another sample rate, block by block, equal to the offline ones."""

from __future__ import annotations

import numpy as np

from runtime.bundle.mel import MelSettings
from runtime.errors import AudioError, StreamError
from runtime.speech.audio import emphasised, mel_of, with_noise


class StreamingMel:
    """Mel frames of audio that arrives in blocks of any size; in all the frames of `mel_spectrogram`, bit for bit.

    A frame comes out when its window is complete: `border` samples after its middle (n_fft / 2, or (n_fft - hop) / 2).
    """

    def __init__(self, settings: MelSettings) -> None:
        self.settings = settings
        self.reset()

    def reset(self) -> None:
        """As new: the next sample is the first."""
        self._padded: np.ndarray | None = None  # what windows still need, the left border included
        self._held = np.zeros(0, np.float32)  # the audio's start, until the left border can be made of it
        self._last = np.float32(0)  # sample before, for the pre-emphasis
        self._ended = False
        self.frames = 0  # given so far

    def push(self, samples: np.ndarray) -> np.ndarray:
        """samples: (N,) -> (n_mels + noise_rows, frames), the frames that they complete.

        Raises AudioError for several channels, StreamError after `flush`.
        """
        if self._ended:
            raise StreamError("the audio has ended: reset() begins anew")
        samples = np.asarray(samples, dtype=np.float32)
        if samples.ndim != 1:
            raise AudioError(f"the mel spectrogram takes one channel, got an array of shape {samples.shape}")
        incoming = emphasised(samples, self._last, self.settings)
        if len(samples):
            self._last = samples[-1]
        if self._padded is None:
            self._held = np.concatenate([self._held, incoming])
            if len(self._held) <= self.settings.n_fft // 2:
                return self._none()
            border = (self.settings.border, 0)
            self._padded = np.pad(self._held, border, mode=self.settings.border_mode)  # type: ignore[call-overload]
        else:
            self._padded = np.concatenate([self._padded, incoming])
        return self._complete(keep=self.settings.border + 1)

    def flush(self) -> np.ndarray:
        """The last frames, whose windows reach over the end; once more gives none.

        Raises AudioError where the audio was too short for one window.
        """
        if self._ended:
            return self._none()
        self._ended = True
        if self._padded is None:
            raise AudioError(f"{len(self._held)} samples are too short for a window of {self.settings.n_fft}")
        border = (0, self.settings.border)
        self._padded = np.pad(self._padded, border, mode=self.settings.border_mode)  # type: ignore[call-overload]
        return self._complete(keep=0)

    def _complete(self, keep: int) -> np.ndarray:
        """The frames that are there; their windows are left behind, but for `keep` samples."""
        assert self._padded is not None
        hop, size = self.settings.hop_length, len(self._padded)
        count = max(0, (size - self.settings.n_fft) // hop + 1)
        if keep:  # the border at the end is made of samples that must still be there then
            count = min(count, max(0, (size - keep) // hop))
        if not count:
            return self._none()
        frames = mel_of(self._padded[: (count - 1) * hop + self.settings.n_fft], self.settings)
        self._padded = self._padded[count * hop :]
        self.frames += count
        return with_noise(frames, self.settings, self.frames - count)

    def _none(self) -> np.ndarray:
        return np.zeros((self.settings.n_mels + self.settings.noise_rows, 0), np.float32)


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
        trial, lag, given = Resampler(self.rate_in, self.rate_out, self.quality), 0.0, 0
        silence, got = np.zeros(block, np.float32), 0
        while given < 2 * self.rate_in and self.rate_in != self.rate_out:
            given += block
            got += len(trial.push(silence))
            lag = max(lag, given / self.rate_in - got / self.rate_out)
        return lag

    def push(self, samples: np.ndarray, last: bool = False) -> np.ndarray:
        """samples: (N,) at rate_in -> (M,) at rate_out; with `last` the rest comes out, and a reset is due."""
        samples = np.asarray(samples, dtype=np.float32)
        return samples if self.rate_in == self.rate_out else self._stream.resample_chunk(samples, last=last)

    def flush(self) -> np.ndarray:
        return self.push(np.zeros(0, np.float32), last=True)


class HeldFrames:
    """Frames that come in blocks along `axis`, as long as they are needed; `end` counts all that came."""

    def __init__(self, axis: int = 0) -> None:
        self._axis, self._frames, self.end = axis, np.zeros(0), 0

    def append(self, block: np.ndarray) -> None:
        self._frames = np.concatenate([self._frames, block], self._axis) if self.end else block
        self.end += block.shape[self._axis]

    def taken(self, start: int, stop: int) -> np.ndarray:
        """A copy of the frames [start, stop), none of which may be forgotten."""
        before = self.end - self._frames.shape[self._axis]
        return np.take(self._frames, range(start - before, stop - before), axis=self._axis)

    def forget(self, before: int) -> None:
        """Drops the frames before frame `before`."""
        passed = max(before - (self.end - self._frames.shape[self._axis]), 0)
        self._frames = self._frames[(slice(None),) * self._axis + (slice(passed, None),)]
