"""Bundles of several precisions side by side: quality against size, and against latency where a Mac measured it."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path

from reports import plots
from reports.options import TrackingOptions
from reports.pages import data_url, render
from reports.tradeoff import Family
from runtime.bundle.store import BundleError
from runtime.machine.files import write_bytes, write_text
from runtime.measuring.quality import SHOWN

FILE = "precisions.html"


def write_precisions(families: Sequence[Family], path: Path) -> Path:
    """The page, and its plots beside it as `precisions-<number>.png`. Raises BundleError where nothing is compared."""
    if not families:
        raise BundleError("nothing to compare: it takes two precisions of one checkpoint in one format and mode")
    pictures = [plots.precisions(family.name, family.points) for family in families]
    for number, picture in enumerate(pictures, 1):
        write_bytes(_picture(path, number), picture)
    shown = [data_url(picture, "image/png") for picture in pictures]
    write_text(path, render("precisions.html", families=families, pictures=shown, metrics=SHOWN))
    return path


def track_precisions(families: Sequence[Family], page: Path, options: TrackingOptions) -> list[str]:
    """One flat run of kind=precisions per family, the page and its plot as artifacts; their ids.

    Raises TrackingError where the store cannot be reached.
    """
    from reports.names import short_checkpoint
    from reports.runs import digest_of, log_once
    from reports.store import prepared

    runs = []
    with prepared(options) as (client, experiment):
        for number, family in enumerate(families, 1):
            picture = _picture(page, number)

            def fill(folder: Path, picture: Path = picture) -> None:
                shutil.copy(page, folder)
                shutil.copy(picture, folder)

            metrics = {
                f"{name}/{point.precision}": value
                for point in family.points
                for name, value in (("size_mb", point.size_mb), ("snr_db", point.snr_db))
                if math.isfinite(value)
            }
            best = ", ".join(point.precision for point in family.points if point.is_best)
            tags = {"kind": "precisions", "best": best, **options.tags}
            checkpoint = family.name.partition(",")[0]
            params = {"checkpoint": checkpoint, "family": family.name}
            name = f"{short_checkpoint(checkpoint)} precisions, {family.name}"
            key = f"{name} {digest_of(page)}"
            runs.append(log_once(client, experiment, key, name, tags, params, metrics, fill))
    return runs


def _picture(page: Path, number: int) -> Path:
    return page.with_name(f"{page.stem}-{number}.png")
