"""The bundle's own reference: the exported PyTorch program in `reference/*.pt2`."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from runtime.engines import State, cpu_name
from runtime.errors import ArtefactError
from runtime.spec import Dim, TensorSpec, checked_inputs

# What torch.export.load would import, evaluate or unpickle on our behalf is looked at first.
_TARGET = re.compile(r"torch\.ops\.aten\.[\w.]+|_operator\.[a-z]+|torch\.sym_\w+")
_SYMBOL = re.compile(r"'[a-z]+\d+'")
_ARITHMETIC = re.compile(
    r"(Symbol|Integer|Rational|Add|Mul|Pow|Max|Min|Mod|FloorDiv|CeilDiv|CleanDiv|PythonMod"
    r"|positive|nonnegative|integer|True|False|[\d\s(),=+\-*/])*"
)


class TorchEngine:
    """`output_names`: the component's names in order; an exported program has none of its own."""

    name = "torch"

    def __init__(self, path: Path, threads: int | None = None, output_names: Sequence[str] = ()) -> None:
        check_reference(path)
        try:
            program = torch.export.load(path)
        except Exception as error:  # torch raises whatever its deserialiser raises
            raise ArtefactError(f"{path} cannot be read as an exported program: {error}") from error
        self.device = cpu_name()
        self._module = program.module()
        self.inputs = _specs(program, program.graph_signature.user_inputs)
        outputs = _specs(program, program.graph_signature.user_outputs)
        self.outputs = tuple(
            replace(spec, name=name) for spec, name in zip(outputs, output_names or [spec.name for spec in outputs])
        )
        if threads:
            torch.set_num_threads(threads)

    def new_state(self) -> State:
        return {}

    def run(self, inputs: Mapping[str, np.ndarray], state: State | None = None) -> dict[str, np.ndarray]:
        arrays = checked_inputs(self.inputs, inputs)
        with torch.inference_mode():
            results = self._module(**{name: torch.from_numpy(array) for name, array in arrays.items()})
        values = results if isinstance(results, (tuple, list)) else (results,)
        return {spec.name: value.numpy() for spec, value in zip(self.outputs, values)}


def check_reference(path: Path) -> None:
    """Refuses an exported program that could run code while it is read.

    torch.export.load unpickles entries marked `use_pickle`, evaluates symbolic expressions and resolves operator
    names; a reference that voxport wrote has raw weights, arithmetic and aten operators only.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            texts = {name: archive.read(name) for name in archive.namelist() if name.endswith(".json")}
            pickles = [info for info in archive.infolist() if "/sample_inputs/" in info.filename and info.file_size]
    except (OSError, zipfile.BadZipFile) as error:
        raise ArtefactError(f"{path} cannot be read as an exported program: {error}") from error

    if pickles:  # torch falls back to an unrestricted unpickler for these
        raise ArtefactError(f"{path} holds a pickle ({pickles[0].filename}): it is not loaded")

    def look(node: object) -> None:
        if isinstance(node, dict):
            if node.get("use_pickle"):
                raise ArtefactError(f"{path} holds a pickle: it is not loaded")
            target = node.get("target")
            if isinstance(target, str) and "inputs" in node and not _TARGET.fullmatch(target):
                raise ArtefactError(f"{path} calls {target!r}, which is no tensor operator: it is not loaded")
            expression = node.get("expr_str")
            if isinstance(expression, str) and not _ARITHMETIC.fullmatch(_SYMBOL.sub("", expression)):
                raise ArtefactError(f"{path} holds the expression {expression!r}: it is not loaded")
            for value in node.values():
                look(value)
        elif isinstance(node, list):
            for value in node:
                look(value)

    for name, text in texts.items():
        try:
            content = json.loads(text)
        except ValueError as error:
            raise ArtefactError(f"{path} is damaged: {name} is no JSON ({error})") from error
        look(content)


def _specs(program: torch.export.ExportedProgram, names: tuple) -> tuple[TensorSpec, ...]:
    nodes = {node.name: node for node in program.graph.nodes}
    ranges = {str(symbol): bounds for symbol, bounds in program.range_constraints.items()}

    def axis(size: int | torch.SymInt) -> int | Dim:
        if isinstance(size, int):
            return size
        bounds = ranges.get(str(size))
        lo, hi = (int(bounds.lower), int(bounds.upper)) if bounds else (1, 2**31 - 1)
        return Dim(lo, hi, lo)

    return tuple(
        TensorSpec(
            str(name),
            tuple(axis(size) for size in nodes[name].meta["val"].shape),
            str(nodes[name].meta["val"].dtype).removeprefix("torch."),
        )
        for name in names
    )
