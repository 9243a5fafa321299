"""What an artefact is made of, without executing it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from runtime.errors import ArtefactError


def op_histogram(path: Path) -> dict[str, int]:
    """Op type -> count, constants left out, most frequent first. Raises ArtefactError for an unreadable artefact."""
    counts = _mil_ops(path) if path.suffix == ".mlpackage" else _onnx_ops(path)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


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


def _onnx_ops(path: Path) -> Counter[str]:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except (OSError, DecodeError) as error:
        raise ArtefactError(f"{path} cannot be read as an ONNX model: {error}") from error
    return Counter(node.op_type for node in model.graph.node if node.op_type != "Constant")
