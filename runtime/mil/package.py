"""Reads an `.mlpackage` from disk: specification, MIL program, weights. Nothing in memory is trusted instead."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.errors import ArtefactError, OtherModel
from runtime.machine.coreml_tools import coremltools
from runtime.machine.files import read_json
from runtime.mil.interface import Interface, interface_of
from runtime.mil.refusals import refuse_what_core_ml_refuses


@dataclass(frozen=True)
class Package:
    """One function of an opened ML program: `program` is coremltools' MIL program of it alone, built from the file."""

    path: Path
    program: Any
    function: str
    interface: Interface


def files_of(path: Path) -> tuple[Path, Path]:
    """(model specification, weights folder) of a package, through its own Manifest.json.

    Raises ArtefactError where the package is not complete or points outside itself.
    """
    manifest_path = path / "Manifest.json"
    if not manifest_path.is_file():
        raise ArtefactError(f"{path} is not an .mlpackage: it has no Manifest.json")
    try:
        manifest = read_json(manifest_path)
        root = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"]
        model = (path / "Data" / root).resolve()
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"{manifest_path} is damaged ({error!r}): convert the model again") from error
    if not model.is_relative_to((path / "Data").resolve()):
        raise ArtefactError(f"{manifest_path} points outside its package: {root}")
    if not model.is_file():
        raise ArtefactError(f"{path} is truncated: {root} is missing")
    return model, model.parent / "weights"


def weights_of(path: Path) -> list[Path]:
    """The files of a package's weights, in the order of their names."""
    _, folder = files_of(path)
    return sorted(file for file in folder.iterdir() if file.is_file()) if folder.is_dir() else []


def read_specification(path: Path) -> Any:
    """Returns the Core ML specification (a protobuf) of a package that holds an ML program.

    Raises OtherModel for one that holds another kind of model, ArtefactError for one that is damaged.
    """
    spec = read_package(path)
    if spec.WhichOneof("Type") != "mlProgram":
        raise OtherModel(f"{path} holds a {spec.WhichOneof('Type')}; the reference engine executes an mlProgram")
    return spec


def read_package(path: Path) -> Any:
    """Returns the Core ML specification of a package, whatever kind of model it holds. Raises ArtefactError."""
    coremltools()
    from coremltools.proto import Model_pb2
    from google.protobuf.message import DecodeError

    model_path, _ = files_of(path)
    spec = Model_pb2.Model()
    try:
        spec.ParseFromString(model_path.read_bytes())
    except DecodeError as error:
        raise ArtefactError(f"{model_path} is damaged: it is no Core ML specification ({error})") from error
    return spec


def open_package(path: Path, function: str | None = None) -> Package:
    """The ML program saved at `path`; of a multi-function program the named function, or its default.

    Raises ArtefactError for a damaged package, a model that is no ML program, a function that it does not have, and
    for what converts but no Mac executes (refusals.py).
    """
    _, weights = files_of(path)
    return package_of(read_specification(path), weights, path, function)


def package_of(spec: Any, weights: Path, path: Path, function: str | None = None) -> Package:
    """Opens the ML program of a specification whose weights lie in a folder; `path` is what it came from. Raises as
    `open_package`."""
    from coremltools.converters.mil.frontend.milproto.load import load as load_program

    name = function or spec.description.defaultFunctionName or "main"
    functions = list(spec.mlProgram.functions)
    if name not in functions:
        raise ArtefactError(f"{path} has no function {name!r}; it has: {', '.join(functions)}")
    _refuse_missing_weights(spec, weights)
    try:
        program = load_program(_alone(spec, name), spec.specificationVersion, file_weights_dir=str(weights))
    except Exception as error:  # coremltools raises whatever its op builders raise
        raise ArtefactError(f"{path} cannot be read as a MIL program: {error}") from error
    interface = interface_of(spec, program, name, path)
    refuse_what_core_ml_refuses(program.functions[name], interface, path)
    return Package(path, program, name, interface)


def _alone(spec: Any, function: str) -> Any:
    """Returns the specification with one of its functions: coremltools builds every one that it finds, and functions
    of an ML program do not call each other."""
    if len(spec.mlProgram.functions) == 1:
        return spec
    alone = type(spec)()
    alone.CopyFrom(spec)
    for other in spec.mlProgram.functions:
        if other != function:
            del alone.mlProgram.functions[other]
    return alone


def _refuse_missing_weights(spec: Any, weights: Path) -> None:
    """The program names each file of weights that it reads; one that is absent gets a sentence with its name."""
    needed = {
        Path(value.blobFileValue.fileName).name
        for function in spec.mlProgram.functions.values()
        for block in function.block_specializations.values()
        for op in block.operations
        for value in op.attributes.values()
        if value.WhichOneof("value") == "blobFileValue"
    }
    for name in sorted(needed):
        if not (weights / name).is_file():
            raise ArtefactError(f"{weights / name} is missing: the program's weights are not in the package")
