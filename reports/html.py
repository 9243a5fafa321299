"""The report: one self-contained page about one bundle. Pictures, players and figures are inside it."""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reports import plots
from reports.converted import ConvertedClip, converted_clips, similarities, spectrograms, waits
from reports.pages import data_url, render, wav_url
from reports.record import read_job
from runtime.bundle.store import Bundle, GoldenCase, size_of
from runtime.commands.bench import bench_facts
from runtime.machine.files import as_json, write_bytes, write_text
from runtime.measuring.bench.bundle import BenchReport
from runtime.measuring.mac_check import MacCheck
from runtime.measuring.measure import AUDIT, Measurement
from runtime.measuring.quality import OF_CLIPS, OF_CONVERSIONS, OF_ROWS, listened_titles, metric_of, quality
from runtime.rounding.record import Audit, read_audit

FILE = "report.html"


def write_report(bundle_path: Path) -> Path:
    """Renders `report.html` and `plots/*.png` beside the bundle from what lies there; returns the page's path.

    Raises BundleError where record or measurements are missing.
    """
    bundle, record, measurements = read_job(bundle_path)
    component = bundle.main
    judge = record.gates[0].engine if record.gates else measurements[0].engine
    ops = collections.Counter[str]()
    for record_of_component in bundle.manifest.components:
        ops.update(record_of_component.ops)
    pictures: dict[str, bytes] = {"ops": plots.op_bars(ops)}
    clips: list[dict[str, Any]] = []
    if measurements[0].clips:
        clips = _draw_audio(bundle, measurements, judge, pictures)
    judged = next(one for one in measurements if one.engine == judge)
    converted = converted_clips(bundle, judged)
    pictures |= _draw_conversion(converted, judged)
    audit = read_audit(bundle.measured / AUDIT) if (bundle.measured / AUDIT).is_file() else None
    drawn = _draw_audit(audit)
    pictures |= {f"audit-{index}": png for index, png in enumerate(drawn)}
    _keep_pictures(bundle, pictures)
    page = render(
        "report.html",
        bundle=bundle,
        manifest=bundle.manifest,
        component=component,
        ops=ops.total(),
        record=record,
        measurements=measurements,
        judge=judge,
        clips=clips,
        pictures={name: data_url(png, "image/png") for name, png in pictures.items()},
        audit=audit,
        audit_pictures=[data_url(png, "image/png") for png in drawn],
        of_clips=OF_CLIPS,
        of_rows=OF_ROWS,
        judged_quality=quality(judged),
        converted=[_converted_view(clip) for clip in converted],
        of_conversions=OF_CONVERSIONS,
        listened=[(title, [_listened(m, name) for m in measurements]) for name, title in listened_titles(measurements)],
        sizes=_sizes(bundle),
        config=json.dumps(record.config, indent=2),
        versions=_versions(bundle, measurements),
    )
    path = bundle.measured / FILE
    write_text(path, page, is_private=True)  # it shows the configuration
    return path


def _draw_audio(
    bundle: Bundle, measurements: Sequence[Measurement], judge: str, pictures: dict[str, bytes]
) -> list[dict[str, Any]]:
    """Adds the pictures of what makes audio; gives the clips with their players."""
    component = bundle.main
    sound = bundle.sound
    assert component.time is not None
    assert sound is not None
    cases = bundle.spoken() if bundle.manifest.voice else bundle.goldens(component)
    references = {case.clip: bundle.audio_of(case) for case in cases}
    outputs = {m.engine: _kept_audio(bundle, m, references) for m in measurements}
    rate = component.time.sample_rate
    for case in cases:
        drawn = {engine: clips[case.clip] for engine, clips in outputs.items()}
        pictures[f"clip-{case.clip}"] = plots.clip(case.recording, references[case.clip], drawn, judge, sound.mel)
    pictures["error-frequency"] = plots.error_over_frequency(
        list(references.values()), {engine: list(clips.values()) for engine, clips in outputs.items()}, rate
    )
    timed = {m.engine: m.latency for m in measurements if m.latency is not None}
    if timed:
        pictures["latency"] = plots.latency_distribution(timed)
    if component.stream is not None and component.stream.costs:
        pictures["streaming"] = plots.streaming(component.stream, component.time, component.features)
    return [_clip_view(case, references[case.clip], outputs[judge][case.clip], rate) for case in cases]


def _draw_conversion(clips: Sequence[ConvertedClip], judged: Measurement) -> dict[str, bytes]:
    """Returns the pictures of a conversion by name; none of what converts nothing."""
    pictures = {f"converted-{clip.name}": spectrograms(clip) for clip in clips}
    bars = similarities(clips)
    if bars is not None:
        pictures["similarity"] = bars
    if judged.waits_ms:
        pictures["waits"] = waits(judged.waits_ms)
    return pictures


def _converted_view(clip: ConvertedClip) -> dict[str, Any]:
    players = [(sound.label, wav_url(sound.samples, sound.rate)) for sound in clip.sounds]
    return {"name": clip.name, "target": clip.target, "players": players, "results": clip.results}


def _listened(measurement: Measurement, name: str) -> str:
    """Returns a value of converted or spoken goldens as text, where it was measured."""
    values = quality(measurement)
    return metric_of(name).text(values[name]) if name in values else "–"


def write_mac_check(check: MacCheck, path: Path) -> Path:
    """The page of a `mac-check`: targets as rows, compute units, placement per op."""
    rows = [row for bundle in check.bundles for row in bundle.targets]
    is_complete = all(bundle.targets for bundle in check.bundles)
    passed = is_complete and all(row.verdict == "met" for row in rows)
    missed = not is_complete or any(row.verdict != "met" and not row.verdict.startswith("not judged") for row in rows)
    write_text(path, render("mac-check.html", check=check, passed=passed, missed=missed))
    return path


def write_bench(report: BenchReport, picture: bytes, path: Path) -> Path:
    """The page of what `python -m runtime bench --out FILE.json` wrote. `picture`: its plot, a PNG."""
    page = render(
        "bench.html",
        report=report,
        last=report.processes[-1],
        picture=data_url(picture, "image/png"),
        facts=bench_facts(report),
        options=json.dumps(as_json(dataclasses.asdict(report.options)), indent=2),
    )
    write_text(path, page)
    return path


def write_audit(audit: Audit, path: Path) -> Path:
    """The page of what `python -m runtime audit` wrote."""
    pictures = [data_url(png, "image/png") for png in _draw_audit(audit)]
    write_text(path, render("audit.html", audit=audit, audit_pictures=pictures))
    return path


def _draw_audit(audit: Audit | None) -> list[bytes]:
    return [plots.audit(program) for program in audit.programs] if audit else []


def _kept_audio(bundle: Bundle, measurement: Measurement, references: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The engine's output per clip, cut or padded to the reference's length for drawing."""
    kept = {}
    for clip, reference in references.items():
        output = np.load(bundle.measured / "audio" / f"{measurement.engine}-{clip}.npy", allow_pickle=False)
        kept[clip] = np.pad(output[: len(reference)], (0, max(0, len(reference) - len(output))))
    return kept


def _clip_view(case: GoldenCase, reference: np.ndarray, output: np.ndarray, rate: int) -> dict[str, Any]:
    players = [("PyTorch", reference), ("artefact", output)]
    if case.recording is not None:
        players.insert(0, ("recording", case.recording))
    return {"name": case.clip, "players": [(label, wav_url(samples, rate)) for label, samples in players]}


def _sizes(bundle: Bundle) -> list[tuple[str, float]]:
    """(file, MB) of the artefacts' parts and of the rest of the bundle."""
    rows = []
    for component in bundle.manifest.components:
        artefact = bundle.artefact(component)
        files = [artefact] if artefact.is_file() else sorted(f for f in artefact.rglob("*") if f.is_file())
        rows += [(file.relative_to(bundle.path).as_posix(), size_of(file) / 1e6) for file in files]
        rows.append((component.reference, size_of(bundle.reference(component)) / 1e6))
    return rows


def _versions(bundle: Bundle, measurements: list[Measurement]) -> dict[str, str]:
    merged = dict(bundle.manifest.versions)
    for measurement in measurements:
        merged.update(measurement.versions)
    return dict(sorted(merged.items()))


def _keep_pictures(bundle: Bundle, pictures: dict[str, bytes]) -> None:
    folder = bundle.measured / "plots"
    folder.mkdir(exist_ok=True)
    for name, png in pictures.items():
        write_bytes(folder / f"{name}.png", png)
