"""What a sqlite store of MLflow keeps of bundles: found, and removed by bundle. Runs stay with their figures; reports,
plots, audio and the bundle itself go. A server's files are its own to remove."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from reports.conversions import versions_of
from reports.options import TrackingOptions
from reports.prune_bundles import InUse, Kept
from reports.runs import discard_model
from reports.sqlite_store import artifacts_of, file_of
from reports.store import TrackingError, client_of, prepared
from reports.tracked import stores_of
from runtime.bundle.store import size_of
from runtime.machine.address import Address
from runtime.machine.interrupts import postponed

_ASIDE = ".pruned-"
_OF_BUNDLES = "tags.bundle_key LIKE '%'"


def stores_around(output: Path, options: TrackingOptions) -> list[TrackingOptions]:
    """The stores that may call a bundle below `output` a champion: the one that was named, and those where bundles were
    logged. None at all where `options` name none.

    Raises TrackingError where one of them is a file that is not there: its champions would be lost.
    """
    if not options.uri:
        return []
    stores = {(options.address.place, options.experiment): options}
    for one in stores_of(output):
        whole = options.uri if Address(one.uri).place == options.address.place else one.uri
        stores.setdefault((Address(one.uri).place, one.experiment), replace(one, uri=whole))
        file = file_of(one.uri)
        if file is not None and not file.is_file():
            raise TrackingError(
                f"bundles in {output} were logged to {one.uri}, which is not there, so no champion is known: "
                "run it from the folder of that file, or with --uri= (no champion is kept then)"
            )
    return [one for one in stores.values() if (file := file_of(one.uri)) is None or file.is_file()]


def place_of(options: TrackingOptions) -> str:
    """What a part of a store names as its place."""
    return f"{options.address.place}, {options.experiment}"


def champions_of(options: TrackingOptions) -> set[str]:
    """The keys of all bundles that have an alias in the registry. Raises TrackingError."""
    keys = set()
    with client_of(options) as client:
        for model in _all(client.search_registered_models):
            for version in model.aliases.values():
                keys.add(client.get_model_version(model.name, str(version)).tags.get("bundle_key", ""))
    return keys


def found_in(options: TrackingOptions) -> list[Kept]:
    """What a sqlite store has files of, by bundle; nothing of a server. Raises TrackingError."""
    file = file_of(options.uri)
    if file is None:
        return []
    with prepared(options) as (client, experiment):
        found = []
        for key, runs in _by_bundle(client, experiment).items():
            folders, models = _folders(client, experiment, file, key), _models(client, experiment, key)
            if folders or models:  # else it was pruned before
                tags, used = runs[-1].data.tags, max(run.info.start_time for run in runs) / 1000
                size = sum(map(size_of, folders))
                found.append(Kept(tags.get("bundle", key), place_of(options), tags.get("series", ""), key, used, size))
        return found


def remove_from(options: TrackingOptions, one: Kept) -> None:
    """Removes a bundle's versions, its model, and the files of its runs. Raises TrackingError,
    and InUse where it is champion by now."""
    file = file_of(options.uri)
    assert file is not None
    with prepared(options) as (client, experiment):
        versions = [each for each in versions_of(client, one.series) if each.tags.get("bundle_key") == one.key]
        named = client.get_registered_model(one.series).aliases.values() if versions else ()
        if {str(each.version) for each in versions} & set(map(str, named)):
            raise InUse  # promoted a moment ago
        for each in versions:
            client.delete_model_version(each.name, each.version)
        aside = Path(tempfile.mkdtemp(prefix=_ASIDE, dir=artifacts_of(file)))
        with postponed():
            for number, folder in enumerate(_folders(client, experiment, file, one.key)):
                folder.rename(aside / str(number))
            for model in _models(client, experiment, one.key):
                discard_model(client, model)
        _finish(file)


def _finish(file: Path) -> None:
    """Deletes what was renamed aside, by us or by a prune that was killed; the store's lock is held."""
    for aside in artifacts_of(file).glob(f"{_ASIDE}*"):
        shutil.rmtree(aside, ignore_errors=True)


def _by_bundle(client: Any, experiment: str) -> dict[str, list[Any]]:
    """The runs of each bundle, oldest first."""
    found: dict[str, list[Any]] = {}
    order = ["attributes.start_time ASC"]
    for run in _all(lambda **page: client.search_runs([experiment], _OF_BUNDLES, order_by=order, **page)):
        found.setdefault(run.data.tags["bundle_key"], []).append(run)
    return found


def _models(client: Any, experiment: str, key: str) -> list[Any]:
    return list(_all(lambda **page: client.search_logged_models([experiment], f"tags.bundle_key = '{key}'", **page)))


def _folders(client: Any, experiment: str, file: Path, key: str) -> list[Path]:
    """Where the files of a bundle's runs and models are; only below the store's own folder."""
    ours = f"tags.bundle_key = '{key}'"
    runs = _all(lambda **page: client.search_runs([experiment], ours, **page))
    places = [run.info.artifact_uri for run in runs]
    places += [model.artifact_location for model in _models(client, experiment, key)]
    root = artifacts_of(file).resolve()
    folders = []
    for place in places:
        with suppress(OSError, ValueError):
            folder = Path(unquote(urlsplit(place).path)).resolve()
            if folder.is_dir() and root in folder.parents:
                folders.append(folder)
    return folders


def _all(search: Callable[..., Any]) -> Iterator[Any]:
    """Every result of one of MLflow's searches, page by page."""
    page = search()
    yield from page
    while page.token:
        page = search(page_token=page.token)
        yield from page
