"""Manifests of older schemas, brought up to this one.

A schema's number changes when a manifest of the one before would be read wrongly or not at all. This voxport writes
`SCHEMA_VERSION` and reads every schema from 1 on; a newer one is refused. Bundles are never rewritten: what is read is
brought up to date in memory.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

SCHEMA_VERSION = 4


def upgraded(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest of an older schema as one of this; the caller checks that its schema is known, and then its content.

    What is not as the old schema says is left as it is: the check of the content names it.
    """
    upgraded_manifest = copy.deepcopy(dict(manifest))
    if upgraded_manifest.get("schema_version") == 1:
        _from_1(upgraded_manifest)
    if upgraded_manifest.get("schema_version") == 2:
        _from_2(upgraded_manifest)
    if upgraded_manifest.get("schema_version") == 3:
        _from_3(upgraded_manifest)
    return upgraded_manifest


def _from_1(manifest: dict[str, Any]) -> None:
    """Schema 2 has one type of features, `sound` for what makes audio, and no `role` and `speaker` of a component."""
    manifest["schema_version"] = 2
    voice = manifest.get("voice")
    voice = voice if isinstance(voice, dict) else {}
    components = manifest.get("components")
    for component in components if isinstance(components, list) else ():
        if not isinstance(component, dict):
            continue
        role, speaker = component.pop("role", "vocoder"), component.pop("speaker", None)
        mel = component.get("features")
        if speaker is not None:
            component["features"] = {"kind": "speaker_mel", **speaker} if isinstance(speaker, dict) else speaker
        if role == "vocoder" and isinstance(mel, dict):
            component["sound"] = {"sample_rate": mel.get("sample_rate"), "mel": {**mel, "noise_rows": 0}}
        elif component.get("name") == voice.get("last"):
            component["sound"] = {"sample_rate": voice.get("sample_rate"), "mel": voice.get("features")}
            voice["features"] = None
        if speaker is None and isinstance(mel, dict):
            component["features"] = {"kind": "mel", **mel}
    _rename_framing(manifest)


def _from_2(manifest: dict[str, Any]) -> None:
    """Schema 3 calls what was asked for `options`: a `conversion` is a chain from audio to audio now. Tensors that
    compression left as they were are a component's `excluded`."""
    manifest["schema_version"] = 3
    if "conversion" in manifest:
        manifest["options"] = manifest.pop("conversion")
    components = manifest.get("components")
    for component in components if isinstance(components, list) else ():
        if isinstance(component, dict) and "spared" in component:
            component["excluded"] = component.pop("spared")


def _from_3(manifest: dict[str, Any]) -> None:
    """In schema 4 a stage takes frames of several stages."""
    manifest["schema_version"] = 4
    conversion = manifest.get("conversion")
    stages = conversion.get("stages") if isinstance(conversion, dict) else None
    for stage in stages if isinstance(stages, list) else ():
        if isinstance(stage, dict) and isinstance(stage.get("takes"), str):
            stage["takes"] = [stage["takes"]]


def _rename_framing(value: Any) -> None:
    """The framing that schema 1 had beside `centered` is called `inset` now, and no longer after one family."""
    if isinstance(value, dict):
        if isinstance(value.get("framing"), str) and value["framing"] != "centered":
            value["framing"] = "inset"
        for inner in value.values():
            _rename_framing(inner)
    elif isinstance(value, list):
        for inner in value:
            _rename_framing(inner)
