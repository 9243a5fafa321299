"""mac-check."""

from __future__ import annotations

import argparse
from typing import Any

from runtime.machine.files import check_target
from runtime.machine.terminal import say
from runtime.measuring.bench.bundle import BenchOptions
from runtime.measuring.mac_check import mac_check, write_check


def check(options: argparse.Namespace) -> dict[str, Any]:
    check_target(options.out)
    asked = BenchOptions(seconds=5, paced_seconds=options.paced_seconds, growth_chunks=0, stress=False)
    report = mac_check(options.artefacts, options.units, asked, options.limit, say)
    write_check(options.out, report)
    facts: dict[str, Any] = {"machine": f"{report.machine.chip}, {report.machine.system}"}
    for bundle in report.bundles:
        facts["bundle"] = bundle.bundle
        for unit in bundle.units:
            timed = unit.bench.processes[-1] if unit.bench else None
            closed = timed.closed if timed else None
            facts[unit.compute_unit] = unit.problem or (
                f"first load {unit.first_load_s or 0:.1f} s, warm {unit.warm_load_s or 0:.1f} s"
                + (f", RTF {closed.rtf:.4f}, p99 {closed.p99_ms:.1f} ms" if closed else "")
                + (f", ops {unit.placement.ops}" if unit.placement else "")
            )
        facts["Neural Engine"] = bundle.fallback
        facts |= {
            f"{row.name} ({bundle.best})": f"{row.value:.3g} of {row.limit:g}: {row.verdict}" for row in bundle.targets
        }
    facts |= {f"note {index}": note for index, note in enumerate(report.notes)}
    return facts | {"wrote": f"{options.out}; python -m reports mac-check {options.out} makes the page"}
