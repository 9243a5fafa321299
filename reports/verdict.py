"""A bundle against the champion of its series: quality, latency, size, ops, placement, tools.

Quality is deterministic on one machine: the same program on the same inputs needs no comparison, another one is
compared metric by metric with the champion, executed here by the same tools. Latency is noisy: regression.py.
"""

from __future__ import annotations

import math
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reports.options import CompareOptions
from reports.record import read_record
from reports.regression import RatioTest, is_settled, ratio_test
from runtime.bundle.store import GOLDENS, Bundle
from runtime.engines import ENGINES
from runtime.errors import ArtefactError
from runtime.machine.child import output_of
from runtime.machine.versions import changed_versions
from runtime.measuring.bench.paired import Pair, Timer, in_fresh_process, time_pairs
from runtime.measuring.compare import changed_ops, changed_settings, first_divergence, same_programs
from runtime.measuring.mac_check import placement
from runtime.measuring.measure import Measurement, read_measurement
from runtime.measuring.options import MeasureOptions
from runtime.measuring.quality import metric_of, quality

# Where results go and what judges them: nothing of a bundle depends on it.
_NOT_OF_A_BUNDLE = ("output", "tracking", "force", "audit", "runner", "suite", "gates")
REPEATS = 3  # of the champion: how far its own metrics scatter


@dataclass(frozen=True)
class Finding:
    """`subject`: quality, latency, size, ops, placement, settings or tools. `verdict`: `same`, `better`, `worse`,
    `changed`, `noisy` (nothing could be told) or `unknown` (nothing was compared)."""

    subject: str
    verdict: str
    text: str


@dataclass(frozen=True)
class Comparison:
    """`champion`: its version; `findings`: what is worse first; `latency`: the paired tests by engine and what was
    called; `first_divergence`: the first op that gives another result, in words."""

    champion: str
    champion_bundle: str
    device: str
    headline: str
    findings: tuple[Finding, ...]
    latency: dict[str, RatioTest] = field(default_factory=dict)
    first_divergence: str = ""

    @property
    def verdict(self) -> str:
        """`regressed`, `noisy` or `passed`."""
        verdicts = {finding.verdict for finding in self.findings}
        return "regressed" if "worse" in verdicts else "noisy" if "noisy" in verdicts else "passed"


def compare(
    champion: Bundle,
    version: str,
    candidate: Bundle,
    measurements: Sequence[Measurement],
    options: CompareOptions,
    latency_champion: Bundle | None = None,
    timer: Callable[[MeasureOptions], Timer] = in_fresh_process,
    progress: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """measurements: of the candidate, by the tools that are installed. `latency_champion`: this device's own, where it
    has one.

    Raises ArtefactError or BundleError for a damaged bundle, EngineError where the champion cannot be executed.
    """
    device = measurements[0].device if measurements else platform.machine()
    settings = _changed_settings(champion, candidate)
    tools = changed_versions(champion.manifest.versions, candidate.manifest.versions)
    findings = [Finding("tools", "changed", _listed(tools))] if tools else [Finding("tools", "same", "the same tools")]
    if settings:
        findings.append(Finding("settings", "changed", _listed(settings)))
    is_same = champion.manifest.key == candidate.manifest.key or same_programs(champion, candidate)
    same_goldens = champion.manifest.files.get(GOLDENS) == candidate.manifest.files.get(GOLDENS)
    if not same_goldens:
        findings.append(Finding("quality", "changed", "the goldens are not the champion's: PyTorch's own output moved"))
    parted = ""
    if is_same and same_goldens:
        findings.append(Finding("quality", "same", "the same program, weights and inputs"))
    else:
        quality_findings = _quality(champion, candidate, measurements, options, progress)
        findings += quality_findings
        if any(finding.verdict == "worse" for finding in quality_findings) or not quality_findings:
            parted = _first_divergence(champion, candidate)
    findings += [_size(champion, candidate), _ops(champion, candidate), *_placement(champion, candidate, measurements)]
    baseline = latency_champion or champion
    if baseline.manifest.key == candidate.manifest.key or (is_same and baseline is champion):
        tests: dict[str, RatioTest] = {}
        findings.append(Finding("latency", "same", "the same program: not timed"))
    else:
        tests, timed = _latency(baseline, candidate, measurements, options, timer, progress)
        findings += timed
    order = ("worse", "noisy", "changed", "better", "unknown", "same")
    findings.sort(key=lambda finding: order.index(finding.verdict))
    return Comparison(
        champion=version,
        champion_bundle=champion.manifest.name,
        device=device,
        headline=_headline(champion, candidate, settings, tools, findings),
        findings=tuple(findings),
        latency=tests,
        first_divergence=parted,
    )


def _changed_settings(champion: Bundle, candidate: Bundle) -> dict[str, str]:
    """What was asked for otherwise: by the manifests and, where both jobs left one, by their configurations."""
    records = [read_record(bundle) for bundle in (champion, candidate)]
    flat = [dict(_flat(record.config)) for record in records if record is not None]
    return changed_settings(champion, candidate) | (changed_versions(*flat) if len(flat) == 2 else {})


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The settings of a conversion and its measurements by their dotted names."""
    for name, value in config.items():
        if not prefix and name in _NOT_OF_A_BUNDLE:
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, str(value)


def _headline(
    champion: Bundle,
    candidate: Bundle,
    settings: Mapping[str, str],
    tools: Mapping[str, str],
    findings: Sequence[Finding],
) -> str:
    """Cause and effect, as far as they are known: what changed made what worse. What was asked for otherwise is named
    before tools are blamed."""
    worse = [finding for finding in findings if finding.verdict == "worse"]
    if not worse:
        noisy = [finding.text for finding in findings if finding.verdict == "noisy"]
        return noisy[0] if noisy else ""
    commits = {"voxport's source": (champion.manifest.git_commit, candidate.manifest.git_commit)}
    sources = [f"{name} {old} -> {new}" for name, (old, new) in commits.items() if old != new]
    asked = [f"{name} {change}" for name, change in settings.items()]
    causes = asked + ([f"{name} {change}" for name, change in tools.items()] or sources)
    more = f" (and {len(worse) - 1} more)" if len(worse) > 1 else ""
    cause = ", ".join(causes) or "the same tools and source"
    return f"{cause} made {worse[0].text}{more}"


def _listed(changes: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {change}" for name, change in changes.items())


def _first_divergence(champion: Bundle, candidate: Bundle) -> str:
    try:
        return first_divergence(champion, candidate)
    except ArtefactError as error:
        return f"not found: {error}"


def _quality(
    champion: Bundle,
    candidate: Bundle,
    measurements: Sequence[Measurement],
    options: CompareOptions,
    progress: Callable[[str], None],
) -> list[Finding]:
    """A finding per metric that moved, by engine; one that says `same` where none did."""
    findings = []
    for measurement in measurements:
        progress(f"champion in {measurement.engine}")
        repeats = [quality(one) for one in _measured(champion, measurement, options)]
        ours = quality(measurement)
        moved = [
            finding
            for name, value in ours.items()
            if name in repeats[0]
            if (finding := _moved(name, [one[name] for one in repeats], value, candidate, measurement.engine))
        ]
        findings += moved or [Finding("quality", "same", f"as the champion's in {measurement.engine}")]
    return findings


def _moved(name: str, theirs: Sequence[float], value: float, candidate: Bundle, engine: str) -> Finding | None:
    kind = metric_of(name)
    before = theirs[0]
    scatter = max(theirs) - min(theirs) if all(map(math.isfinite, theirs)) else 0.0
    slack = max(kind.slack, kind.slack_share * abs(before), 3 * scatter)
    change = value - before
    if value == before or abs(change) <= slack:
        return None
    is_worse = not math.isfinite(value) or (change < 0) == kind.more_is_better
    part = name.removesuffix("_snr_db") if name.endswith("_snr_db") else candidate.main.name
    what = "" if name.endswith("snr_db") else f" in {name}"
    amount = f"{abs(change):.1f} {kind.unit}" if kind.unit else f"{abs(change):.2g}"
    values = f"{before:.1f} -> {value:.1f} {kind.unit}" if kind.unit else f"{before:.4g} -> {value:.4g}"
    text = f"{part} {amount} {'worse' if is_worse else 'better'}{what} ({values} in {engine})"
    return Finding("quality", "worse" if is_worse else "better", text)


def _measured(bundle: Bundle, like: Measurement, options: CompareOptions) -> list[Measurement]:
    """The champion's quality in the engine of a measurement, in a process of its own that may hang or die."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "runtime", "measure", str(bundle.path), "--engine", like.engine]
        command += ["--no-timing", "--repeat", str(REPEATS), "--out", folder]
        if ENGINES[like.engine].has_compute_units:
            command += ["--compute-unit", like.compute_unit]
        if like.chunk_frames is not None and bundle.main.stream is None:
            command += ["--chunk", str(like.chunk_frames)]
        output_of(command, f"measuring the champion {bundle.manifest.name}", 60 * options.limit_minutes)
        return [read_measurement(path) for path in sorted(Path(folder).glob("*.json"))]


def _size(champion: Bundle, candidate: Bundle) -> Finding:
    """Compared exactly; a permille more is metadata."""
    before, after = champion.artefact_bytes, candidate.artefact_bytes
    text = f"{before:,} -> {after:,} bytes ({100 * (after / before - 1):+.2f} %)"
    if before == after:
        return Finding("size", "same", f"{after:,} bytes")
    if after > before * 1.001:
        return Finding("size", "worse", f"the artefact larger: {text}")
    return Finding("size", "better" if after < before * 0.999 else "changed", text)


def _ops(champion: Bundle, candidate: Bundle) -> Finding:
    changed = changed_ops(champion, candidate)
    if not changed:
        return Finding("ops", "same", "the same ops, as often")
    return Finding("ops", "changed", _listed(changed))


def _placement(champion: Bundle, candidate: Bundle, measurements: Sequence[Measurement]) -> list[Finding]:
    """Compares where Core ML means to execute each op, on a Mac: an op that left the Neural Engine is worse."""
    units = [measurement.compute_unit for measurement in measurements if measurement.engine == "coreml"]
    if not units:
        return []
    findings = []
    known = {record.name: record for record in champion.manifest.components}
    for record in candidate.manifest.components:
        if record.name not in known:
            continue
        form = record.stream
        function = None if form is None else form.steady or form.edge
        before, after = (
            placement(bundle.artefact(one), units[0], function).ops
            for bundle, one in ((champion, known[record.name]), (candidate, record))
        )
        if before == after:
            findings.append(Finding("placement", "same", f"{record.name} on {units[0]}: {_counts(after)}"))
        else:
            verdict = "worse" if after.get("ne", 0) < before.get("ne", 0) else "changed"
            text = f"{record.name} placed otherwise on {units[0]}: {_counts(before)} -> {_counts(after)}"
            findings.append(Finding("placement", verdict, text))
    return findings


def _counts(ops: Mapping[str, int]) -> str:
    return ", ".join(f"{count} on {device}" for device, count in sorted(ops.items()))


def _latency(
    champion: Bundle,
    candidate: Bundle,
    measurements: Sequence[Measurement],
    options: CompareOptions,
    timer: Callable[[MeasureOptions], Timer],
    progress: Callable[[str], None],
) -> tuple[dict[str, RatioTest], list[Finding]]:
    """The paired test for each engine that is timed."""
    timed = [measurement for measurement in measurements if ENGINES[measurement.engine].is_timed]
    if not timed:
        return {}, [Finding("latency", "unknown", "no engine that executes this format here is timed")]
    if options.minutes <= 0:
        return {}, [Finding("latency", "unknown", "not compared: minutes is 0")]
    tests: dict[str, RatioTest] = {}
    findings = []
    for measurement in timed:
        if measurement.is_busy:
            what = f"{measurement.engine} on {measurement.device} was timed beside other work ({measurement.beside})"
            findings.append(Finding("latency", "noisy", f"{what}: compared in quality only; measure it again at rest"))
            continue
        asked = MeasureOptions(
            engines=[measurement.engine],
            chunk=measurement.chunk_frames if candidate.main.stream is None else None,
            bench_seconds=options.seconds,
            bench_min_chunks=30,
            compute_unit=measurement.compute_unit if ENGINES[measurement.engine].has_compute_units else None,
        )
        by_unit = paired_tests(champion, candidate, options, timer(asked), timer(asked), progress)
        tests |= {f"{measurement.engine} {unit}": test for unit, test in by_unit.items()}
        for unit, test in by_unit.items():
            verdict = {"slower": "worse", "faster": "better", "unchanged": "same"}.get(test.verdict, test.verdict)
            what = f"{measurement.engine}'s {unit} on {measurement.device}"
            findings.append(Finding("latency", verdict, f"{what} {test}"))
    return tests, findings


def paired_tests(
    champion: Bundle,
    candidate: Bundle,
    options: CompareOptions,
    time_champion: Timer,
    time_candidate: Timer,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, RatioTest]:
    """Tests each unit that was called. Several have a share of alpha each: the night's false alarms stay as rare."""
    ends = time.monotonic() + 60 * options.minutes
    alpha = 0.01

    def is_enough(pairs: Sequence[Pair]) -> bool:
        progress(f"latency, pair {len(pairs) + 1}")
        if len(pairs) < 2:
            return False
        ratios = _ratios(pairs)
        settled = [is_settled(row, options.delta, alpha / len(ratios), options.least_pairs) for row in ratios.values()]
        return all(settled) or (len(pairs) >= options.least_pairs and time.monotonic() > ends)

    pairs = time_pairs(champion.path, candidate.path, time_champion, time_candidate, is_enough)
    ratios = _ratios(pairs)
    return {unit: ratio_test(row, options.delta, alpha / len(ratios)) for unit, row in ratios.items()}


def _ratios(pairs: Sequence[Pair]) -> dict[str, list[float]]:
    """ln(candidate / champion) of what both have."""
    units = [unit for unit in pairs[0].candidate if unit in pairs[0].champion]
    return {unit: [math.log(pair.candidate[unit] / pair.champion[unit]) for pair in pairs] for unit in units}
