"""Core ML's older models off a Mac: neural networks, classifiers and regressors among them, and pipelines of models.

For correctness, not speed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from runtime.bundle.spec import checked_inputs
from runtime.engines import State, cpu_name
from runtime.engines.mil import MilEngine, choose_threads
from runtime.errors import ArtefactError, EngineError, no_artefact
from runtime.mil.interface import Interface
from runtime.mil.package import files_of, package_of, read_package
from runtime.neuralnetwork import KINDS, interface, network_of, read_model, refuse_other_kinds
from runtime.neuralnetwork.features import specs_for
from runtime.neuralnetwork.network import Network

_PIPELINES = ("pipeline", "pipelineClassifier", "pipelineRegressor")


class NeuralNetworkEngine:
    """Executes an `.mlmodel`, or an `.mlpackage` that holds no ML program of its own. Computes in float32; programs in
    a pipeline as the `mil` engine does."""

    name = "neuralnetwork"

    def __init__(self, path: Path, threads: int | None = None) -> None:
        if path.suffix not in (".mlmodel", ".mlpackage"):
            raise ArtefactError(f"the neuralnetwork engine executes an .mlmodel, not {path.name}")
        self.device = cpu_name()
        self._path = path
        with no_artefact(path):
            spec = read_model(path) if path.suffix == ".mlmodel" else read_package(path)
            self.model = _model(spec, path)
        self.interface = self.model.interface
        self.inputs, self.outputs = self.interface.inputs, self.interface.outputs
        choose_threads(threads)

    def new_state(self) -> State:
        return {}

    def run(self, inputs: Mapping[str, np.ndarray], state: State | None = None) -> dict[str, np.ndarray]:
        with torch.inference_mode(), no_artefact(self._path):
            return self.model.run(self.interface.with_defaults(inputs))


class _Model(Protocol):
    @property
    def interface(self) -> Interface: ...

    def run(self, arrays: Mapping[str, Any]) -> dict[str, Any]: ...


def _model(spec: Any, path: Path) -> _Model:
    """Opens a specification. Raises EngineError for a kind of model that is not executed."""
    kind = spec.WhichOneof("Type")
    if kind in KINDS:
        refuse_other_kinds(spec, path)
        return _CheckedNetwork(spec, path)
    if kind in _PIPELINES:
        return _Pipeline(spec, path)
    if kind == "mlProgram" and path.suffix == ".mlpackage":
        _, weights = files_of(path)
        return MilEngine.of(package_of(spec, weights, path))
    if kind == "mlProgram":
        raise EngineError(f"{path.name} is the inner file of an ML program: give the .mlpackage that holds it")
    raise EngineError(
        f"{path.name} holds a {kind}; off a Mac ML programs, neural networks and pipelines of them are executed"
    )


class _CheckedNetwork:
    def __init__(self, spec: Any, path: Path) -> None:
        self.network = Network(spec, path)
        self.interface = self.network.interface
        self._is_rank_5 = network_of(spec).arrayInputShapeMapping == 0

    def run(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        specs = specs_for(self.interface, arrays, is_rank_5=self._is_rank_5)
        return self.network.run(checked_inputs(specs, arrays))


class _Pipeline:
    """Models one after another: each takes what it knows by name of the inputs and of what those before it gave."""

    def __init__(self, spec: Any, path: Path) -> None:
        kind = spec.WhichOneof("Type")
        held = getattr(spec, kind)
        models = held.models if kind == "pipeline" else held.pipeline.models
        if not models:
            raise ArtefactError(f"{path.name} is a pipeline of no models")
        self.models = [_model(model, path) for model in models]
        self.interface = interface(spec)

    def run(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        known = dict(checked_inputs(self.interface.inputs, arrays))
        for model in self.models:
            given = {spec.name: known[spec.name] for spec in model.interface.inputs if spec.name in known}
            known |= model.run(given)
        outputs = {spec.name: known[spec.name].astype(spec.dtype, copy=False) for spec in self.interface.outputs}
        return outputs | {name: known[name] for name in self.interface.labels}
