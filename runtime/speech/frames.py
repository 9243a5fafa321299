"""Features of which each frame is a window's own: of whole audio and of audio in blocks, equal to the last bit."""

from __future__ import annotations

import functools
from typing import Literal, Protocol

import numpy as np

from runtime.errors import AudioError, StreamError

WindowName = Literal["hann", "hamming"]
_OFFSETS = {"hann": 0.5, "hamming": 0.54}  # of the raised cosine
_LARGEST = 1_000_000


class Framed(Protocol):
    """Features of which a window of `n_fft` samples gives a frame, one each `hop_length` samples."""

    @property
    def sample_rate(self) -> int: ...
    @property
    def n_fft(self) -> int: ...
    @property
    def hop_length(self) -> int: ...
    @property
    def channels(self) -> int: ...

    def of_padded(self, padded: np.ndarray, first: int = 0) -> np.ndarray:
        """The frames (channels, frames) float32 of samples with their borders, the first being frame `first`.

        A frame is the same, to the last bit, whichever others are computed with it: so streamed frames equal offline
        ones.
        """
        ...

    @property
    def preemphasis(self) -> float:
        """The share of the sample before that is taken off each sample."""
        return 0.0

    @property
    def border(self) -> int:
        """Samples by which the first window reaches before the audio, and the last one after it."""
        return (self.n_fft - self.hop_length) // 2

    @property
    def middle(self) -> float:
        """The sample of its window that a frame stands for."""
        return self.n_fft / 2

    @property
    def border_mode(self) -> str:
        """What is there, as numpy.pad calls it."""
        return "constant"

    @property
    def latency(self) -> int:
        """Samples after the end of its hop that a frame waits for."""
        return self.n_fft - self.border - self.hop_length

    def of(self, samples: np.ndarray) -> np.ndarray:
        """samples (N,) at `sample_rate`, full scale 1.0 -> (channels, frames) float32.

        Raises AudioError for several channels, and for audio too short to pad by reflection.
        """
        samples = one_channel(samples)
        _require_a_window(len(samples), self)
        samples = emphasised(samples, np.float32(0), self.preemphasis)
        return self.of_padded(_padded(samples, (self.border, self.border), self))

    def stream(self) -> StreamingFrames:
        """Begins frames of audio that arrives in blocks, bit for bit those of `of`."""
        return StreamingFrames(self)


class StreamingFrames:
    """Frames of audio that arrives in blocks of any size; in all those of `Framed.of`, bit for bit.

    A frame comes out when its window is complete: `border` samples after its middle.
    """

    def __init__(self, features: Framed) -> None:
        self.features = features
        self.reset()

    def reset(self) -> None:
        """Begins anew: the next sample is the first."""
        self._windows = HeldFrames()  # samples that windows still need, the left border included
        self._start = np.zeros(0, np.float32)  # the audio's start, until the left border can be made of it
        self._last = np.float32(0)  # sample before, for the pre-emphasis
        self._ended = False
        self.frames = 0  # given so far

    def push(self, samples: np.ndarray) -> np.ndarray:
        """samples (N,) -> (channels, frames), the frames that they complete.

        Raises AudioError for several channels, StreamError after `flush`.
        """
        if self._ended:
            raise StreamError("the audio has ended: reset() begins anew")
        samples = one_channel(samples)
        incoming = emphasised(samples, self._last, self.features.preemphasis)
        if len(samples):
            self._last = samples[-1]
        if not self._windows.end:
            self._start = np.concatenate([self._start, incoming])
            if len(self._start) <= self.features.n_fft // 2:
                return self._none()
            incoming = _padded(self._start, (self.features.border, 0), self.features)
        self._windows.append(incoming)
        hop, start = self.features.hop_length, self.frames * self.features.hop_length
        size = self._windows.end - start
        # The border at the end is made of samples that must still be there then.
        count = min(self._count(size), max(0, (size - self.features.border - 1) // hop))
        if not count:
            return self._none()
        frames = self._complete(self._windows.taken(start, start + (count - 1) * hop + self.features.n_fft))
        self._windows.forget(self.frames * hop)
        return frames

    def flush(self) -> np.ndarray:
        """The last frames, whose windows reach over the end; once more gives none.

        Raises AudioError where the audio was too short for one window.
        """
        if self._ended:
            return self._none()
        self._ended = True
        if not self._windows.end:
            _require_a_window(len(self._start), self.features)
        rest = self._windows.taken(self.frames * self.features.hop_length, self._windows.end)
        return self._complete(_padded(rest, (0, self.features.border), self.features))

    def _complete(self, padded: np.ndarray) -> np.ndarray:
        """The frames of samples with their borders, the next frame's window first."""
        count = self._count(len(padded))
        if not count:
            return self._none()
        hop = self.features.hop_length
        frames = self.features.of_padded(padded[: (count - 1) * hop + self.features.n_fft], self.frames)
        self.frames += count
        return frames

    def _count(self, size: int) -> int:
        """Of how many frames so many samples hold the windows."""
        return max(0, (size - self.features.n_fft) // self.features.hop_length + 1)

    def _none(self) -> np.ndarray:
        return np.zeros((self.features.channels, 0), np.float32)


def emphasised(samples: np.ndarray, before: np.float32, preemphasis: float) -> np.ndarray:
    """samples (n,) less `preemphasis` of the sample before each, in float64; `before`: the one before the first."""
    if not preemphasis or not len(samples):
        return samples
    delayed = np.concatenate([[before], samples[:-1]]).astype(np.float64)
    return samples - preemphasis * delayed


def spectra(padded: np.ndarray, window: np.ndarray, hop_length: int) -> np.ndarray:
    """The spectrum of a window each `hop_length` samples: (N,) -> (frames, n_fft / 2 + 1) complex."""
    from scipy.fft import rfft

    return rfft(np.lib.stride_tricks.sliding_window_view(padded, len(window))[::hop_length] * window, axis=1)


@functools.lru_cache(maxsize=8)
def cosine_window(n_fft: int, win_length: int, name: WindowName = "hann") -> np.ndarray:
    """A periodic window of `win_length` in the middle of `n_fft` samples, float32: Hann's unless named otherwise.

    As scipy.signal.get_window, whose import takes longer than a second of audio does.
    """
    offset = _OFFSETS[name]
    phase = np.linspace(-np.pi, np.pi, win_length + 1)[:-1]
    window = np.zeros(n_fft, dtype=np.float32)
    start = (n_fft - win_length) // 2
    window[start : start + win_length] = offset + (1 - offset) * np.cos(phase)
    return window


class HeldFrames:
    """Frames, each of `size` positions, that come in blocks along `axis`, as long as they are needed.

    They lie in a buffer that grows only when what is needed does not fit. `end` counts the whole frames that came.
    """

    def __init__(self, axis: int = 0, size: int = 1) -> None:
        self._axis, self._size = axis, size
        self._buffer = np.zeros(0)
        self._head = self._tail = 0  # positions of the buffer in use
        self._came = 0

    @property
    def end(self) -> int:
        return self._came // self._size

    def append(self, block: np.ndarray) -> None:
        count, used = block.shape[self._axis], self._tail - self._head
        if not self._came:  # of another shape, perhaps
            self._buffer, self._head, self._tail = self._sized(block, count), 0, 0
        elif self._tail + count > self._buffer.shape[self._axis]:
            kept, buffer = self._part(self._head, self._tail), self._buffer
            if used + count > buffer.shape[self._axis]:
                buffer = self._sized(block, used + count)
            buffer[self._index(0, used)] = kept
            self._buffer, self._head, self._tail = buffer, 0, used
        self._part(self._tail, self._tail + count)[...] = block
        self._tail += count
        self._came += count

    def taken(self, start: int, stop: int) -> np.ndarray:
        """A copy of the frames [start, stop), none of which may be forgotten."""
        dropped = self._came - self._tail  # places of the buffer before position 0
        return self._part(start * self._size - dropped, stop * self._size - dropped).copy()

    def forget(self, before: int) -> None:
        """Drops the frames before frame `before`."""
        self._head = min(max(before * self._size - self._came + self._tail, self._head), self._tail)

    def _sized(self, block: np.ndarray, count: int) -> np.ndarray:
        """An empty buffer for such blocks, half as large again as `count`."""
        shape = list(block.shape)
        shape[self._axis] = count + count // 2 + 64
        return np.zeros(shape, block.dtype)

    def _index(self, first: int, last: int) -> tuple[slice, ...]:
        return (slice(None),) * self._axis + (slice(first, last),)

    def _part(self, first: int, last: int) -> np.ndarray:
        return self._buffer[self._index(first, last)]


def require_counts(features: object, *names: str) -> None:
    """Raises AudioError for a setting that is no number of samples, bands or Hz that audio could have."""
    for name in names:
        if not 0 < getattr(features, name) <= _LARGEST:
            raise AudioError(f"audio setting {name} must be 1 to {_LARGEST}, got {getattr(features, name)}")


def one_channel(samples: np.ndarray) -> np.ndarray:
    """The samples as (N,) float32. Raises AudioError for several channels."""
    samples = np.asarray(samples, dtype=np.float32)
    if samples.ndim != 1:
        raise AudioError(f"features are made of one channel of audio, got an array of shape {samples.shape}")
    return samples


def _require_a_window(count: int, features: Framed) -> None:
    if count <= features.n_fft // 2:
        raise AudioError(f"{count} samples are too short for a window of {features.n_fft}")


def _padded(samples: np.ndarray, borders: tuple[int, int], features: Framed) -> np.ndarray:
    return np.pad(samples, borders, mode=features.border_mode)  # type: ignore[call-overload]  # its stub lists the modes
