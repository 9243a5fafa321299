"""voxport's public Python API: what runs, streams, speaks and measures the artefacts that `python -m convert` makes.

    import voxport

    engine = voxport.load("bundles/…")  # or a bare .mlpackage, .mlmodel, .aimodel, .onnx
    audio = engine.run({"mel": mel})["audio"]

    stream = voxport.Stream(voxport.open_stream("bundles/…"))  # converted with stream=stateful, window or lowlat
    samples = stream.push({"mel": frames})["audio"]

    voxport.enable_predict()  # coremltools' own MLModel.predict, off a Mac

Names are imported when they are first used. Everything else that the package installs (`runtime`, `converters`, …) may
change with any version.
"""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtime.bundle.store import Bundle, open_bundle
    from runtime.engines import Execution
    from runtime.engines.load import load
    from runtime.engines.predict import enable_predict
    from runtime.errors import VoxportError
    from runtime.measuring.measure import measure
    from runtime.measuring.options import MeasureOptions
    from runtime.playing.embed import SpeakerEmbedder
    from runtime.playing.player import open_player
    from runtime.playing.speak import Voice
    from runtime.playing.stream import Stream, open_stream

try:
    __version__ = _version("voxport")
except PackageNotFoundError:  # an unpacked source tree
    __version__ = "0+unknown"

_HOMES = {
    "Bundle": "runtime.bundle.store",
    "Execution": "runtime.engines",
    "MeasureOptions": "runtime.measuring.options",
    "SpeakerEmbedder": "runtime.playing.embed",
    "Stream": "runtime.playing.stream",
    "Voice": "runtime.playing.speak",
    "VoxportError": "runtime.errors",
    "enable_predict": "runtime.engines.predict",
    "load": "runtime.engines.load",
    "measure": "runtime.measuring.measure",
    "open_bundle": "runtime.bundle.store",
    "open_player": "runtime.playing.player",
    "open_stream": "runtime.playing.stream",
}
__all__ = [
    "Bundle",
    "Execution",
    "MeasureOptions",
    "SpeakerEmbedder",
    "Stream",
    "Voice",
    "VoxportError",
    "__version__",
    "enable_predict",
    "load",
    "measure",
    "open_bundle",
    "open_player",
    "open_stream",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'voxport' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if __name__ == "__main__":
    from shell.__main__ import start

    start()
