"""voxport's public Python API.

import voxport
engine = voxport.load("bundles/…")            # or a bare .mlpackage or .onnx
audio = engine.run({"mel": mel})["audio"]

voxport.enable_predict()                       # coremltools' MLModel.predict on Linux, by the reference engine
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as _version

from runtime.engines.load import load
from runtime.engines.predict import enable_predict

try:
    __version__ = _version("voxport")
except PackageNotFoundError:  # an unpacked source tree
    __version__ = "0+unknown"

__all__ = ["__version__", "enable_predict", "load"]
