"""diff."""

from __future__ import annotations

import argparse
from typing import Any

from runtime.bundle.store import open_bundle
from runtime.machine.versions import changed_versions
from runtime.measuring.compare import changed_ops, changed_settings, first_divergence, same_programs


def diff(options: argparse.Namespace) -> dict[str, Any]:
    """Returns what differs between two bundles."""
    before, after = open_bundle(options.before), open_bundle(options.after)
    facts: dict[str, Any] = {
        "before": before.manifest.name,
        "after": after.manifest.name,
        "settings": changed_settings(before, after) or "the same",
        "tools": changed_versions(before.manifest.versions, after.manifest.versions) or "the same",
        "size": f"{before.artefact_bytes} -> {after.artefact_bytes} bytes",
        "ops": changed_ops(before, after) or "the same",
    }
    if same_programs(before, after):
        return facts | {"programs": "the same, weights too"}
    facts["programs"] = "not the same"
    divergence = first_divergence(before, after)
    return facts | {"first divergence": divergence or "none on a golden input"}
