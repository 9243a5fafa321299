"""Speech in, a speaker's embedding out: what stands around a GE2E encoder (Wan et al. 2018, arXiv 1710.10467).

Level, silence, features and windows are those that an encoder's weights expect: by default Real-Time-Voice-Cloning's
(and Resemblyzer's, which shares them), for Coqui's encoders those of its `compute_embedding`.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from runtime.errors import AudioError
from runtime.speech.frames import HeldFrames, WindowName, cosine_window
from runtime.speech.mel import Mel
from runtime.speech.mel_bands import mel_bands
from runtime.speech.voiced import voiced_blocks

Read = Callable[[], Iterable[np.ndarray]]  # begins a recording anew: its samples (n,), block by block

_AT_ONCE = 512  # frames that are transformed together


@dataclass(frozen=True)
class SpeakerMel:
    """How a speaker encoder's windows are made of a whole recording: level, silence, mel bands, overlap.

    `level_dbfs`: quieter speech is raised to it, None for as it is. `partial_frames`: frames of a window that is
    embedded by itself; neighbours share `overlap` of them, and a last one that the audio fills to less than
    `least_coverage` is left out. `spread`: so many windows evenly over the audio instead. `mel`: a vocoder's log-mel
    instead of mel power.
    """

    sample_rate: int = 16000
    n_fft: int = 400
    win_length: int = 400
    hop_length: int = 160
    n_mels: int = 40
    window: WindowName = "hann"
    htk: bool = False
    preemphasis: float = 0.0
    partial_frames: int = 160
    overlap: float = 0.5
    least_coverage: float = 0.75
    spread: int | None = None
    level_dbfs: float | None = -30.0
    trims_silence: bool = True
    mel: Mel | None = None
    kind: Literal["speaker_mel"] = "speaker_mel"

    @property
    def channels(self) -> int:
        return self.n_mels

    @property
    def step(self) -> int:
        """Frames from one window to the next, where they overlap."""
        return max(1, round(self.partial_frames * (1 - self.overlap)))

    @property
    def is_centered(self) -> bool:
        """Whether N samples give floor(N / hop) + 1 frames, or one fewer."""
        return self.mel is None or self.mel.framing == "centered"

    @property
    def unit(self) -> str:
        return "mel power" if self.mel is None else self.mel.unit

    def of(self, samples: np.ndarray) -> np.ndarray:
        """samples (N,) at `sample_rate`, full scale 1.0 -> windows (partials, partial_frames, n_mels) float32.

        Raises AudioError for audio without speech.
        """
        return partials(samples, self)


def partials(samples: np.ndarray, settings: SpeakerMel) -> np.ndarray:
    """samples (N,) at settings.sample_rate, full scale 1.0 -> mel windows (partials, partial_frames, n_mels) float32.

    Raises AudioError for audio without speech.
    """
    return np.stack(list(windows(lambda: (samples,), settings)))


def windows(read: Read, settings: SpeakerMel) -> Iterator[np.ndarray]:
    """Yields the windows of `partials`, (partial_frames, n_mels) each, of audio that `read` gives block by block.

    `read` is called two or three times: a level, and where a length must be known that too, is known at the end alone.
    """
    gain = _gain(read(), settings)
    if settings.spread is None:
        yield from _overlapping(_speech(read(), gain, settings), settings)
    else:
        total = sum(map(len, _speech(read(), gain, settings)))
        yield from _spread(_speech(read(), gain, settings), total, settings)


def _overlapping(blocks: Iterable[np.ndarray], settings: SpeakerMel) -> Iterator[np.ndarray]:
    size, step, hop = settings.partial_frames, settings.step, settings.hop_length
    mel, held, count, start = StreamingSpeakerMel(settings), HeldFrames(), 0, 0
    for block in blocks:
        count += len(block)
        held.append(mel.push(block))
        while start + size <= held.end:
            yield held.taken(start, start + size)
            start += step
            held.forget(start)
    starts = partial_starts(count, settings)
    held.append(mel.push(np.zeros(max(0, (starts[-1] + size) * hop - count), np.float32)))
    held.append(mel.flush())
    for last in starts[start // step :]:
        yield held.taken(last, last + size)


def _spread(blocks: Iterable[np.ndarray], total: int, settings: SpeakerMel) -> Iterator[np.ndarray]:
    size, count = settings.partial_frames, total // settings.hop_length + settings.is_centered
    starts = np.linspace(0, max(count, size) - size, settings.spread or 1).astype(int).tolist()
    mel, held = StreamingSpeakerMel(settings), HeldFrames()
    for frames in itertools.chain(map(mel.push, blocks), [None]):
        held.append(mel.flush() if frames is None else frames)
        if frames is None and held.end < size:
            held.append(np.zeros((size - held.end, settings.n_mels), np.float32))
        while starts and starts[0] + size <= held.end:
            yield held.taken(starts[0], starts[0] + size)
            del starts[0]
        held.forget(starts[0] if starts else held.end)


def utterance_embedding(embeddings: np.ndarray) -> np.ndarray:
    """Embeddings of partials (partials, D) -> (D,): their mean at length 1."""
    mean = embeddings.mean(axis=0)
    return mean / np.linalg.norm(mean)


ONE_SPEAKER = 0.86  # of pieces of ten seconds by GE2E: six speakers 0.91 to 0.95, two of them half and half to 0.82
_PIECE = 12  # windows, which overlap by half


def least_agreement(rows: np.ndarray) -> float | None:
    """Windows' embeddings (N, D) of recordings one after another -> the least cosine of a piece of some ten seconds to
    the mean of the others; None where there are no two pieces. Below `ONE_SPEAKER` there are several."""
    starts = range(0, max(len(rows) - _PIECE // 2, 1), _PIECE)
    if len(starts) < 2:
        return None
    pieces = np.stack([rows[start : start + _PIECE].mean(axis=0) for start in starts])
    pieces /= np.linalg.norm(pieces, axis=1, keepdims=True)
    others = pieces.sum(axis=0) - pieces
    return min(cosine(one, rest) for one, rest in zip(pieces, others))


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    """Returns the cosine of the angle between two vectors."""
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


def prepared(samples: np.ndarray, settings: SpeakerMel) -> np.ndarray:
    """Raises samples to the level and cuts long silences out. Raises AudioError for audio without speech."""
    return np.concatenate(list(_speech((samples,), _gain((samples,), settings), settings)))


def _gain(blocks: Iterable[np.ndarray], settings: SpeakerMel) -> np.float32:
    """Returns the factor by which speech is raised to the level. Raises AudioError for silence."""
    energy, count = 0.0, 0
    for block in blocks:
        if block.ndim != 1:
            raise AudioError(f"a speaker is embedded from one channel of audio, got an array of shape {block.shape}")
        energy += float(np.sum(block.astype(np.float64) ** 2))
        count += len(block)
    if not count:
        raise AudioError("a speaker is embedded from one channel of audio, and there is none")
    if energy == 0 or not np.isfinite(energy):
        raise AudioError("the recording is silent (or not finite): there is no speaker in it")
    if settings.level_dbfs is None:
        return np.float32(1)
    return np.float32(10 ** (max(0.0, settings.level_dbfs - 10 * np.log10(energy / count)) / 20))


def _speech(blocks: Iterable[np.ndarray], gain: np.float32, settings: SpeakerMel) -> Iterator[np.ndarray]:
    raised = (np.asarray(block, np.float32) * gain for block in blocks)
    count = 0
    for block in voiced_blocks(raised, settings.sample_rate) if settings.trims_silence else raised:
        count += len(block)
        yield block
    if not count:
        raise AudioError("there is no speech in the recording")


def partial_starts(samples: int, settings: SpeakerMel) -> list[int]:
    """First frames of the windows that cover so many samples; at least one."""
    frames = -(-(samples + 1) // settings.hop_length)
    step = settings.step
    starts = list(range(0, max(1, frames - settings.partial_frames + step + 1), step))
    covered = samples / settings.hop_length - starts[-1]
    if len(starts) > 1 and covered < settings.least_coverage * settings.partial_frames:
        starts.pop()
    return starts


def speaker_mel(samples: np.ndarray, settings: SpeakerMel) -> np.ndarray:
    """Returns all frames of `StreamingSpeakerMel`: samples (N,) -> (floor(N / hop) + 1, n_mels) float32."""
    mel = StreamingSpeakerMel(settings)
    return np.concatenate([mel.push(np.asarray(samples, np.float32)), mel.flush()])


class StreamingSpeakerMel:
    """Mel bands of the power spectrum, centred, of audio that comes in blocks of any size.

    Slaney's bands and zeros at the ends as librosa's `melspectrogram`, which RTVC calls; HTK's bands without norm and
    reflection at the ends as torchaudio's `MelSpectrogram`, which Coqui does. With `settings.mel` it is that mel.
    """

    def __init__(self, settings: SpeakerMel) -> None:
        self._settings = settings
        self._log_mel = None if settings.mel is None else settings.mel.stream()
        self._border, self._mode = settings.n_fft // 2, "reflect" if settings.htk else "constant"
        self._start: np.ndarray | None = np.zeros(0, np.float32)  # until the left border can be made of it
        self._padded = np.zeros(0, np.float32)  # what windows still need
        self._last: np.float32 | None = None  # sample before, for the pre-emphasis

    def push(self, samples: np.ndarray) -> np.ndarray:
        """samples (n,) -> (frames, n_mels) float32, those that they complete."""
        if self._log_mel is not None:
            return self._log_mel.push(samples).T
        if self._start is None:
            self._padded = np.concatenate([self._padded, self._emphasised(samples)])
            return self._complete(keep=self._border + 1)
        self._start = np.concatenate([self._start, samples])
        if len(self._start) <= self._border:
            return np.zeros((0, self._settings.n_mels), np.float32)
        incoming, self._start = self._emphasised(self._start), None
        self._padded = np.pad(incoming, (self._border, 0), mode=self._mode)  # type: ignore[call-overload]
        return self._complete(keep=self._border + 1)

    def flush(self) -> np.ndarray:
        """The last frames, whose windows reach over the end."""
        if self._log_mel is not None:
            return self._log_mel.flush().T
        borders = (0, self._border)
        if self._start is not None:  # too short to have begun
            self._padded, borders = self._emphasised(self._start), (self._border, self._border)
        self._padded = np.pad(self._padded, borders, mode=self._mode)  # type: ignore[call-overload]
        return self._complete(keep=0)

    def _emphasised(self, samples: np.ndarray) -> np.ndarray:
        if not self._settings.preemphasis or not len(samples):
            return samples
        before = samples[1:2] if self._last is None else [self._last]  # Coqui's filter begins with a reflection
        self._last = samples[-1]
        return samples - np.float32(self._settings.preemphasis) * np.concatenate([before, samples[:-1]])

    def _complete(self, keep: int) -> np.ndarray:
        """The frames that are there; their samples are left behind, but for `keep` that the end's border is made of."""
        size, hop = self._settings.n_fft, self._settings.hop_length
        count = max(0, (len(self._padded) - size) // hop + 1)
        if keep:
            count = min(count, max(0, (len(self._padded) - keep) // hop))
        parts = [
            _mel_power(self._padded[at * hop : (min(at + _AT_ONCE, count) - 1) * hop + size], self._settings)
            for at in range(0, count, _AT_ONCE)
        ]
        self._padded = self._padded[count * hop :]
        return np.concatenate([np.zeros((0, self._settings.n_mels), np.float32), *parts])


def _mel_power(padded: np.ndarray, settings: SpeakerMel) -> np.ndarray:
    """A window each hop of the samples, (frames, n_mels) float32."""
    from scipy.fft import rfft

    rows = np.lib.stride_tricks.sliding_window_view(padded, settings.n_fft)[:: settings.hop_length]
    power = np.abs(rfft(rows * cosine_window(settings.n_fft, settings.win_length, settings.window), axis=1)) ** 2
    bands = _mel_bands(settings.sample_rate, settings.n_fft, settings.n_mels, settings.htk)
    return np.asarray((bands @ power.T).T, np.float32)


@functools.lru_cache(maxsize=4)
def _mel_bands(sample_rate: int, n_fft: int, n_mels: int, htk: bool) -> Any:
    """(n_mels, n_fft / 2 + 1), sparse, as in runtime/speech/mel.py."""
    from scipy.sparse import csr_array

    return csr_array(mel_bands(sample_rate, n_fft, n_mels, htk=htk))
