"""audit."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from runtime.bundle.spec import InputError
from runtime.bundle.store import Bundle, open_bundle
from runtime.commands import arrays_of, is_artefact
from runtime.machine.files import check_target, write_json
from runtime.measuring.measure import AUDIT
from runtime.rounding.audit import audit_bundle, audit_package
from runtime.rounding.record import Audit, OpAudit


def audit(options: argparse.Namespace) -> dict[str, Any]:
    """Audits what rounding costs, op by op, and writes the whole as JSON beside the bundle, or where `--out` says."""
    if options.out is not None:
        check_target(options.out)
    report, path = _audited(options)
    if path is not None:
        write_json(path, dataclasses.asdict(report))
    if options.json:
        return dataclasses.asdict(report)
    facts: dict[str, Any] = {"audit of": report.subject}
    for program in report.programs:
        name = f"{program.component} {program.function}".strip()
        facts[name] = f"{program.snr_db:.1f} dB to float32, {len(program.ops)} ops, {program.cases} inputs"
        for rank, row in enumerate(program.ops[: options.top], 1):
            facts[f"{name} {rank:>2}"] = _line(row)
    return facts | ({"wrote": str(path)} if path is not None else {})


def _audited(options: argparse.Namespace) -> tuple[Audit, Any]:
    if is_artefact(options.artefact):
        if options.inputs is None:
            raise InputError(f"{options.artefact.name} is a bare artefact: --inputs IN.npz, an array per input by name")
        return audit_package(options.artefact, arrays_of(options.inputs), options.function), options.out
    bundle: Bundle = open_bundle(options.artefact)
    return audit_bundle(bundle), options.out or bundle.measured / AUDIT


def _line(row: OpAudit) -> str:
    parts = [f"{row.effect_db:5.1f} dB {row.op} {row.output}", f"{row.dtype}, largest {row.largest:.3g}"]
    if row.overflowed:
        parts.append(f"{row.overflowed:.2%} OVERFLOW")
    if row.flushed:
        parts.append(f"{row.flushed:.2%} lost as zero")
    return ", ".join(parts) + (f" ({row.place})" if row.place else "")
