"""Core ML itself, through coremltools, on a Mac. Written against coremltools 9.0's API; not run on a Mac yet.

Loading can hang for an hour or take the process down (whisper.cpp 937, coremltools 2758): a first load and
inference happens in a process of its own under a wall-clock limit, and only then in this one.
"""

from __future__ import annotations

import ctypes
import functools
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ops.metal.package import build_command, package_hash, write_package
from runtime.bundle.spec import checked_inputs
from runtime.engines import State, cpu_name
from runtime.errors import ArtefactError, EngineError
from runtime.machine.cache import cache_folder, making
from runtime.machine.child import output_of
from runtime.machine.coreml_tools import coremltools
from runtime.mil.package import open_package
from runtime.neuralnetwork import has_custom_layers, interface, read_network

# Members of coremltools.ComputeUnit by the names of runtime.engines.COMPUTE_UNITS.
MEMBERS = {"all": "ALL", "cpu": "CPU_ONLY", "cpu_and_gpu": "CPU_AND_GPU", "cpu_and_ne": "CPU_AND_NE"}
# Vocoders often fail to compile for the Neural Engine, or fall back
# silently to a slow CPU program (soniqo/speech-swift 466): the GPU is the default until a device was measured.
DEFAULT_UNIT = "cpu_and_gpu"
GUARD_SECONDS = 600.0


class CoreMLEngine:
    """`guard_seconds`: limit of the trial load in another process, GUARD_SECONDS by default; 0 leaves the trial out."""

    name = "coreml"

    def __init__(
        self,
        path: Path,
        threads: int | None = None,
        compute_unit: str = DEFAULT_UNIT,
        guard_seconds: float | None = None,
        function: str | None = None,
    ) -> None:
        if path.suffix not in (".mlpackage", ".mlmodel"):
            raise ArtefactError(f"the coreml engine executes an .mlpackage or an .mlmodel, not {path.name}")
        guard_seconds = GUARD_SECONDS if guard_seconds is None else guard_seconds
        if guard_seconds > 0:
            trial = [str(path), compute_unit, *([function] if function else [])]
            guard([sys.executable, "-m", "runtime.engines.coreml", *trial], path, guard_seconds)
        if path.suffix == ".mlmodel":
            spec = read_network(path)
            self.interface = interface(spec)
            if has_custom_layers(spec):
                load_custom_layer()
        else:
            self.interface = open_package(path, function).interface
        self.inputs, self.outputs = self.interface.inputs, self.interface.outputs
        self.device, self.compute_unit = cpu_name(), compute_unit
        ct = coremltools()
        units = ct.ComputeUnit[MEMBERS[compute_unit]]
        self._model = ct.models.MLModel(str(path), compute_units=units, function_name=function)
        # The Neural Engine specialises at the first inference, not at load: it is part of opening.
        self.run({spec.name: np.zeros(spec.default_shape, spec.dtype) for spec in self.inputs})

    def new_state(self) -> State:
        """Core ML's own object; None for a program that keeps nothing between calls."""
        return self._model.make_state() if self.interface.states else None

    def run(self, inputs: Mapping[str, np.ndarray], state: State | None = None) -> dict[str, np.ndarray]:
        arrays = checked_inputs(self.inputs, self.interface.with_defaults(inputs))
        state = self.new_state() if state is None else state
        try:
            results = self._model.predict(arrays) if state is None else self._model.predict(arrays, state)
        except Exception as error:  # Core ML's own errors arrive as RuntimeError or Exception
            raise EngineError(f"Core ML cannot execute this artefact: {error}") from error
        # `predict` returns no particular order, and may hand out padded strides: copy by name
        return {spec.name: np.array(results[spec.name], dtype=spec.dtype, order="C") for spec in self.outputs}


@functools.cache
def load_custom_layer() -> ctypes.CDLL:
    """The library with the class HiFiGANUpsample in this process, which Core ML looks for when it loads a model.

    Built once per content with `swiftc` of Xcode's command line tools, from voxport's own sources, never a bundle's.
    Raises EngineError.
    """
    target = cache_folder() / f"libHiFiGANUpsample-{package_hash()[:24]}.dylib"
    if not target.is_file():
        with making(target) as partial, tempfile.TemporaryDirectory(prefix="voxport-layer-") as scratch:
            if partial is None:
                return ctypes.CDLL(str(target))
            write_package(Path(scratch, "layer"))
            try:
                done = subprocess.run(
                    build_command(Path(scratch, "layer"), partial), capture_output=True, text=True, check=False
                )
            except OSError as error:
                raise EngineError(f"the custom layer cannot be built: {error} (xcode-select --install)") from error
            if done.returncode:
                raise EngineError(f"the custom layer does not compile: {done.stderr[:2000]}")
    return ctypes.CDLL(str(target))


def guard(command: Sequence[str], path: Path, seconds: float) -> None:
    """Runs a trial in another process; raises EngineError when it hangs, crashes or fails."""
    try:
        output_of(command, f"Core ML, loading {path.name},", seconds)
    except EngineError as error:
        raise EngineError(f"{error} (another compute unit may do: cpu_and_gpu, cpu)") from error


if __name__ == "__main__":
    CoreMLEngine(
        Path(sys.argv[1]), compute_unit=sys.argv[2], guard_seconds=0, function=sys.argv[3] if sys.argv[3:] else None
    )
