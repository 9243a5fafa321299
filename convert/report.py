"""Runs one job for the command line: errors as sentences, the result as a table, the bundle's path last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from convert import console
from convert.job import Outcome, run_job
from convert.recorded import Expressions
from convert.schema import Job
from reports.options import TrackingOptions
from reports.record import verdict_of
from runtime.bundle.store import BundleError
from runtime.errors import ExitCode
from runtime.machine.answer import answer
from runtime.machine.command_line import explained
from runtime.machine.interrupts import stop_if_interrupted
from runtime.measuring.bench.load import OtherLoad
from runtime.measuring.measure import Measurement
from runtime.measuring.quality import OF_CLIPS, OF_ROWS, SNR, Metric, listened_titles, metric_of, quality


def show(job: Job, expressions: Expressions) -> Outcome | ExitCode:
    """Runs the job and prints its result. Returns the result, or the code of the error that it prints."""
    try:
        outcome = run_job(job, expressions)
    except Exception as error:
        stop_if_interrupted()  # inside an import an interrupt comes out as an ImportError
        sentence, code = explained(error)
        console.error(sentence)
        return code
    answer(bundle=str(outcome.bundle.path), is_reused=outcome.reused)
    console.result_console.print(_table(outcome))
    for note in outcome.bundle.manifest.notes if job.precision.needs_cases else ():
        console.progress_console.print(f"note: {note}", markup=False)
    for gate in outcome.gates:
        if not gate.passed:
            console.error(f"gate missed: {gate}")
    if outcome.reused:
        console.progress_console.print("unchanged: bundle and measurements were reused (force=true makes them anew)")
    console.result_console.print(f"bundle: {outcome.bundle.path}", soft_wrap=True, markup=False)
    return outcome


def compare(outcomes: Sequence[Outcome], output: Path, tracking: TrackingOptions) -> None:
    """After a sweep over formats, upsamplers or precisions: pages that set them side by side."""
    bundles = [outcome.bundle.path for outcome in outcomes]
    asked = [outcome.bundle.manifest.options for outcome in outcomes]
    if len({(one.format, one.upsampler) for one in asked}) > 1:
        from reports.upsampling import FILE as UPSAMPLING
        from reports.upsampling import rows_of, write_comparison

        _compared("forms of upsampling", lambda: write_comparison(rows_of(bundles), output / UPSAMPLING))
    if len({one.precision for one in asked}) > 1:
        from reports.precisions import FILE as PRECISIONS
        from reports.precisions import track_precisions, write_precisions
        from reports.store import TrackingError
        from reports.tradeoff import families_of

        page = _compared("precisions", lambda: write_precisions(families_of(bundles), output / PRECISIONS))
        if page is not None and tracking.enabled:
            try:
                track_precisions(families_of(bundles), page, tracking)
            except TrackingError as error:
                console.warn(f"the comparison of precisions was not logged: {error}")


def _compared(what: str, write: Callable[[], Path]) -> Path | None:
    try:
        page = write()
    except BundleError as error:
        console.warn(f"the {what} are not compared: {error}")
        return None
    console.result_console.print(f"compared: {page}", soft_wrap=True, markup=False)
    return page


def _table(outcome: Outcome) -> Table:
    manifest = outcome.bundle.manifest
    size = outcome.bundle.artefact_bytes / 1e6
    verdict = verdict_of(outcome.gates).replace("rejected", "REJECTED")
    table = Table(title=escape(f"{manifest.name}: {verdict} ({size:.2f} MB)"), min_width=70)
    table.add_column("worst of the clips")
    for measurement in outcome.measurements:
        table.add_column(measurement.engine, justify="right")
    if not outcome.measurements[0].clips:
        return _rows_table(table, outcome)
    rows = {metric.title: _worst(metric) for metric in OF_CLIPS} | {
        "RTF (elapsed / audio)": lambda m: "–" if m.latency is None else f"{m.latency.rtf:.3f}",
        "p50 / p99 per chunk": lambda m: (
            "–" if m.latency is None else f"{m.latency.p50_ms:.1f} / {m.latency.p99_ms:.1f} ms"
        ),
        "chunk": lambda m: (
            "–" if m.latency is None else f"{m.latency.chunk_frames} frames, {m.latency.deadline_ms:.0f} ms"
        ),
    }
    if outcome.measurements[0].spoken:
        rows = _spoken_rows(outcome.measurements) | rows
    rows |= {title: _listened(name) for name, title in listened_titles(outcome.measurements)}
    rows |= _beside(outcome.measurements)
    for title, cell in rows.items():
        table.add_row(title, *(cell(measurement) for measurement in outcome.measurements))
    table.caption = f"measured on {outcome.measurements[0].device}, {outcome.measurements[0].system}"
    return table


def _beside(measurements: Sequence[Measurement]) -> dict[str, Callable[[Measurement], str]]:
    """Returns the row of what else the machine did while it was timed, where it was looked at."""
    if all(one.beside is None for one in measurements):
        return {}
    return {"other processes' share": lambda m: "–" if m.beside is None else _share(m.beside)}


def _share(load: OtherLoad) -> str:
    share = "unknown" if load.others_share is None else f"{100 * load.others_share:.0f} %"
    return f"{share}, BUSY" if load.is_busy else share


def _worst(metric: Metric, owner: str = "") -> Callable[[Measurement], str]:
    """Returns a function that writes the worst value of a measurement."""
    return lambda measurement: metric.text(quality(measurement)[f"{owner}{metric.name}"])


def _listened(name: str) -> Callable[[Measurement], str]:
    """Returns a function that writes a value of converted or spoken goldens, where it was measured."""

    def cell(measurement: Measurement) -> str:
        values = quality(measurement)
        return metric_of(name).text(values[name]) if name in values else "–"

    return cell


def _spoken_rows(measurements: Sequence[Measurement]) -> dict[str, Callable[[Measurement], str]]:
    """Returns the rows of a voice: its components, and whole sentences."""
    components = dict.fromkeys(row.component for row in measurements[0].rows)
    rows = {f"{SNR.title} of {name}": _worst(SNR, f"{name}_") for name in components}
    rows["durations that differ"] = lambda m: (
        f"{sum(one.durations_off for one in m.spoken)} of {sum(one.symbols for one in m.spoken)}"
    )
    rows["first audio"] = lambda m: _slowest([one.first_audio_s for one in m.spoken])
    rows["RTF of sentences"] = lambda m: _rtf([(one.elapsed_s, one.seconds) for one in m.spoken])
    return rows


def _slowest(seconds: Sequence[float | None]) -> str:
    timed = [value for value in seconds if value is not None]
    return f"{1e3 * max(timed):.0f} ms" if timed else "–"


def _rtf(pairs: Sequence[tuple[float | None, float]]) -> str:
    timed = [(elapsed, seconds) for elapsed, seconds in pairs if elapsed is not None]
    return f"{sum(pair[0] for pair in timed) / sum(pair[1] for pair in timed):.3f}" if timed else "–"


def _rows_table(table: Table, outcome: Outcome) -> Table:
    """Fills the table for a component that makes no audio."""
    measurements = outcome.measurements
    for metric in OF_ROWS:
        table.add_row(metric.title, *(_worst(metric)(m) for m in measurements))
    for size in sorted({call.rows for m in measurements for call in m.calls}):
        cells = []
        for m in measurements:
            times = [f"{call.p50_ms:.1f} / {call.p95_ms:.1f} ms" for call in m.calls if call.rows == size]
            cells.append(times[0] if times else "–")
        table.add_row(f"p50 / p95 of {size} at once", *cells)
    for title, cell in _beside(measurements).items():
        table.add_row(title, *(cell(m) for m in measurements))
    table.caption = f"measured on {measurements[0].device}, {measurements[0].system}"
    return table
