"""`python -m reports sync`: sends what could not be sent, or was begun and broken off, and clears up what that left."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from reports.nights import NIGHTS_SUFFIX, track_night
from reports.options import TrackingOptions
from reports.runs import end_strays
from reports.sqlite_store import file_of
from reports.store import StoreAway, TrackingError, prepared
from reports.suite import FILE as SUITE
from reports.tracked import CREDENTIALS, UNTRACKED, read_marker, stores_of
from reports.tracking import track
from runtime.bundle.store import BundleError
from runtime.machine.address import Address

Result = dict[str, str] | TrackingError | BundleError
_TOKEN = "MLFLOW_TRACKING_TOKEN"


def sync(output: Path, uri: str = "") -> Iterator[tuple[Path, Result]]:
    """Sends what `untracked.json` files below `output` mark; yields each bundle or night with its runs or its
    problem. `uri`: the store that everything is sent to, in place of those that markers name, without secrets.

    A store that is away is given up at the first bundle; what is marked for it is yielded with the same problem. Runs
    and models that were broken off in those stores are ended, also where no marker is left of them.
    """
    away: dict[str, StoreAway] = {}
    stores: dict[tuple[str, str], TrackingOptions] = {}
    for marker in _markers(output):
        is_night = (marker.parent / SUITE).is_file()
        path = marker.parent if is_night else marker.parent.with_name(marker.parent.name.removesuffix(".measured"))
        try:
            options = _options(marker, uri)
            if options.uri in away:
                yield path, away[options.uri]
                continue
            yield path, track_night(path, options) if is_night else track(path, options)
            stores[options.uri, options.experiment] = options
        except (TrackingError, BundleError) as error:
            if isinstance(error, StoreAway):
                away[options.uri] = error
            yield path, error
    local = [options for options in stores_of(output) if file_of(options.uri) is not None]
    for options in {**{(one.uri, one.experiment): one for one in local}, **stores}.values():
        with suppress(TrackingError):  # what was promised is delivered; a store that went away is another day's
            _end_strays(options)


def _end_strays(options: TrackingOptions) -> None:
    file = file_of(options.uri)
    if file is not None and not file.is_file():
        return
    with prepared(options) as (client, experiment):
        nights = client.get_experiment_by_name(options.experiment + NIGHTS_SUFFIX)
        for one in (experiment, nights.experiment_id if nights else None):
            if one is not None:
                end_strays(client, one, is_alone=file is not None)


def _markers(output: Path) -> list[Path]:
    """Not those of a job that is running: its folder is hidden until it is published."""
    markers = sorted(output.rglob(UNTRACKED))
    return [path for path in markers if not any(part.startswith(".") for part in path.relative_to(output).parts)]


def _options(path: Path, uri: str) -> TrackingOptions:
    marker = read_marker(path)
    options = TrackingOptions(uri=marker.uri, experiment=marker.experiment, tags=marker.tags)
    return replace(options, uri=_with_secret(Address(marker.uri, marker.expression), uri))


def _with_secret(kept: Address, uri: str) -> Address:
    """An address as it was kept, whole, or `uri`, which whoever runs `sync` gave. Raises TrackingError where the
    secret is not here.

    A file in a folder says where to send; it must not say which variable of the environment to send there. So only an
    expression that is one variable is looked up, and only for an address that is the same but for its secret.
    """
    if uri:
        return Address(uri)
    if not kept.is_incomplete:
        return kept
    if name := re.fullmatch(r"\$\{oc\.env:(\w+)\}", kept.expression):
        named = Address(os.environ.get(name[1], ""), kept.expression)
        if str(named) == str(kept):
            return named
    if kept.startswith("http") and (all(map(os.environ.get, CREDENTIALS)) or os.environ.get(_TOKEN)):
        return Address(kept.place)
    came = f", which came from {kept.expression}," if kept.expression else ""
    how = f"set {' and '.join(CREDENTIALS)}, or " if kept.startswith("http") else ""
    raise TrackingError(f"MLflow at {kept}: the secret of the address{came} is not kept: {how}pass --uri ADDRESS")
