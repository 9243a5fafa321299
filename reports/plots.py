"""The plots of a report, as PNG bytes. Colours follow one palette; every axis has its unit."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.metrics import pareto
from reports.tradeoff import Point
from runtime.bundle.form import StreamForm
from runtime.bundle.spec import TimeAxis
from runtime.measuring.bench.budget import Budget, Part
from runtime.measuring.bench.bundle import BenchReport
from runtime.measuring.bench.closed import Latency
from runtime.rounding.record import OpAudit, ProgramAudit
from runtime.speech.features import LocalFeatures
from runtime.speech.mel import Mel
from runtime.speech.metrics import WINDOW_SECONDS, window_snr_db
from runtime.speech.speaker import SpeakerMel

PALETTE = ("#3b6fb6", "#d1603d", "#3f9c6d", "#8a63b0")
# Lines, dots and bars of one series, in the order of the colours: for who does not tell these apart.
_LINES, _DOTS, _HATCHES = ("-", (0, (6, 1.5)), "-.", (0, (1.5, 1.5))), ("o", "s", "^", "D"), ("", "///", "...", "xx")
INK, _GRID = "#30343b", "#dfe3e8"

plt.rcParams.update(
    {
        "font.size": 9,
        "axes.edgecolor": _GRID,
        "axes.labelcolor": INK,
        "axes.titlesize": 9,
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": _GRID,
        "grid.linewidth": 0.6,
        "xtick.color": INK,
        "ytick.color": INK,
        "text.color": INK,
        "legend.frameon": False,
    }
)


def clip(
    recording: np.ndarray | None,
    reference: np.ndarray,
    outputs: Mapping[str, np.ndarray],
    judge: str,
    settings: Mel,
) -> bytes:
    """One clip over time: mel spectrograms of recording, PyTorch, artefact and artefact - PyTorch, then the SNR.

    The artefact is drawn as the engine `judge` computed it; the SNR per 50 ms has a line for every engine.
    """
    output = outputs[judge]
    rows = [("PyTorch", reference), (f"artefact in {judge}", output), ("artefact − PyTorch", output - reference)]
    if recording is not None:
        rows.insert(0, ("recording", recording[: len(reference)]))
    decibels = replace(settings, log_base=10.0, gain=20.0, signal_norm=False, amplitude_floor=1e-5, noise_rows=0)
    images = [decibels.of(samples.astype(np.float32)) for _, samples in rows]
    top = max(float(image.max()) for image in images)
    seconds = len(reference) / settings.sample_rate
    figure, axes = plt.subplots(
        len(rows) + 1, 1, figsize=(9.6, 1.4 * len(rows) + 2), sharex=True, height_ratios=[1.0] * len(rows) + [1.3]
    )
    figure.subplots_adjust(left=0.06, right=0.92, top=0.97, bottom=0.06, hspace=0.28)
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
    bar = figure.colorbar(drawn, cax=figure.add_axes((0.935, 0.55, 0.012, 0.3)))
    bar.ax.set_title("dB", fontsize="medium")
    _draw_snr(axes[-1], reference, outputs, settings.sample_rate)
    return png(figure)


def _draw_snr(axis: Axes, reference: np.ndarray, outputs: Mapping[str, np.ndarray], sample_rate: int) -> None:
    for colour, line, (engine, output) in zip(PALETTE, _LINES, outputs.items()):
        values = window_snr_db(reference, output, sample_rate)[:-1]
        at = np.arange(len(values)) * WINDOW_SECONDS
        axis.step(at, values, where="post", color=colour, ls=line, label=engine, lw=1.4)
    axis.set(xlabel="seconds", ylabel="SNR per 50 ms, dB", xlim=(0, len(reference) / sample_rate))
    axis.legend(loc="lower right", bbox_to_anchor=(1.0, 0.98), ncols=len(outputs))


def error_over_frequency(
    references: Sequence[np.ndarray], outputs: Mapping[str, Sequence[np.ndarray]], sample_rate: int
) -> bytes:
    """SNR per frequency, all clips together: 10 log10 of summed power of reference over that of the error."""
    figure, axis = plt.subplots(figsize=(4.7, 2.6))
    figure.subplots_adjust(left=0.13, right=0.97, top=0.96, bottom=0.18)
    signal = sum(_power_spectrum(reference) for reference in references)
    frequencies = np.fft.rfftfreq(1024, 1 / sample_rate) / 1e3
    for colour, line, (engine, clips) in zip(PALETTE, _LINES, outputs.items()):
        noise = sum(_power_spectrum(output - reference) for reference, output in zip(references, clips))
        ratio = 10 * np.log10(np.maximum(signal, 1e-20) / np.maximum(noise, 1e-20))
        axis.plot(frequencies, ratio, color=colour, ls=line, label=engine, lw=1.2)
    axis.set(xlabel="kHz", ylabel="SNR, dB", xlim=(0, sample_rate / 2e3))
    axis.legend()
    return png(figure)


def latency_distribution(latencies: Mapping[str, Latency]) -> bytes:
    """Plots every timed chunk of every engine; no outlier is left out."""
    figure, axis = plt.subplots(figsize=(4.7, 2.6))
    figure.subplots_adjust(left=0.13, right=0.97, top=0.96, bottom=0.18)
    everything = np.concatenate([latency.samples_ms for latency in latencies.values()])
    bins = np.geomspace(max(everything.min() * 0.95, 1e-3), everything.max() * 1.05, 60).tolist()
    for colour, hatch, (engine, latency) in zip(PALETTE, _HATCHES, latencies.items()):
        axis.hist(latency.samples_ms, bins=bins, color=colour, hatch=hatch, alpha=0.75, label=engine)
        axis.axvline(latency.p99_ms, color=colour, lw=1, ls="--")
    axis.set(xscale="log", xlabel="ms per chunk (dashed: p99)", ylabel="chunks")
    axis.xaxis.set_major_formatter(matplotlib.ticker.ScalarFormatter())
    axis.xaxis.set_minor_formatter(matplotlib.ticker.ScalarFormatter())
    axis.tick_params(axis="x", which="both", labelsize=7)
    axis.legend()
    return png(figure)


def op_bars(ops: Mapping[str, int]) -> bytes:
    """Plots how often each op type occurs in the artefact."""
    names, counts = list(ops)[::-1], list(ops.values())[::-1]
    figure, axis = plt.subplots(figsize=(4.7, 0.4 + 0.24 * len(names)))
    figure.subplots_adjust(left=0.24, right=0.98, top=0.98, bottom=0.02)
    bars = axis.barh(names, counts, color=PALETTE[0])
    axis.bar_label(bars, padding=3, fontsize=8)
    axis.grid(False)
    axis.set(xticks=[], xlim=(0, max(counts) * 1.12))
    axis.spines[["bottom", "left"]].set_visible(False)
    return png(figure)


def precisions(name: str, points: Sequence[Point]) -> bytes:
    """Quality against size, and against latency where a Mac measured: Pareto set joined, what was rejected hollow."""
    timed = [point for point in points if point.mac_ms is not None]
    figure, axes = plt.subplots(1, 2 if timed else 1, figsize=(9.6 if timed else 7.2, 4.2), squeeze=False)
    figure.subplots_adjust(left=0.09, right=0.97, top=0.91, bottom=0.13)
    _draw_tradeoff(axes[0][0], [(point, point.size_mb) for point in points], "MB on disk")
    if timed:
        shown = [(point, float(point.mac_ms or 0.0)) for point in timed]
        _draw_tradeoff(axes[0][1], shown, "ms per call on a Mac, p50")
    axes[0][0].set_title(name)
    return png(figure)


def _draw_tradeoff(axis: Axes, placed: Sequence[tuple[Point, float]], what: str) -> None:
    least = min(point.snr_db for point, _ in placed)
    axis.set(xlabel=what, ylabel="SNR to PyTorch, worst golden, dB", xlim=(0, 1.15 * max(x for _, x in placed)))
    axis.set_ylim(min(0.0, least - 2), 1.05 * max(point.snr_db for point, _ in placed))
    for point, x in placed:
        colour = PALETTE[0] if point.passed else PALETTE[1]
        axis.plot([x], [point.snr_db], "o", ms=7, color=colour, mfc=colour if point.passed else "none")
    best = sorted(pareto([(x, point.snr_db) for point, x in placed if point.passed]))
    axis.plot([x for x, _ in best], [y for _, y in best], color=PALETTE[0], lw=1, ls="--", drawstyle="steps-post")
    axis.text(0.99, 0.02, "hollow: rejected; dashed: Pareto set", transform=axis.transAxes, ha="right", fontsize=7.5)
    _label(axis, [(point.precision, x, point.snr_db) for point, x in placed])


def _label(axis: Axes, points: Sequence[tuple[str, float, float]]) -> None:
    """Names beside points, each at the first place around its own where it covers neither another name nor a point."""
    axis.figure.canvas.draw()
    pixels = axis.figure.dpi / 72
    dots = [axis.transData.transform((x, y)) for _, x, y in points]
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in dots]
    for (name, x, y), (left, bottom) in zip(points, dots):
        width, height = 5.0 * len(name) * pixels, 9 * pixels
        for right, up in ((7, 3), (7, -11), (-7, 3), (-7, -11), (7, 14), (7, -22), (-7, 14), (-7, -22)):
            start = left + right * pixels - (width if right < 0 else 0)
            box = (start, bottom + up * pixels, start + width, bottom + up * pixels + height)
            if not any(box[0] < c and a < box[2] and box[1] < d and b < box[3] for a, b, c, d in taken):
                break
        taken.append(box)
        side = "left" if right > 0 else "right"
        axis.annotate(name, (x, y), (right, up), textcoords="offset points", fontsize=8, ha=side)


def audit(program: ProgramAudit) -> bytes:
    """Plots what rounding costs, op by op in the program's order: errors, range, and the ops that matter most."""
    figure = plt.figure(figsize=(9.6, 7.6))
    grid = figure.add_gridspec(2, 2, left=0.07, right=0.98, top=0.95, bottom=0.07, hspace=0.32, wspace=0.55)
    error, span, worst = (figure.add_subplot(place) for place in (grid[0, :], grid[1, 0], grid[1, 1]))
    rows = sorted(program.ops, key=lambda row: row.position)
    at = [row.position for row in rows]
    shown = (
        ("accumulated: its output to the exact one", "accumulated_db", PALETTE[0], "."),
        ("local: its own rounding", "local_db", PALETTE[2], "x"),
        ("effect of that on the outputs", "effect_db", PALETTE[1], "^"),
    )
    for label, name, colour, dot in shown:
        values = [value if math.isfinite(value := getattr(row, name)) else math.nan for row in rows]
        error.plot(at, values, dot, ms=4, color=colour, label=label)
    if math.isfinite(program.snr_db):
        error.axhline(program.snr_db, color=INK, lw=1, ls="--")
    error.set(xlabel="op, in the program's order", ylabel="SNR, dB (dashed: the program's)")
    error.set_title(f"{program.component} {program.function}".strip())
    error.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=8)
    span.semilogy(at, [row.largest or math.nan for row in rows], ".", color=PALETTE[0], label="largest magnitude")
    span.axhline(65504, color=PALETTE[1], lw=1)
    span.axhline(2.0**-14, color=PALETTE[3], lw=1, ls="--")
    span.set(xlabel="op, in the program's order", ylabel="magnitude")
    span.set_title("above the line fp16 overflows; below the dashed one it is subnormal")
    top = [row for row in program.ops if row.effect_db < math.inf][:14][::-1]
    worst.barh([f"{row.op} {row.output}"[:34] for row in top], [_share(row, program) for row in top], color=PALETTE[1])
    worst.tick_params(axis="y", labelsize=6.5)
    worst.set_axisbelow(True)
    worst.set(xlabel="% of what rounding costs")
    worst.set_title("ops that matter most")
    return png(figure)


def _share(row: OpAudit, program: ProgramAudit) -> float:
    """Returns the op's share of the summed effects, in percent; everything for an overflow."""
    total = sum(10 ** (-one.effect_db / 10) for one in program.ops if math.isfinite(one.effect_db))
    return 100 * 10 ** (-row.effect_db / 10) / total if math.isfinite(row.effect_db) and total else 100.0


def bench(report: BenchReport) -> bytes:
    """Plots how often a chunk takes longer than so long, latency over the run, and where a live delay comes from."""
    is_paced = any(one.paced is not None for one in report.processes)
    heights = [1.3, 1.3, 0.7] if is_paced else [1.3, 0.7]
    figure, axes = plt.subplots(len(heights), 1, figsize=(9.6, 2.7 * sum(heights)), height_ratios=heights)
    figure.subplots_adjust(left=0.08, right=0.97, top=0.96, bottom=0.08, hspace=0.38)
    tail, delay = axes[0], axes[-1]
    for index, one in enumerate(report.processes):
        timed = {"back to back": one.closed, "on a schedule": one.paced, "on a schedule, busy cores": one.under_load}
        for colour, line, (name, latency) in zip(PALETTE, _LINES, timed.items()):
            if latency is not None:
                values = np.sort(latency.samples_ms)
                rest = 100 * (1 - np.arange(len(values)) / len(values))
                label = name if index == 0 else None
                tail.plot(values, rest, color=colour, ls=line, lw=1.3, label=label, drawstyle="steps-pre")
        if one.paced is not None:
            seconds = np.arange(one.paced.chunks) * one.paced.period_ms / 1e3
            label = f"process {index + 1}" if len(report.processes) > 1 else None
            axes[1].plot(seconds, one.paced.samples_ms, color=PALETTE[index % len(PALETTE)], lw=0.8, label=label)
            axes[1].axhline(one.paced.period_ms, color=INK, lw=1, ls="--")
    tail.set(xscale="log", yscale="log", xlabel="ms per chunk", ylabel="% of chunks that take longer")
    tail.set_title(f"{report.bundle}, {report.engine} on {report.device}")
    tail.xaxis.set_major_formatter(matplotlib.ticker.ScalarFormatter())
    tail.xaxis.set_minor_formatter(matplotlib.ticker.ScalarFormatter())
    tail.tick_params(axis="x", which="both", labelsize=7)
    tail.legend()
    if is_paced:
        axes[1].set(xlabel="seconds", ylabel="ms after it was due", ylim=(0, None))
        axes[1].set_title("latency on a schedule (dashed: the next chunk is due)")
        if len(report.processes) > 1:
            axes[1].legend(ncols=3)
    budgets = [one.budget for one in report.processes if one.budget is not None]
    if budgets:
        _draw_budget(delay, max(budgets, key=lambda budget: budget.total_ms))
    return png(figure)


def _draw_budget(axis: Axes, spent: Budget) -> None:
    draw_parts(axis, spent.parts, spent.target_ms)
    axis.set_title(f"delay {spent.total_ms:.1f} ms, {spent.structural_ms:.1f} by structure; target: {spent.verdict}")


def draw_parts(axis: Axes, parts: Sequence[Part], target_ms: float) -> None:
    """One bar of the parts of a delay, and the target."""
    colours = plt.get_cmap("Blues")(np.linspace(0.3, 0.8, len(parts)))
    left = 0.0
    for colour, part in zip(colours, parts):
        shown = colour if part.structural else PALETTE[1]
        label = f"{part.name} {part.milliseconds:.1f}"
        hatch = "" if part.structural else "///"
        axis.barh([0], [part.milliseconds], left=left, color=shown, edgecolor="white", hatch=hatch, label=label)
        left += part.milliseconds
    axis.axvline(target_ms, color=INK, lw=1, ls="--")
    axis.set(yticks=[], xlabel="ms", ylim=(-0.5, 1.6), xlim=(0, 1.05 * max(left, target_ms)))
    axis.legend(ncols=3, loc="upper right", fontsize=8)


def streaming(form: StreamForm, time: TimeAxis, features: LocalFeatures | SpeakerMel | None) -> bytes:
    """Plots what a mode costs against the delay that it has by structure, and what a bounded lookahead loses."""
    frame = 1e3 * time.frame_seconds
    local = None if isinstance(features, SpeakerMel) else features
    waiting = 1e3 * local.latency / local.sample_rate if local else 0.0
    figure, axes = plt.subplots(1, 2 if form.truncation_db else 1, figsize=(9.6, 3.2), squeeze=False)
    figure.subplots_adjust(left=0.08, right=0.97, top=0.9, bottom=0.17, wspace=0.25)
    cost, *rest = axes[0]
    least = min(min(row.values()) for row in form.costs.values())
    lookaheads = dict.fromkeys(form.costs, time.right)
    curves = dict(form.costs)
    if not form.exact:
        curves[form.mode], lookaheads[form.mode] = curves["window"], form.lookahead
    for colour, dot, (mode, row) in zip(PALETTE, _DOTS, curves.items()):
        delays = [(chunk + lookaheads[mode]) * frame + waiting for chunk in row]
        cost.plot(delays, [value / least for value in row.values()], f"{dot}-", ms=4, lw=1.2, color=colour, label=mode)
        if mode == form.mode and form.chunk in row:
            here = (form.chunk + lookaheads[mode]) * frame + waiting
            cost.plot([here], [row[form.chunk] / least], "o", ms=9, mfc="none", color=INK)
    cost.set(yscale="log", xlabel="ms of chunk + lookahead + STFT window", ylabel="multiply-adds, least = 1")
    cost.yaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
    cost.yaxis.set_major_formatter(matplotlib.ticker.StrMethodFormatter("{x:g}"))
    cost.yaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
    cost.set_title(f"chunks of {', '.join(map(str, next(iter(form.costs.values()))))} frames (circle: this one)")
    cost.legend()
    for axis in rest:
        delays = [(form.chunk + lookahead) * frame + waiting for lookahead in form.truncation_db]
        for index, label in enumerate(("last frame repeated", "zeros")):
            values = [pair[index] for pair in form.truncation_db.values()]
            axis.plot(delays, values, f"{_DOTS[index]}-", ms=4, lw=1.2, color=PALETTE[index], label=label)
        axis.set(xlabel="ms of chunk + lookahead + STFT window", ylabel="SNR to offline on speech, dB")
        axis.set_title(
            f"lookahead of {min(form.truncation_db)} to {max(form.truncation_db)} frames, chunks of {form.chunk}"
        )
        axis.legend()
    return png(figure)


def _power_spectrum(samples: np.ndarray) -> np.ndarray:
    frames = np.lib.stride_tricks.sliding_window_view(samples, 1024)[::512] * np.hanning(1024)
    return (np.abs(np.fft.rfft(frames, axis=1)) ** 2).sum(axis=0)


def warm_up() -> None:
    """Draws a clip, for the first takes longest: fonts are read, and more is imported."""
    noise = np.random.default_rng(0).normal(scale=0.1, size=22050).astype(np.float32)
    clip(None, noise, {"onnx": noise * 1.01}, "onnx", Mel())


def png(figure: Figure) -> bytes:
    """Returns the picture, and closes the figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    plt.close(figure)
    return buffer.getvalue()
