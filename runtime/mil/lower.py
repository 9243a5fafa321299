"""Fast execution: the graph of an `.mlpackage` lowered to ONNX, kept in the cache under the package's own hash."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from pathlib import Path

from runtime.machine.cache import cache_folder, making
from runtime.machine.files import write_json
from runtime.machine.sources import LOWERING, sources_hash
from runtime.mil.interface import Interface
from runtime.mil.package import files_of, open_package, read_specification, weights_of


def lowered(path: Path, function: str | None = None) -> tuple[Path, Interface]:
    """(ONNX file, interface) of the program saved at `path`; made once per content and tool version.

    The ONNX model takes the program's inputs, then its states, and gives its outputs, then the states' new values.
    Raises ArtefactError for a damaged package, NotLowered where ONNX cannot express the program.
    """
    key = _content_key(path, function)
    model, description = (cache_folder() / "onnx" / f"{key}{suffix}" for suffix in (".onnx", ".json"))
    if model.is_file():  # which comes last
        return model, Interface.from_json(json.loads(description.read_text()))
    from runtime.mil.export import export  # what is in the cache opens without PyTorch

    package = open_package(path, function)
    with making(model) as unfinished:
        if unfinished is not None:
            export(package, unfinished)
            write_json(description, package.interface.to_json())
    return model, package.interface


def functions_of(path: Path) -> list[str | None]:
    """The functions of a package as engines name them: an only one not at all. Raises ArtefactError."""
    names = sorted(read_specification(path).mlProgram.functions)
    return [None] if names == ["main"] else [*names]


def _content_key(path: Path, function: str | None) -> str:
    """sha256 over the program, its weights, the lowering's own sources and the exporting tools' versions."""
    digest = hashlib.sha256((function or "").encode())
    model, _ = files_of(path)
    for file in [model, *weights_of(path)]:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    digest.update(sources_hash(LOWERING).encode())
    for tool in ("torch", "onnxscript"):
        digest.update(importlib.metadata.version(tool).encode())
    return digest.hexdigest()[:32]
