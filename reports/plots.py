"""The plots of a report, as PNG bytes. Colours follow one palette; every axis has its unit."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from runtime.audio import MelSettings, mel_spectrogram
from runtime.bench import Latency
from runtime.metrics import WINDOW_SECONDS, window_snr_db

PALETTE = ("#3b6fb6", "#d1603d", "#3f9c6d", "#8a63b0")
_INK, _GRID = "#30343b", "#dfe3e8"

plt.rcParams.update(
    {
        "font.size": 9,
        "axes.edgecolor": _GRID,
        "axes.labelcolor": _INK,
        "axes.titlesize": 9,
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": _GRID,
        "grid.linewidth": 0.6,
        "xtick.color": _INK,
        "ytick.color": _INK,
        "text.color": _INK,
        "legend.frameon": False,
    }
)


def spectrograms(
    recording: np.ndarray | None, reference: np.ndarray, output: np.ndarray, engine: str, settings: MelSettings
) -> bytes:
    """Mel spectrograms of recording, PyTorch and artefact above each other, and of artefact - PyTorch below."""
    scale = replace(settings, log_base=10.0, gain=20.0, signal_norm=False, amplitude_floor=1e-5)
    rows = [("PyTorch", reference), (f"artefact in {engine}", output), ("artefact − PyTorch", output - reference)]
    if recording is not None:
        rows.insert(0, ("recording", recording[: len(reference)]))
    images = [mel_spectrogram(samples.astype(np.float32), scale) for _, samples in rows]
    top = max(float(image.max()) for image in images)
    figure, axes = plt.subplots(len(rows), 1, figsize=(9.6, 1.45 * len(rows)), sharex=True, layout="constrained")
    seconds = len(reference) / settings.sample_rate
    for axis, (title, _), image in zip(axes, rows, images):
        drawn = axis.imshow(
            image,
            origin="lower",
            aspect="auto",
            cmap="magma",
            vmin=top - 100,
            vmax=top,
            extent=(0, seconds, 0, image.shape[0]),
            interpolation="nearest",
        )
        axis.set(title=title, ylabel="mel band")
        axis.grid(False)
    axes[-1].set_xlabel("seconds")
    figure.colorbar(drawn, ax=axes, label="dB", shrink=0.6, pad=0.01)
    return _png(figure)


def error_over_time(reference: np.ndarray, outputs: Mapping[str, np.ndarray], sample_rate: int) -> bytes:
    """SNR of each 50 ms window for each engine, over the reference's level."""
    figure, axis = plt.subplots(figsize=(9.6, 2.3), layout="constrained")
    for colour, (engine, output) in zip(PALETTE, outputs.items()):
        values = window_snr_db(reference, output, sample_rate)[:-1]
        axis.step(np.arange(len(values)) * WINDOW_SECONDS, values, where="post", color=colour, label=engine, lw=1.4)
    axis.set(xlabel="seconds", ylabel="SNR per 50 ms, dB", xlim=(0, len(reference) / sample_rate))
    level = axis.twinx()
    level.plot(np.arange(len(reference)) / sample_rate, reference, color="#b9c0c9", lw=0.4, zorder=0)
    level.set(ylim=(-3, 3), yticks=[])
    level.grid(False)
    level.spines["right"].set_visible(False)
    axis.set_zorder(level.get_zorder() + 1)
    axis.patch.set_visible(False)
    axis.legend(loc="upper right", ncols=len(outputs))
    return _png(figure)


def error_over_frequency(
    references: Sequence[np.ndarray], outputs: Mapping[str, Sequence[np.ndarray]], sample_rate: int
) -> bytes:
    """SNR per frequency, all clips together: 10 log10 of summed power of reference over that of the error."""
    figure, axis = plt.subplots(figsize=(4.7, 2.6), layout="constrained")
    signal = sum(_power_spectrum(reference) for reference in references)
    frequencies = np.fft.rfftfreq(1024, 1 / sample_rate) / 1e3
    for colour, (engine, clips) in zip(PALETTE, outputs.items()):
        noise = sum(_power_spectrum(output - reference) for reference, output in zip(references, clips))
        ratio = 10 * np.log10(np.maximum(signal, 1e-20) / np.maximum(noise, 1e-20))
        axis.plot(frequencies, ratio, color=colour, label=engine, lw=1.2)
    axis.set(xlabel="kHz", ylabel="SNR, dB", xlim=(0, sample_rate / 2e3))
    axis.legend()
    return _png(figure)


def latency_distribution(latencies: Mapping[str, Latency]) -> bytes:
    """Every timed chunk of every engine; no outlier is left out."""
    figure, axis = plt.subplots(figsize=(4.7, 2.6), layout="constrained")
    everything = np.concatenate([latency.samples_ms for latency in latencies.values()])
    bins = np.geomspace(max(everything.min() * 0.95, 1e-3), everything.max() * 1.05, 60).tolist()
    for colour, (engine, latency) in zip(PALETTE, latencies.items()):
        axis.hist(latency.samples_ms, bins=bins, color=colour, alpha=0.75, label=engine)
        axis.axvline(latency.p99_ms, color=colour, lw=1, ls="--")
    axis.set(xscale="log", xlabel="ms per chunk (dashed: p99)", ylabel="chunks")
    axis.xaxis.set_major_formatter(matplotlib.ticker.ScalarFormatter())
    axis.xaxis.set_minor_formatter(matplotlib.ticker.ScalarFormatter())
    axis.tick_params(axis="x", which="both", labelsize=7)
    axis.legend()
    return _png(figure)


def op_bars(ops: Mapping[str, int]) -> bytes:
    """How often each op type occurs in the artefact."""
    names, counts = list(ops)[::-1], list(ops.values())[::-1]
    figure, axis = plt.subplots(figsize=(4.7, 0.4 + 0.24 * len(names)), layout="constrained")
    bars = axis.barh(names, counts, color=PALETTE[0])
    axis.bar_label(bars, padding=3, fontsize=8)
    axis.grid(False)
    axis.set(xticks=[], xlim=(0, max(counts) * 1.12))
    axis.spines[["bottom", "left"]].set_visible(False)
    return _png(figure)


def _power_spectrum(samples: np.ndarray) -> np.ndarray:
    frames = np.lib.stride_tricks.sliding_window_view(samples, 1024)[::512] * np.hanning(1024)
    return (np.abs(np.fft.rfft(frames, axis=1)) ** 2).sum(axis=0)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    plt.close(figure)
    return buffer.getvalue()
