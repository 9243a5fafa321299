"""The accepted version of each series of bundles: the alias `champion` in MLflow's model registry.

A series is `<checkpoint>-<format>-<precision>-<upsampler>-<mode>`; every bundle that passes becomes a version of it.
"""

from __future__ import annotations

import getpass
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.options import TrackingOptions
from reports.tracking import TrackingError, client_of, series
from runtime.bundle import Manifest, open_bundle

ALIAS = "champion"


@dataclass(frozen=True)
class Champion:
    """`bundle_key`: of the bundle that the version holds. `reason` and `by`: who made it champion, and why."""

    series: str
    version: str
    bundle_key: str
    reason: str = ""
    by: str = ""


def champion_of(manifest: Manifest, options: TrackingOptions) -> Champion | None:
    """The champion of a bundle's series, or None where there is none yet. Raises TrackingError."""
    with client_of(options) as client:
        return _champion(client, series(manifest))


def promote(target: str, reason: str, options: TrackingOptions) -> tuple[Champion, Champion | None]:
    """Makes a bundle (its folder, or the id of one of its runs) the champion of its series; the new one and the old.

    Raises TrackingError where the store or the run cannot be reached, or the bundle has no version there, and
    BundleError for a folder that is no bundle.
    """
    if not reason.strip():
        raise TrackingError("a champion needs a reason: --reason TEXT")
    with client_of(options) as client:
        if Path(target).is_dir():
            manifest = open_bundle(Path(target), verify=False).manifest
            name, key = series(manifest), manifest.key
        else:
            name, key = _of_run(client, target)
        found = [one for one in _versions(client, name) if one.tags.get("bundle_key") == key]
        if not found:
            raise TrackingError(
                f"{target} is no version of {name} in MLflow at {options.uri}: a bundle becomes one when it passes all "
                "gates and is logged (python -m reports sync)"
            )
        before = _champion(client, name)
        version = str(max(int(one.version) for one in found))
        client.set_registered_model_alias(name, ALIAS, version)
        for tag, value in {"champion.reason": reason, "champion.by": getpass.getuser()}.items():
            client.set_model_version_tag(name, version, tag, value)
        after = _champion(client, name)
        assert after is not None
        return after, before


def _champion(client: Any, name: str) -> Champion | None:
    from mlflow.exceptions import MlflowException

    try:
        version = client.get_model_version_by_alias(name, ALIAS)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise
    tags = version.tags
    return Champion(
        name,
        str(version.version),
        tags.get("bundle_key", ""),
        tags.get("champion.reason", ""),
        tags.get("champion.by", ""),
    )


def _versions(client: Any, name: str) -> list[Any]:
    return list(client.search_model_versions(f"name = '{name}'"))


def _of_run(client: Any, run_id: str) -> tuple[str, str]:
    """(series, bundle key) of a run of kind=convert or kind=measure."""
    run = client.get_run(run_id)
    params, key = run.data.params, run.data.tags.get("bundle_key")
    axes = ("checkpoint", "format", "precision", "upsampler", "mode")
    if key is None or any(axis not in params for axis in axes):
        raise TrackingError(f"run {run_id} is not one of a bundle")
    return "-".join(params[axis] for axis in axes), key
