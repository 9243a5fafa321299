"""A whole night promoted: champions of the series that its bundles belong to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from reports.champions import crown, incumbent
from reports.options import TrackingOptions
from reports.store import TrackingError, client_of
from reports.suite import FILE, SuiteResult, SuiteRow, read_suite
from runtime.bundle.store import BundleError, read_manifest


@dataclass(frozen=True)
class Promotion:
    """What came of one job of a night. `version`: the one that became champion; else `why_not` says in words what kept
    it from that, and `is_missing` whether a bundle should have been promoted and could not be."""

    job: str
    series: str = ""
    version: str = ""
    why_not: str = ""
    is_missing: bool = False


def promote_night(
    path: Path, reason: str, options: TrackingOptions, device: str | None = None, *, only_first: bool
) -> list[Promotion]:
    """Makes every passed bundle of a night champion of its series, with `only_first` where the series has none yet.

    `path`: the folder of a suite, or the `suite.json` in it. The first of several jobs of one series counts. `reason`
    may be empty with `only_first`.
    Raises TrackingError where the store cannot be reached or there is no reason, BundleError for what is no suite.
    """
    result = read_suite(path / FILE if path.is_dir() else path)
    if not reason.strip():
        if not only_first:
            raise TrackingError("champions of a whole night need a reason: --reason TEXT, or --first")
        reason = f"the first of its series, in suite {result.suite} of {result.started}"
    with client_of(options) as client:
        return list(_promoted(client, result, reason, device, only_first))


def _promoted(
    client: Any, result: SuiteResult, reason: str, device: str | None, only_first: bool
) -> Iterator[Promotion]:
    jobs_of: dict[str, str] = {}  # series -> the job that gave it its champion tonight
    for row in result.rows:
        if row.verdict != "passed":
            yield Promotion(row.name, row.facts.series if row.facts else "", why_not=row.verdict)
            continue
        series, key = _bundle_of(row)
        if not series:
            yield Promotion(row.name, why_not="its bundle is not there any more", is_missing=True)
        elif series in jobs_of:
            yield Promotion(row.name, series, why_not=f"{jobs_of[series]} of this night is")
        elif only_first and (known := incumbent(client, series, device)):
            yield Promotion(row.name, series, why_not=f"version {known.version} is")
        elif row.facts is not None and row.facts.busy:
            yield Promotion(row.name, series, why_not="timed beside other work: measure it again at rest")
        elif crowned := crown(client, series, key, reason, device):
            jobs_of[series] = row.name
            yield Promotion(row.name, series, crowned[0].version)
        else:
            yield Promotion(row.name, series, why_not="not in MLflow: python -m reports sync", is_missing=True)


def _bundle_of(row: SuiteRow) -> tuple[str, str]:
    """(series, key) of a job's bundle, empty where neither the night nor the bundle tells: a night that could not be
    logged keeps no facts."""
    if row.facts is not None:
        return row.facts.series, row.facts.bundle_key
    try:
        manifest = read_manifest(Path(row.bundle or ""))
    except BundleError:
        return "", ""
    return manifest.series, manifest.key


def table(promotions: list[Promotion]) -> Table:
    """A row per job: its series, and which version became champion or why none did."""
    drawn = Table("job", "series")
    drawn.add_column("champion", no_wrap=True)
    for one in promotions:
        champion = f"version {one.version}" if one.version else f"no: {one.why_not}"
        drawn.add_row(*(Text(text) for text in (one.job, one.series, champion)))
    return drawn
