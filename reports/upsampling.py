"""Bundles of several formats and upsamplers side by side: size, parity, what the upsampling costs, speed on a Mac."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reports.pages import render
from reports.record import read_job
from runtime.bundle.store import Bundle, BundleError
from runtime.machine.files import write_text
from runtime.measuring.mac_check import MacCheck
from runtime.measuring.measure import Measurement
from runtime.measuring.quality import OF_CLIPS, quality
from runtime.measuring.roofline import M3_MAX, Cost, cost

FILE = "upsampling.html"


@dataclass(frozen=True)
class Latency:
    """Times of a call. `placement`: how many ops Core ML plans for which device, where that was asked;
    `where`: the compute unit, or the engine off a Mac; `busy`: beside other work."""

    device: str
    where: str
    p50_ms: float
    p99_ms: float
    chunk_frames: int | None
    placement: str = ""
    busy: bool = False


@dataclass(frozen=True)
class Row:
    """One bundle. `quality`: by metric, on the worst clip in the judging engine; `cost` is of a call of `frames`;
    `on_a_mac`, `here`: by Core ML, and by the other engines that are timed."""

    checkpoint: str
    bundle: str
    format: str
    precision: str
    upsampler: str
    mode: str
    size_mb: float
    ops: int
    upsampling_ops: str
    engine: str
    quality: Mapping[str, float]
    validated_by: str | None
    frames: int
    cost: Cost
    on_a_mac: tuple[Latency, ...]
    here: tuple[Latency, ...]


def rows_of(bundles: Sequence[Path], check: MacCheck | None = None) -> list[Row]:
    """Raises BundleError for a bundle without measurements, or whose component has no upsampling."""
    return [_row(path, check) for path in bundles]


def write_comparison(rows: Sequence[Row], path: Path) -> Path:
    write_text(
        path,
        render(
            "upsampling.html", rows=rows, machine=M3_MAX, metrics=[metric for metric in OF_CLIPS if metric.is_shown]
        ),
    )
    return path


def _row(path: Path, check: MacCheck | None) -> Row:
    bundle, record, measurements = read_job(path)
    component, conversion = bundle.main, bundle.manifest.options
    if not component.upsampling:
        raise BundleError(f"{path.name} has no upsampling to compare")
    judge = record.gates[0].engine if record.gates else measurements[0].engine
    judged = next(measurement for measurement in measurements if measurement.engine == judge)
    return Row(
        checkpoint=bundle.manifest.checkpoint.name,
        bundle=bundle.manifest.name,
        format=conversion.format,
        precision=conversion.precision,
        upsampler=conversion.upsampler,
        mode=conversion.mode,
        size_mb=bundle.artefact_bytes / 1e6,
        ops=sum(component.ops.values()),
        upsampling_ops=_upsampling_ops(component.ops, conversion.upsampler),
        engine=judge,
        quality=quality(judged),
        validated_by=component.validated_by,
        frames=component.upsampling[0].frames,
        cost=cost(component.upsampling, conversion.upsampler, conversion.precision),
        on_a_mac=(*_measured(measurements, is_mac=True), *_checked(bundle, check)),
        here=tuple(_measured(measurements, is_mac=False)),
    )


def _upsampling_ops(ops: dict[str, int], upsampler: str) -> str:
    """The ops by which the form shows."""
    names = {
        "native": ("conv_transpose", "conv_transpose2d", "ConvTranspose"),
        "polyphase": ("reshape", "transpose", "reshapeStatic", "rankPreservingReshape", "Reshape", "Transpose"),
        "metal": ("custom", "metal4_kernel"),
    }[upsampler]
    return ", ".join(f"{name} {ops[name]}" for name in names if name in ops) or "convolution"


def _measured(measurements: Sequence[Measurement], *, is_mac: bool) -> list[Latency]:
    return [
        Latency(
            m.device,
            m.compute_unit if is_mac else m.engine,
            m.latency.p50_ms,
            m.latency.p99_ms,
            m.latency.chunk_frames,
            busy=m.is_busy,
        )
        for m in measurements
        if (m.engine == "coreml") == is_mac and m.latency is not None
    ]


def _checked(bundle: Bundle, check: MacCheck | None) -> list[Latency]:
    latencies = []
    for part in check.bundles if check else ():
        if part.bundle_key != bundle.manifest.key:
            continue
        for unit in part.units:
            closed = unit.bench.processes[-1].closed if unit.bench and unit.bench.processes else None
            if closed is None:
                continue
            ops = unit.placement.ops if unit.placement else {}
            placement = ", ".join(f"{device} {count}" for device, count in sorted(ops.items()))
            assert check is not None
            latencies.append(
                Latency(
                    check.machine.chip, unit.compute_unit, closed.p50_ms, closed.p99_ms, closed.chunk_frames, placement
                )
            )
    return latencies
