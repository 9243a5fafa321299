"""Nights: each run of a suite as one run in MLflow, what the nights before gave, and the page of the last one.

The night's run (kind=suite) has every metric of every job, so that a trend is read from the last nights' runs alone,
and a night in which nothing changed adds no other run. Nights have an experiment of their own, `<experiment>-nights`:
their hundreds of metrics would bury the charts of the others.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import filelock
import numpy as np

from reports.options import TrackingOptions
from reports.pages import render
from reports.regression import ChangePoint, change_points
from reports.runs import NOTE, finished_run, log_once
from reports.store import experiment_id, prepared
from reports.suite import FILE as SUITE
from reports.suite import JobFacts, SuiteResult, SuiteRow, markdown, read_suite
from reports.tracked import UNTRACKED, mark_untracked
from reports.ui import NIGHTS as VIEW
from reports.ui import run_address
from runtime.engines import device_slug
from runtime.machine.files import write_text
from runtime.measuring.quality import SHOWN, SHOWN_OF_CONVERSIONS

PAGE = "nightly.html"
LOGS, REPORTS = "logs", "reports"  # below a night's folder
_HERE = ("127.0.0.1", "localhost", "::1")
NIGHTS = 30
NIGHTS_SUFFIX = "-nights"
ABOUT = """Nights of voxport: one run per run of a suite.

Metrics are `<series>/<engine>/<metric>`, of time `<series>/<engine>/<device>/<metric>`. The artifact nightly.html has
verdicts and trends.
"""
# What the page draws where a job has it, in this order: (metric, its title).
TRENDS = (
    *((metric.name, metric.heading) for metric in SHOWN),
    *SHOWN_OF_CONVERSIONS,
    ("rtf", "RTF"),
    ("latency_p95_ms", "p95, ms"),
    ("first_audio_s", "first audio, s"),
    ("size_mb", "size, MB"),
)


@dataclass(frozen=True)
class Night:
    """`metrics`: by `night_metrics`' names."""

    started: str
    run: str
    metrics: dict[str, float]


def track_night(folder: Path, options: TrackingOptions) -> dict[str, str]:
    """Draws the page with the nights before and logs the night; its run by the suite's name. Once, however often.

    Raises TrackingError where the store cannot be reached, BundleError where `suite.json` cannot be read.
    """
    result = read_suite(folder / SUITE)
    with filelock.FileLock(folder / ".tracking.lock"):
        mark_untracked(folder, options)
        with prepared(options) as (client, experiment):
            nights = experiment_id(client, options, options.experiment + NIGHTS_SUFFIX, VIEW, ABOUT)
            known = finished_run(client, nights, _key(result))
            run = known or _log_night(client, nights, experiment, result, folder, options)
        (folder / UNTRACKED).unlink(missing_ok=True)
    return {} if known else {result.suite: run}


def _log_night(
    client: Any, nights: str, experiment: str, result: SuiteResult, folder: Path, options: TrackingOptions
) -> str:
    before = nights_of(client, nights, result.suite)
    gather_reports(result, folder)
    write_night(result, folder, before, options, experiment)
    tags = {"kind": "suite", "suite": result.suite, "night": result.started[:10], "started": result.started}
    tags |= {NOTE: markdown(result), "verdict": result.verdict, **options.tags}
    params = {"suite": result.suite, "jobs": len(result.rows), "device": result.machines or "none"}
    counts = {f"jobs_{verdict.replace(' ', '_')}": float(count) for verdict, count in result.counts.items()}
    name = f"{result.suite} {result.started[:16]} {result.verdict}"
    metrics = {**night_metrics(result), **counts}

    def fill(target: Path) -> None:
        for file in (SUITE, "summary.md", "junit.xml"):
            if (folder / file).is_file():
                shutil.copy(folder / file, target)
        write_night(result, target, before, options, experiment)  # again: reports and logs do not lie beside this one

    return log_once(client, nights, _key(result), name, tags, params, metrics, fill)


def nights_of(client: Any, experiment: str, suite: str, count: int = NIGHTS - 1) -> list[Night]:
    """The last nights of a suite, oldest first."""
    query = f"tags.kind = 'suite' and tags.suite = '{suite}' and attributes.status = 'FINISHED'"
    runs = client.search_runs([experiment], query, max_results=count, order_by=["attributes.start_time DESC"])
    nights = [Night(run.data.tags.get("started", ""), run.info.run_id, dict(run.data.metrics)) for run in runs]
    return sorted(nights, key=lambda night: night.started)


def night_metrics(result: SuiteResult) -> dict[str, float]:
    """`<series>/<engine>/<metric>`, of time `<series>/<engine>/<device>/<metric>`, `<series>/size_mb`."""
    values: dict[str, float] = {}
    for row in result.rows:
        if row.facts is None:
            continue
        values |= {name: value for group in _groups(row.facts) for name, value in group.names.values()}
        if row.comparison is not None:
            for what, test in row.comparison.latency.items():
                values[f"{row.facts.series}/{what.replace(' ', '/')}/latency_ratio"] = test.ratio
    return {name: value for name, value in values.items() if np.isfinite(value)}


@dataclass(frozen=True)
class _Group:
    """One engine of one job: metric -> (name in the night's run, value)."""

    engine: str
    device: str
    names: dict[str, tuple[str, float]]


def _groups(facts: JobFacts) -> list[_Group]:
    groups = []
    for engine, device in facts.devices.items():
        names = {"size_mb": (f"{facts.series}/size_mb", facts.size_mb)}
        stems = {"metrics": f"{facts.series}/{engine}", "timed": f"{facts.series}/{engine}/{device_slug(device)}"}
        for kind, stem in stems.items():
            for key, value in getattr(facts, kind).items():
                owner, _, metric = key.partition("/")
                if owner == engine:
                    names[metric] = (f"{stem}/{metric}", value)
        groups.append(_Group(engine, device, names))
    return groups


def write_night(
    result: SuiteResult, folder: Path, before: Sequence[Night], options: TrackingOptions, experiment: str | None
) -> Path:
    """`nightly.html` in `folder`; `experiment` None where MLflow could not be reached: then there are no trends."""
    drawn = _drawn(result)
    page = render(
        "nightly.html",
        result=result,
        verdict=result.verdict,
        trends=_trends(result, before, [metric for metric, _ in drawn]),
        trend_titles=[title for _, title in drawn],
        nights=len(before) + 1,
        tracked=experiment is not None,
        links={row.name: _links(row, folder, options, experiment) for row in result.rows},
    )
    path = folder / PAGE
    write_text(path, page)
    return path


def _drawn(result: SuiteResult) -> list[tuple[str, str]]:
    """Returns the trends that any job has."""
    known = {metric for row in result.rows if row.facts for group in _groups(row.facts) for metric in group.names}
    return [(metric, title) for metric, title in TRENDS if metric in known]


def _trends(result: SuiteResult, before: Sequence[Night], metrics: Sequence[str]) -> list[dict[str, Any]]:
    """A row per engine of a job, a cell per metric: the last value, its line, and where it stepped."""
    rows = []
    for row in result.rows:
        for group in _groups(row.facts) if row.facts else ():
            cells: list[dict[str, Any] | None] = []
            for metric in metrics:
                if metric not in group.names:
                    cells.append(None)
                    continue
                name, value = group.names[metric]
                past = [(night.started, night.metrics[name]) for night in before if name in night.metrics]
                days, series = [day for day, _ in past] + [result.started], [v for _, v in past] + [value]
                steps = change_points(series)
                texts = [f"{days[step.index][:10]}: {step.before:.4g} → {step.after:.4g}" for step in steps]
                cells.append({"value": f"{value:.4g}", "line": sparkline(series, steps), "steps": texts})
            rows.append({"job": row.name, "engine": group.engine, "device": group.device, "cells": cells})
    return rows


def sparkline(values: Sequence[float], steps: Sequence[ChangePoint], width: int = 96, height: int = 24) -> str:
    """An inline SVG of a series, changes marked. Values are numbers of ours: nothing in it needs escaping."""
    finite = [(index, value) for index, value in enumerate(values) if np.isfinite(value)]
    if len(finite) < 2:
        return ""
    low, high = (bound(value for _, value in finite) for bound in (min, max))
    across = (width - 4) / (len(values) - 1)
    drawn = [
        (2 + across * index, height - 3 - (height - 6) * (value - low) / ((high - low) or 1.0))
        for index, value in finite
    ]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in drawn)
    marks = "".join(
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height}"/>' for x in (2 + across * step.index for step in steps)
    )
    last = f'<circle cx="{drawn[-1][0]:.1f}" cy="{drawn[-1][1]:.1f}" r="2"/>'
    return f'<svg class="trend" viewBox="0 0 {width} {height}">{marks}<polyline points="{points}"/>{last}</svg>'


def _links(row: SuiteRow, folder: Path, options: TrackingOptions, experiment: str | None) -> list[tuple[str, str]]:
    """(text, address) of a job's report and log, which are in the night's folder, and of its runs on a server. What a
    sqlite store or a server of this machine has is served here alone: a page that was uploaded leads nowhere there."""
    links = []
    if row.bundle is not None and (folder / _report_of(Path(row.bundle))).is_file():
        links.append(("report", quote(_report_of(Path(row.bundle)))))
    if row.log and (folder / LOGS / Path(row.log).name).is_file():
        links.append(("log", quote(f"{LOGS}/{Path(row.log).name}")))
    is_elsewhere = options.uri.startswith("http") and urlsplit(options.uri).hostname not in _HERE
    if row.facts is not None and experiment is not None and is_elsewhere:
        links += [(what, run_address(options.uri, experiment, run)) for what, run in row.facts.runs.items()]
    return links


def gather_reports(result: SuiteResult, folder: Path) -> None:
    """Puts each job's report into the night's folder, as the same file where the disk allows it."""
    from reports.html import FILE as REPORT  # which imports matplotlib

    for bundle in (Path(row.bundle) for row in result.rows if row.bundle is not None):
        report, copy = bundle.with_name(f"{bundle.name}.measured") / REPORT, folder / _report_of(bundle)
        if report.is_file() and not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(report, copy)  # a new report replaces the name, and leaves this one as it is
            except OSError:
                shutil.copy(report, copy)


def _report_of(bundle: Path) -> str:
    return f"{REPORTS}/{bundle.name}.html"


def _key(result: SuiteResult) -> str:
    return f"suite {result.suite} {result.started}"
