"""Gates: named thresholds that a bundle's measurement must meet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from runtime.bundle.store import Bundle
from runtime.engines import ENGINES
from runtime.measuring.measure import Measurement
from runtime.measuring.options import GateLimits
from runtime.measuring.quality import (
    METRICS,
    OF_CLIPS,
    OF_CONVERSIONS,
    OF_ROWS,
    OF_SENTENCES,
    OF_SPEECH,
    SNR,
    listened,
)

# What gates judge that is no metric: what it is called, and whether it is to be at least its limit.
_NO_METRICS = {
    "length_ok": ("length is PyTorch's (1: it is)", True),
    "shape_ok": ("shape is PyTorch's (1: it is)", True),
    "worst_window_drop_db": ("worst 50 ms below the whole clip, dB", False),
    "head_drop_db": ("first 50 ms below the whole clip, dB", False),
    "tail_drop_db": ("last 50 ms below the whole clip, dB", False),
}


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

    @property
    def heading(self) -> str:
        """The quantity and its unit, after the component or the context that it is of."""
        title, _ = self._described()
        name = self.gate.removesuffix(self._quantity()).rstrip("_.")
        return f"{name}: {title}" if name else title

    @property
    def sign(self) -> str:
        """Which side of the limit is good: ≥ or ≤."""
        return "≥" if self._described()[1] else "≤"

    def _quantity(self) -> str:
        names = [*_NO_METRICS, *(metric.name for metric in METRICS)]
        return max((name for name in names if self.gate.endswith(name)), key=len, default=self.gate)

    def _described(self) -> tuple[str, bool]:
        quantity = self._quantity()
        known = {metric.name: (metric.heading, metric.more_is_better) for metric in METRICS} | _NO_METRICS
        return known.get(quantity, (quantity, True))


def limits_for(
    limits: Mapping[str, GateLimits], engine: str, artefact_format: str, names: Sequence[str]
) -> GateLimits | None:
    """The limits that an engine's measurement must meet, or None where it does not judge.

    Those of the first of `names` that has any: `<name>_<engine>` for one engine alone, `<name>` for every engine that
    computes as the artefact declares. ONNX Runtime runs an fp16 ML program in float32; so does OpenVINO, which its
    limits judge too.
    """
    for name in names:
        as_declared = artefact_format in ENGINES[engine].declared or name == "fp32"
        own = [f"{name}_{one}" for one in (engine, ENGINES[engine].judged_as) if one]
        for key in (*own, *([name] if as_declared else [])):
            if key in limits:
                return limits[key]
    return None


def judge(
    bundle: Bundle, measurements: Sequence[Measurement], limits: Mapping[str, GateLimits], kind: str
) -> list[GateResult]:
    """Evaluates every gate that judges a bundle in the engines that ran; none where the limits know neither its
    precision nor the `kind` of it."""
    results = []
    for measurement in measurements:
        applicable = _applicable(bundle, measurement, limits, kind)
        if applicable is not None:
            results += evaluate(measurement, applicable)
    return results


def _applicable(
    bundle: Bundle, measurement: Measurement, limits: Mapping[str, GateLimits], kind: str
) -> GateLimits | None:
    """The limits that judge a measurement; what drawn weights say is no speech, and is not judged as such."""
    names = limit_names(bundle, kind)
    applicable = limits_for(limits, measurement.engine, bundle.manifest.options.format, names)
    manifest = bundle.manifest
    if applicable is not None and any(one.random for one in (manifest.checkpoint, *manifest.parts.values())):
        applicable = replace(applicable)
        for metric in (*OF_CONVERSIONS, *OF_SPEECH):
            setattr(applicable, metric.name, None)
    return applicable


def unmeasured(
    bundle: Bundle, measurements: Sequence[Measurement], limits: Mapping[str, GateLimits], kind: str
) -> list[str]:
    """Returns the titles of metrics that have a limit and were not measured, so that no gate judges them: each once."""
    titles: dict[str, None] = {}
    for measurement in measurements:
        applicable = _applicable(bundle, measurement, limits, kind)
        known = {metric.name for _, metric, _ in listened(measurement)}
        for metric in (*OF_CONVERSIONS, *OF_SPEECH) if applicable is not None else ():
            if getattr(applicable, metric.name) is not None and metric.name not in known:
                titles[metric.title] = None
    return list(titles)


def limit_names(bundle: Bundle, kind: str) -> tuple[str, ...]:
    """Returns what a bundle's limits are called, its own before those of its kind: its precision, or its mode where
    that is approximate."""
    form = bundle.main.stream
    return (bundle.manifest.options.precision, kind) if form is None or form.exact else (form.mode,)


def evaluate(measurement: Measurement, limits: GateLimits) -> list[GateResult]:
    """Evaluates every gate on the clip that is worst for it."""
    results = []

    def check(gate: str, values: list[tuple[float, str]], limit: float, at_least: bool = True) -> None:
        undefined = [pair for pair in values if math.isnan(pair[0])]  # nan meets no limit
        value, clip = undefined[0] if undefined else (min if at_least else max)(values, key=lambda pair: pair[0])
        passed = value >= limit if at_least else value <= limit
        results.append(GateResult(gate, measurement.engine, clip, value, limit, passed))

    for component in dict.fromkeys(row.component for row in measurement.rows):
        rows = [row for row in measurement.rows if row.component == component]
        stem = f"{component}." if measurement.clips else ""
        check(f"{stem}shape_ok", [(float(row.shape_ok), row.case) for row in rows], 1.0)
        for metric in OF_ROWS:
            limit = getattr(limits, metric.name)
            if metric is SNR:
                limit = limits.components.get(component, limit)
            if limit is not None:
                values = [(getattr(row, metric.name), row.case) for row in rows]
                check(f"{stem}{metric.name}", values, limit, metric.more_is_better)
    for metric in OF_SENTENCES if measurement.spoken else ():
        limit = getattr(limits, metric.name)
        if limit is not None:
            shares = [(getattr(one, metric.name) / one.symbols, one.case) for one in measurement.spoken]
            check(metric.name, shares, limit, metric.more_is_better)
    for name, metric, found in listened(measurement):
        limit = getattr(limits, metric.name)
        if limit is not None:
            check(name, found, limit, metric.more_is_better)
    clips = measurement.clips
    if not clips:
        return results
    check("length_ok", [(float(clip.length_ok), clip.clip) for clip in clips], 1.0)
    for metric in OF_CLIPS:
        limit = getattr(limits, metric.name, None)
        if limit is not None:
            check(metric.name, [(metric.of_clip(clip), clip.clip) for clip in clips], limit, metric.more_is_better)
    for part in ("worst_window", "head", "tail"):
        drops = [(clip.agreement.snr_db - getattr(clip.agreement, f"{part}_db"), clip.clip) for clip in clips]
        check(f"{part}_drop_db", drops, limits.window_drop_db, at_least=False)
    return results
