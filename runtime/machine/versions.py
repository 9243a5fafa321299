"""Versions of the installed packages that a result depends on."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """Package -> version, `absent` where it is not installed; nothing is imported."""
    versions = {}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "absent"
    return versions


def changed_versions(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    """Package -> `before -> after` of each that differs."""
    names = sorted({*before, *after})
    pairs = {name: (before.get(name, "absent"), after.get(name, "absent")) for name in names}
    return {name: f"{old} -> {new}" for name, (old, new) in pairs.items() if old != new}


def drift(constraints: Path) -> dict[str, str]:
    """Package -> `wanted -> installed` of each installed package that is not in the version of a constraints file."""
    changes = {}
    for line in constraints.read_text().splitlines():
        name, pinned, version = line.partition("#")[0].strip().partition("==")
        if not pinned:
            continue
        (installed,) = installed_versions([name]).values()
        if installed not in ("absent", version) and installed.partition("+")[0] != version:
            changes[name] = f"{version} -> {installed}"
    return changes


def tool_versions() -> dict[str, str]:
    """The versions that a figure can depend on."""
    names = ("coremltools", "numpy", "onnx", "onnxruntime", "onnxscript", "openvino", "torch", "voxport")
    return {"python": platform.python_version(), "system": platform.platform(), **installed_versions(names)}
