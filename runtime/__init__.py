"""Execution, streaming and measurement of converted speech models. Knows no model family."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.engines import Engine


def load(
    path: str | Path,
    engine: str = "auto",
    component: str | None = None,
    threads: int | None = None,
    compute_unit: str | None = None,
    function: str | None = None,
) -> Engine:
    """An engine on a bundle or a bare artefact (`.mlpackage`, `.mlmodel`, `.aimodel`, `.onnx`).

    `engine`: `coreml`, `mil`, `onnx`, `neuralnetwork`, `coreai`, `torch` (a bundle's reference), or `auto`: Core ML on
    a Mac, elsewhere the format's own, ONNX Runtime first, and `mil` where an op cannot be lowered. `component` picks
    one of a bundle with several;
    `compute_unit` (`all`, `cpu`, `cpu_and_gpu`, `cpu_and_ne`) is Core ML's; `function` picks one of an `.mlpackage`
    or `.aimodel` with several.
    Raises BundleError, ArtefactError or EngineError; their messages say what was wrong.
    """
    from runtime.engines import NotLowered, is_bundle, open_engine, preferred

    path = Path(path)
    record = None
    options: dict = {"threads": threads}
    if is_bundle(path):
        from runtime.bundle import open_bundle

        bundle = open_bundle(path)
        record = bundle.component(component)
        path = bundle.executable(record)
        if engine == "torch":
            path = bundle.reference(record)
            options["output_names"] = [spec.name for spec in record.outputs]
    if function is not None and path.suffix in (".mlpackage", ".aimodel"):
        options["function"] = function
    name = preferred(path) if engine == "auto" else engine
    if name == "coreml" and compute_unit is not None:
        options["compute_unit"] = compute_unit
    if name == "coreai" and record is not None:
        options["trial"] = False
    try:
        opened = open_engine(name, path, **options)
    except NotLowered as error:
        if engine != "auto":
            raise
        import warnings

        warnings.warn(f"{error}; the mil engine takes over, slower", stacklevel=2)
        opened = open_engine("mil", path, **options)
    if record is not None and record.stream is None and not record.sizes and name != "torch":
        opened.inputs, opened.outputs = record.inputs, record.outputs  # an ONNX file does not say its bounds
    return opened
