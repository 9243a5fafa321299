"""How a mel spectrogram is made: what stands of it in the manifest."""

from __future__ import annotations

import math
from dataclasses import dataclass

from runtime.errors import AudioError

FRAMINGS = ("centered", "inset")
PAD_MODES = ("reflect", "constant", "edge", "symmetric", "wrap")
_LARGEST = 1_000_000


@dataclass(frozen=True)
class MelSettings:
    """How a checkpoint's mel spectrogram is made. Names and defaults follow Coqui's audio config.

    `framing`: `centered` is Coqui's STFT (reflect n_fft / 2, floor(N / hop) + 1 frames); `inset` is that of
    HiFi-GAN's own training (reflect (n_fft - hop) / 2, floor(N / hop) frames, shifted by hop / 2 samples).
    `magnitude_floor` is added under the square root, `amplitude_floor` bounds the logarithm's argument. `noise_rows`:
    of noise below the bands, for a vocoder that starts from noise or samples (`with_noise`), `noise` being its standard
    distribution: `normal` or `logistic`.
    """

    sample_rate: int = 22050
    n_fft: int = 1024
    win_length: int = 1024
    hop_length: int = 256
    n_mels: int = 80
    fmin: float = 0.0
    fmax: float | None = None
    framing: str = "centered"
    pad_mode: str = "reflect"
    preemphasis: float = 0.0
    log_base: float = 10.0
    gain: float = 20.0
    amplitude_floor: float = 1e-8
    magnitude_floor: float = 0.0
    signal_norm: bool = True
    min_level_db: float = -100.0
    ref_level_db: float = 20.0
    symmetric_norm: bool = True
    max_norm: float = 4.0
    clip_norm: bool = True
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    noise_rows: int = 0
    noise: str = "normal"

    def __post_init__(self) -> None:
        if not isinstance(self.framing, str) or self.framing not in FRAMINGS:
            raise AudioError(f"there is no framing {self.framing!r}; the framings are: {', '.join(FRAMINGS)}")
        for name in ("sample_rate", "n_fft", "win_length", "hop_length", "n_mels"):
            if not 0 < getattr(self, name) <= _LARGEST:
                raise AudioError(f"audio setting {name} must be 1 to {_LARGEST}, got {getattr(self, name)}")
        for name, value in vars(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise AudioError(f"audio setting {name} is {value}, which is no level and no frequency")
        for name, row in (("mean", self.mean), ("std", self.std)):
            if row is not None and len(row) != self.n_mels:
                raise AudioError(f"the statistics have {len(row)} values of {name} for {self.n_mels} bands")
        if not isinstance(self.pad_mode, str) or self.pad_mode not in PAD_MODES:
            raise AudioError(f"there is no stft_pad_mode {self.pad_mode!r}; there is: {', '.join(PAD_MODES)}")
        if not 0 <= self.fmin < (self.fmax or self.sample_rate / 2) <= self.sample_rate:
            raise AudioError(f"the bands from {self.fmin} to {self.fmax} Hz are none at {self.sample_rate} Hz")
        if self.min_level_db == 0 or self.max_norm <= 0:
            raise AudioError(f"min_level_db {self.min_level_db} and max_norm {self.max_norm} normalise nothing")
        if self.win_length > self.n_fft:
            raise AudioError(f"win_length {self.win_length} is larger than n_fft {self.n_fft}")
        if self.log_base not in (10.0, math.e):
            raise AudioError(f"the logarithm's base must be 10 or e, got {self.log_base}")

    @property
    def border(self) -> int:
        """Samples by which the first window reaches before the audio, and the last one after it."""
        return self.n_fft // 2 if self.framing == "centered" else (self.n_fft - self.hop_length) // 2

    @property
    def border_mode(self) -> str:
        """What is there, as numpy.pad calls it."""
        return self.pad_mode if self.framing == "centered" else "reflect"

    @property
    def unit(self) -> str:
        scale = self._scale
        return f"{scale}; {self.noise_rows} rows of noise" if self.noise_rows else scale

    @property
    def _scale(self) -> str:
        scale = "natural-log amplitude" if self.log_base != 10.0 else f"{self.gain:g} * log10 amplitude"
        if not self.signal_norm:
            return scale if self.log_base == 10.0 or self.gain == 1 else f"{self.gain:g} * {scale}"
        return f"{scale}, normalised by {'mean and variance' if self.mean else 'range'}"


def require_same_spectrum(source: MelSettings, target: MelSettings) -> None:
    """Raises AudioError where the mel of one settings differs from that of the other in more than its scale."""
    differing = [name for name in _SPECTRUM if _spectrum(source)[name] != _spectrum(target)[name]]
    if differing:
        name = differing[0]
        raise AudioError(
            f"the mel of one model does not fit the other: {name} is {_spectrum(source)[name]:g} here and "
            f"{_spectrum(target)[name]:g} there"
        )


_SPECTRUM = ("sample_rate", "n_fft", "win_length", "hop_length", "n_mels", "fmin", "fmax", "preemphasis")


def _spectrum(settings: MelSettings) -> dict[str, float]:
    return {**{name: getattr(settings, name) for name in _SPECTRUM}, "fmax": settings.fmax or settings.sample_rate / 2}
