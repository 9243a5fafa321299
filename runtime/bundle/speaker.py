"""What a speaker encoder is given: what stands of it in the manifest."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.bundle.mel import MelSettings


@dataclass(frozen=True)
class SpeakerSettings:
    """`level_dbfs`: quieter speech is raised to it, None for as it is. `partial_frames`: frames of a window that is
    embedded by itself; neighbours share `overlap` of them, and a last one that the audio fills to less than
    `least_coverage` is left out. `spread`: so many windows evenly over the audio instead. `mel`: a vocoder's log-mel
    instead of mel power."""

    sample_rate: int = 16000
    n_fft: int = 400
    win_length: int = 400
    hop_length: int = 160
    n_mels: int = 40
    window: str = "hann"
    htk: bool = False
    preemphasis: float = 0.0
    partial_frames: int = 160
    overlap: float = 0.5
    least_coverage: float = 0.75
    spread: int | None = None
    level_dbfs: float | None = -30.0
    trims_silence: bool = True
    mel: MelSettings | None = None

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
