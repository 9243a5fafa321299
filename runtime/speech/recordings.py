"""Recordings on disk, read and written block by block: memory does not depend on how long they are."""

from __future__ import annotations

import math
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from runtime.errors import AudioError, MachineError
from runtime.machine.files import check_target, published
from runtime.speech.resampling import Resampler

_BLOCK_SECONDS, _BLOCK_FRAMES = 1.0, 1 << 16  # of a read, whichever is less
_QUALITY = "VHQ"  # soxr's, of files; live audio takes one of less delay
_WAV_BYTES = (1 << 32) - 64  # a WAV file counts in 32 bits

_CANCELLED = 0.01  # of the channels' power, 20 dB: what is left of a voice whose channels are each other's opposite
_BEYOND, _INTEGERS = 4.0, 64.0  # peaks, 12 and 36 dB above full scale: of no mix, and of no gain that anybody sets

Write = Callable[[np.ndarray], None]


def audio_blocks(path: Path, sample_rate: int) -> Iterator[np.ndarray]:
    """Yields one channel of the file at `sample_rate`, (n,) float32, full scale 1.0; several channels are averaged.

    Warns at the end of a file that is far beyond full scale, or whose channels cancel each other. Raises AudioError for
    a file that is missing, no audio, empty, or not finite, there where it is noticed.
    """
    import soundfile

    if not path.is_file():
        raise AudioError(f"there is no audio file {path}")
    try:
        with soundfile.SoundFile(path) as file:
            resampler = Resampler(file.samplerate, sample_rate, _QUALITY)
            frames = max(1, min(round(_BLOCK_SECONDS * file.samplerate), _BLOCK_FRAMES))
            file.seekable = lambda: False  # else it seeks after every read, and MP3 decodes differently then
            position, peak = 0, 0.0
            power, left = 0.0, 0.0  # of the channels, and of their mean
            while len(samples := file.read(frames, dtype="float32", always_2d=True)):
                mono = samples.mean(axis=1)
                if not np.isfinite(mono).all():
                    seconds = (position + int(np.argmin(np.isfinite(mono)))) / file.samplerate
                    raise AudioError(f"{path} holds a sample that is not finite, at {seconds:.3f} s")
                position, peak = position + len(mono), max(peak, float(np.abs(mono).max()))
                power += float(np.square(samples, dtype=np.float64).mean(axis=1).sum())
                left += float(np.square(mono, dtype=np.float64).sum())
                yield resampler.push(mono)
    except soundfile.SoundFileError as error:
        raise AudioError(f"{path} cannot be read as audio: {error}") from error
    if not position:
        raise AudioError(f"{path} holds no samples")
    if peak > _BEYOND:
        reason = ": they seem to be integers stored as floats, of 16 bits if 32768 is their full scale"
        warnings.warn(
            f"{path} has samples up to {peak:.0f}, and full scale is 1{reason if peak > _INTEGERS else ''}",
            stacklevel=2,
        )
    if left < _CANCELLED * power:
        warnings.warn(
            f"the channels of {path} cancel each other: take one of them, for little is left of both", stacklevel=2
        )
    yield resampler.flush()


def rate_of(path: Path) -> int:
    """The sample rate of a recording. Raises AudioError for a file that is missing or no audio."""
    return int(_info(path).samplerate)


def seconds_of(path: Path) -> float:
    """How long a recording says that it is. Raises AudioError for a file that is missing or no audio."""
    return float(_info(path).duration)


def _info(path: Path) -> Any:
    import soundfile

    if not path.is_file():
        raise AudioError(f"there is no audio file {path}")
    try:
        return soundfile.info(path)
    except soundfile.SoundFileError as error:
        raise AudioError(f"{path} cannot be read as audio: {error}") from error


def read_audio(path: Path, sample_rate: int) -> np.ndarray:
    """The blocks of `audio_blocks` in one array (N,) float32, for what is known to be short. Raises AudioError."""
    return np.concatenate(list(audio_blocks(path, sample_rate)))


class Padded:
    """The blocks of a recording with silence behind them: `least` samples in all, and whole frames of `frame` samples,
    which need be no whole number.

    `count`: samples of the recording that have been read; `has_ended`: whether these are all.
    """

    def __init__(self, blocks: Iterable[np.ndarray], frame: Fraction, least: int = 0) -> None:
        self._blocks, self._frame, self._least = blocks, frame, least
        self.count, self.has_ended = 0, False

    def __iter__(self) -> Iterator[np.ndarray]:
        for block in self._blocks:
            self.count += len(block)
            yield block
        self.has_ended = True
        length = max(math.ceil(math.ceil(self.count / self._frame) * self._frame), self._least)
        if length > self.count:
            yield np.zeros(length - self.count, np.float32)

    @property
    def is_short(self) -> bool:
        """Whether the recording has fewer samples than `least`."""
        return self.has_ended and self.count < self._least


def in_blocks(blocks: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """The same samples in blocks of `size`; the last one may be shorter."""
    held = np.zeros(0, np.float32)
    for block in blocks:
        held = np.concatenate([held, block])
        complete = len(held) // size * size
        yield from held[:complete].reshape(-1, size)
        held = held[complete:]
    if len(held):
        yield held


def check_wav(path: Path) -> None:
    """Raises AudioError for the name of another format than WAV, TargetError as `check_target`.

    For a command to call before it computes for long; pipes and devices may be called anything.
    """
    if path.suffix.lower() not in ("", ".wav", ".wave") and (path.is_file() or not path.exists()):
        raise AudioError(f"{path}: audio is written as WAV; name it {path.with_suffix('.wav').name}")
    check_target(path)


@contextmanager
def wav_file(path: Path, sample_rate: int) -> Iterator[Write]:
    """Yields a function that appends samples (n,) to mono 16-bit PCM; what is beyond full scale is clipped.

    The file appears when the block ends, and not at all after an error (`published` says what a device or a pipe
    gets). Raises MachineError or OSError where it cannot be written, AudioError for more than a WAV
    file can hold.
    """
    import soundfile

    with published(path) as aside:
        with _disk_trouble(path, aside):
            file = soundfile.SoundFile(str(aside), "w", sample_rate, 1, "PCM_16", format="WAV")
            file.seekable = lambda: False  # else it seeks after every write

        def write(samples: np.ndarray) -> None:
            if 2 * (file.frames + len(samples)) > _WAV_BYTES:
                hours = _WAV_BYTES / 2 / sample_rate / 3600
                raise AudioError(f"{path}: a WAV file at {sample_rate} Hz holds no more than {hours:.0f} hours")
            with _disk_trouble(path, aside):
                file.write(np.clip(samples, -1.0, 1.0))

        try:
            yield write
        except BaseException:
            with suppress(soundfile.SoundFileError):
                file.close()
            raise
        with _disk_trouble(path, aside):
            file.close()


@contextmanager
def _disk_trouble(path: Path, aside: Path) -> Iterator[None]:
    """Makes a sentence of what libsndfile cannot write; libsndfile keeps the reason for itself."""
    import soundfile

    try:
        yield
    except (soundfile.SoundFileError, AssertionError) as error:
        free = shutil.disk_usage(aside.parent).free / 1e6
        raise MachineError(f"{path} could not be written whole: {free:.0f} MB are free in {aside.parent}") from error


def write_wav(path: Path, samples: np.ndarray, sample_rate: int) -> None:
    """Mono 16-bit PCM of samples (N,); as `wav_file`."""
    with wav_file(path, sample_rate) as write:
        write(samples)
