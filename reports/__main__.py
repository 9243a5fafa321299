"""`python -m reports`: reports and tracking of bundles that exist already."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reports.options import TrackingOptions
from runtime.bundle import BundleError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m reports", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    html = commands.add_parser("html", help="write report.html beside a bundle again")
    html.add_argument("bundle", type=Path)
    sync = commands.add_parser("sync", help="send results to MLflow that could not be sent when they were made")
    sync.add_argument("output", type=Path, nargs="?", default=Path("bundles"), help="folder of bundles [bundles]")
    bench = commands.add_parser("bench", help="plot what `python -m runtime bench --out FILE.json` wrote, and log it")
    bench.add_argument("file", type=Path, metavar="FILE.json")
    mac = commands.add_parser("mac-check", help="a page of what `python -m runtime mac-check` wrote, and log it")
    mac.add_argument("file", type=Path, metavar="FILE.json")
    forms = commands.add_parser("upsampling", help="a page that compares bundles of several formats and upsamplers")
    forms.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE")
    forms.add_argument("--mac-check", type=Path, metavar="FILE.json", help="what a Mac measured of the same bundles")
    forms.add_argument("--out", type=Path, default=Path("upsampling.html"), help="[%(default)s]")
    champion = commands.add_parser(
        "promote", help="make a bundle the champion of its series, which nights compare with"
    )
    champion.add_argument("target", metavar="RUN|BUNDLE", help="a run's id, or the folder of a bundle")
    champion.add_argument("--reason", required=True, help="why; it stays with the version")
    for command in (bench, mac, champion):
        command.add_argument(
            "--uri", default=TrackingOptions().uri, help="MLflow's store; empty: not logged [%(default)s]"
        )
        command.add_argument("--experiment", default=TrackingOptions().experiment, help="[%(default)s]")
    options = parser.parse_args(arguments)
    try:
        if options.command in ("bench", "mac-check"):
            tracking = TrackingOptions(uri=options.uri, experiment=options.experiment)
            return (_bench if options.command == "bench" else _mac_check)(options.file, tracking)
        if options.command == "promote":
            return _promote(options.target, options.reason, TrackingOptions(uri=options.uri))
        if options.command == "upsampling":
            return _upsampling(options.bundles, options.mac_check, options.out)
        return _html(options.bundle) if options.command == "html" else _sync(options.output)
    except BundleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _html(bundle: Path) -> int:
    from reports.html import write_report

    print(write_report(bundle))
    return 0


def _upsampling(bundles: list[Path], mac_check: Path | None, out: Path) -> int:
    from reports.upsampling import rows_of, write_comparison
    from runtime.mac_check import read_check

    print(write_comparison(rows_of(bundles, None if mac_check is None else read_check(mac_check)), out))
    return 0


def _bench(file: Path, tracking: TrackingOptions) -> int:
    from reports import plots
    from runtime.bench.whole import read_bench

    report = read_bench(file)
    if report.problem:
        print(f"error: {file} holds no speed, for the artefact is not correct: {report.problem}", file=sys.stderr)
        return 1
    picture = file.with_suffix(".png")
    picture.write_bytes(plots.bench(report))
    print(picture)
    return _logged(tracking, lambda tracking_module: [tracking_module.track_bench(report, [file, picture], tracking)])


def _mac_check(file: Path, tracking: TrackingOptions) -> int:
    from reports.html import write_mac_check
    from runtime.mac_check import read_check

    check = read_check(file)
    page = write_mac_check(check, file.with_suffix(".html"))
    print(page)
    return _logged(tracking, lambda tracking_module: tracking_module.track_mac_check(check, [file, page], tracking))


def _logged(tracking: TrackingOptions, log: Callable[[Any], list[str]]) -> int:
    """`log` takes the module `reports.tracking`, which is slow to import, and gives the runs that it made."""
    if not tracking.uri:
        return 0
    import reports.tracking

    try:
        for run in log(reports.tracking):
            print(f"MLflow run {run}")
    except reports.tracking.TrackingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _promote(target: str, reason: str, tracking: TrackingOptions) -> int:
    from reports.champions import promote
    from reports.tracking import TrackingError

    try:
        after, before = promote(target, reason, tracking)
    except TrackingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    was = f"version {before.version} was" if before else "the first"
    print(f"{after.series}: version {after.version} is champion, {was}")
    return 0


def _sync(output: Path) -> int:
    from reports.tracking import sync

    if not output.is_dir():
        print(f"error: there is no folder {output}", file=sys.stderr)
        return 1
    failed = 0
    for path, result in sync(output):
        if isinstance(result, dict):
            print(f"{path.name}: {len(result)} runs sent")
        else:
            failed += 1
            print(f"{path.name}: {result}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
