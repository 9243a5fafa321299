"""The accepted version of each series of bundles: the alias `champion` in MLflow's model registry.

A series is `<checkpoint>-<format>-<precision>-<upsampler>-<mode>`; every bundle that passes becomes a version of it.
Latency is compared with the champion too, executed beside the candidate on the same machine; where a device has
accepted another version for its speed, the alias `latency-<device>` names it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.conversions import versions_of
from reports.options import TrackingOptions
from reports.record import read_job
from reports.store import TrackingError, client_of, mlflow_module, user_name
from runtime.bundle.staging import publish, staging
from runtime.bundle.store import MANIFEST, Bundle, BundleError, Manifest, open_bundle, read_manifest
from runtime.engines import device_slug
from runtime.machine.disk import full_disk_named

ALIAS = "champion"
FOLDER = "champions"  # of what was fetched, below the folder of the bundles


@dataclass(frozen=True)
class Champion:
    """`bundle_key`: of the bundle that the version holds. `reason` and `by`: who made it champion, and why."""

    series: str
    version: str
    bundle_key: str
    reason: str = ""
    by: str = ""


def champion_of(manifest: Manifest, options: TrackingOptions, device: str | None = None) -> Champion | None:
    """The champion of a bundle's series, or of its latency on a device; None where there is none. Raises
    TrackingError."""
    with client_of(options) as client:
        return incumbent(client, manifest.series, device)


def promote(
    target: str, reason: str, options: TrackingOptions, device: str | None = None
) -> tuple[Champion, Champion | None]:
    """Makes a bundle (its folder, or the id of one of its runs) the champion of its series; the new one and the old.
    With `device`: of its latency on that device alone.

    Raises TrackingError where the store or the run cannot be reached, the bundle has no version there, or it was timed
    beside other work, and BundleError for a folder that is no bundle.
    """
    if not reason.strip():
        raise TrackingError("a champion needs a reason: --reason TEXT")
    with client_of(options) as client:
        if Path(target).is_dir():
            manifest = read_manifest(Path(target))
            name, key = manifest.series, manifest.key
            busy = _timed_beside_others(Path(target))
        else:
            name, key = _of_run(client, target)
            busy = _logged_beside_others(client, target, key)
        if busy:
            raise TrackingError(
                f"{target} was timed beside other work, and such times are no champion's: measure it again "
                "at rest (force=true)"
            )
        crowned = crown(client, name, key, reason, device)
        if crowned is None:
            raise TrackingError(
                f"{target} is no version of {name} in MLflow at {options.uri}: a bundle becomes one when it passes all "
                "gates and is logged (python -m reports sync)"
            )
        return crowned


def crown(
    client: Any, name: str, key: str, reason: str, device: str | None = None
) -> tuple[Champion, Champion | None] | None:
    """Makes the bundle of that key the champion of the series `name`; the new one and the old, or None where the series
    has no version of that bundle."""
    versions = [int(one.version) for one in versions_of(client, name) if one.tags.get("bundle_key") == key]
    if not versions:
        return None
    alias, version = _alias(device), str(max(versions))
    before = incumbent(client, name, device)
    client.set_registered_model_alias(name, alias, version)
    for tag, value in {f"{alias}.reason": reason, f"{alias}.by": user_name()}.items():
        client.set_model_version_tag(name, version, tag, value)
    after = incumbent(client, name, device)
    assert after is not None
    return after, before


def _timed_beside_others(path: Path) -> bool:
    """Tells whether any measurement beside the bundle is busy. One without a record was timed elsewhere."""
    try:
        _, _, measurements = read_job(path)
    except BundleError:
        return False
    return any(one.is_busy for one in measurements)


def _logged_beside_others(client: Any, run_id: str, key: str) -> bool:
    """Tells whether the newest measurement of the bundle by any engine on any device, beside that run, is busy."""
    query = f"tags.bundle_key = '{key}' and tags.kind = 'measure'"
    experiment = client.get_run(run_id).info.experiment_id
    newest: dict[tuple[str, str], str] = {}
    for run in client.search_runs([experiment], query, order_by=["attributes.start_time DESC"]):
        place = run.data.params.get("engine", ""), run.data.tags.get("device", "")
        newest.setdefault(place, run.data.tags.get("busy", ""))
    return "true" in newest.values()


def fetch(champion: Champion, options: TrackingOptions, output: Path) -> Bundle:
    """The champion's bundle: from the folder of the bundles, or from MLflow into `champions/` there, whole or not.

    Raises TrackingError where it cannot be had, BundleError where what came is no bundle, or another one.
    """
    for path in _bundles(output):
        try:
            if read_manifest(path).key == champion.bundle_key:
                return open_bundle(path)
        except BundleError:
            continue  # damaged: it is fetched again
    with client_of(options):
        mlflow = mlflow_module()
        with staging(output / FOLDER, "fetched") as folder, full_disk_named(output / FOLDER):
            uri, came_to = f"models:/{champion.series}/{champion.version}", folder / "came"
            came_to.mkdir()
            came = open_bundle(Path(mlflow.artifacts.download_artifacts(uri, dst_path=came_to)))
            name = came.manifest.name
            if came.manifest.key != champion.bundle_key or Path(name).name != name or name.startswith("."):
                raise BundleError(f"{uri} holds another bundle than it says: {name}")
            came.path.rename(folder / name)
            return publish(Bundle(folder / name, came.manifest), output / FOLDER, replaces=True)


def _bundles(output: Path) -> Iterator[Path]:
    for folder in (output, output / FOLDER):
        if folder.is_dir():
            yield from (path for path in sorted(folder.iterdir()) if (path / MANIFEST).is_file())


def _alias(device: str | None) -> str:
    return ALIAS if device is None else f"latency-{device_slug(device)}"


def incumbent(client: Any, name: str, device: str | None = None) -> Champion | None:
    """The champion of a series by its name, or of its latency on a device; None where there is none."""
    from mlflow.exceptions import MlflowException

    alias = _alias(device)
    try:
        version = client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise
    tags = version.tags
    return Champion(
        name,
        str(version.version),
        tags.get("bundle_key", ""),
        tags.get(f"{alias}.reason", ""),
        tags.get(f"{alias}.by", ""),
    )


def version_of_run(run: str, options: TrackingOptions) -> tuple[str, str, str]:
    """(series, version, key) of the bundle that a run is of. Raises TrackingError where it has no version."""
    with client_of(options) as client:
        name, key = _of_run(client, run)
        versions = [one for one in versions_of(client, name) if one.tags.get("bundle_key") == key]
    if not versions:
        raise TrackingError(f"the bundle of run {run} is no version of {name}: it did not pass its gates")
    return name, str(max(int(one.version) for one in versions)), key


def _of_run(client: Any, run_id: str) -> tuple[str, str]:
    """(series, bundle key) of a run of kind=convert or kind=measure."""
    run = client.get_run(run_id)
    params, key = run.data.params, run.data.tags.get("bundle_key")
    axes = ("checkpoint", "format", "precision", "upsampler", "mode")
    if key is None or any(axis not in params for axis in axes):
        raise TrackingError(f"run {run_id} is not one of a bundle")
    # Runs of before the tag know neither target nor length.
    return run.data.tags.get("series") or "-".join(params[axis] for axis in axes), key
