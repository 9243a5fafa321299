"""Notes what of a bundle is in MLflow and what is still to be sent: small files, read without importing mlflow."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from reports.options import TrackingOptions
from runtime.bundle.store import Bundle, BundleError, Manifest
from runtime.machine.address import Address
from runtime.machine.files import first_problem, write_json
from runtime.measuring.measure import Measurement

TRACKED, UNTRACKED = "mlflow.json", "untracked.json"
CREDENTIALS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
BEGUN = "delivery was begun and not finished"


@dataclass(frozen=True)
class Marker:
    """Says that what lies in `folder` (of a bundle's measurements, or of a suite) has to be sent to that store.

    `uri`: without its secret; `expression`: the configuration's for the whole address, where it came from one.
    """

    uri: str
    experiment: str
    tags: dict[str, str] = field(default_factory=dict)
    expression: str = ""
    reason: str = ""


@dataclass(frozen=True)
class _Tracked:
    """`runs`: conversion or measurement -> run id."""

    uri: str
    experiment: str
    runs: dict[str, str]


def conversion_key(manifest: Manifest) -> str:
    return f"convert {manifest.created}"


def is_tracked(bundle: Bundle, measurements: list[Measurement], options: TrackingOptions) -> bool:
    """Whether everything about this bundle is in that store already; asks the file beside it, not the store."""
    known = tracked_runs(bundle, options)
    return conversion_key(bundle.manifest) in known and all(m.key in known for m in measurements)


def mark_untracked(folder: Path, options: TrackingOptions, reason: str = BEGUN) -> Path:
    """Leaves a note that what lies in `folder` (of a bundle's measurements, or of a suite) still has to be sent."""
    address = options.address
    marker = Marker(address, options.experiment, dict(options.tags), address.expression, address.scrubbed(reason))
    write_json(folder / UNTRACKED, dataclasses.asdict(marker), is_private=True)
    return folder / UNTRACKED


def sync_hint(options: TrackingOptions) -> str:
    """Says how to send later what is marked now."""
    how = "send it later with: python -m reports sync"
    if not options.address.has_secret:
        return how
    return f"{how} (the secret of the address is not kept: set {' and '.join(CREDENTIALS)}, or add --uri ADDRESS)"


def read_marker(path: Path) -> Marker:
    """Raises BundleError for a file that is none."""
    try:
        return TypeAdapter(Marker).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise BundleError(f"{path} cannot be read ({first_problem(error)}): run the job again, or delete it") from error


def tracked_runs(bundle: Bundle, options: TrackingOptions) -> dict[str, str]:
    """Conversion or measurement -> run id, for that store and experiment; nothing is known where the file is damaged:
    the store is asked again then."""
    try:
        stored = TypeAdapter(_Tracked).validate_json((bundle.measured / TRACKED).read_bytes())
    except (OSError, ValidationError):
        return {}
    same_store = Address(stored.uri).place == options.address.place and stored.experiment == options.experiment
    return dict(stored.runs) if same_store else {}


def write_tracked(bundle: Bundle, options: TrackingOptions, runs: dict[str, str]) -> None:
    tracked = _Tracked(options.address, options.experiment, runs)
    write_json(bundle.measured / TRACKED, dataclasses.asdict(tracked), is_private=True)


def stores_of(output: Path) -> list[TrackingOptions]:
    """The stores that bundles below `output` were logged to, each once."""
    stores: dict[tuple[str, str], TrackingOptions] = {}
    for path in sorted(output.rglob(TRACKED)):
        try:
            stored = TypeAdapter(_Tracked).validate_json(path.read_bytes())
        except (OSError, ValidationError):
            continue
        stores[stored.uri, stored.experiment] = TrackingOptions(uri=stored.uri, experiment=stored.experiment)
    return list(stores.values())
