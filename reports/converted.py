"""What a report shows of a conversion: source, target and output side by side, similarities, the delay when live."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from reports.plots import PALETTE, draw_parts, png
from runtime.bundle.conversion import clock_of
from runtime.bundle.store import Bundle
from runtime.measuring.bench.budget import TARGET_MS, Part
from runtime.measuring.conversion import F0, ConvertedResult, kept_name
from runtime.measuring.listening import RATE
from runtime.measuring.measure import Measurement
from runtime.playing.conversions import conversion_of
from runtime.speech.resampling import resampled

_WINDOW, _HOP = 1024, 160  # samples at 16 kHz: harmonics of a deep voice apart, ten milliseconds
_LOWEST, _BANDS = 60.0, 160  # Hz, and frequencies up to half the rate, evenly on a logarithmic scale
_DEEPEST_DB = 70.0  # below the loudest, what is drawn


@dataclass(frozen=True)
class Sound:
    """A recording under a label, `samples` (N,) at `rate`."""

    label: str
    samples: np.ndarray
    rate: int


@dataclass(frozen=True)
class ConvertedClip:
    """A golden clip with whose voice it is converted to, empty where that is in the weights, the sounds side by side,
    and the records of its contexts."""

    name: str
    target: str
    sounds: tuple[Sound, ...]
    results: tuple[ConvertedResult, ...]


def converted_clips(bundle: Bundle, measurement: Measurement) -> list[ConvertedClip]:
    """Returns source, target and what the engine of a measurement made of each golden clip."""
    recordings = {one.clip: one.samples for one in bundle.recordings()} if measurement.converted else {}
    if not recordings:
        return []
    sound, conversion = bundle.sound, conversion_of(bundle)
    rate, clips = conversion.sample_rate, []
    for name, samples in recordings.items():
        results = tuple(one for one in measurement.converted if one.case == name)
        target = "" if conversion.target == "built_in" else results[0].target
        sounds = [Sound(f"source: {name}", samples, rate)]
        if target:
            sounds.append(Sound(f"target: {target}", recordings[target], rate))
        for one in results:
            file = bundle.measured / "audio" / f"{measurement.engine}-{kept_name(name, one.context)}.npy"
            assert sound is not None
            sounds.append(Sound(f"converted, {one.context}", np.load(file, allow_pickle=False), sound.sample_rate))
        clips.append(ConvertedClip(name, target, tuple(sounds), results))
    return clips


def spectrograms(clip: ConvertedClip) -> bytes:
    """Plots the spectrogram of each sound over a logarithmic frequency, with F0 drawn in."""
    count = len(clip.sounds)
    figure, axes = plt.subplots(count, 1, figsize=(9.6, 1.55 * count + 0.4), sharex=True, squeeze=False)
    figure.subplots_adjust(
        left=0.07, right=0.98, top=1 - 0.22 / (1.55 * count), bottom=0.42 / (1.55 * count), hspace=0.3
    )
    for axis, sound in zip(axes[:, 0], clip.sounds):
        _draw_spectrogram(axis, resampled(sound.samples, sound.rate, RATE, "VHQ"))
        axis.set_title(sound.label)
    axes[-1, 0].set(xlabel="seconds", xlim=(0, max(len(sound.samples) / sound.rate for sound in clip.sounds)))
    return png(figure)


def _draw_spectrogram(axis: Axes, samples: np.ndarray) -> None:
    """samples (N,) at 16 kHz. Rows of the picture are evenly spaced octaves; F0 is drawn on the same scale."""
    decibels = log_frequency_db(samples)
    seconds = np.array([0, decibels.shape[1]]) * _HOP / RATE + (_WINDOW - _HOP) / 2 / RATE
    octaves = np.log2(RATE / 2 / _LOWEST)
    top = float(decibels.max())
    axis.imshow(
        decibels, origin="lower", aspect="auto", cmap="magma", vmin=top - _DEEPEST_DB, vmax=top,
        extent=(seconds[0], seconds[1], 0.0, octaves), interpolation="nearest",
    )  # fmt: skip
    f0, clock = F0.of(samples)[0], clock_of(F0)
    moments = np.array([clock.moment(frame) for frame in range(len(f0))])
    height = np.full(len(f0), np.nan)
    height[f0 > 0] = np.log2(f0[f0 > 0] / _LOWEST)
    axis.plot(moments, height, color="#5fe0ff", lw=1.6)
    ticks = (100, 200, 400, 1000, 4000)
    axis.set_yticks([np.log2(tick / _LOWEST) for tick in ticks], [f"{tick}" for tick in ticks], fontsize=7)
    axis.set(ylabel="Hz", ylim=(0, octaves))
    axis.grid(False)


def log_frequency_db(samples: np.ndarray) -> np.ndarray:
    """samples (N,) at 16 kHz -> (frequencies, frames) dB of a 64 ms Hann window each 10 ms; frequencies from 60 Hz to
    8 kHz are interpolated on a logarithmic scale."""
    padded = np.pad(samples, (0, max(0, _WINDOW - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP] * np.hanning(_WINDOW).astype(np.float32)
    decibels = 10 * np.log10(np.maximum(np.abs(np.fft.rfft(frames, axis=1)) ** 2, 1e-10)).T
    places = np.geomspace(_LOWEST, RATE / 2, _BANDS) * _WINDOW / RATE
    below = np.minimum(places.astype(int), len(decibels) - 2)
    share = (places - below)[:, None]
    return np.asarray((1 - share) * decibels[below] + share * decibels[below + 1])


def similarities(clips: Sequence[ConvertedClip]) -> bytes | None:
    """Plots whom each output is similar to, a bar each for target and source; None where nobody embedded them."""
    rows = [(clip, one) for clip in clips for one in clip.results if one.similarity_to_target is not None]
    if not rows:
        return None
    inches = 0.9 + 0.42 * len(rows)
    figure, axis = plt.subplots(figsize=(9.6, inches))
    figure.subplots_adjust(left=0.36, right=0.98, top=1 - 0.35 / inches, bottom=0.45 / inches)
    places = np.arange(len(rows))[::-1]
    kinds = (
        ("to the target", "similarity_to_target", 0.19, ""),
        ("to the source", "similarity_to_source", -0.19, "//"),
    )
    for colour, (label, name, shift, hatch) in zip(PALETTE, kinds):
        values = np.nan_to_num([getattr(one, name) for _, one in rows])
        bars = axis.barh(places + shift, values, 0.36, color=colour, label=label, hatch=hatch)
        axis.bar_label(bars, fmt="%.2f", label_type="center", color="white", fontsize=7)
    before = [float("nan") if one.similarity_unconverted is None else one.similarity_unconverted for _, one in rows]
    axis.plot(before, places, "|", color="black", ms=16, label="source to target, unconverted")
    names = [f"{clip.name}{clip.target and f' as {clip.target}'}, {one.context}" for clip, one in rows]
    axis.set_yticks(places, names, fontsize=7.5)
    axis.set(xlabel="cosine of speaker embeddings", xlim=(0, 1.08))
    axis.legend(ncols=3, loc="lower left", bbox_to_anchor=(0.0, 1.0), fontsize=8)
    axis.grid(visible=False, axis="y")
    axis.set_axisbelow(True)
    return png(figure)


def waits(parts: Mapping[str, float]) -> bytes:
    """Plots what live audio waits for, by part in milliseconds, as one bar, and the 100 ms that a call allows."""
    figure, axis = plt.subplots(figsize=(9.6, 1.9))
    figure.subplots_adjust(left=0.02, right=0.98, top=0.87, bottom=0.23)
    draw_parts(axis, [Part(name, value, True) for name, value in parts.items() if value], TARGET_MS)
    total = sum(parts.values())
    verdict = "can be met" if total <= TARGET_MS else "cannot be met"
    axis.set_title(f"{total:.0f} ms by structure: the {TARGET_MS:.0f} ms (dashed) {verdict}")
    return png(figure)
