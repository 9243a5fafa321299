"""The record that a finished job hands to report and tracking: one JSON file beside the bundle."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from runtime.bundle.store import Bundle, BundleError, open_bundle
from runtime.machine.files import write_json
from runtime.measuring.gates import GateResult
from runtime.measuring.measure import Measurement, read_measurement

FILE = "job.json"


def verdict_of(gates: Sequence[GateResult]) -> str:
    """What gates say together: `passed`, `rejected`, or `not judged` of none."""
    if not gates:
        return "not judged"
    return "passed" if all(gate.passed for gate in gates) else "rejected"


@dataclass(frozen=True)
class JobRecord:
    """`config`: the whole composed configuration; `seconds`: wall time of each stage that ran."""

    config: dict[str, Any]
    gates: tuple[GateResult, ...]
    seconds: dict[str, float]
    measurements: tuple[str, ...] = field(default=())

    @property
    def verdict(self) -> str:
        """`passed`, `rejected`, or `not judged` where no gate looked at what was measured."""
        return verdict_of(self.gates)


def write_record(folder: Path, record: JobRecord) -> None:
    """Writes the record into a bundle's folder of measurements; its owner alone reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / FILE, dataclasses.asdict(record), is_private=True)


def read_record(bundle: Bundle) -> JobRecord | None:
    """The record beside a bundle, or None where there is none that can be read."""
    return read_record_file(bundle.measured / FILE)


def read_record_file(path: Path) -> JobRecord | None:
    """Reads as `read_record` does, from a file that lies elsewhere."""
    try:
        return TypeAdapter(JobRecord).validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def read_job(path: Path) -> tuple[Bundle, JobRecord, list[Measurement]]:
    """A bundle with the record and the measurements beside it.

    Raises BundleError where one of them is missing or cannot be read.
    """
    bundle = open_bundle(path)
    record = read_record(bundle)
    if record is None:
        raise BundleError(f"{bundle.measured / FILE} is missing or cannot be read")
    return bundle, record, [read_measurement(bundle.measured / name) for name in record.measurements]
