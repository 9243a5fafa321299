"""Bundles of several precisions side by side: quality against size, and against latency where a Mac measured it."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np

from reports import plots
from reports.html import FILE as REPORT
from reports.options import TrackingOptions
from reports.pages import data_url, render, wav_url
from reports.tradeoff import Family
from runtime.bundle.store import BundleError, open_bundle
from runtime.machine.files import write_bytes, write_text
from runtime.measuring.quality import SHOWN

FILE = "precisions.html"


def write_precisions(families: Sequence[Family], path: Path) -> Path:
    """The page, with links to the bundles' reports, and its plots beside it as `precisions-<number>.png`.

    Raises BundleError where nothing is compared.
    """
    if not families:
        raise BundleError("nothing to compare: it takes two precisions of one checkpoint in one format and mode")
    pictures = [plots.precisions(family.name, family.points) for family in families]
    for number, picture in enumerate(pictures, 1):
        write_bytes(_picture(path, number), picture)
    links = {family.name: _links(family, path.parent) for family in families}
    write_text(path, _page(families, pictures, links))
    return path


def _page(families: Sequence[Family], pictures: Sequence[bytes], links: Mapping[str, Mapping[str, str]]) -> str:
    points = [point for family in families for point in family.points]
    return render(
        "precisions.html",
        families=families,
        pictures=[data_url(picture, "image/png") for picture in pictures],
        players=[_players(family) for family in families],
        links=links,
        metrics=[metric for metric in SHOWN if any(metric.name in point.quality for point in points)],
    )


def _links(family: Family, folder: Path) -> dict[str, str]:
    """Returns the address of each precision's report, as seen from `folder`."""
    reports = {point.precision: point.path.with_name(f"{point.path.name}.measured") / REPORT for point in family.points}
    return {
        precision: quote(Path(os.path.relpath(report, folder)).as_posix())
        for precision, report in reports.items()
        if report.is_file()
    }


def _players(family: Family) -> list[tuple[str, str]]:
    """Returns (label, address) of PyTorch's audio of the first golden clip and of each precision's; nothing where no
    audio is made."""
    players: list[tuple[str, str]] = []
    for point in family.points:
        bundle = open_bundle(point.path)
        cases = bundle.spoken() if bundle.manifest.voice else bundle.goldens(bundle.main)
        clip = cases[0].clip
        kept = bundle.measured / "audio" / f"{point.engine}-{clip}.npy"
        if bundle.sound is None or not kept.is_file():
            continue
        rate = bundle.sound.sample_rate
        if not players:
            players.append((f"PyTorch, {clip}", wav_url(bundle.audio_of(cases[0]), rate)))
        players.append((f"{point.precision}, {point.size_mb:.2f} MB", wav_url(np.load(kept, allow_pickle=False), rate)))
    return players


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

            def fill(folder: Path, picture: Path = picture, family: Family = family) -> None:
                shutil.copy(picture, folder)
                # no report lies beside this copy
                write_text(folder / page.name, _page([family], [picture.read_bytes()], {family.name: {}}))

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
