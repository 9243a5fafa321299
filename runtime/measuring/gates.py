"""Gates: named thresholds that a bundle's measurement must meet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runtime.bundle.store import Bundle
from runtime.engines import ENGINES
from runtime.measuring.measure import Measurement
from runtime.measuring.options import GateLimits


@dataclass(frozen=True)
class GateResult:
    """One threshold met or missed on the clip where it is tightest."""

    gate: str
    engine: str
    clip: str
    value: float
    limit: float
    passed: bool

    def __str__(self) -> str:
        sign = "meets" if self.passed else "misses"
        return f"{self.gate} {self.value:.4g} {sign} {self.limit:.4g} ({self.engine}, {self.clip})"


def limits_for(
    limits: Mapping[str, GateLimits], engine: str, artefact_format: str, precision: str
) -> GateLimits | None:
    """The limits that an engine's measurement must meet, or None where it does not judge.

    `<precision>_<engine>` is for one engine alone; `<precision>` for every engine that computes as the artefact
    declares: ONNX Runtime runs an fp16 ML program in float32.
    """
    own = limits.get(f"{precision}_{engine}")
    if own is not None:
        return own
    as_declared = artefact_format in ENGINES[engine].declared or precision == "fp32"
    return limits.get(precision) if as_declared else None


def judge(bundle: Bundle, measurements: Sequence[Measurement], limits: Mapping[str, GateLimits]) -> list[GateResult]:
    """Every gate that judges a bundle in the engines that ran; none where the limits know none for its precision."""
    conversion = bundle.manifest.conversion
    results = []
    for measurement in measurements:
        own = limits_for(limits, measurement.engine, conversion.format, kind_of(bundle))
        if own is not None:
            results += evaluate(measurement, own)
    return results


def kind_of(bundle: Bundle) -> str:
    """What its limits are called: its precision, or its mode where that is approximate."""
    form = bundle.main.stream
    return bundle.manifest.conversion.precision if form is None or form.exact else form.mode


def evaluate(measurement: Measurement, limits: GateLimits) -> list[GateResult]:
    """Every gate on the clip that is worst for it."""
    results = []

    def check(gate: str, values: list[tuple[float, str]], limit: float, at_least: bool) -> None:
        undefined = [pair for pair in values if math.isnan(pair[0])]  # nan meets no limit
        value, clip = undefined[0] if undefined else (min if at_least else max)(values, key=lambda pair: pair[0])
        passed = value >= limit if at_least else value <= limit
        results.append(GateResult(gate, measurement.engine, clip, value, limit, passed))

    for component in dict.fromkeys(row.component for row in measurement.rows):
        rows = [row for row in measurement.rows if row.component == component]
        stem = f"{component}." if measurement.clips else ""
        least = limits.components.get(component, limits.snr_db)
        check(f"{stem}shape_ok", [(float(row.shape_ok), row.case) for row in rows], 1.0, at_least=True)
        if least is not None:
            check(f"{stem}snr_db", [(row.snr_db, row.case) for row in rows], least, at_least=True)
        if limits.cosine is not None:
            check(f"{stem}cosine", [(row.cosine, row.case) for row in rows], limits.cosine, at_least=True)
    if limits.durations_off is not None and measurement.spoken:
        shares = [(result.durations_off / result.symbols, result.case) for result in measurement.spoken]
        check("durations_off", shares, limits.durations_off, at_least=False)
    clips = measurement.clips
    if not clips:
        return results
    check("length_ok", [(float(clip.length_ok), clip.clip) for clip in clips], 1.0, at_least=True)
    if limits.snr_db is not None:
        check("snr_db", [(clip.agreement.snr_db, clip.clip) for clip in clips], limits.snr_db, at_least=True)
    if limits.log_mel_l1 is not None:
        values = [(clip.agreement.log_mel_l1, clip.clip) for clip in clips]
        check("log_mel_l1", values, limits.log_mel_l1, at_least=False)
    for part in ("worst_window", "head", "tail"):
        drops = [(clip.agreement.snr_db - getattr(clip.agreement, f"{part}_db"), clip.clip) for clip in clips]
        check(f"{part}_drop_db", drops, limits.window_drop_db, at_least=False)
    return results
