"""Fast execution: the graph of an `.mlpackage` lowered to ONNX, kept in the cache under the package's own hash."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import os
import warnings
from dataclasses import asdict
from pathlib import Path

import platformdirs
import torch

from runtime.engines import NotLowered
from runtime.mil.graph import build_graph
from runtime.mil.package import files_of, open_package
from runtime.spec import Dim, TensorSpec

_OPSET = 18


def lowered(path: Path) -> tuple[Path, tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """(ONNX file, inputs, outputs) for the program saved at `path`; made once per content and tool version."""
    key = _content_key(path)
    model, description = (_cache_folder() / f"{key}{suffix}" for suffix in (".onnx", ".json"))
    if model.is_file() and description.is_file():
        specs = json.loads(description.read_text())
        return model, _specs_from(specs["inputs"]), _specs_from(specs["outputs"])
    package = open_package(path)
    if package.states:
        raise NotLowered(f"{path.name} keeps state between calls, which is not lowered to ONNX")
    model.parent.mkdir(parents=True, exist_ok=True)
    unfinished = model.with_name(f".{os.getpid()}-{model.name}")
    try:
        _export(build_graph(package.program, path), package.inputs, package.outputs, unfinished)
        unfinished.replace(model)
    finally:
        unfinished.unlink(missing_ok=True)
    specs = {"inputs": [asdict(s) for s in package.inputs], "outputs": [asdict(s) for s in package.outputs]}
    unfinished_text = description.with_name(f".{os.getpid()}-{description.name}")
    unfinished_text.write_text(json.dumps(specs))
    unfinished_text.replace(description)
    return model, package.inputs, package.outputs


def _export(
    graph: torch.fx.GraphModule, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], path: Path
) -> None:
    examples = tuple(
        torch.zeros(spec.default_shape, dtype=getattr(torch, spec.dtype.replace("float16", "float32")))
        for spec in inputs
    )
    dynamic = tuple(
        {
            index: torch.export.Dim(f"axis_{position}_{index}", min=axis.lo, max=axis.hi)
            for index, axis in enumerate(spec.shape)
            if isinstance(axis, Dim)
        }
        for position, spec in enumerate(inputs)
    )
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        try:
            exported = torch.onnx.export(
                graph,
                examples,
                dynamo=True,
                verbose=False,
                input_names=[spec.name for spec in inputs],
                output_names=[spec.name for spec in outputs],
                dynamic_shapes=dynamic if any(dynamic) else None,
                opset_version=_OPSET,
            )
        except torch.onnx.OnnxExporterError as error:
            reason = str(error.__cause__ or error).splitlines()[0]
            raise NotLowered(f"the program cannot be lowered to ONNX ({reason})") from error
    assert exported is not None
    exported.save(str(path), external_data=False)


def _content_key(path: Path) -> str:
    """sha256 over the program, its weights, the lowering's own sources and the exporting tools' versions."""
    digest = hashlib.sha256()
    model, weights = files_of(path)
    sources = sorted(Path(__file__).parent.rglob("*.py"))
    for file in [model, *(sorted(weights.iterdir()) if weights.is_dir() else []), *sources]:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    for tool in ("torch", "onnxscript"):
        digest.update(importlib.metadata.version(tool).encode())
    return digest.hexdigest()[:32]


def _cache_folder() -> Path:
    return Path(os.environ.get("VOXPORT_CACHE") or platformdirs.user_cache_dir("voxport")) / "onnx"


def _specs_from(rows: list[dict]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            row["name"],
            tuple(Dim(**axis) if isinstance(axis, dict) else axis for axis in row["shape"]),
            row["dtype"],
            row["unit"],
        )
        for row in rows
    )
