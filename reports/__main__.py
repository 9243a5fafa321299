"""`python -m reports`: reports and tracking of bundles that exist already."""

from __future__ import annotations

if __name__ == "__main__":
    from runtime.machine.interrupts import remember_interrupts

    remember_interrupts()

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from reports.options import CompareOptions, TrackingOptions
from reports.ui import PORT
from runtime.bundle.staging import sweep_around
from runtime.errors import ExitCode
from runtime.machine.address import Address
from runtime.machine.command_line import answered, program, run
from runtime.machine.terminal import say

_ABOUT = "reports and tracking of bundles that exist already"


@answered
def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    sweep_around(vars(options).values())
    if options.command in ("bench", "mac-check"):
        tracking = TrackingOptions(uri=options.uri, experiment=options.experiment)
        return (_bench if options.command == "bench" else _mac_check)(options.file, tracking)
    if options.command == "promote":
        return _promote(options, TrackingOptions(uri=options.uri))
    if options.command == "prune":
        return _prune(options, TrackingOptions(uri=options.uri, experiment=options.experiment))
    if options.command == "compare":
        return _compare(options.runs, TrackingOptions(uri=options.uri, experiment=options.experiment))
    if options.command == "ui":
        return _ui(TrackingOptions(uri=options.uri, experiment=options.experiment), options.port)
    if options.command == "judge":
        asked = CompareOptions(delta=options.delta, minutes=options.minutes)
        tags = dict(text.partition("=")[::2] for text in options.tag)
        tracking = TrackingOptions(uri=options.uri, experiment=options.experiment, tags=tags)
        return _judge(options, tracking, asked)
    if options.command == "precisions":
        tracking = TrackingOptions(uri=options.uri, experiment=options.experiment)
        return _precisions(options.bundles, options.out, tracking)
    if options.command == "audit":
        return _audit(options.file)
    if options.command == "upsampling":
        return _upsampling(options.bundles, options.mac_check, options.out)
    return _html(options.bundle) if options.command == "html" else _sync(options.output, options.uri)


def parser() -> argparse.ArgumentParser:
    """The command line of `python -m reports`."""
    whole = argparse.ArgumentParser(prog=program("reports"), description=_ABOUT)
    commands = whole.add_subparsers(dest="command", required=True)
    html = commands.add_parser("html", help="write report.html beside a bundle again")
    html.add_argument("bundle", type=Path)
    sync = commands.add_parser("sync", help="send results to MLflow that could not be sent when they were made")
    sync.add_argument("output", type=Path, nargs="?", default=Path("bundles"), help="folder of bundles [bundles]")
    sync.add_argument(
        "--uri", type=_address, default="", help="where to send everything, in place of where it is marked for"
    )
    bench = commands.add_parser(
        "bench", help="a page of what `python -m runtime bench --out FILE.json` wrote, and log it"
    )
    bench.add_argument("file", type=Path, metavar="FILE.json")
    mac = commands.add_parser("mac-check", help="a page of what `python -m runtime mac-check` wrote, and log it")
    mac.add_argument("file", type=Path, metavar="FILE.json")
    audited = commands.add_parser("audit", help="a page of what `python -m runtime audit` wrote")
    audited.add_argument("file", type=Path, metavar="FILE.json")
    tradeoff = commands.add_parser("precisions", help="a page that compares bundles of several precisions, and log it")
    tradeoff.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE")
    tradeoff.add_argument("--out", type=Path, default=Path("precisions.html"), help="[%(default)s]")
    forms = commands.add_parser("upsampling", help="a page that compares bundles of several formats and upsamplers")
    forms.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE")
    forms.add_argument("--mac-check", type=Path, metavar="FILE.json", help="what a Mac measured of the same bundles")
    forms.add_argument("--out", type=Path, default=Path("upsampling.html"), help="[%(default)s]")
    champion = commands.add_parser(
        "promote", help="make a bundle, or those of a night, champions of their series, which nights compare with"
    )
    promoted = champion.add_mutually_exclusive_group(required=True)
    promoted.add_argument("target", metavar="RUN|BUNDLE", nargs="?", help="a run's id, or the folder of a bundle")
    promoted.add_argument("--suite", type=Path, metavar="NIGHT", help="every passed bundle of a suite, by its folder")
    champion.add_argument("--first", action="store_true", help="of a suite: only for series that have no champion yet")
    champion.add_argument("--reason", default="", help="why, which stays with the version; --first can do without")
    champion.add_argument("--device", help="champion of the latency on this device alone, by its name in measurements")
    pruned = commands.add_parser("prune", help="remove old bundles and their files in MLflow; champions stay")
    pruned.add_argument("output", type=Path, nargs="?", default=Path("bundles"), help="folder of bundles [bundles]")
    pruned.add_argument(
        "--keep", type=int, default=3, metavar="N", help="newest of each series that stay [%(default)s]"
    )
    pruned.add_argument(
        "--older-than", type=float, default=30.0, metavar="DAYS", help="what is younger stays [%(default)g]"
    )
    pruned.add_argument("--dry-run", action="store_true", help="show what would go and how much, and remove nothing")
    compared = commands.add_parser("compare", help="runs side by side, and the address of MLflow's page for them")
    compared.add_argument("runs", nargs="+", metavar="RUN", help="two or more ids, or the beginnings of them")
    shown = commands.add_parser("ui", help="the addresses of MLflow's pages, which are served here of a sqlite store")
    shown.add_argument("--port", type=int, default=PORT, help="[%(default)s]")
    judged = commands.add_parser("judge", help="compare a bundle with the champion of its series")
    judged.add_argument("bundle", metavar="BUNDLE|RUN", help="a bundle's folder, or with --measure one of its runs")
    judged.add_argument(
        "--measure", action="store_true", help="fetch it, measure it on this machine and log that first"
    )
    judged.add_argument("--output", type=Path, default=Path("bundles"), help="folder for what is fetched [%(default)s]")
    judged.add_argument("--tag", action="append", default=[], metavar="NAME=VALUE", help="of the runs that are new")
    defaults = CompareOptions()
    judged.add_argument(
        "--delta", type=float, default=defaults.delta, help="share of latency that is no matter [%(default)s]"
    )
    judged.add_argument(
        "--minutes", type=float, default=defaults.minutes, help="for latency, 0: leave it out [%(default)g]"
    )
    judged.add_argument("--json", action="store_true", help="print the comparison as JSON")
    for command in (bench, mac, tradeoff, champion, pruned, compared, shown, judged):
        kept = TrackingOptions().uri
        command.add_argument("--uri", type=_address, default=kept, help="MLflow's; empty: not logged [%(default)s]")
        command.add_argument("--experiment", default=TrackingOptions().experiment, help="[%(default)s]")
    return whole


def _address(text: str) -> Address:
    try:
        return Address.of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _html(bundle: Path) -> int:
    from reports.html import write_report

    print(write_report(bundle))
    return 0


def _audit(file: Path) -> int:
    from reports.html import write_audit
    from runtime.rounding.record import read_audit

    print(write_audit(read_audit(file), file.with_suffix(".html")))
    return 0


def _precisions(bundles: list[Path], out: Path, tracking: TrackingOptions) -> int:
    from reports.precisions import track_precisions, write_precisions
    from reports.tradeoff import families_of

    families = families_of(bundles)
    print(write_precisions(families, out))
    if not tracking.uri:
        return 0
    for logged in track_precisions(families, out, tracking):
        print(f"MLflow run {logged}")
    return 0


def _upsampling(bundles: list[Path], mac_check: Path | None, out: Path) -> int:
    from reports.upsampling import rows_of, write_comparison
    from runtime.measuring.mac_check import read_check

    print(write_comparison(rows_of(bundles, None if mac_check is None else read_check(mac_check)), out))
    return 0


def _bench(file: Path, tracking: TrackingOptions) -> int:
    from reports import plots
    from reports.html import write_bench
    from runtime.machine.files import write_bytes
    from runtime.measuring.bench.bundle import read_bench

    report = read_bench(file)
    if report.problem:
        print(f"error: {file} holds no speed, for the artefact is not correct: {report.problem}", file=sys.stderr)
        return ExitCode.MISSED
    drawn = plots.bench(report)
    picture = file.with_suffix(".png")
    write_bytes(picture, drawn)
    page = write_bench(report, drawn, file.with_suffix(".html"))
    print(page)
    return _logged(tracking, lambda benches: [benches.track_bench(report, [file, picture, page], tracking)])


def _mac_check(file: Path, tracking: TrackingOptions) -> int:
    from reports.html import write_mac_check
    from runtime.measuring.mac_check import read_check

    check = read_check(file)
    page = write_mac_check(check, file.with_suffix(".html"))
    print(page)
    return _logged(tracking, lambda benches: benches.track_mac_check(check, [file, page], tracking))


def _logged(tracking: TrackingOptions, log: Callable[[Any], list[str]]) -> int:
    """`log` takes the module `reports.benches`, which is slow to import, and gives the runs that it made."""
    if not tracking.uri:
        return 0
    import reports.benches

    for logged in log(reports.benches):
        print(f"MLflow run {logged}")
    return 0


def _promote(asked: argparse.Namespace, tracking: TrackingOptions) -> int:
    from reports.champions import promote
    from reports.store import TrackingError

    if asked.suite is not None:
        return _promote_night(asked, tracking)
    if asked.first:
        raise TrackingError("--first is of a whole night: --suite NIGHT --first")
    after, before = promote(asked.target, asked.reason, tracking, asked.device)
    was = f"version {before.version} was" if before else "the first"
    of = f" of latency on {asked.device}" if asked.device else ""
    print(f"{after.series}: version {after.version} is champion{of}, {was}")
    return 0


def _promote_night(asked: argparse.Namespace, tracking: TrackingOptions) -> int:
    """1 where a bundle that passed could not become champion."""
    from rich.console import Console

    from reports.promotion import promote_night, table

    promotions = promote_night(asked.suite, asked.reason, tracking, asked.device, only_first=asked.first)
    Console(emoji=False).print(table(promotions))
    print(f"{sum(bool(one.version) for one in promotions)} of {len(promotions)} jobs gave a champion")
    return ExitCode.MISSED if any(one.is_missing for one in promotions) else ExitCode.DONE


def _prune(asked: argparse.Namespace, tracking: TrackingOptions) -> int:
    from rich.console import Console

    from reports.prune import plan, remove, summary, table
    from reports.prune_bundles import InUse, Rule

    planned = plan(asked.output, tracking, Rule(asked.keep, asked.older_than))
    going = planned.going
    if asked.dry_run:
        Console(emoji=False).print(table(going))
        print(f"would free {summary(planned)}")
        return ExitCode.DONE
    freed = []
    busy: set[str] = set()  # keys: of a bundle that stays its version stays too
    for number, one in enumerate(going, 1):
        say(f"{number} of {len(going)}: {one.name}, {one.size / 1e6:.1f} MB")
        try:
            if one.key and one.key in busy:
                raise InUse
            remove(one, planned)
            freed.append(one)
        except InUse:
            busy.add(one.key)
            say(f"{one.name} is in use, and stays")
    print(f"freed {summary(planned, freed)}")
    return ExitCode.DONE


def _compare(runs: list[str], tracking: TrackingOptions) -> int:
    from rich.console import Console

    from reports.compare import compare_runs, table

    compared = compare_runs(runs, tracking)
    console = Console(emoji=False)
    console.print(table(compared))
    console.print(compared.address, soft_wrap=True, markup=False, highlight=False)
    if tracking.uri.startswith("sqlite:"):
        console.print("(make ui serves that store)")
    return 0


def _ui(tracking: TrackingOptions, port: int) -> int:
    from reports.served import addresses, serve

    for what, address in addresses(tracking, port):
        print(f"{what}: {address}", flush=True)
    if tracking.uri.startswith("sqlite:"):
        serve(tracking, port)
    return ExitCode.DONE


def _judge(asked: argparse.Namespace, tracking: TrackingOptions, options: CompareOptions) -> int:
    """0: no worse than its champion; 1: worse, or not to be told for noise, or a gate was missed here."""
    from reports.judge import judge
    from reports.remeasure import gates_missed, measured_here
    from reports.suite import facts_of
    from runtime.bundle.store import open_bundle
    from runtime.machine.answer import answer
    from runtime.machine.files import as_json

    bundle = measured_here(asked.bundle, tracking, asked.output) if asked.measure else open_bundle(Path(asked.bundle))
    judgement = judge(bundle.path, tracking, options, asked.output, say)
    missed = gates_missed(bundle)
    facts = dataclasses.asdict(facts_of(bundle.path, tracking))
    row = {"judgement": dataclasses.asdict(judgement), "facts": facts, "gates_missed": missed}
    answer(bundle=str(bundle.path), **row)
    if asked.json:
        print(json.dumps(as_json(row), indent=1))
    else:
        print(f"{judgement.verdict}; champion of its series: {judgement.champion}")
        for gate in missed:
            print(f"gate missed: {gate}")
        if judgement.comparison is not None:
            print("\n".join([judgement.comparison.headline, judgement.comparison.first_divergence]).strip())
            for finding in judgement.comparison.findings:
                print(f"  {finding.subject:<9} {finding.verdict:<8} {finding.text}")
    return ExitCode.MISSED if missed or judgement.verdict in ("regressed", "noisy") else ExitCode.DONE


def _sync(output: Path, uri: str) -> int:
    from reports.sync import sync
    from runtime.bundle.store import BundleError

    if not output.is_dir():
        raise BundleError(f"there is no folder {output}: bundles are in what was `output=` of their conversion")
    code = ExitCode.DONE
    for path, result in sync(output, uri):
        if isinstance(result, dict):
            print(f"{path.name}: {len(result)} runs sent")
        else:
            code = max(code, result.exit_code)
            print(f"error: {path.name}: {result}", file=sys.stderr)
    return code


if __name__ == "__main__":
    run(main)
