"""Benches and Mac checks as MLflow runs, beside those of conversions and measurements."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reports.names import short_checkpoint
from reports.options import TrackingOptions
from reports.runs import digest_of, log_once
from reports.store import prepared
from runtime.measuring.bench.bundle import BenchReport
from runtime.measuring.mac_check import MacCheck


def track_bench(report: BenchReport, files: Sequence[Path], options: TrackingOptions) -> str:
    """One flat run of kind=bench, metrics by the median process, `files` as its artifacts; the run's id.

    Raises TrackingError where the store cannot be reached.
    """
    with prepared(options) as (client, experiment):
        name = f"{short_checkpoint(report.bundle.partition('-')[0])} bench {report.engine}, {report.bundle}"
        return _log_bench(client, experiment, report, "bench", name, options.tags, {}, files)


def track_mac_check(check: MacCheck, files: Sequence[Path], options: TrackingOptions) -> list[str]:
    """One flat run of kind=mac-check per bundle and compute unit that could be benched; their ids.

    Raises TrackingError where the store cannot be reached.
    """
    runs = []
    with prepared(options) as (client, experiment):
        for bundle in check.bundles:
            for unit in bundle.units:
                if unit.bench is None:
                    continue
                loads = {"first_load_s": unit.first_load_s, "warm_load_s": unit.warm_load_s}
                metrics = {name: value for name, value in loads.items() if value is not None}
                if unit.placement is not None:
                    metrics |= {f"planned_{device}": share for device, share in unit.placement.cost.items()}
                tags = {"compute_unit": unit.compute_unit, "fallback": bundle.fallback, "best": str(bundle.best)}
                name = f"{short_checkpoint(bundle.bundle.partition('-')[0])} mac {unit.compute_unit}, {bundle.bundle}"
                run_tags = {**tags, **options.tags}
                runs.append(_log_bench(client, experiment, unit.bench, "mac-check", name, run_tags, metrics, files))
    return runs


def _log_bench(
    client: Any,
    experiment: str,
    report: BenchReport,
    kind: str,
    name: str,
    tags: Mapping[str, str],
    metrics: Mapping[str, float],
    files: Sequence[Path],
) -> str:
    run_tags = {"kind": kind, "device": report.device, "system": report.system}
    run_tags |= {"bundle": report.bundle, "bundle_key": report.bundle_key}
    run_tags |= {f"target.{target.name}": target.verdict for target in report.targets}
    params: dict[str, object] = {"engine": report.engine, "processes": len(report.processes)}
    values = {name: row.median for name, row in report.spread.items()} | dict(metrics)
    if report.beside is not None:
        run_tags["busy"] = str(report.beside.is_busy).lower()
        if report.beside.others_share is not None:
            values["others_share"] = report.beside.others_share
    for work in list(report.work.values())[:1]:
        values |= {"operations": work.operations, "multiply_adds": work.multiply_adds, "moved_bytes": work.bytes}
    last = report.processes[-1]
    if last.budget is not None:
        values["delay_ms"] = last.budget.total_ms
    if last.closed is not None:
        params |= {"mode": last.closed.mode, "chunk": last.closed.chunk_frames}

    def fill(folder: Path) -> None:
        for file in files:
            shutil.copy(file, folder)

    key = f"{name} {digest_of(files[0])}"
    return log_once(client, experiment, key, name, {**run_tags, **tags}, params, values, fill)
