"""The formats of artefacts and what executes them."""

from __future__ import annotations

# Format -> the engines that execute it on any machine, the judging one first.
ENGINES_OF = {
    "mlprogram": ("mil", "onnx"),
    "onnx": ("onnx",),
    "neuralnetwork": ("neuralnetwork",),
    "coreai": ("coreai",),
}


FORMAT_OF = {".mlpackage": "mlprogram", ".onnx": "onnx", ".mlmodel": "neuralnetwork", ".aimodel": "coreai"}
