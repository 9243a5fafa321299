"""One call that opens an engine on a bundle or a bare artefact."""

from __future__ import annotations

from pathlib import Path

from runtime.bundle.formats import facts_of
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
    from runtime.engines import is_bundle, open_engine, preferred
    from runtime.errors import ArtefactError, NotLowered

    path = Path(path)
    record, is_known = None, False
    options: dict = {"threads": threads}
    if is_bundle(path):
        from runtime.bundle.store import open_bundle

        bundle = open_bundle(path)
        is_known = bundle.is_ours
        record = bundle.component(component)
        path = bundle.executable(record)
        if engine == "torch":
            path = bundle.reference(record)
            options["output_names"] = [spec.name for spec in record.outputs]
    facts = facts_of(path)
    if function is not None and facts is not None and facts.functions:
        options["function"] = function
    name = preferred(path) if engine == "auto" else engine
    if name == "coreml" and compute_unit is not None:
        options["compute_unit"] = compute_unit
    if name == "coreai":
        options["trial"] = not is_known
    try:
        opened = open_engine(name, path, **options)
    except NotLowered as error:
        if engine != "auto":
            raise
        import warnings

        warnings.warn(f"{error}; the mil engine takes over, slower", stacklevel=2)
        opened = open_engine("mil", path, **options)
    if record is not None and record.stream is None and not record.sizes and name != "torch":
        for said, found in ((record.inputs, opened.inputs), (record.outputs, opened.outputs)):
            if {spec.name for spec in said} != {spec.name for spec in found}:
                raise ArtefactError(f"{path} is not what its manifest describes: it has {', '.join(map(str, found))}")
        opened.inputs, opened.outputs = record.inputs, record.outputs  # an ONNX file does not say its bounds
    return opened
