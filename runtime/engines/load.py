"""One call that opens an engine on a bundle or a bare artefact."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from runtime.bundle.formats import facts_of, format_of
from runtime.bundle.store import Bundle, ComponentRecord, open_bundle
from runtime.engines import AUTO, Engine, Execution, chosen, open_engine
from runtime.errors import ArtefactError, NotLowered, OtherModel


def load(
    artefact: str | Path | Bundle,
    execution: Execution | str = AUTO,
    component: str | None = None,
    function: str | None = None,
) -> Engine:
    """An engine on a bundle or a bare artefact (`.mlpackage`, `.mlmodel`, `.aimodel`, `.onnx`).

    `execution` is an Execution or the name of an engine.
    `component` picks one of a bundle with several, `function` one of an `.mlpackage` or `.aimodel` with several.
    Raises BundleError, ArtefactError or EngineError; their messages say what was wrong.
    """
    if isinstance(execution, str):
        execution = Execution(execution)
    if not isinstance(artefact, Bundle) and not Path(artefact).exists():
        raise ArtefactError(f"there is no file or folder {artefact}")
    if not isinstance(artefact, Bundle) and not is_bundle(Path(artefact)):
        return _opened(Path(artefact), execution, function)
    bundle = open_bundle(artefact)
    return open_component(bundle, bundle.component(component), execution, function)


def open_component(
    bundle: Bundle, record: ComponentRecord, execution: Execution = AUTO, function: str | None = None
) -> Engine:
    """An engine on a component's artefact, or on its reference where that is asked for. Raises as `load`."""
    if execution.engine == "torch":
        names = [spec.name for spec in record.outputs]
        return open_engine(bundle.reference(record), execution, output_names=names)
    path = bundle.executable(record)
    opened = _opened(path, execution, function, is_ours=bundle.is_ours)
    if record.stream is not None or record.sizes:
        return opened
    for declared, actual in ((record.inputs, opened.inputs), (record.outputs, opened.outputs)):
        if {spec.name for spec in declared} != {spec.name for spec in actual}:
            raise ArtefactError(f"{path} is not what its manifest describes: it has {', '.join(map(str, actual))}")
    opened.inputs, opened.outputs = record.inputs, record.outputs  # an ONNX file does not say its bounds
    return opened


def is_bundle(path: Path) -> bool:
    """Returns whether a path is a folder that is no artefact itself."""
    return path.is_dir() and format_of(path) is None


def _opened(path: Path, execution: Execution, function: str | None, is_ours: bool = False) -> Engine:
    """`is_ours`: this machine made the artefact, so that none of its engines tries it in another process first."""
    facts = facts_of(path)
    options: dict[str, Any] = {}
    if function is not None and facts is not None and facts.functions:
        options["function"] = function
    trial = {"trial": False} if is_ours and chosen(path, execution) == "coreai" else {}
    try:
        return open_engine(path, execution, **options, **trial)
    except NotLowered as error:
        if execution.engine != "auto":
            raise
        warnings.warn(f"{error}; the mil engine takes over, slower", stacklevel=4)
        return open_engine(path, replace(execution, engine="mil"), **options)
    except OtherModel:
        if execution.engine != "auto":
            raise
        return open_engine(path, replace(execution, engine="neuralnetwork"))
