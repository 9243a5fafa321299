"""`python -m reports`: reports and tracking of bundles that exist already."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

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
    bench.add_argument("--uri", default=TrackingOptions().uri, help="MLflow's store; empty: not logged [%(default)s]")
    bench.add_argument("--experiment", default=TrackingOptions().experiment, help="[%(default)s]")
    options = parser.parse_args(arguments)
    try:
        if options.command == "bench":
            return _bench(options.file, TrackingOptions(uri=options.uri, experiment=options.experiment))
        return _html(options.bundle) if options.command == "html" else _sync(options.output)
    except BundleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _html(bundle: Path) -> int:
    from reports.html import write_report

    print(write_report(bundle))
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
    if tracking.uri:
        from reports.tracking import TrackingError, track_bench

        try:
            print(f"MLflow run {track_bench(report, [file, picture], tracking)}")
        except TrackingError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
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
