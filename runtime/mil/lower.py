"""Fast execution: the graph of an `.mlpackage` lowered to ONNX, kept in the cache under the package's own hash."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from runtime.cache import cache_folder
from runtime.engines import NotLowered
from runtime.errors import ArtefactError
from runtime.mil.graph import build_graph
from runtime.mil.interface import Interface
from runtime.mil.opaque import TRANSLATIONS
from runtime.mil.package import Package, files_of, open_package, read_specification
from runtime.mil.shapes import Traced
from runtime.spec import Dim, TensorSpec

_OPSET = 20


def lowered(path: Path, function: str | None = None) -> tuple[Path, Interface]:
    """(ONNX file, interface) of the program saved at `path`; made once per content and tool version.

    The ONNX model takes the program's inputs, then its states, and gives its outputs, then the states' new values.
    Raises ArtefactError for a damaged package, NotLowered where ONNX cannot express the program.
    """
    key = _content_key(path, function)
    model, description = (cache_folder() / "onnx" / f"{key}{suffix}" for suffix in (".onnx", ".json"))
    if model.is_file() and description.is_file():
        return model, Interface.from_json(json.loads(description.read_text()))
    package = open_package(path, function)
    model.parent.mkdir(parents=True, exist_ok=True)
    unfinished = model.with_name(f".{os.getpid()}-{model.name}")
    try:
        _export(package, unfinished)
        unfinished.replace(model)
    finally:
        unfinished.unlink(missing_ok=True)
    unfinished_text = description.with_name(f".{os.getpid()}-{description.name}")
    unfinished_text.write_text(json.dumps(package.interface.to_json()))
    unfinished_text.replace(description)
    return model, package.interface


def functions_of(path: Path) -> list[str]:
    """The names of a package's functions. Raises ArtefactError."""
    return sorted(read_specification(path).mlProgram.functions)


def next_state(name: str) -> str:
    """The ONNX output that carries a state's new value; an output cannot have the name of an input."""
    return f"{name}/next"


def _export(package: Package, path: Path) -> None:
    interface = package.interface
    if interface.labels:
        raise NotLowered(f"{package.path.name} gives class labels, which are not lowered to ONNX")
    specs = {spec.name: spec for spec in [*interface.inputs, *interface.states]}
    taken = [specs[name] for name in package.program.functions[package.function].inputs]
    examples = tuple(
        torch.zeros(spec.default_shape, dtype=getattr(torch, spec.dtype.replace("float16", "float32")))
        for spec in taken
    )
    names = [spec.name for spec in taken]
    results = [spec.name for spec in interface.outputs] + [next_state(spec.name) for spec in interface.states]
    # They are read by position: one that is an input, or occurs twice, is called something else.
    outputs = [f"{name}/{i}" if name in names + results[:i] else name for i, name in enumerate(results)]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for tool in ("torch", "torch.onnx", "onnxscript", "onnx_ir"):
            logging.getLogger(tool).setLevel(logging.CRITICAL)
        try:
            exported = torch.onnx.export(
                _traced(build_graph(package), examples, taken),
                dynamo=True,
                verbose=False,
                input_names=names,
                output_names=outputs,
                opset_version=_OPSET,
                custom_translation_table=TRANSLATIONS,
                optimize=False,
            )
        except ArtefactError:
            raise
        except Exception as error:  # tracing raises whatever the ops and the exporter raise
            reason = str(error.__cause__ or error).strip().splitlines()[:1]
            raise NotLowered(f"the program cannot be lowered to ONNX ({' '.join(reason)})") from error
    assert exported is not None
    _tidy(exported.model)
    for value, name in zip(exported.model.graph.inputs, names):
        value.name = name  # the exporter gives an input that is an output the output's name
    exported.save(str(path), external_data=False)


def _traced(graph: torch.fx.GraphModule, examples: tuple[Any, ...], taken: Sequence[TensorSpec]) -> Any:
    """Flexible axes are taken to be independent; where the program needs some to be equal, those of equal bounds."""
    for is_shared in (False, True):
        dynamic = tuple(
            {
                index: torch.export.Dim(
                    f"from_{axis.lo}_to_{axis.hi}" if is_shared else f"axis_{position}_{index}",
                    min=axis.lo,
                    max=axis.hi,
                )
                for index, axis in enumerate(spec.shape)
                if isinstance(axis, Dim)
            }
            for position, spec in enumerate(taken)
        )
        try:
            return torch.export.export(Traced(graph), examples, dynamic_shapes=(dynamic,), strict=False)
        except torch._dynamo.exc.UserError as error:
            if is_shared or "must always be equal" not in str(error):
                raise
    return None


def _tidy(model: Any) -> None:
    """What the exporter's own optimiser does, without its search for patterns, which takes half of all the time and
    finds none here; ONNX Runtime fuses what it can itself (benchmarks/lowering.py)."""
    from onnx_ir.passes import Sequential, common
    from onnxscript.optimizer import fold_constants

    common.InlinePass()(model)
    fold_constants(model)
    Sequential(
        common.RemoveUnusedNodesPass(),
        common.DeduplicateInitializersPass(),
        common.CommonSubexpressionEliminationPass(),
        common.OutputFixPass(),
        common.NameFixPass(),
    )(model)


def _content_key(path: Path, function: str | None) -> str:
    """sha256 over the program, its weights, the lowering's own sources and the exporting tools' versions."""
    digest = hashlib.sha256((function or "").encode())
    model, weights = files_of(path)
    here = Path(__file__).parent
    sources = sorted([*here.glob("*.py"), *(here / "ops").glob("*.py")])
    for file in [model, *(sorted(weights.iterdir()) if weights.is_dir() else []), *sources]:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    for tool in ("torch", "onnxscript"):
        digest.update(importlib.metadata.version(tool).encode())
    return digest.hexdigest()[:32]
