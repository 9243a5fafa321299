"""What differs between two bundles, without a judgement of it."""

from __future__ import annotations

from runtime.bundle.formats import FORMATS
from runtime.bundle.store import Bundle
from runtime.engines.inspect import fingerprint
from runtime.machine.versions import changed_versions


def same_programs(before: Bundle, after: Bundle) -> bool:
    """Returns whether both hold the same components with the same programs and weights."""
    records = [{record.name: record for record in bundle.manifest.components} for bundle in (before, after)]
    if records[0].keys() != records[1].keys():
        return False
    return all(
        fingerprint(before.artefact(record)) == fingerprint(after.artefact(records[1][name]))
        for name, record in records[0].items()
    )


def changed_settings(before: Bundle, after: Bundle) -> dict[str, str]:
    """Setting -> `before -> after` of what two bundles were asked for otherwise: options, checkpoints, shapes."""
    return changed_versions(_settings(before), _settings(after))


def _settings(bundle: Bundle) -> dict[str, str]:
    manifest = bundle.manifest
    checkpoints = {
        "checkpoint": manifest.checkpoint,
        **{f"{name}'s checkpoint": one for name, one in manifest.parts.items()},
    }
    settings = {name: str(value) for name, value in manifest.options.model_dump().items()}
    settings |= {name: f"{one.name} ({one.sha256[:12]})" for name, one in checkpoints.items()}
    return settings | {f"{record.name} takes": ", ".join(map(str, record.inputs)) for record in manifest.components}


def changed_ops(before: Bundle, after: Bundle) -> dict[str, str]:
    """`component.op` -> `before -> after` of every op type whose count differs."""
    counts: list[dict[str, int]] = [
        {f"{record.name}.{op}": count for record in bundle.manifest.components for op, count in record.ops.items()}
        for bundle in (before, after)
    ]
    names = sorted({*counts[0], *counts[1]})
    pairs = {name: (counts[0].get(name, 0), counts[1].get(name, 0)) for name in names}
    return {name: f"{old} -> {new}" for name, (old, new) in pairs.items() if old != new}


def first_divergence(before: Bundle, after: Bundle) -> str:
    """Names the first op that gives another result (runtime/rounding/difference.py), or says why none is named.

    Empty where they give the same on a golden input. Raises ArtefactError for a damaged artefact."""
    if not all(FORMATS[bundle.manifest.options.format].is_program for bundle in (before, after)):
        return "not looked for: only ML programs are executed op by op"
    from runtime.rounding import difference

    return str(difference.first_divergence(before, after) or "")
