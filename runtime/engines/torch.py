"""The bundle's own reference: the exported PyTorch program in `reference/*.pt2`, where it is trusted."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from runtime.bundle.spec import Dim, TensorSpec, checked_inputs
from runtime.bundle.trust import require_trust
from runtime.engines import State, cpu_name
from runtime.errors import ArtefactError


class TorchEngine:
    """`output_names`: the component's names in order; an exported program has none of its own.

    Raises UntrustedError for a program that came from elsewhere, ArtefactError for a damaged one.
    """

    name = "torch"

    def __init__(self, path: Path, threads: int | None = None, output_names: Sequence[str] = ()) -> None:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ArtefactError(f"{path} cannot be read: {error.strerror}") from error
        require_trust(content, path)
        try:
            program = torch.export.load(io.BytesIO(content))
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


def _specs(program: torch.export.ExportedProgram, names: Sequence[str]) -> tuple[TensorSpec, ...]:
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
