"""What of a recording is speech, by WebRTC's voice activity detector, block by block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from runtime.errors import AudioError
from runtime.speech.recordings import in_blocks

VAD_RATES = (8000, 16000, 32000, 48000)  # WebRTC's own
# Windows of 30 ms, their flags averaged over 8, silences of up to 6 windows kept.
_VAD_MILLISECONDS, _VAD_AVERAGE, _VAD_KEPT, _VAD_MODE = 30, 8, 6, 3
_VAD_ROWS = 100  # windows that are looked at together


def voiced(samples: np.ndarray, sample_rate: int) -> np.ndarray:
    """Cuts out the silences that last, by WebRTC's voice activity detector in its strictest mode."""
    return np.concatenate([np.zeros(0, np.float32), *voiced_blocks((samples,), sample_rate)])


def voiced_blocks(blocks: Iterable[np.ndarray], sample_rate: int) -> Iterator[np.ndarray]:
    """Does what `voiced` does, block by block. A window's neighbours decide whether it stays, so it comes 7 later.

    Raises AudioError for a rate that the detector does not hear.
    """
    import webrtcvad  # type: ignore[import-untyped]

    if sample_rate not in VAD_RATES:
        rates = ", ".join(map(str, VAD_RATES))
        raise AudioError(f"WebRTC's detector of speech hears audio of {rates} Hz, not of {sample_rate}: resample it")

    window = _VAD_MILLISECONDS * sample_rate // 1000
    detector = webrtcvad.Vad(_VAD_MODE)
    # Speech nearby: an average looks 3 windows back and 4 ahead, what is kept 3 to either side of that.
    back = (_VAD_AVERAGE - 1) // 2 + _VAD_KEPT // 2
    ahead = _VAD_AVERAGE // 2 + _VAD_KEPT // 2
    flags, rows = np.zeros(0), np.zeros((0, window), np.float32)  # rows: the last ones, which are not decided yet

    def decided(count: int) -> np.ndarray:
        kept = _kept(flags)[len(flags) - len(rows) :][:count]
        return rows[:count][kept].reshape(-1)

    for block in in_blocks(blocks, _VAD_ROWS * window):
        windows = block[: len(block) // window * window].reshape(-1, window)
        pcm = np.round(np.clip(windows, -1, 1) * 32767).astype("<i2")
        flags = np.concatenate([flags, [float(detector.is_speech(row.tobytes(), sample_rate)) for row in pcm]])
        rows = np.concatenate([rows, windows])
        count = max(len(rows) - ahead, 0)
        yield decided(count)
        rows = rows[count:]
        flags = flags[-(len(rows) + back) :]
    yield decided(len(rows))


def _kept(flags: np.ndarray) -> np.ndarray:
    """Returns which windows stay, (n,) bool, from those that the detector took for speech; before and after them is
    silence."""
    from scipy.ndimage import binary_dilation

    if not len(flags):
        return np.zeros(0, bool)
    padded = np.concatenate([np.zeros((_VAD_AVERAGE - 1) // 2), flags, np.zeros(_VAD_AVERAGE // 2)])
    average = np.convolve(padded, np.full(_VAD_AVERAGE, 1 / _VAD_AVERAGE), "valid")
    return np.asarray(binary_dilation(np.round(average).astype(bool), np.ones(_VAD_KEPT + 1)))
