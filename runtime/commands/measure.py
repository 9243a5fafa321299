"""measure."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from runtime.bundle.store import Bundle, BundleError, open_bundle
from runtime.commands import is_artefact
from runtime.errors import EngineError
from runtime.machine.versions import tool_versions
from runtime.measuring.measure import (
    Measurement,
    engines_for,
    measure,
    measurement_path,
    read_measurement,
    write_measurement,
)
from runtime.measuring.options import MeasureOptions


def measure_bundle(options: argparse.Namespace) -> dict[str, Any]:
    """Quality against the goldens, and times, in every engine asked for; a JSON file each beside the bundle."""
    if is_artefact(options.artefact):
        raise BundleError(f"{options.artefact.name} is a bare artefact: what it should give is in its bundle")
    bundle = open_bundle(options.artefact)
    asked = MeasureOptions(
        engines=[options.engine],
        chunk=options.chunk,
        bench_seconds=0.0 if options.no_timing else MeasureOptions().bench_seconds,
        threads=options.threads,
        compute_unit=options.compute_unit,
    )
    folder = bundle.measured if options.out is None else options.out
    written: dict[str, Any] = {}
    for engine in engines_for(asked, bundle):
        for number in range(options.repeat):
            measurement = measure(bundle, engine, asked, keep_audio=None if options.out else folder / "audio")
            path = folder / _name(bundle, measurement, number if options.repeat > 1 else None)
            write_measurement(path, _with_times(measurement, path) if options.no_timing else measurement)
            written[path.stem] = str(path)
    if not written:
        raise EngineError(f"no engine executes format {bundle.manifest.options.format} on this machine")
    return {"bundle": bundle.manifest.name, **written, "versions": tool_versions()}


def _with_times(measurement: Measurement, path: Path) -> Measurement:
    """A measurement of quality alone with the times that the file of its name holds, so that none is lost.

    Raises BundleError where those are of other tools or another system: they are kept, and quality has no place there.
    """
    if not path.is_file():
        return measurement
    known = read_measurement(path)
    if known.latency is None and not known.calls:
        return measurement
    if (known.versions, known.system) != (measurement.versions, measurement.system):
        raise BundleError(f"{path} holds times of other tools, which stay: pass --out FOLDER for quality alone")
    spoken = {one.case: one for one in known.spoken}
    return replace(
        measurement,
        latency=known.latency,
        calls=known.calls,
        beside=known.beside,
        spoken=tuple(
            replace(one, first_audio_s=before.first_audio_s, elapsed_s=before.elapsed_s)
            if (before := spoken.get(one.case))
            else one
            for one in measurement.spoken
        ),
    )


def _name(bundle: Bundle, measurement: Measurement, number: int | None) -> str:
    path = measurement_path(bundle, measurement.engine, measurement.chunk_frames)
    return path.name if number is None else f"{path.stem}-{number}.json"
