"""Bundles of one checkpoint in several precisions, as points of size, quality and latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from reports.metrics import pareto, timing
from reports.record import read_job
from runtime.measuring.gates import GateResult
from runtime.measuring.quality import quality


@dataclass(frozen=True)
class Point:
    """One bundle, in the folder `path`.

    `quality`: by metric, on the worst golden, in the engine that judges; `mac_ms`: p50 per call by Core ML on a Mac.
    `is_best`: no other is both as small and as good.
    """

    precision: str
    path: Path
    size_mb: float
    engine: str
    quality: Mapping[str, float]
    passed: bool
    judged: bool
    missed: str
    note: str
    mac_ms: float | None
    is_best: bool = False

    @property
    def snr_db(self) -> float:
        return self.quality["snr_db"]


@dataclass(frozen=True)
class Family:
    """The same weights in the same form, in several precisions."""

    name: str
    points: tuple[Point, ...]


def families_of(bundles: Sequence[Path]) -> list[Family]:
    """Groups of at least two precisions, smallest artefact first. Raises BundleError for one without measurements."""
    groups: dict[str, list[Point]] = {}
    for path in bundles:
        bundle, _, _ = read_job(path)
        how = bundle.manifest.options
        name = f"{bundle.manifest.checkpoint.name}, {how.format}, upsampler {how.upsampler}, {how.mode}"
        groups.setdefault(name, []).append(_point(path))
    return [
        Family(name, tuple(_marked(sorted(points, key=lambda point: point.size_mb))))
        for name, points in groups.items()
        if len({point.precision for point in points}) > 1
    ]


def _point(path: Path) -> Point:
    bundle, record, measurements = read_job(path)
    engine = record.gates[0].engine if record.gates else measurements[0].engine
    judged = next(one for one in measurements if one.engine == engine)
    on_a_mac = [_milliseconds(timing(one)) for one in measurements if one.engine == "coreml"]
    mixed = [str(one) for part in bundle.manifest.components for one in part.mixed.values()]
    return Point(
        precision=bundle.manifest.options.precision,
        path=path,
        size_mb=bundle.artefact_bytes / 1e6,
        engine=engine,
        quality=quality(judged),
        passed=record.verdict != "rejected",
        judged=bool(record.gates),
        missed="; ".join(_in_words(gate) for gate in record.gates if not gate.passed),
        note="; ".join(mixed),
        mac_ms=next((value for value in on_a_mac if value is not None), None),
    )


def _in_words(gate: GateResult) -> str:
    """`log-mel L1 0.11, limit ≤ 0.1 (mil, clip)`."""
    return f"{gate.heading} {gate.value:.4g}, limit {gate.sign} {gate.limit:.4g} ({gate.engine}, {gate.clip})"


def _milliseconds(times: dict[str, float]) -> float | None:
    return next((value for name, value in times.items() if name.startswith("latency_p50_ms")), None)


def _marked(points: Sequence[Point]) -> list[Point]:
    """The Pareto set of size and SNR, of what was not rejected."""
    best = pareto([(point.size_mb, point.snr_db) for point in points if point.passed])
    return [replace(point, is_best=point.passed and (point.size_mb, point.snr_db) in best) for point in points]
