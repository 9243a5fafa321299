"""bench."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from runtime.bundle.store import BundleError
from runtime.commands import is_artefact
from runtime.errors import StreamError
from runtime.machine.files import check_target
from runtime.machine.terminal import say
from runtime.measuring.bench.bundle import BenchOptions, BenchReport, bench_bundle, write_bench
from runtime.measuring.bench.closed import Latency
from runtime.measuring.bench.paced import Paced


def bench(options: argparse.Namespace) -> dict[str, Any]:
    if is_artefact(options.artefact):
        raise BundleError(f"{options.artefact.name} is a bare artefact: what it should give is in its bundle")
    if options.out is not None:
        check_target(options.out)
    preset: dict[str, Any] = {}
    if options.quick:
        preset = {"seconds": 1.0, "min_chunks": 20, "paced_seconds": 0.0, "growth_chunks": 0, "stress": False}
    if options.full:
        preset = {"seconds": 20.0, "min_chunks": 1000, "paced_seconds": 60.0, "paced_chunks": 1000}
        preset |= {"growth_chunks": 10_000, "processes": 3}
    names = {field.name for field in dataclasses.fields(BenchOptions)}
    asked = preset | {name: value for name, value in vars(options).items() if name in names and value is not None}
    if "target" in asked:
        asked["target"] = tuple(asked["target"])
    report = bench_bundle(options.artefact, BenchOptions(**asked), say)
    if options.out is not None:
        write_bench(options.out, report)
    if report.problem:
        raise StreamError(f"not benched, for it is not correct: {report.problem}")
    return dataclasses.asdict(report) if options.json else bench_facts(report)


def bench_facts(report: BenchReport) -> dict[str, Any]:
    """Returns a report in words, by subject; the spread over processes comes last."""
    last = report.processes[-1]
    closed, budget = last.closed, last.budget
    assert closed is not None
    assert budget is not None
    checked = last.correctness
    facts: dict[str, Any] = {
        "bundle": report.bundle,
        "engine": f"{report.engine} on {report.device}, {report.cores} cores",
        **({} if report.beside is None else {"meanwhile": str(report.beside)}),
        "correct": f"{checked.mode}, {checked.snr_db:.1f} dB against PyTorch, {checked.seam_db:.1f} dB at the seams, "
        f"head {checked.head_db:.1f}, tail {checked.tail_db:.1f}",
        "load": f"{last.load_s * 1e3:.0f} ms, first call {closed.first_call_ms:.1f} ms",
        "throughput": f"RTF {closed.rtf:.4f} (elapsed / audio; {1 / closed.rtf:.1f} times real time), "
        f"{closed.chunks} chunks of {closed.chunk_frames} frames",
        "per chunk": _percentiles(closed),
        **{
            name if name == "call" else f"function {name}": (
                f"{work.multiply_adds / 1e6:.1f} million multiply-adds, {work.operations} operations, "
                f"{work.bytes / 1e6:.1f} MB read and written, {work.weight_bytes / 1e6:.1f} MB of weights"
            )
            for name, work in report.work.items()
        },
    }
    if last.paced is not None:
        paced = last.paced
        facts["on a schedule"] = _percentiles(paced)
        facts["deadline"] = (
            f"{paced.period_ms:.1f} ms, missed {paced.misses} of {paced.chunks} ({paced.miss_percent:.2g} %), at most "
            f"{paced.longest_run_of_misses} in a row; safe with {paced.safe_prefill_ms:.1f} ms of prefill"
        )
        facts["jitter"] = f"{paced.jitter_ms:.2f} ms, drift {paced.drift_ms_per_min:+.2f} ms per minute"
    if last.stall is not None:
        after = last.stall.recovered_after_ms
        facts["stall"] = (
            f"{last.stall.injected_ms:.0f} ms injected: latency up to {last.stall.worst_ms:.0f} ms, "
            + ("not recovered" if after is None else f"recovered after {after:.0f} ms")
            + f", {last.stall.residual_ms:+.2f} ms remain"
        )
    if last.under_load is not None:
        facts["busy cores"] = f"{_percentiles(last.under_load)}, {last.under_load.misses} misses"
    if last.silence is not None:
        quiet = last.silence
        facts["silence"] = (
            f"speech {quiet.speech_ms:.1f} ms per chunk, silence {quiet.silence_ms:.1f}, speech "
            f"{quiet.speech_again_ms:.1f}; {quiet.not_finite} samples not finite, {quiet.clipped} clipped"
        )
    if last.resources is not None:
        used = last.resources
        facts["memory"] = (
            f"{used.rss_mb:.0f} MB, {used.blocks_grown:+d} Python objects over {used.chunks} chunks, "
            f"{used.rss_slope_mb_per_h:+.1f} MB per hour over {used.seconds:.0f} s"
        )
    for stage in last.stages:
        facts[f"stage {stage.component}"] = (
            f"{stage.calls} calls, p50 {stage.p50_ms:.1f} ms, p99 {stage.p99_ms:.1f} ms, RTF {stage.rtf:.3f}"
        )
    parts = ", ".join(f"{part.name} {part.milliseconds:.1f}" for part in budget.parts)
    facts["delay budget"] = f"{budget.total_ms:.1f} ms without the device's converters: {parts}"
    for target in report.targets:
        facts[f"target {target.name}"] = f"{target.value:.3g}, limit < {target.limit:.3g}: {target.verdict}"
    if len(report.processes) > 1:
        for name, row in report.spread.items():
            facts[f"spread {name}"] = f"{row.median:.4g} ({row.least:.4g} to {row.most:.4g})"
    return facts


def _percentiles(timed: Latency | Paced) -> str:
    names = ("p50", "p90", "p95", "p99", "p999", "max")
    return ", ".join(f"{name} {getattr(timed, f'{name}_ms'):.1f}" for name in names) + " ms"
