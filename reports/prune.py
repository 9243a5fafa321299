"""`python -m reports prune`: removes bundles and what MLflow keeps of them, by age and per series.

A champion stays, of a series or of its latency on a device, and so do the newest of each series, what is not sent to
MLflow yet and what a job works on. What goes is renamed aside before it is deleted: killed at any moment, nothing is
left that looks whole and is not.
"""

from __future__ import annotations

import collections
import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table
from rich.text import Text

from reports.options import TrackingOptions
from reports.prune_bundles import Kept, Rule, abandoned_measurements, bundles_below, decided, remove_bundle
from reports.prune_store import champions_of, found_in, place_of, remove_from, stores_around
from runtime.bundle.store import BundleError


@dataclass(frozen=True)
class Plan:
    """Everything that was found, with why it stays, and the stores by the place that their parts name."""

    found: tuple[Kept, ...]
    stores: dict[str, TrackingOptions]

    @property
    def going(self) -> list[Kept]:
        return [one for one in self.found if not one.stays]


def plan(output: Path, tracking: TrackingOptions, rule: Rule, now: float | None = None) -> Plan:
    """Decides what goes of a folder of bundles and of the stores that they were logged to.

    Raises BundleError where there is no such folder, and TrackingError where a store cannot be asked for its champions.
    """
    if not output.is_dir():
        raise BundleError(f"there is no folder {output}: bundles are in what was `output=` of their conversion")
    now = time.time() if now is None else now
    stores = stores_around(output, tracking)
    champions = {key for store in stores for key in champions_of(store)}
    bundles = decided(list(bundles_below(output)), rule, champions, now)
    staying = {one.key for one in bundles if one.stays}  # with its version, which is noted beside it as sent
    stored = [
        dataclasses.replace(one, stays="with its bundle") if one.key in staying else one
        for store in stores
        for one in found_in(store)
    ]
    abandoned = [one for one in abandoned_measurements(output) if one.used < now - 86400 * rule.days]
    return Plan(
        (*bundles, *decided(stored, rule, champions, now), *abandoned), {place_of(store): store for store in stores}
    )


def remove(one: Kept, planned: Plan) -> None:
    """Removes a part of the plan. Raises InUse where it has to stay after all, and TrackingError."""
    if one.place in planned.stores:
        remove_from(planned.stores[one.place], one)
    else:
        remove_bundle(one)


def summary(planned: Plan, freed: Sequence[Kept] | None = None) -> str:
    """Says how much went, or would go, and why the rest stays."""
    gone = planned.going if freed is None else freed
    megabytes = sum(one.size for one in gone) / 1e6
    reasons = collections.Counter(one.stays for one in planned.found if one.stays)
    if in_use := len(planned.going) - len(gone):
        reasons["in use"] = in_use
    stay = ", ".join(f"{count} {why}" for why, count in reasons.most_common())
    return f"{megabytes:.1f} MB in {len(gone)} places; {stay or 'nothing'} stays"


def table(going: Sequence[Kept]) -> Table:
    """A row for each part that would go."""
    drawn = Table("what", "where")
    drawn.add_column("used last", no_wrap=True)
    drawn.add_column("MB", justify="right", no_wrap=True)
    for one in going:
        used = time.strftime("%Y-%m-%d", time.gmtime(one.used))
        drawn.add_row(*(Text(text) for text in (one.name, one.place, used, f"{one.size / 1e6:.1f}")))
    return drawn
