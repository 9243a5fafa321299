"""What an artefact is made of, without executing it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runtime.bundle.formats import facts_of, format_of
from runtime.errors import ArtefactError


def op_histogram(path: Path) -> dict[str, int]:
    """Op type -> count, constants left out, most frequent first. Raises ArtefactError for an unreadable artefact."""
    counts = _COUNTS.get(format_of(path) or "", _onnx_ops)(path)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def fingerprint(path: Path) -> str:
    """sha256 of what an artefact computes: equal for two conversions to the same program and weights.

    coremltools writes a program's parts in another order each time, dates it and numbers its package at random: the
    specification is hashed in its canonical form without its metadata. Other formats count file by file.
    Raises ArtefactError for an unreadable artefact.
    """
    digest = hashlib.sha256()
    facts = facts_of(path)
    if facts is not None and facts.is_core_ml:
        from runtime.mil.package import read_specification, weights_of
        from runtime.neuralnetwork import read_network

        specification = read_specification(path) if facts.is_program else read_network(path)
        canonical = type(specification)()
        canonical.CopyFrom(specification)
        canonical.description.ClearField("metadata")
        digest.update(canonical.SerializeToString(deterministic=True))
        files = weights_of(path) if facts.is_program else []
    else:
        files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    for file in files:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def custom_layers(path: Path) -> list[str]:
    """`function: op` of every `custom_layer` in an `.mlpackage`, in whichever block it stands."""
    from runtime.mil.package import read_specification

    program = read_specification(path).mlProgram
    return [
        f"{name}: {op.attributes['name'].immediateValue.tensor.strings.values[0] if 'name' in op.attributes else '?'}"
        for name, function in program.functions.items()
        for block in function.block_specializations.values()
        for op in _every_op(block)
        if op.type == "custom_layer"
    ]


def _every_op(block: Any) -> Iterator[Any]:
    for op in block.operations:
        yield op
        for inner in op.blocks:
            yield from _every_op(inner)


def _mil_ops(path: Path) -> Counter[str]:
    from runtime.mil.package import read_specification

    spec = read_specification(path)
    return Counter(
        op.type
        for function in spec.mlProgram.functions.values()
        for block in function.block_specializations.values()
        for op in block.operations
        if op.type != "const"
    )


def _layers(path: Path) -> Counter[str]:
    from runtime.neuralnetwork import read_network

    return Counter(layer.WhichOneof("layer") for layer in read_network(path).neuralNetwork.layers)


def _coreai_ops(path: Path) -> Counter[str]:
    from runtime.engines.coreai import open_asset, operations

    counts = Counter(operations(open_asset(path)))
    del counts["constant"]
    return counts


def _onnx_ops(path: Path) -> Counter[str]:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except (OSError, DecodeError) as error:
        raise ArtefactError(f"{path} cannot be read as an ONNX model: {error}") from error
    return Counter(node.op_type for node in model.graph.node if node.op_type != "Constant")


_COUNTS = {"mlprogram": _mil_ops, "neuralnetwork": _layers, "coreai": _coreai_ops, "onnx": _onnx_ops}
