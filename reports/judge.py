"""A finished bundle judged against the champion of its series, as MLflow knows it; kept beside the bundle."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from reports.options import CompareOptions, TrackingOptions
from reports.record import read_job
from reports.verdict import Comparison, compare
from runtime.bundle.store import Bundle
from runtime.machine.files import write_json
from runtime.measuring.measure import Measurement

FILE = "comparison.json"


@dataclass(frozen=True)
class Judgement:
    """`champion`: in words: which version, this bundle itself, or that there is none yet; `comparison` with it, where
    it is another. `of`: the keys of what was compared."""

    champion: str
    comparison: Comparison | None = None
    of: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """`passed`, `regressed` or `noisy`."""
        return "passed" if self.comparison is None else self.comparison.verdict


def judge(
    path: Path,
    tracking: TrackingOptions,
    options: CompareOptions,
    output: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Judgement:
    """output: the folder of bundles, where a champion that is fetched is kept. What was compared before, to a clear
    verdict, is not compared again.

    Raises TrackingError, BundleError, ArtefactError or EngineError; the message says what could not be had.
    """
    from reports.champions import champion_of, fetch

    bundle, _, measurements = read_job(path)
    incumbent = champion_of(bundle.manifest, tracking)
    if incumbent is None:
        return Judgement("none yet")
    device = measurements[0].device
    fastest = champion_of(bundle.manifest, tracking, device)
    if incumbent.bundle_key == bundle.manifest.key and fastest is None:
        return Judgement("this one")
    of = _keys(incumbent.bundle_key, fastest.bundle_key if fastest else "", bundle, measurements, options)
    known = read_judgement(bundle)
    if known is not None and known.of == of and known.verdict != "noisy":
        return known
    output = output or bundle.path.parent
    champion = fetch(incumbent, tracking, output)
    comparison = compare(
        champion,
        incumbent.version,
        bundle,
        measurements,
        options,
        latency_champion=fetch(fastest, tracking, output) if fastest else None,
        progress=progress,
    )
    judgement = Judgement(f"version {incumbent.version}", comparison, of)
    write_json(bundle.measured / FILE, dataclasses.asdict(judgement))
    return judgement


def _keys(
    champion: str, fastest: str, bundle: Bundle, measurements: Sequence[Measurement], options: CompareOptions
) -> tuple[str, ...]:
    return champion, fastest, bundle.manifest.key, *(one.key for one in measurements), str(dataclasses.asdict(options))


def read_judgement(bundle: Bundle) -> Judgement | None:
    """Reads the judgement beside a bundle, or returns None where there is none that can be read."""
    try:
        return TypeAdapter(Judgement).validate_json((bundle.measured / FILE).read_text())
    except (OSError, ValidationError, UnicodeDecodeError):
        return None
