"""What of a bundle is in MLflow already: a small file beside it, read without importing mlflow."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from reports.options import TrackingOptions
from runtime.bundle import Bundle
from runtime.files import write_json
from runtime.measure import Measurement

TRACKED, UNTRACKED = "mlflow.json", "untracked.json"


def is_tracked(bundle: Bundle, measurements: list[Measurement], options: TrackingOptions) -> bool:
    """Whether everything about this bundle is in that store already; asks the file beside it, not the store."""
    known = tracked_runs(bundle, options)
    return f"convert {bundle.manifest.created}" in known and all(m.key in known for m in measurements)


def mark_untracked(folder: Path, options: TrackingOptions, reason: str) -> Path:
    """Leaves a note that what lies in `folder` (of a bundle's measurements, or of a suite) still has to be sent."""
    path = folder / UNTRACKED
    write_json(path, {**dataclasses.asdict(options), "reason": reason})
    return path


def tracked_runs(bundle: Bundle, options: TrackingOptions) -> dict[str, str]:
    """Conversion or measurement -> run id, for that store and experiment."""
    path = bundle.measured / TRACKED
    if not path.is_file():
        return {}
    stored = json.loads(path.read_text())
    same_store = stored["uri"] == options.uri and stored["experiment"] == options.experiment
    return dict(stored["runs"]) if same_store else {}


def write_tracked(bundle: Bundle, options: TrackingOptions, runs: dict[str, str]) -> None:
    write_json(bundle.measured / TRACKED, {"uri": options.uri, "experiment": options.experiment, "runs": runs})
